//! The plan, carried out on a model of a file system that refuses what the kernel refuses.

use super::*;
use proptest::collection::{btree_map, btree_set};
use proptest::prelude::*;

type Tree = BTreeMap<PathBuf, Found>;

/// Does one step, or says why the kernel would not.
fn apply(tree: &mut Tree, step: &Step) -> Result<(), String> {
    let parent_is_there = |tree: &Tree, path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => {
            tree.get(parent) == Some(&Found::Directory)
        }
        _ => true,
    };
    match step {
        Step::Flip => Ok(()),
        Step::Remove(path) => match tree.remove(path) {
            Some(Found::Directory) | None => Err(format!("unlink {path:?}")),
            Some(_) => Ok(()),
        },
        Step::RemoveDirectory(path) => {
            let below = tree.keys().filter(|other| other.starts_with(path)).count();
            let was = tree.remove(path);
            let fine = below == 1 && was == Some(Found::Directory);
            if fine { Ok(()) } else { Err(format!("rmdir {path:?}")) }
        }
        Step::MakeDirectory(path) => {
            let fine = parent_is_there(tree, path) && !tree.contains_key(path);
            tree.insert(path.clone(), Found::Directory);
            if fine { Ok(()) } else { Err(format!("mkdir {path:?}")) }
        }
        Step::Link(path, text) => {
            let fine = parent_is_there(tree, path) && tree.get(path) != Some(&Found::Directory);
            tree.insert(path.clone(), Found::Link(text.clone()));
            if fine { Ok(()) } else { Err(format!("link {path:?}")) }
        }
        Step::Copy(path, _) => {
            let fine = parent_is_there(tree, path) && tree.get(path) != Some(&Found::Directory);
            tree.insert(path.clone(), Found::File);
            if fine { Ok(()) } else { Err(format!("copy {path:?}")) }
        }
    }
}

/// Few names and few levels, so that files, links and directories meet.
fn path() -> impl Strategy<Value = PathBuf> {
    let name = prop_oneof!["a", "b", "c", "rollinit"];
    proptest::collection::vec(name, 1..4).prop_map(|parts| parts.iter().collect())
}

/// What a system may want: no name is above another, as in a real tree.
fn wanted() -> impl Strategy<Value = BTreeMap<PathBuf, Wanted>> {
    let owner = Owner { mode: 0o600, uid: 0, gid: 0 };
    let one = prop_oneof![Just(Wanted::Link), Just(Wanted::Copy(owner))];
    btree_map(path(), one, 0..12).prop_map(|all| {
        let is_above = |path: &Path| all.keys().any(|o| o != path && o.starts_with(path));
        let is_whole = |path: &Path| path == Path::new("rollinit");
        let fine = all.iter().filter(|(path, _)| !is_above(path) && !is_whole(path));
        fine.map(|(path, one)| (path.clone(), one.clone())).collect()
    })
}

/// Files and links of somebody else, with the directories above them.
fn foreign() -> impl Strategy<Value = Tree> {
    let one = prop_oneof![
        Just(Found::File),
        Just(Found::Directory),
        Just(Found::Link("/run/rollinit/resolv.conf".into())),
        Just(Found::Link("static/else".into())),
    ];
    btree_map(path(), one, 0..5).prop_map(|all| {
        let mut tree = all;
        for path in tree.keys().cloned().collect::<Vec<_>>() {
            for above in path.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()) {
                tree.insert(above.to_owned(), Found::Directory);
            }
        }
        tree
    })
}

/// Plans and carries out; the record is what an honest caller writes.
fn switch(
    tree: &mut Tree,
    record: &mut BTreeSet<PathBuf>,
    wanted: &BTreeMap<PathBuf, Wanted>,
) -> Result<Vec<Held>, TestCaseError> {
    let (steps, held) = plan(wanted, tree, record);
    for step in &steps {
        if let Step::Copy(path, _) = step {
            record.insert(path.clone());
        }
    }
    let before = tree.clone();
    for step in &steps {
        if let Step::Remove(path) = step {
            let ours = match &before[path] {
                Found::Link(text) => text.starts_with(STATIC) || text.starts_with("static"),
                _ => record.contains(path),
            };
            prop_assert!(ours, "removes somebody's {:?}", path);
        }
        apply(tree, step).map_err(TestCaseError::fail)?;
    }
    record.retain(|path| tree.get(path) == Some(&Found::File));
    Ok(held)
}

