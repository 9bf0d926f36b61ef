use super::*;
use proptest::prelude::*;

const ONE: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
const TWO: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIP8BAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

#[test]
fn a_person_may_have_several_keys() {
    let text = format!("# us\n\nalice {ONE} laptop\n alice\t{TWO}\n");
    let signers = Signers::read(&text).expect("signers");
    assert_eq!(signers.persons().into_iter().collect::<Vec<_>>(), ["alice"]);
    assert_eq!(Signers::read("").expect("none").persons().len(), 0);
}

#[test]
fn options_narrow_a_key() {
    let at = |text: &str| text.parse::<Time>().expect("a time");
    let text = format!(
        "alice namespaces=\"file,{NAMESPACE}\",valid-after=\"20260101\",\
         valid-before=\"20270101120000Z\" {ONE}\nbob namespaces=\"git\" {TWO}\n"
    );
    let signers = Signers::read(&text).expect("signers");
    assert_eq!(signers.persons().into_iter().collect::<Vec<_>>(), ["alice"]);
    let [alice, bob] = &signers.signers[..] else { panic!("two") };
    assert!(alice.fault_at(at("2025-12-31T23:59:59Z")).expect("early").contains("2026-01-01"));
    assert_eq!(alice.fault_at(at("2026-01-01T00:00:00Z")), None);
    assert!(alice.fault_at(at("2027-01-01T12:00:00Z")).expect("late").contains("until 2027"));
    assert!(bob.fault_at(at("2026-06-01T00:00:00Z")).expect("git").contains(NAMESPACE));
}

#[test]
fn a_line_that_cannot_be_used_is_said() {
    for (line, word) in [
        ("alice", "write PERSON"),
        (&format!("alice,bob {ONE}"), "one person a line"),
        (&format!("* {ONE}"), "one person a line"),
        (&format!("\"alice\" {ONE}"), "no name"),
        ("alice ssh-ed25519 AAAA", "no public key"),
        ("alice ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQ", "ssh-keygen -t ed25519"),
        ("alice ecdsa-sha2-nistp256 AAAA", "ssh-keygen -t ed25519"),
        ("alice ssh-ed25519-cert-v01@openssh.com AAAA", "kind"),
        (&format!("alice cert-authority {ONE}"), "cert-authority"),
        (&format!("alice namespaces=\"roll*\" {ONE}"), "as it is"),
        (&format!("alice valid-after=\"2026-01-01\" {ONE}"), "no time"),
        (&format!("alice valid-after=\"20261301\" {ONE}"), "no time"),
        (&format!("alice valid-after=\"20260101\"x {ONE}"), "comma"),
        (&format!("alice namespaces=\"x {ONE}"), "write PERSON"),
    ] {
        let error = Signers::read(&format!("# first\n{line}\n")).expect_err(line);
        assert_eq!(error.line, 2);
        assert!(error.to_string().contains(word), "{line}: {error}");
    }
    let twice = Signers::read(&format!("alice {ONE}\nbob {ONE}\n")).expect_err("one key");
    assert!(twice.to_string().contains("count twice"), "{twice}");
    let again = Signers::read(&format!("alice {ONE}\nalice {ONE} x\n")).expect_err("again");
    assert!(again.to_string().contains("stands here already"), "{again}");
    assert_eq!(Signers::read(&" ".repeat(SIGNERS_BYTES_MAX + 1)).expect_err("long").line, 0);
}

proptest! {
    #[test]
    fn reading_is_total(text in "(alice|bob|\"|=|,| |\t|\n|ssh-ed25519|namespaces|A|Z|2026|é){0,40}") {
        let _ = Signers::read(&text);
    }
}
