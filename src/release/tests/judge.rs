//! What is obeyed and what is refused, by name; and that OpenSSH and this agree about signatures.
//!
//! Proof: real signatures, made here and by the real `ssh-keygen`, each of which the other accepts.

mod people;

use people::{NOW, document, key_file, line, policy, signed};
use release::{
    Document, Envelope, NAMESPACE, Policy, Refusal, Seen, Signers, Time, Verified, judge,
};
use ssh_key::{HashAlg, LineEnding};
use std::path::Path;
use std::process::{Command, Stdio};

fn judged(bytes: &[u8]) -> Result<Verified, Refusal> {
    judge(bytes, &policy(), None, NOW)
}

fn refused(bytes: &[u8]) -> Refusal {
    judged(bytes).expect_err("it is refused")
}

#[test]
fn enough_persons_are_obeyed() {
    for seeds in [&[1, 3][..], &[3, 2], &[1, 2, 3], &[4, 3, 1]] {
        let verified = judged(&signed(&document(42), seeds)).expect("it is obeyed");
        assert_eq!(verified.document, document(42));
        assert!(verified.persons.contains(&"bob".to_owned()), "{:?}", verified.persons);
    }
    // What an unknown key signed counts for nothing, and does no harm.
    let verified = judged(&signed(&document(42), &[9, 1, 4])).expect("it is obeyed");
    assert_eq!(verified.persons, ["alice", "carol"]);
}

#[test]
fn too_few_are_refused_by_name() {
    let unsigned = refused(&document(1).write());
    assert_eq!(unsigned.name(), "unsigned");
    assert!(unsigned.to_string().contains("2 of alice, bob, carol must sign"), "{unsigned}");
    let alone = refused(&signed(&document(1), &[3]));
    assert_eq!(alone.name(), "too-few-persons");
    assert!(alone.to_string().contains("signatures of bob, and 2 of"), "{alone}");
    let twice = refused(&signed(&document(1), &[3, 3]));
    assert_eq!(twice.name(), "too-few-persons", "one signature twice is one");
    let two_keys = refused(&signed(&document(1), &[1, 2]));
    assert_eq!(two_keys.name(), "one-person-twice");
    assert!(two_keys.to_string().contains("alice with 2 keys, which is one person"), "{two_keys}");
    let stranger = refused(&signed(&document(1), &[3, 9]));
    assert!(stranger.to_string().contains("SHA256:"), "{stranger}");
    assert!(stranger.to_string().contains("is nobody's who may sign"), "{stranger}");
}

#[test]
fn a_forged_one_is_refused_though_enough_signed() {
    let (one, other) = (document(42), document(43));
    let of = |document: &Document, seeds| {
        let bytes = signed(document, seeds);
        let begin = document.write().len();
        bytes[begin..].to_vec()
    };
    // Bob's signature is over another document.
    let mut bytes = signed(&one, &[1, 4]);
    bytes.extend_from_slice(&of(&other, &[3]));
    let forged = refused(&bytes);
    assert_eq!(forged.name(), "forged");
    assert!(forged.to_string().contains("bob's key (SHA256:"), "{forged}");
    // A byte of the document was changed.
    let mut bytes = signed(&one, &[1, 3]);
    let at = bytes.windows(2).position(|pair| pair == b"42").expect("its serial");
    bytes[at] = b'5';
    assert_eq!(refused(&bytes).name(), "forged");
}

#[test]
fn a_signature_for_something_else_counts_for_nothing() {
    let document = document(1);
    let mail = people::key(1).sign("file", HashAlg::Sha512, &document.write()).expect("signed");
    let mut bytes = signed(&document, &[3]);
    bytes.extend_from_slice(mail.to_pem(LineEnding::LF).expect("armour").as_bytes());
    let refusal = refused(&bytes);
    assert_eq!(refusal.name(), "too-few-persons");
    assert!(refusal.to_string().contains("is for the namespace \"file\""), "{refusal}");
}

#[test]
fn app_group_time_and_serial_are_looked_at() {
    let with = |change: &dyn Fn(&mut Document)| {
        let mut document = document(42);
        change(&mut document);
        refused(&signed(&document, &[1, 3]))
    };
    let other = with(&|document| document.app = "api".to_owned());
    assert_eq!(
        (other.name(), &*other.to_string()),
        ("other-app", "the release is of the app api, not of web")
    );
    let other = with(&|document| document.group = "staging".to_owned());
    assert_eq!(other.name(), "other-group");
    let expired = with(&|document| document.expires = NOW);
    assert_eq!(expired.name(), "expired");
    let early = with(&|document| document.issued = Time(NOW.0 + 601));
    assert_eq!(early.name(), "from-the-future");

    let seen = judged(&signed(&document(42), &[1, 3])).expect("it is obeyed").seen();
    let again = |document: &Document, seen: &Seen| {
        judge(&signed(document, &[1, 3]), &policy(), Some(seen), NOW)
    };
    assert!(again(&document(42), &seen).is_ok() && again(&document(43), &seen).is_ok());
    let old = again(&document(41), &seen).expect_err("old");
    assert_eq!(old, Refusal::Old { serial: 41, newest: 42 });
    let mut twin = document(42);
    twin.note = "another".to_owned();
    assert_eq!(again(&twin, &seen).expect_err("twice"), Refusal::Twice { serial: 42 });
}

