//! The program itself, on a root of the test's own: a host becomes another system and back.
//!
//! What needs a kernel of its own (the mount, modules, the clock) is in the QEMU tier.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A host with two systems in its store, the first of which runs.
struct Host {
    root: TempDir,
}

const FIRST: &str = "/nix/store/a-system";
const SECOND: &str = "/nix/store/b-system";

impl Host {
    fn new() -> Self {
        let host = Self { root: tempfile::tempdir().expect("a root") };
        for folder in ["etc", "run", "var", "proc/sys/net"] {
            fs::create_dir_all(host.at(folder)).expect("a folder");
        }
        fs::write(host.at("proc/sys/net/limit"), "1\n").expect("a setting");
        // As PID 1 leaves it.
        symlink(format!("{FIRST}/etc"), host.at("etc/static")).expect("static");
        symlink("static/rollinit", host.at("etc/rollinit")).expect("rollinit");
        symlink(FIRST, host.at("run/current-system")).expect("the system");
        host
    }

    fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.path().join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A system as `nixos/lib` lays it out: `etc` is a link to a tree of links.
    fn system(&self, name: &str, files: &[(&str, &str)], copied: &str, users: &str) {
        let tree = PathBuf::from(format!("{name}-etc"));
        let link = |path: &str, text: &str| {
            let source = format!("{name}-{}", path.replace('/', "-"));
            fs::create_dir_all(self.at(&source).parent().expect("a store")).expect("a store");
            fs::write(self.at(&source), text).expect("a file");
            let place = self.at(tree.join("etc").join(path));
            fs::create_dir_all(place.parent().expect("a parent")).expect("a folder");
            symlink(&source, place).expect("a link");
        };
        for (path, text) in files {
            link(path, text);
        }
        link("rollinit/users.toml", users);
        fs::create_dir_all(self.at(name)).expect("a system");
        symlink(tree.join("etc"), self.at(name).join("etc")).expect("etc");
        fs::write(self.at(name).join("etc-copied"), copied).expect("the list");
    }

    fn activate(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollinit-activate"));
        command.arg("--root").arg(self.root.path()).args(words);
        command.env_remove("NOTIFY_SOCKET").output().expect("it runs")
    }

