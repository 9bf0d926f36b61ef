//! What has to change in `/etc` so that it is that of a system. Pure.
//!
//! # The shape of `/etc`
//!
//! ```text
//! /etc/static -> /nix/store/…-system/etc     the one link that a switch flips
//! /etc/hosts  -> /etc/static/hosts           a link for each file: it follows the flip by itself
//! /etc/ssl/…                                 directories are real, so others may add files
//! /etc/rollinit -> static/rollinit           but this one: what the supervisor reads appears and
//!                                            goes with the flip, all at once
//! /etc/shadow                                a copy, for what states a mode
//! ```
//!
//! # Whose is what
//!
//! *Ours* is a link whose target begins with `/etc/static/` (or is the one of `rollinit`), and a
//! file that an earlier call of ours copied, as its record says. All else is somebody's: it is
//! left as it is, and where it stands in the way that is a problem to be told, not a file to be
//! replaced. An empty directory in the place of a file of ours is nobody's.
//!
//! # Order
//!
//! What goes is removed first, then the link is flipped, then what is new is made. Names that both
//! systems have are never missing. A call that was cut short is made whole by the next one: the
//! plan is worked out from what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Directories that are one link each.
pub const WHOLE: [&str; 1] = ["rollinit"];

/// What the links of `/etc` begin with.
pub const STATIC: &str = "/etc/static";

/// What a system wants, by path relative to `/etc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A link through [`STATIC`].
    Link,
    /// A copy.
    Copy(Owner),
}

/// Who owns a copy, and who may do what with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Permission bits.
    pub mode: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What is there, by path relative to `/etc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A link with its text.
    Link(PathBuf),
    /// A directory.
    Directory,
    /// Anything else.
    File,
}

/// A step, in the order of the list; paths are relative to `/etc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Remove a file or a link of ours.
    Remove(PathBuf),
    /// Remove a directory if it is empty.
    RemoveDirectory(PathBuf),
    /// Make `/etc/static` lead to the system.
    Flip,
    /// Make a directory.
    MakeDirectory(PathBuf),
    /// Make a link with that text.
    Link(PathBuf, PathBuf),
    /// Copy the system's file of that name, whole or not at all.
    Copy(PathBuf, Owner),
}

/// A name that the system wants and somebody else holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held(pub PathBuf);

/// All steps, and who stands in the way. `copied` is the record of earlier copies.
#[must_use]
pub fn plan(
    wanted: &BTreeMap<PathBuf, Wanted>,
    found: &BTreeMap<PathBuf, Found>,
    copied: &BTreeSet<PathBuf>,
) -> (Vec<Step>, Vec<Held>) {
    let links = links(wanted);
    let copies = wanted.iter().filter_map(|(path, wanted)| match wanted {
        Wanted::Copy(owner) if whole(path).is_none() => Some((path.clone(), *owner)),
        _ => None,
    });
    let copies: BTreeMap<PathBuf, Owner> = copies.collect();
    let mut there = found.clone();
    let mut steps = Vec::new();

    let is_ours = |path: &Path, one: &Found| match one {
        Found::Link(text) => text.starts_with(STATIC) || Some(text) == own_text(path).as_ref(),
        Found::File => copied.contains(path),
        Found::Directory => false,
    };
    for (path, one) in found {
        let stays = match one {
            Found::Link(text) => links.get(path) == Some(text),
            _ => copies.contains_key(path),
        };
        if !stays && is_ours(path, one) {
            steps.push(Step::Remove(path.clone()));
            there.remove(path);
        }
    }
    remove_empty(&mut there, found, &links, &copies, &mut steps);
    steps.push(Step::Flip);
    let mut held = Vec::new();
    for (path, text) in &links {
        if there.get(path) == Some(&Found::Link(text.clone())) {
            continue;
        }
        if !there.contains_key(path) && make_parents(path, &mut there, &mut steps) {
            there.insert(path.clone(), Found::Link(text.clone()));
            steps.push(Step::Link(path.clone(), text.clone()));
        } else {
            held.push(Held(path.clone()));
        }
    }
    for (path, owner) in copies {
        let free = match there.get(&path) {
            None => make_parents(&path, &mut there, &mut steps),
            Some(one) => is_ours(&path, one),
        };
        if free {
            there.insert(path.clone(), Found::File);
            steps.push(Step::Copy(path, owner));
        } else {
            held.push(Held(path));
        }
    }
    (steps, held)
}

/// The links that a system wants, with their texts.
fn links(wanted: &BTreeMap<PathBuf, Wanted>) -> BTreeMap<PathBuf, PathBuf> {
    let mut links = BTreeMap::new();
    for (path, wanted) in wanted {
        if let Some(name) = whole(path) {
            links.insert(name.to_owned(), Path::new("static").join(name));
        } else if *wanted == Wanted::Link {
            links.insert(path.clone(), Path::new(STATIC).join(path));
        }
    }
    links
}

/// The directory of one link that a path is in.
#[must_use]
pub fn whole(path: &Path) -> Option<&'static Path> {
    let first = path.components().next()?;
    WHOLE.into_iter().map(Path::new).find(|name| name.as_os_str() == first.as_os_str())
}

/// The text of a whole directory's link.
fn own_text(path: &Path) -> Option<PathBuf> {
    let is_whole = WHOLE.iter().any(|name| Path::new(name) == path);
    is_whole.then(|| Path::new("static").join(path))
}

/// Directories in which we had something, and in which nothing is left, deepest first; also those
/// that are empty where a file shall be.
fn remove_empty(
    there: &mut BTreeMap<PathBuf, Found>,
    found: &BTreeMap<PathBuf, Found>,
    links: &BTreeMap<PathBuf, PathBuf>,
    copies: &BTreeMap<PathBuf, Owner>,
    steps: &mut Vec<Step>,
) {
    let removed = found.keys().filter(|path| !there.contains_key(*path));
    let left = removed.flat_map(|path| path.ancestors().skip(1).map(Path::to_owned));
    let in_the_way = found.iter().filter(|(path, one)| {
        **one == Found::Directory && (links.contains_key(*path) || copies.contains_key(*path))
    });
    let mut directories: BTreeSet<PathBuf> = left.collect();
    directories.extend(in_the_way.map(|(path, _)| path.clone()));
    for path in directories.iter().rev().filter(|path| !path.as_os_str().is_empty()) {
        let below = there.range(path.clone()..).take_while(|(other, _)| other.starts_with(path));
        let needed = links.keys().chain(copies.keys());
        let mut needed = needed.filter(|other| *other != path);
        if below.count() == 1 && !needed.any(|other| other.starts_with(path)) {
            there.remove(path);
            steps.push(Step::RemoveDirectory(path.clone()));
        }
    }
}

/// Directories above a path; false if something else stands there.
fn make_parents(path: &Path, there: &mut BTreeMap<PathBuf, Found>, steps: &mut Vec<Step>) -> bool {
    let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return true;
    };
    match there.get(parent) {
        Some(Found::Directory) => true,
        Some(_) => false,
        None => {
            let made = make_parents(parent, there, steps);
            if made {
                there.insert(parent.to_owned(), Found::Directory);
                steps.push(Step::MakeDirectory(parent.to_owned()));
            }
            made
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