#[test]
fn a_key_counts_in_its_time_and_for_releases_only() {
    let now = "20261121100000Z"; // NOW
    for (options, word) in [
        (format!("valid-before=\"{now}\" "), "was valid until 2026-11-21T10:00:00Z"),
        ("valid-after=\"20261122Z\" ".to_owned(), "is valid from 2026-11-22T00:00:00Z"),
        ("namespaces=\"git\" ".to_owned(), "is not for the namespace rollinit-release"),
    ] {
        let bob = line("bob", 3).replacen(' ', &format!(" {options}"), 1);
        let signers = Signers::read(&(line("alice", 1) + &bob)).expect("signers");
        let policy = Policy { signers, ..policy() };
        let refusal = judge(&signed(&document(1), &[1, 3]), &policy, None, NOW).expect_err("few");
        assert!(refusal.to_string().contains(word), "{refusal}");
    }
}

/// A threshold of nothing is one: nobody asks for nobody's signature.
#[test]
fn nobody_signs_for_nobody() {
    let policy = Policy { threshold: 0, signers: Signers::default(), ..policy() };
    for bytes in [document(1).write(), signed(&document(1), &[1, 3])] {
        assert!(judge(&bytes, &policy, None, NOW).is_err());
    }
}

fn keygen(arguments: &[&str], input: &Path) -> bool {
    let status = Command::new("ssh-keygen")
        .args(arguments)
        .stdin(std::fs::File::open(input).expect("the input"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("ssh-keygen is not there; `cargo xtask setup` installs openssh-client");
    status.success()
}

/// What `ssh-keygen -Y sign` writes is accepted here, and what is signed here by `-Y verify`.
#[test]
fn ssh_keygen_and_this_agree() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let text = |name: &str| at(name).display().to_string();
    std::fs::write(at("document"), document(7).write()).expect("written");
    let no_input = Path::new("/dev/null");
    assert!(keygen(&["-q", "-t", "ed25519", "-N", "", "-C", "x", "-f", &text("key")], no_input));
    let public = std::fs::read_to_string(at("key.pub")).expect("the public key");
    let signers = format!("dora {public}{}", line("bob", 3));
    std::fs::write(at("signers"), &signers).expect("written");

    // Theirs, here; by `cat`.
    let sign = ["-Y", "sign", "-q", "-n", NAMESPACE, "-f", &text("key"), &text("document")];
    assert!(keygen(&sign, no_input));
    let theirs = std::fs::read(at("document.sig")).expect("their signature");
    let file = [document(7).write(), theirs].concat();
    let policy =
        Policy { signers: Signers::read(&signers).expect("signers"), threshold: 1, ..policy() };
    let verified = judge(&file, &policy, None, NOW).expect("it is obeyed");
    assert_eq!(verified.persons, ["dora"]);

    // Ours, there: with a key of ours, and with theirs from its file.
    let their_key = std::fs::read_to_string(at("key")).expect("the key");
    for (person, key) in [("bob", key_file(3)), ("dora", their_key)] {
        let key = release::sign::Key::read(&key).expect("a key");
        std::fs::write(at("ours"), key.sign(&document(7).write()).expect("signed"))
            .expect("written");
        let (ours, signers) = (text("ours"), text("signers"));
        let verify = ["-Y", "verify", "-n", NAMESPACE, "-I", person, "-s", &ours, "-f", &signers];
        assert!(keygen(&verify, &at("document")), "{person}");
        std::fs::write(at("other"), document(8).write()).expect("written");
        assert!(!keygen(&verify, &at("other")), "{person}: of another document");
    }
    // And what it would not sign with is said.
    assert!(keygen(&["-q", "-t", "ed25519", "-N", "secret", "-f", &text("locked")], no_input));
    let locked = std::fs::read_to_string(at("locked")).expect("the key");
    let error = release::sign::Key::read(&locked).expect_err("a passphrase").to_string();
    assert!(error.contains("ssh-keygen -Y sign"), "{error}");
    let envelope = Envelope::split(&file).expect("a file");
    assert_eq!(envelope.signatures.len(), 1);
}
