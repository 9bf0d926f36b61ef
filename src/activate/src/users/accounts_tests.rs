//! Numbers that stay, files that can be read.

use super::*;
use proptest::prelude::*;

fn declared(text: &str) -> Declared {
    toml::from_str(text).expect("users.toml")
}

fn user(uid: Option<u32>, normal: bool) -> User {
    User {
        uid,
        group: "g".to_owned(),
        extra_groups: Vec::new(),
        description: String::new(),
        home: "/".to_owned(),
        create_home: false,
        shell: "/bin/sh".to_owned(),
        normal,
    }
}

/// The three files of a plain system, in the order of numbers, and what is remembered.
#[test]
fn files_of_a_system() {
    let accounts = settle(
        &declared(
            "[users.root]\nuid = 0\ngroup = \"root\"\nhome = \"/root\"\nshell = \"/sh\"\n\
             [users.web]\ngroup = \"web\"\nhome = \"/var/lib/web\"\nshell = \"/no\"\n\
             create-home = true\nextra-groups = [\"tls\"]\ndescription = \"Web\"\n\
             [users.ann]\ngroup = \"web\"\nhome = \"/home/ann\"\nshell = \"/sh\"\nnormal = true\n\
             [groups.root]\ngid = 0\n[groups.web]\n[groups.tls]\nmembers = [\"ann\", \"web\"]\n",
        ),
        &Remembered::default(),
    );
    assert_eq!(
        accounts.passwd,
        "root:x:0:0::/root:/sh\nweb:x:999:998:Web:/var/lib/web:/no\nann:x:1000:998::/home/ann:/sh\n"
    );
    assert_eq!(accounts.group, "root:x:0:\nweb:x:998:\ntls:x:999:ann,web\n");
    assert_eq!(accounts.shadow, "root:!:1::::::\nweb:!:1::::::\nann:!:1::::::\n");
    assert_eq!(accounts.homes, [("/var/lib/web".to_owned(), 999, 998)]);
    assert_eq!(accounts.problems, []);
    assert_eq!(accounts.remembered.users["ann"], 1000);
}

/// Each mistake costs its own account and nobody else's, and names the cure.
#[test]
fn mistakes_are_told() {
    let accounts = settle(
        &declared(
            "[users.a]\nuid = 5\ngroup = \"g\"\nhome = \"/\"\nshell = \"/sh\"\n\
             [users.b]\nuid = 5\ngroup = \"g\"\nhome = \"/\"\nshell = \"/sh\"\n\
             [users.c]\nuid = 6\ngroup = \"none\"\nhome = \"/\"\nshell = \"/sh\"\n\
             [users.d]\nuid = 7\ngroup = \"g\"\nhome = \"/a:b\"\nshell = \"/sh\"\n\
             [users.\"e f\"]\nuid = 8\ngroup = \"g\"\nhome = \"/\"\nshell = \"/sh\"\n\
             [users.z]\nuid = 9\ngroup = \"g\"\nhome = \"/\"\nshell = \"/sh\"\n\
             extra-groups = [\"lost\"]\n[groups.g]\ngid = 1\n",
        ),
        &Remembered::default(),
    );
    assert_eq!(accounts.passwd, "a:x:5:1::/:/sh\nz:x:9:1::/:/sh\n");
    let objects: Vec<&str> = accounts.problems.iter().map(|one| one.0.as_str()).collect();
    let expected = ["user \"b\"", "user \"e f\"", "user \"c\"", "user \"d\"", "group \"lost\""];
    assert_eq!(objects, expected);
    assert!(accounts.problems.iter().all(|(_, what, cure)| !what.is_empty() && !cure.is_empty()));
}

/// A number that somebody states now goes to them, and who had it is told.
#[test]
fn a_stated_number_is_taken() {
    let remembered = Remembered { users: [("web".to_owned(), 999)].into(), ..Default::default() };
    let mut system = Declared::default();
    system.groups.insert("g".to_owned(), Group { gid: Some(1), members: Vec::new() });
    system.users.insert("web".to_owned(), user(None, false));
    system.users.insert("db".to_owned(), user(Some(999), false));
    let accounts = settle(&system, &remembered);
    assert_eq!(accounts.passwd, "web:x:998:1::/:/bin/sh\ndb:x:999:1::/:/bin/sh\n");
    assert!(accounts.problems[0].1.contains("had uid 999"), "{:?}", accounts.problems);
    // The next boot finds it settled.
    let again = settle(&system, &accounts.remembered);
    assert_eq!((again.passwd, again.problems), (accounts.passwd, vec![]));
}

proptest! {
    /// Over any row of systems: nobody who states no number changes it, no number goes from one
    /// name to another, and no two accounts of a system share one.
    #[test]
    fn numbers_stay(systems in proptest::collection::vec(
        proptest::collection::btree_map("[a-f]", any::<bool>(), 0..6), 1..6,
    )) {
        let mut remembered = Remembered::default();
        let mut owners: BTreeMap<u32, String> = BTreeMap::new();
        for names in systems {
            let mut system = Declared::default();
            system.groups.insert("g".to_owned(), Group { gid: Some(1), members: Vec::new() });
            for (name, normal) in &names {
                system.users.insert(name.clone(), user(None, *normal));
            }
            let accounts = settle(&system, &remembered);
            prop_assert_eq!(&accounts.problems, &vec![]);
            let mut seen = BTreeSet::new();
            for line in accounts.passwd.lines() {
                let fields: Vec<&str> = line.split(':').collect();
                let number: u32 = fields[2].parse().expect("a number");
                prop_assert!(seen.insert(number), "{number} twice");
                let owner = owners.entry(number).or_insert_with(|| fields[0].to_owned());
                prop_assert_eq!(owner.as_str(), fields[0]);
            }
            prop_assert_eq!(seen.len(), names.len());
            for (name, number) in &remembered.users {
                prop_assert_eq!(accounts.remembered.users[name], *number);
            }
            remembered = accounts.remembered;
        }
    }
}
