//! Releases as their makers meet them: made from a cache, signed by persons and by ssh-keygen,
//! judged, and put on a ledger. No host, no agent.

#![allow(clippy::unwrap_used)] // A panic is the test's verdict.

mod stage;

use stage::{Ended, assert_screen, help, rollinit};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const TOP: &str = "0c5mkq5pxkq1c8h2b4bm3c0qk2gsl5bg-storefront-1.9.3";
const LIBRARY: &str = "1d6nlr6qylr2d9i3c5cn4d1rl3hsm6ch-glibc-2.40";

/// A desk with a cache's folder, and keys of persons.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Desk {
        let desk = Desk { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(desk.at("cache")).unwrap();
        desk.narinfo(TOP, &format!("{LIBRARY} {TOP}"), 'a');
        desk.narinfo(LIBRARY, "", 'b');
        for key in ["alice", "alice-token", "bob"] {
            desk.keygen(&["-q", "-t", "ed25519", "-N", "", "-f", &desk.text(key)]);
        }
        let line = |person: &str, key: &str| {
            let public = std::fs::read_to_string(desk.at(&format!("{key}.pub"))).unwrap();
            format!("{person} {public}")
        };
        let lines = [line("alice", "alice"), line("alice", "alice-token"), line("bob", "bob")];
        std::fs::write(desk.at("signers"), lines.concat()).unwrap();
        desk
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.at(name).display().to_string()
    }

    fn narinfo(&self, name: &str, references: &str, digit: char) {
        let hash: String = std::iter::repeat_n(digit, 52).collect();
        let text = format!(
            "StorePath: /nix/store/{name}\nURL: nar/{digit}.nar\nCompression: none\n\
             NarHash: sha256:0{}\nNarSize: 120\nReferences: {references}\n",
            &hash[1..]
        );
        std::fs::write(self.at("cache").join(format!("{}.narinfo", &name[..32])), text).unwrap();
    }

    fn keygen(&self, arguments: &[&str]) {
        let mut command = Command::new("ssh-keygen");
        command.args(arguments).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.status().expect("ssh-keygen; `cargo xtask setup` installs it");
        assert!(status.success(), "{arguments:?}");
    }

    fn shell(&self, line: &str) {
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(self.folder.path()).stderr(Stdio::null());
        assert!(command.status().unwrap().success(), "{line}");
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = rollinit(arguments);
        Ended::of(command.current_dir(self.folder.path()).output().unwrap())
    }

    fn make(&self, serial: &str, more: &[&str]) -> Ended {
        let (path, cache) = (format!("/nix/store/{TOP}"), format!("file://{}", self.text("cache")));
        let words =
            ["release", "make", "web", &path, "--group", "prod", "--serial", serial, "-c", &cache];
        self.run(&[&words[..], more].concat())
    }

    fn verify(&self, threshold: &str, more: &[&str]) -> Ended {
        let words = ["release", "verify", "web.release", "-s", "signers", "-t", threshold];
        self.run(&[&words[..], more].concat())
    }

    /// A screen in which what differs each time does not.
    fn steady(&self, screen: &str) -> String {
        let steady = |line: &str| match line.split_once(' ') {
            Some((name @ ("made" | "expires"), _)) => format!("{name:<8} TIME"),
            _ => match line.split_once("SHA256:") {
                Some((before, after)) => {
                    format!("{before}SHA256:KEY{}", after.split_at(43).1)
                }
                None => line.to_owned(),
            },
        };
        screen.lines().map(|line| format!("{}\n", steady(line))).collect()
    }
}

/// Proof: a release is made of what a folder of a cache says, signed by two persons, one of them by
/// ssh-keygen and `cat`, and verified; each verdict names what is missing.
#[test]
fn made_signed_and_verified() {
    let desk = Desk::new();
    let made = desk.make("42", &["--note", "storefront 1.9.3"]);
    assert_eq!((made.code, &*made.error), (0, ""), "{made:?}");
    assert_screen("release-make", &desk.steady(&made.out));
    let unsigned = desk.verify("1", &[]);
    assert_eq!(unsigned.code, 12);
    let words = "web.release: the release is not signed, and 1 of alice, bob must sign it\n  have";
    assert!(unsigned.error.contains(words), "{unsigned:?}");

    let signed = desk.run(&["release", "sign", "web.release", "--key", "alice"]);
    assert_eq!((signed.code, &*signed.error), (0, ""), "{signed:?}");
    assert_screen("release-sign", &desk.steady(&signed.out));
    let again = desk.run(&["release", "sign", "web.release", "--key", "alice"]);
    assert!(again.out.contains("was signed already") && again.out.contains("; 1 signature\n"));
    let alone = desk.verify("2", &["--json"]).json();
    assert_eq!(alone["error"], "too-few-persons");
    desk.run(&["release", "sign", "web.release", "--key", "alice-token"]);
    let twice = desk.verify("2", &[]);
    let words = "signed by alice with 2 keys, which is one person, and 2 of alice, bob must";
    assert!(twice.error.contains(words), "{twice:?}");

    // Bob lets ssh-keygen sign, by a pipe.
    let document = desk.run(&["release", "document", "web.release"]);
    let file = std::fs::read_to_string(desk.at("web.release")).unwrap();
    assert_eq!(Some(&*document.out), file.split_once("-----BEGIN").map(|(document, _)| document));
    let rollinit = env!("CARGO_BIN_EXE_rollinit");
    desk.shell(&format!(
        "{rollinit} release document web.release | \
         ssh-keygen -q -Y sign -n rollinit-release -f bob >> web.release"
    ));
    let verified = desk.verify("2", &["--group", "prod", "--app", "web"]);
    assert_eq!((verified.code, &*verified.error), (0, ""), "{verified:?}");
    assert_screen("release-verify", &desk.steady(&verified.out));
    let json = desk.verify("2", &["--json"]).json();
    assert_eq!((&json["serial"], &json["signatures"]), (&42.into(), &3.into()));
    assert_eq!(json["persons"], serde_json::json!(["alice", "bob"]));
    let staging = desk.verify("2", &["--group", "staging"]);
    assert!(staging.error.contains("is for the group prod"), "{staging:?}");
    assert_eq!(desk.verify("3", &[]).code, 1, "there are two persons");

    // Somebody changes it.
    let forged = std::fs::read_to_string(desk.at("web.release")).unwrap().replace("1.9.3", "1.9.4");
    std::fs::write(desk.at("web.release"), forged).unwrap();
    let forged = desk.verify("2", &["--json"]);
    assert_eq!((forged.code, &forged.json()["error"]), (12, &"forged".into()));
}