    fn done(&self, words: &[&str]) {
        let output = self.activate(words);
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && words.is_empty(), "{words}");
    }

    fn read(&self, path: &str) -> String {
        // Links in the store are the host's: the test's root is not its root.
        let mut at = PathBuf::from(path);
        for _link in 0..8 {
            let Ok(to) = fs::read_link(self.at(&at)) else { break };
            at = at.parent().expect("a parent").join(to);
            let text = at.to_string_lossy().into_owned();
            if let Some(rest) = text.strip_prefix("/etc/static/") {
                let tree = fs::read_link(self.at("etc/static")).expect("static");
                let tree = fs::read_link(self.at(tree)).expect("a tree");
                at = tree.join(rest);
            }
        }
        fs::read_to_string(self.at(&at)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

fn two_systems() -> Host {
    let host = Host::new();
    let users = |more: &str| {
        format!(
            "[users.root]\nuid = 0\ngroup = \"root\"\nhome = \"/root\"\nshell = \"/sh\"\n{more}\
             [groups.root]\ngid = 0\n[groups.web]\n"
        )
    };
    let web = "[users.web]\ngroup = \"web\"\nhome = \"/var/empty\"\nshell = \"/no\"\n";
    host.system(
        FIRST,
        &[
            ("motd", "first"),
            ("only/first", "x"),
            ("secret", "one"),
            ("sysctl.d/60.conf", "net.limit=5\n"),
            ("tmpfiles.d/50.conf", "f /var/made - root root - by the first\n"),
            ("rollinit/services/web.toml", "first"),
        ],
        "0600 0 0 secret\n",
        &users(web),
    );
    host.system(
        SECOND,
        &[
            ("motd", "second"),
            ("only", "second"),
            ("secret", "two"),
            ("sysctl.d/60.conf", "net.limit=6\n"),
            ("tmpfiles.d/50.conf", "d /var/lib/web 0750 web web\n"),
            ("rollinit/services/db.toml", "second"),
        ],
        "0640 0 0 secret\n",
        &users(&format!("[users.db]\ngroup = \"web\"\nhome = \"/\"\nshell = \"/no\"\n{web}")),
    );
    host
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|status| status.uid() == 0)
}

/// Proof: one call makes all of it another system's, a second call changes nothing, and back again
/// all is as it was: files of both and of one, a file that becomes a directory, a copy with its
/// mode, an account's number, a setting, a directory. What somebody else made is left. Needs root,
/// who alone can give files away.
#[test]
fn a_host_becomes_another_system_and_back() {
    if !is_root() {
        return;
    }
    let host = two_systems();
    fs::write(host.at("etc/resolv.conf"), "nameserver 10.0.0.2\n").expect("the network's");
    host.done(&["etc", "users", "sysctl", "tmpfiles"]);
    assert_eq!(
        (host.read("/etc/motd"), host.read("/etc/only/first")),
        ("first".into(), "x".into())
    );
    assert_eq!(host.read("/etc/secret"), "one");
    assert_eq!(host.read("/var/made"), "by the first");
    assert!(host.read("/etc/passwd").contains("web:x:999:999:"));

    for _again in 0..2 {
        host.done(&["switch", "--toplevel", SECOND]);
        assert_eq!(
            (host.read("/etc/motd"), host.read("/etc/only")),
            ("second".into(), "second".into())
        );
        let status = fs::symlink_metadata(host.at("etc/secret")).expect("a copy");
        assert!(status.is_file() && status.permissions().mode() & 0o7777 == 0o640);
        assert_eq!(host.read("/etc/secret"), "two");
        assert_eq!(
            fs::read_link(host.at("etc/static")).expect("static"),
            Path::new(SECOND).join("etc")
        );
        let services = fs::read_dir(host.at(format!("{SECOND}-etc/etc/rollinit/services")));
        assert_eq!(services.expect("services").count(), 1);
        let passwd = host.read("/etc/passwd");
        assert!(passwd.contains("web:x:999:999:") && passwd.contains("db:x:998:999:"), "{passwd}");
        assert_eq!(fs::metadata(host.at("var/lib/web")).expect("made").uid(), 999);
        assert!(host.read("/proc/sys/net/limit").starts_with("6\n"));
        assert_eq!(
            fs::read_link(host.at("run/current-system")).expect("it runs"),
            Path::new(SECOND)
        );
    }

    host.done(&["switch", "--toplevel", FIRST]);
    assert_eq!(
        (host.read("/etc/motd"), host.read("/etc/only/first")),
        ("first".into(), "x".into())
    );
    assert!(!host.read("/etc/passwd").contains("db:"));
    assert!(host.read("/var/lib/rollinit/accounts.toml").contains("db = 998"), "never given again");
    assert_eq!(host.read("/etc/resolv.conf"), "nameserver 10.0.0.2\n");
}

/// Proof: a file of somebody's in the place of one of the system's stays, is told with the cure,
/// and keeps nothing else from being done; a path that is no system changes nothing.
#[test]
fn what_is_not_ours_stays() {
    if !is_root() {
        return;
    }
    let host = two_systems();
    fs::write(host.at("etc/motd"), "by hand").expect("an operator's");
    let output = host.activate(&["etc"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "etc: /etc/motd: is not rollinit's, and the system has a file of that name (move it away, \
         or take the name out of environment.etc)\n"
    );
    assert_eq!(
        (host.read("/etc/motd"), host.read("/etc/secret")),
        ("by hand".into(), "one".into())
    );

    let output = host.activate(&["switch", "--toplevel", "/nix/store/none"]);
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("nothing was changed"), "{words}");
    assert_eq!(fs::read_link(host.at("etc/static")).expect("static"), Path::new(FIRST).join("etc"));
    assert_eq!(host.activate(&["nonsense"]).status.code(), Some(2));
}
