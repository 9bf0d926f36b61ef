//! `rollinit-mkstore`: what it writes, Nix takes for its own.

use super::fixture::{Fixture, release, run};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn make_store(root: &Path, registration: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rollinit-mkstore"))
        .arg("--root")
        .arg(root)
        .arg("--registration")
        .arg(registration)
        .output()
        .unwrap()
}

/// A root with the trees of the first release, copied as an image builder does, and what Nix says
/// about them.
fn copied(fixture: &Fixture, dump: bool) -> (tempfile::TempDir, std::path::PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let to = root.path().join("nix/store");
    fs::create_dir_all(&to).unwrap();
    let top = release("v1").to_string();
    let (_, closure) = run(&fixture.origin(), "nix-store", &["-qR", &top], "");
    let paths: Vec<&str> = closure.lines().collect();
    for path in &paths {
        let from = fixture.origin().join(path.trim_start_matches('/'));
        let copied = Command::new("cp").arg("-r").arg("-P").arg(from).arg(&to).status().unwrap();
        assert!(copied.success());
    }
    let registration = root.path().join("registration");
    let dumped = run(&fixture.origin(), "nix-store", &[&["--dump-db"], &paths[..]].concat(), "").1;
    let mut text = dumped.clone();
    if !dump {
        // What exportReferencesGraph writes is the same without hashes and sizes.
        text.clear();
        let mut lines = dumped.lines();
        while let Some(path) = lines.next() {
            let deriver = lines.nth(2).unwrap();
            let count: usize = lines.next().unwrap().parse().unwrap();
            text.push_str(&format!("{path}\n{deriver}\n{count}\n"));
            lines.by_ref().take(count).for_each(|line| text.push_str(&format!("{line}\n")));
        }
    }
    fs::write(&registration, text).unwrap();
    (root, registration)
}

#[test]
fn nix_verifies_the_first_database_and_the_same_input_gives_the_same_bytes() {
    let fixture = Fixture::get();
    let mut databases = Vec::new();
    for dump in [true, false] {
        let (root, registration) = copied(&fixture, dump);
        let made = make_store(root.path(), &registration);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let folder = root.path().join("nix/var/nix/db");
        databases.push(fs::read(folder.join("db.sqlite")).unwrap());
        assert!(!folder.join("db.sqlite-wal").exists());
        let (success, said) = run(root.path(), "nix-store", &["--verify", "--check-contents"], "");
        assert!(success && !said.contains("error"), "{said}");
        let (_, closure) = run(root.path(), "nix-store", &["-qR", &release("v1").to_string()], "");
        assert_eq!(closure.lines().count(), 16, "{closure}");
        // Profiles are roots, or the collector would take every generation.
        let link = fs::read_link(root.path().join("nix/var/nix/gcroots/profiles")).unwrap();
        assert_eq!(link, Path::new("/nix/var/nix/profiles"));
    }
    assert!(databases[0] == databases[1], "with or without hashes in the text");
}

/// The tables are Nix's: asked of SQLite itself, beside a database that Nix made.
#[test]
fn the_schema_is_that_of_nix() {
    let fixture = Fixture::get();
    let host = super::fixture::Host::new();
    let shape = |file: &Path| {
        let database = rusqlite::Connection::open(file).unwrap();
        let mut shape = Vec::new();
        for table in ["ValidPaths", "Refs", "DerivationOutputs"] {
            for pragma in ["table_info", "foreign_key_list", "index_list"] {
                let query = format!("select * from pragma_{pragma}('{table}')");
                let mut statement = database.prepare(&query).unwrap();
                let columns = statement.column_count();
                let mut rows = statement.query([]).unwrap();
                while let Some(row) = rows.next().unwrap() {
                    let cells = (0..columns).map(|column| format!("{:?}", row.get_ref(column)));
                    shape.push(format!("{table} {pragma} {:?}", cells.collect::<Vec<_>>()));
                }
            }
        }
        let names = "select name, type, tbl_name from sqlite_master where name not like 'sqlite_%'";
        let mut statement = database.prepare(&format!("{names} order by name")).unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            shape.push(format!(
                "{:?}",
                (0..3).map(|at| row.get::<_, String>(at)).collect::<Vec<_>>()
            ));
        }
        shape
    };
    let theirs = shape(&fixture.origin().join("nix/var/nix/db/db.sqlite"));
    assert!(theirs.len() > 20);
    assert_eq!(shape(&host.store.layout().database().join("db.sqlite")), theirs);
}

#[test]
fn a_tree_that_is_not_what_the_text_says_or_not_there_is_refused() {
    let fixture = Fixture::get();
    let (root, registration) = copied(&fixture, true);
    let spoiled = root.path().join("nix/store").join(release("v1").base_name());
    let file = spoiled.join("share/references");
    fs::write(&file, "spoiled").unwrap();
    let made = make_store(root.path(), &registration);
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(!made.status.success() && said.contains("instead of"), "{said}");
    assert!(said.contains(&release("v1").to_string()), "{said}");
    assert!(!root.path().join("nix/var").exists(), "nothing was begun");

    fs::remove_dir_all(spoiled).unwrap();
    let made = make_store(root.path(), &registration);
    assert!(!made.status.success() && String::from_utf8_lossy(&made.stderr).contains("No such"));
    let made = Command::new(env!("CARGO_BIN_EXE_rollinit-mkstore")).output().unwrap();
    assert!(String::from_utf8_lossy(&made.stderr).contains("usage"));
}

/// A schema that this program does not know is left alone.
#[test]
fn another_schema_or_none_is_refused() {
    let host = super::fixture::Host::new();
    let schema = host.store.layout().database().join("schema");
    let root = host.root;
    drop(host.store);
    fs::write(&schema, "11").unwrap();
    let error = store::Store::open(root.path()).unwrap_err();
    assert!(error.to_string().contains("schema \"11\""), "{error}");
    fs::write(&schema, "10\n").unwrap();
    store::Store::open(root.path()).unwrap();
    let empty = tempfile::tempdir().unwrap();
    let error = store::Store::open(empty.path()).unwrap_err();
    assert!(matches!(error.fault, store::Fault::NoDatabase), "{error}");
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0, "nothing was made");
}