/// Proof: the digest follows every byte of every path; what cannot be made is said with its cure.
#[test]
fn the_digest_is_of_the_whole_closure() {
    let desk = Desk::new();
    let digest = |desk: &Desk| {
        let made = desk.make("1", &["--json"]);
        made.json()["closure-sha256"].as_str().unwrap().to_owned()
    };
    let before = digest(&desk);
    assert_eq!(digest(&desk), before);
    desk.narinfo(LIBRARY, "", 'c');
    assert_ne!(digest(&desk), before, "another library below the same top");
    std::fs::remove_file(desk.at("cache").join(format!("{}.narinfo", &LIBRARY[..32]))).unwrap();
    let missing = desk.make("1", &[]);
    assert_eq!(missing.code, 1);
    assert!(missing.error.contains("glibc-2.40"), "{missing:?}");
    let key = format!("cache-1:{}=", "A".repeat(43));
    let unsigned = desk.make("1", &["--key", &key]);
    assert!(unsigned.error.contains("it is not signed"), "{unsigned:?}");
    for arguments in [
        &["release", "make", "../x", "/nix/store/x", "-g", "prod", "-c", "file:///x"][..],
        &["release", "sign", "web.release", "-k", "signers"],
        &["release", "verify", "signers", "-s", "signers"],
        &["release", "verify", "nowhere", "-s", "signers"],
    ] {
        let ended = desk.run(arguments);
        assert!(ended.code == 1 || ended.code == 12, "{ended:?}");
        assert!(ended.error.starts_with("rollinit: "), "{ended:?}");
    }
}

/// Proof: what is on the ledger afterwards. Serials only grow there, too.
#[test]
fn put_on_a_ledger() {
    let desk = Desk::new();
    let ledger = format!("file://{}", desk.text("ledger"));
    let publish = |more: &[&str]| {
        let words = ["release", "publish", "web.release", "--ledger", &ledger];
        desk.run(&[&words[..], more].concat())
    };
    desk.make("7", &[]);
    let unsigned = publish(&["-s", "signers"]);
    assert_eq!(unsigned.code, 12, "{unsigned:?}");
    desk.run(&["release", "sign", "web.release", "-k", "bob"]);
    let put = publish(&["-s", "signers"]);
    assert_eq!((put.code, &*put.error), (0, ""), "{put:?}");
    assert_screen("release-publish", &put.out);
    assert_eq!(publish(&[]).code, 0, "the same again");
    desk.run(&["release", "sign", "web.release", "-k", "alice"]);
    assert_eq!(publish(&[]).code, 0, "with a further signature");
    let there = std::fs::read_to_string(find(&desk.at("ledger"), "web~")).unwrap();
    assert_eq!(there.matches("BEGIN SSH SIGNATURE").count(), 2);
    desk.make("6", &[]);
    let old = publish(&[]);
    assert_eq!(old.code, 12);
    assert!(old.error.contains("release 6 is not newer than 7"), "{old:?}");
    desk.make("8", &[]);
    assert_eq!(publish(&["--json"]).json()["key"], "groups/prod/desired/web");
}

/// Proof: user-data that names who has to sign says so before it is given to an instance.
#[test]
fn user_data_tells_who_has_to_sign() {
    let desk = Desk::new();
    let signers = std::fs::read_to_string(desk.at("signers")).unwrap();
    let signers = serde_json::to_string(&signers.lines().collect::<Vec<_>>()).unwrap();
    let text = format!(
        "rollinit = 1\nsigners = {signers}\nthreshold = 2\n\
         [apps.web]\nrelease = \"https://releases.example.org/web\"\n"
    );
    std::fs::write(desk.at("user-data.toml"), text).unwrap();
    let checked = desk.run(&["user-data", "check", "user-data.toml"]);
    assert_eq!((checked.code, &*checked.error), (0, ""), "{checked:?}");
    assert!(checked.out.contains("names, signed by 2 of alice, bob"), "{checked:?}");
}

/// The file of that name, somewhere below.
fn find(folder: &Path, name: &str) -> PathBuf {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (mut folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let found = files.into_iter().find(|path| path.ends_with(name));
    found.unwrap_or_else(|| find(&folders.pop().expect("it is there"), name))
}

#[test]
fn help_fits_the_screen() {
    assert_screen("help-release", &help(&["release", "--help"]));
    for verb in ["make", "sign", "document", "verify", "publish"] {
        assert_screen(&format!("help-release-{verb}"), &help(&["release", verb, "--help"]));
    }
}