proptest! {
    /// From any `/etc` to one system and on to another: each wanted name is there or told as held,
    /// nothing of ours is left that is not wanted, what is somebody's stays, and a second call has
    /// nothing to do but the copies.
    #[test]
    fn any_etc_becomes_that_of_a_system(
        foreign in foreign(),
        first in wanted(),
        second in wanted(),
        cut in 0_usize..20,
    ) {
        let mut tree = foreign.clone();
        let mut record = BTreeSet::new();
        switch(&mut tree, &mut record, &first)?;
        // A call that is cut short leaves what the next one makes whole.
        let (steps, _) = plan(&second, &tree, &record);
        for step in steps.iter().take(cut) {
            if let Step::Copy(path, _) = step {
                record.insert(path.clone());
            }
            apply(&mut tree, step).map_err(TestCaseError::fail)?;
        }
        let held = switch(&mut tree, &mut record, &second)?;

        for (path, one) in &second {
            let place = whole(path).unwrap_or(path);
            let is_held = held.iter().any(|Held(held)| held == place);
            let fine = match tree.get(place) {
                Some(Found::Link(text)) if whole(path).is_some() => {
                    text == Path::new("static/rollinit")
                }
                Some(Found::Link(text)) => *one == Wanted::Link && text.starts_with(STATIC),
                Some(Found::File) => *one != Wanted::Link && record.contains(place),
                _ => false,
            };
            prop_assert!(fine != is_held, "{path:?} is {:?}, held: {is_held}", tree.get(place));
        }
        for (path, one) in &tree {
            let ours = match one {
                Found::Link(text) => {
                    text.starts_with(STATIC) || text == Path::new("static/rollinit")
                }
                Found::File => record.contains(path),
                Found::Directory => false,
            };
            let known = second.keys().any(|name| name == path || whole(name) == Some(path));
            prop_assert!(!ours || known, "{path:?} is left behind");
        }
        for (path, one) in &foreign {
            let is_empty = *one == Found::Directory
                && !foreign.iter().any(|(o, one)| *one != Found::Directory && o.starts_with(path));
            prop_assert!(is_empty || tree.get(path) == Some(one), "{path:?} was somebody's");
        }
        let (steps, again) = plan(&second, &tree, &record);
        let idle = |step: &Step| matches!(step, Step::Flip | Step::Copy(..));
        prop_assert!(steps.iter().all(idle), "{steps:?}");
        prop_assert_eq!(again, held);
    }

    /// The plan never touches a name that both systems have.
    #[test]
    fn names_of_both_systems_are_never_missing(names in btree_set(path(), 1..8)) {
        let names: Vec<PathBuf> = names
            .iter()
            .filter(|path| !names.iter().any(|other| other != *path && other.starts_with(path)))
            .filter(|path| *path != Path::new("rollinit"))
            .cloned()
            .collect();
        let wanted = names.iter().map(|name| (name.clone(), Wanted::Link)).collect();
        let (mut tree, mut record) = (Tree::new(), BTreeSet::new());
        switch(&mut tree, &mut record, &wanted)?;
        prop_assert_eq!(plan(&wanted, &tree, &record).0, vec![Step::Flip]);
    }
}

/// A file becomes a directory, and back: what is in the way is removed in the right order.
#[test]
fn files_and_directories_change_places() {
    let link = |names: &[&str]| {
        let names = names.iter().map(|name| (PathBuf::from(name), Wanted::Link));
        names.collect::<BTreeMap<_, _>>()
    };
    let (mut tree, mut record) = (Tree::new(), BTreeSet::new());
    for wanted in [link(&["ssh"]), link(&["ssh/a", "ssh/b/c"]), link(&["ssh"]), link(&[])] {
        let held = switch(&mut tree, &mut record, &wanted).expect("every step is possible");
        assert_eq!(held, []);
        for name in wanted.keys() {
            assert_eq!(tree[name], Found::Link(Path::new(STATIC).join(name)));
        }
    }
    assert_eq!(tree, Tree::new());
}
