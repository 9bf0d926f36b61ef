use super::*;
use std::os::unix::fs::MetadataExt;

fn definition(lines: &str) -> Definition {
    let text = format!("[service]\nexec = ['/bin/x']\n[service.credentials]\n{lines}\n");
    service::definition::parse("test.toml", &text).expect("definition")
}

/// Whoever runs this test: as root another user could be meant, but not everywhere.
fn own_identity() -> Identity {
    let own = std::fs::metadata("/proc/self").expect("own");
    Identity { user: own.uid(), group: own.gid(), groups: Vec::new() }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("a file").mode() & 0o7777
}

/// The file is its owner's alone, the directory root's and not the service's to write; a second
/// secret takes the place of the first at once; what is no longer named goes at the next start.
#[test]
fn files_are_put_handed_over_and_taken_away() {
    let run = tempfile::tempdir().expect("directory");
    let mut vault = Vault::new(run.path());
    let identity = own_identity();
    vault.write("web", "database", b"one", None).expect("write");
    vault.write("web", "old", b"x", None).expect("write");
    let directory = vault.directory("web");
    assert_eq!(mode(&directory), 0o700, "nobody's until somebody starts");
    assert_eq!(vault.present("web"), BTreeSet::from(["database".into(), "old".into()]));
    assert!(vault.holds("web", "database", b"one") && !vault.holds("web", "database", b"two"));

    let named = definition("database = { ssm = '/shop/database' }");
    assert_eq!(vault.prepare("web", &named, &identity), Ok(directory.clone()));
    assert_eq!((mode(&directory), mode(&directory.join("database"))), (0o750, 0o400));
    assert_eq!(vault.present("web"), BTreeSet::from(["database".into()]));

    let open = File::open(directory.join("database")).expect("the old one");
    vault.write("web", "database", b"two", Some(&identity)).expect("write");
    assert_eq!(std::fs::read(directory.join("database")).expect("read"), b"two");
    let mut old = String::new();
    (&open).read_to_string(&mut old).expect("read");
    assert_eq!(old, "one", "who has it open reads it to its end");
    assert_eq!(names(&directory), ["database"], "nothing is left beside it");
    assert_eq!(mode(run.path().join("credentials").as_path()), 0o711);
    assert_eq!(vault.owners(), ["web"]);
    vault.forget("web");
    assert!(!directory.exists() && vault.owners().is_empty());
}

/// A path is read at each start. One that is not there, is no file, or is too long is a failed
/// start that names it, and leaves what was there.
#[test]
fn a_path_is_read_at_each_start() {
    let run = tempfile::tempdir().expect("directory");
    let mut vault = Vault::new(run.path());
    let source = run.path().join("key");
    let named = definition(&format!("tls = {{ path = '{}' }}", source.display()));
    let identity = own_identity();
    let (step, errno) = vault.prepare("web", &named, &identity).expect_err("it is not there");
    assert_eq!((step, errno), (format!("credential tls ({})", source.display()), 2));
    for value in ["one", "two"] {
        std::fs::write(&source, value).expect("write");
        let directory = vault.prepare("web", &named, &identity).expect("prepare");
        assert_eq!(std::fs::read_to_string(directory.join("tls")).expect("read"), value);
    }
    std::fs::write(&source, vec![b'x'; CREDENTIAL_BYTES_MAX + 1]).expect("write");
    let (step, _) = vault.prepare("web", &named, &identity).expect_err("too long");
    assert!(step.ends_with("it has more than 32768 bytes"), "{step}");
    std::fs::remove_file(&source).expect("remove");
    std::fs::create_dir(&source).expect("a directory");
    let (step, _) = vault.prepare("web", &named, &identity).expect_err("no file");
    assert!(step.ends_with("is not a regular file"), "{step}");
    assert!(vault.holds("web", "tls", b"two"));
}

/// What was replaced is known until it was told, to the next supervisor too, and adds up.
#[test]
fn untold_changes_outlive_us() {
    let run = tempfile::tempdir().expect("directory");
    let mut vault = Vault::new(run.path());
    assert_eq!(vault.untold("web"), BTreeSet::new());
    vault.remember("web", &["database".to_owned()]).expect("remember");
    vault.remember("web", &["cookie".to_owned()]).expect("remember");
    let next = Vault::new(run.path());
    assert_eq!(next.untold("web"), BTreeSet::from(["cookie".into(), "database".into()]));
    assert_eq!(next.owners(), ["web"], "the list is no owner");
    next.settled("web");
    assert_eq!(next.untold("web"), BTreeSet::new());
    next.settled("web");
}

/// Only what a definition takes from SSM can be delivered, and nothing prints a secret.
#[test]
fn a_delivery_must_make_sense() {
    let named = definition("database = { ssm = '/a' }\ntls = { path = '/b' }");
    let value = |name: &str, length| vec![(name.to_owned(), vec![b'x'; length])];
    let problem = |name: &str| CredentialProblem { name: name.to_owned(), reason: "no".to_owned() };
    let nonsense = |values: &[(String, Vec<u8>)], problems: &[CredentialProblem]| {
        super::nonsense("web", &named, values, problems)
    };
    assert_eq!(nonsense(&value("database", CREDENTIAL_BYTES_MAX), &[problem("database")]), None);
    for (values, problems, said) in [
        (value("databse", 1), vec![], "web has no credential \"databse\""),
        (value("tls", 1), vec![], "web reads its credential tls from /b itself"),
        (vec![], vec![problem("none")], "web has no credential \"none\""),
        (value("database", CREDENTIAL_BYTES_MAX + 1), vec![], "database has 32769 bytes"),
    ] {
        let found = nonsense(&values, &problems).expect(said);
        assert!(found.contains(said), "{found}");
    }
    let values = vec![("database".to_owned(), b"hunter2".to_vec())];
    let delivery = Delivery { owner: "web".to_owned(), values, problems: Vec::new() };
    let printed = format!("{delivery:?}");
    assert!(printed.contains("database") && !printed.contains("104"), "{printed}");
}
