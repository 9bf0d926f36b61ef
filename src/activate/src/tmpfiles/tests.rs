//! Whole files of lines, on a root of the test's own.

use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use tempfile::TempDir;

struct Host {
    root: TempDir,
}

impl Host {
    /// A host with an account `web` of the number that the test itself has, so that it needs no
    /// privilege.
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a root");
        let host = Self { root };
        for folder in ["etc", "system/etc/tmpfiles.d", "var"] {
            std::fs::create_dir_all(host.at(folder)).expect("a folder");
        }
        let status = std::fs::metadata(host.root.path()).expect("there");
        let (uid, gid) = (status.uid(), status.gid());
        std::fs::write(host.at("etc/passwd"), format!("web:x:{uid}:{gid}::/:/bin/sh\n"))
            .expect("web");
        std::fs::write(host.at("etc/group"), format!("web:x:{gid}:\n")).expect("web");
        std::fs::write(host.at("etc/machine-id"), "abcd\n").expect("an id");
        host
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Runs the task with these lines as two files; what was not right.
    fn run(&self, lines: &str, prefix: Option<&str>) -> Vec<String> {
        let folder = self.at("system/etc/tmpfiles.d");
        std::fs::write(folder.join("10-a.conf"), lines).expect("lines");
        std::fs::write(folder.join("20-b.conf"), "d /var/first 0700 web web\n").expect("lines");
        let context = Context {
            root: self.root.path().to_owned(),
            toplevel: "/system".into(),
            prefix: prefix.map(PathBuf::from),
            words: Vec::new(),
        };
        let mut report = Report::default();
        run(&context, &mut report);
        report.lines().into_iter().map(str::to_owned).collect()
    }

    fn mode(&self, name: &str) -> u32 {
        let status = std::fs::symlink_metadata(self.at(name)).expect(name);
        status.permissions().mode() & 0o7777
    }
}

/// Every verb once: made above before below, removed before made, owned at the end, and the first
/// line of a path counts.
#[test]
fn every_verb() {
    let host = Host::new();
    std::fs::create_dir_all(host.at("var/old/deep")).expect("old");
    std::fs::write(host.at("var/old/deep/file"), "x").expect("old");
    std::fs::write(host.at("var/stale-1"), "x").expect("old");
    std::fs::write(host.at("var/.stale-2"), "x").expect("hidden");
    let lines = "\
        f /var/lib/web/%m 0640 web web - words\n\
        d /var/lib/web 0750 web web\n\
        d /var/first 0711 web web\n\
        L /var/link - - - - lib/web\n\
        R /var/old\n\
        r /var/stale-*\n\
        Z /var/lib/web 0700 web web\n";
    assert_eq!(host.run(lines, None), [""; 0]);
    assert_eq!(std::fs::read(host.at("var/lib/web/abcd")).expect("a file"), b"words");
    assert_eq!((host.mode("var/lib/web"), host.mode("var/lib/web/abcd")), (0o700, 0o600));
    assert_eq!((host.mode("var/lib"), host.mode("var/first")), (0o755, 0o711));
    assert_eq!(std::fs::read_link(host.at("var/link")).expect("a link"), Path::new("lib/web"));
    assert!(!host.at("var/old").exists() && !host.at("var/stale-1").exists());
    assert!(host.at("var/.stale-2").exists(), "a star does not mean a dot");
}

/// `D` and `!` are for the boot: a second call, of a system that changes while it runs, leaves
/// what is there. A prefix leaves all else alone.
#[test]
fn boot_and_later() {
    let host = Host::new();
    let lines = "D /var/spool 0755 web web\nf! /var/boot - web web\n";
    assert_eq!(host.run(lines, Some("/elsewhere")), [""; 0]);
    assert!(!host.at("var/spool").exists());
    std::fs::create_dir(host.at("var/spool")).expect("of an earlier boot");
    std::fs::write(host.at("var/spool/old"), "x").expect("of an earlier boot");
    assert_eq!(host.run(lines, None), [""; 0]);
    assert!(!host.at("var/spool/old").exists() && host.at("var/boot").exists());
    std::fs::write(host.at("var/spool/new"), "x").expect("of this boot");
    std::fs::remove_file(host.at("var/boot")).expect("gone");
    assert_eq!(host.run(lines, None), [""; 0]);
    assert!(host.at("var/spool/new").exists() && !host.at("var/boot").exists());
}

/// A bad line costs itself: it is named with its place and the cure, and the rest is done. What
/// is in the way of a link stays, unless the line says `+`.
#[test]
fn bad_lines_cost_themselves() {
    let host = Host::new();
    std::fs::write(host.at("var/taken"), "x").expect("in the way");
    let lines = "\
        q /var/subvolume\n\
        d /var/lost 0755 nobody-there\n\
        L /var/taken - - - - x\n\
        d- /var/taken/below\n\
        d /var/good 0755 web web\n";
    assert_eq!(
        host.run(lines, None),
        [
            "10-a.conf:1: type \"q\" is not supported; there are d D f F L z Z r R (TYPE PATH MODE \
         USER GROUP AGE ARGUMENT, see docs/activate.md)",
            "10-a.conf:2: /var/lost: there is no user \"nobody-there\" (add users.users.nobody-there)",
            "10-a.conf:3: /var/taken: cannot make the link: entity already exists (something else is \
         there: remove it, or write L+ for a link that replaces it)",
        ]
    );
    assert!(host.at("var/good").is_dir() && host.at("var/taken").is_file());
    assert_eq!(host.run("L+ /var/taken - - - - x\n", None), [""; 0]);
    assert_eq!(std::fs::read_link(host.at("var/taken")).expect("a link"), Path::new("x"));
}

/// What is there keeps what a line does not state, and with `:` also what it states.
#[test]
fn what_is_there_keeps_its_mode() {
    let host = Host::new();
    assert_eq!(host.run("d /var/a 0700 web web\nd /var/b :0700 web web\n", None), [""; 0]);
    assert_eq!((host.mode("var/a"), host.mode("var/b")), (0o700, 0o700));
    for name in ["var/a", "var/b"] {
        std::fs::set_permissions(host.at(name), std::fs::Permissions::from_mode(0o711))
            .expect(name);
    }
    assert_eq!(host.run("d /var/a\nd /var/b :0700 web web\n", None), [""; 0]);
    assert_eq!((host.mode("var/a"), host.mode("var/b")), (0o711, 0o711));
    assert_eq!(host.run("d /var/a 0750\n", None), [""; 0]);
    assert_eq!(host.mode("var/a"), 0o750);
}
