//! The document as its author meets it: what it says, and every way to get it wrong, each with its
//! place and its cure.

use userdata::{AppWish, Closure, Purpose, Run, Then, UserData, read, read_release};

const PATH: &str = "/nix/store/0c5mkq5pxkq1c8h2b4bm3c0qk2gsl5bg-storefront-1.2";
const PERSON: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
const OTHER: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIP8BAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
const KEY: &str = "cache-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

fn good(text: &str) -> UserData {
    match read("user-data", text.as_bytes()) {
        Ok(document) => document,
        Err(problems) => panic!("{text}\n{problems:#?}"),
    }
}

/// What is wrong, a line each, as people see it.
fn bad(bytes: &[u8]) -> Vec<String> {
    let problems = read("user-data", bytes).expect_err("wrong");
    problems.iter().map(ToString::to_string).collect()
}

/// The one thing that is wrong with a text below the version.
fn wrong(text: &str) -> String {
    let mut lines = bad(format!("rollinit = 1\n{text}").as_bytes());
    assert_eq!(lines.len(), 1, "{text}\n{lines:#?}");
    lines.remove(0)
}

/// Every key there is.
#[test]
fn a_whole_document() {
    let document = good(&format!(
        "rollinit = 1\n\
         caches = ['https://cache.example.org/a', 'http://10.0.0.9:8080']\n\
         keys = ['{KEY}']\n\
         group = 'web'\n\
         ledger = 'dynamodb://rollinit?region=eu-west-1'\n\
         environment = {{ PHX_HOST = 'shop.example.org' }}\n\
         lifetime = '8h'\n\
         signers = ['alice {PERSON} laptop', 'bob {OTHER}']\n\
         threshold = 2\n\
         [apps.web]\n\
         path = '{PATH}'\n\
         [apps.api]\n\
         release = 's3://releases/api.toml?region=eu-west-1'\n\
         definition.listen.http = '[::]:8080'\n\
         [apps.api.definition.health]\n\
         http = {{ path = '/up' }}\n"
    ));
    let Purpose::Apps(apps) = &document.purpose else { panic!("{document:?}") };
    let closure = Closure::Path(PATH.to_owned());
    assert_eq!(apps["web"], AppWish { closure, definition: None });
    let definition = apps["api"].definition.as_ref().expect("a definition");
    let app = service::definition::parse_app("api.toml", definition).expect("sound");
    assert_eq!(app.template.listen[0].name, "http");
    assert!(matches!(app.health.probe, service::app::Probe::Http { .. }));
    assert_eq!(document.caches.len(), 2);
    assert_eq!(document.keys, [KEY]);
    assert_eq!(document.group.as_deref(), Some("web"));
    assert_eq!(document.ledger.as_deref(), Some("dynamodb://rollinit?region=eu-west-1"));
    assert_eq!(document.environment["PHX_HOST"], "shop.example.org");
    assert_eq!(document.lifetime_ms, Some(8 * 3_600_000));
    let signers = document.signers.expect("signers");
    assert_eq!((signers.threshold, signers.text.lines().count()), (2, 2));
}

/// Who may sign is read as ssh-keygen's file is, and as many as are asked for have to be there.
#[test]
fn persons_who_sign() {
    let one = good(&format!("rollinit = 1\nsigners = ['alice {PERSON}']\n"));
    assert_eq!(one.signers.expect("one").threshold, 1);
    for (text, place, word) in [
        ("threshold = 2\n".to_owned(), "2:13", "nobody may sign"),
        (format!("signers = ['{PERSON}']\n"), "2:12", "KEYTYPE"),
        (format!("signers = ['alice {PERSON}']\nthreshold = 2\n"), "3:13", "2 of 1 persons"),
        (format!("signers = ['alice {PERSON}']\nthreshold = 0\n"), "3:13", "0 of 1 persons"),
        (format!("signers = [\n'alice {PERSON}',\n'bob {PERSON}',\n]\n"), "4:1", "count twice"),
    ] {
        let line = wrong(&text);
        assert!(line.contains(place) && line.contains(word), "{text}: {line}");
    }
}

/// The other purposes; and none.
#[test]
fn one_purpose() {
    assert_eq!(good("rollinit = 1").purpose, Purpose::Image);
    let system = good(&format!("rollinit = 1\nsystem = '{PATH}'")).purpose;
    assert_eq!(system, Purpose::System(PATH.to_owned()));
    let text = format!("rollinit = 1\nrun.exec = ['{PATH}/bin/job', '--all']\n");
    let Purpose::Run(run) = good(&text).purpose else { panic!() };
    assert_eq!((run.closure(), run.then), (PATH, Then::Stay));
    let text = format!("{text}run.then = 'power-off'\nrun.user = 'job'\n");
    let exec = vec![format!("{PATH}/bin/job"), "--all".to_owned()];
    let expected = Run { exec, user: Some("job".to_owned()), then: Then::PowerOff };
    assert_eq!(good(&text).purpose, Purpose::Run(expected));
    let both = wrong(&format!("system = '{PATH}'\nrun.exec = ['{PATH}/bin/job']"));
    assert!(both.contains("user-data:3:") && both.contains("one thing"), "{both}");
}

/// What is no document of ours is called by its name.
#[test]
fn foreign_documents() {
    for (bytes, word) in [
        (&b""[..], "empty"),
        (b"\x1f\x8b\x08", "compressed"),
        (b"#cloud-config\nusers: []", "cloud-init"),
        (b"#!/bin/sh\nreboot", "shell"),
        (b"MIME-Version: 1.0\n", "MIME"),
        (b"rollinit = 1 # \xff", "UTF-8"),
        (&[b'#'; 16 * 1024 + 1], "16 KiB"),
        (b"group = 'web'", "for rollinit"),
        (b"rollinit = 2", "version 2"),
        (b"rollinit = '1'", "string"),
        (b"rollinit = [", "https://toml.io"),
    ] {
        let lines = bad(bytes);
        assert!(lines[0].contains(word), "{lines:?}");
    }
}

/// Each value that cannot be, with its place and what to write.
#[test]
fn wrong_values() {
    for (text, place, word) in [
        ("colour = 'blue'", "2:1", "unknown key"),
        ("grup = 'web'", "2:1", "write group"),
        ("caches = ['ftp://x']", "2:11", "https://HOST/PATH"),
        ("caches = ['https://x?a=b']", "2:11", "a host and a path"),
        ("keys = ['cache:abc']", "2:9", "trusted-public-keys"),
        ("group = 'a b'", "2:9", "cannot name a group"),
        ("ledger = 'web'", "2:10", "is no ledger"),
        ("ledger = 'etcd://a b'", "2:10", "is no ledger"),
        ("lifetime = '5s'", "2:12", "below a minute"),
        ("lifetime = 'soon'", "2:12", "soon"),
        ("environment = { A = 5 }", "2:21", "not a string"),
        ("environment = { PATH = 'x' }", "", "supervisor"),
        ("system = '/nix/store/short'", "2:10", "no store path"),
        (
            "system = '/nix/store/0c5mkq5pxkq1c8h2b4bm3c0qk2gsl5bg-a/bin/x'",
            "2:10",
            "print-out-paths",
        ),
        ("apps = {}", "2:8", "[apps.NAME]"),
        ("apps.web = 'x'", "", "not a table"),
        ("[apps.web]", "2:1", "nothing to run"),
        ("[apps.system]\nrelease = 'https://x/y'", "2:7", "cannot name an app"),
        ("[apps.web]\nrelease = 'x'", "3:11", "s3://BUCKET/KEY"),
        ("[apps.web]\nrelease = 'https://x/y'\ndefinition.kind = 'blue'", "4:19", "simple"),
        (
            "[apps.web]\nrelease = 'https://x/y'\ndefinition.closure = '/x'",
            "4:22",
            "stands elsewhere",
        ),
        ("[run]", "2:1", "nothing to run"),
        ("run.exec = ['/bin/sh']", "2:13", "no program in the store"),
        ("run.exec = ['/nix/store/x/bin/y']", "2:13", "no store path"),
        (
            "run = { exec = ['/nix/store/0c5mkq5pxkq1c8h2b4bm3c0qk2gsl5bg-a/x'], then = 'jump' }",
            "",
            "power-off",
        ),
    ] {
        // `PATH` is no reserved name; the ones that are stand in docs/services.md.
        let text = text.replace("PATH = 'x'", "NOTIFY_SOCKET = 'x'");
        let line = wrong(&text);
        assert!(line.contains(&format!("user-data:{place}")), "{text}: {line}");
        assert!(line.contains(word), "{text}: {line}");
    }
    let both = format!("[apps.web]\npath = '{PATH}'\nrelease = 'https://x/y'");
    assert!(wrong(&both).contains("keep one of the two"));
}

/// All mistakes are told at once, in the order in which they stand.
#[test]
fn all_at_once() {
    let lines = bad(b"rollinit = 1\ngroup = ''\ncaches = ['x']\nblue = 1\n");
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines[0].starts_with("user-data:2:") && lines[2].starts_with("user-data:4:"));
}

/// A key is refused wherever it stands, with the cure, and is not repeated: not even by another
/// mistake in its line.
#[test]
fn secrets_are_refused_and_never_repeated() {
    let key = format!("AKIA{}", "Q".repeat(16));
    for text in [
        format!("# {key}"),
        format!("{key} = 1"),
        format!("group = '{key}'"),
        format!("environment = {{ A = '{key}' }}"),
        format!("[apps.web]\npath = '{PATH}'\ndefinition.environment.KEY = '{key}'"),
        "environment = { DB_PASSWORD = 'hunter2' }".to_owned(),
        format!("[apps.web]\npath = '{PATH}'\ndefinition.environment.DB_PASSWORD = 'hunter2'"),
    ] {
        let line = wrong(&text);
        assert!(line.contains("looks like") && line.contains("SSM"), "{line}");
        assert!(!line.contains(&key) && !line.contains("hunter2"), "{line}");
        assert!(line.starts_with("user-data:2:") || line.starts_with("user-data:4:"), "{line}");
    }
}

/// Documents of releases: the path, the app it is for, and what is wrong with them.
#[test]
fn releases() {
    let read = |text: &str| read_release("https://x/y", text.as_bytes(), "web");
    assert_eq!(read(&format!("path = '{PATH}'")).expect("sound").path, PATH);
    assert_eq!(read(&format!("app = 'web'\npath = '{PATH}'")).expect("sound").path, PATH);
    for (text, word) in [
        ("", "names no path"),
        ("path = '/x'", "no store path"),
        ("<html>", "toml.io"),
        ("path = '/x'\nserial = 5", "serial"),
        ("app = 'api'\npath = '/nix/store/0c5mkq5pxkq1c8h2b4bm3c0qk2gsl5bg-a'", "not of \"web\""),
    ] {
        let lines: Vec<String> =
            read(text).expect_err(text).iter().map(ToString::to_string).collect();
        assert!(lines.iter().any(|line| line.contains(word)), "{lines:?}");
    }
    let long = vec![b'#'; userdata::RELEASE_BYTES_MAX + 1];
    assert!(read_release("x", &long, "web").is_err());
}
