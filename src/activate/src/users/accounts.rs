//! Which number every account has, and the files that say so. Pure.
//!
//! # Numbers
//!
//! A number that changes changes who owns files, so one that was given is never given to another:
//!
//! 1. A number that the system states is taken. Two accounts that state the same are a mistake of
//!    the system's; the first by name has it.
//! 2. Who states none has the number that is remembered, unless somebody states that one now: then
//!    another is given, which is said, since files stay behind.
//! 3. Who is new gets the highest free number of 400 to 999, as system accounts of NixOS do, or for
//!    one that people use the lowest from 1000 on. Numbers that are remembered of accounts that no
//!    longer exist are not free.
//!
//! What is remembered only ever grows, and is on the disk before `/etc/passwd` shows it.
//!
//! Formats: passwd(5), group(5), shadow(5).

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// Numbers of accounts of services that state none.
const SYSTEM: RangeInclusive<u32> = 400..=999;

/// Numbers of accounts of people that state none.
const NORMAL: RangeInclusive<u32> = 1000..=29_999;

/// The first day of shadow(5)'s calendar: the same file for the same input.
const DAY: u32 = 1;

/// `etc/rollinit/users.toml` of a system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Declared {
    /// Users by name.
    pub users: BTreeMap<String, User>,
    /// Groups by name.
    pub groups: BTreeMap<String, Group>,
}

/// A user as the system states it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct User {
    /// Its number, if stated.
    #[serde(default)]
    pub uid: Option<u32>,
    /// Primary group.
    pub group: String,
    /// Further groups.
    #[serde(default)]
    pub extra_groups: Vec<String>,
    /// Who it is.
    #[serde(default)]
    pub description: String,
    /// Home directory.
    pub home: String,
    /// Whether the home directory is made.
    #[serde(default)]
    pub create_home: bool,
    /// Shell.
    pub shell: String,
    /// An account of a person: its number is of their range.
    #[serde(default)]
    pub normal: bool,
}

/// A group as the system states it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Group {
    /// Its number, if stated.
    pub gid: Option<u32>,
    /// Users in it.
    pub members: Vec<String>,
}

/// The numbers that were ever given, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Remembered {
    /// Of users.
    pub users: BTreeMap<String, u32>,
    /// Of groups.
    pub groups: BTreeMap<String, u32>,
}

/// What comes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// `/etc/passwd`.
    pub passwd: String,
    /// `/etc/group`.
    pub group: String,
    /// `/etc/shadow`: every account is locked.
    pub shadow: String,
    /// Homes to make: path, user, group.
    pub homes: Vec<(String, u32, u32)>,
    /// To be remembered from now on.
    pub remembered: Remembered,
    /// What is wrong: the account, what, and the cure.
    pub problems: Vec<(String, String, String)>,
}

/// Works out all accounts of a system.
#[must_use]
pub fn settle(declared: &Declared, remembered: &Remembered) -> Accounts {
    let mut accounts = Accounts::default();
    let stated = declared.groups.iter().map(|(name, group)| (name, group.gid, false));
    let problems = &mut accounts.problems;
    let (groups, known) = numbers("group", "gid", stated, &remembered.groups, problems);
    accounts.remembered.groups = known;
    let stated = declared.users.iter().map(|(name, user)| (name, user.uid, user.normal));
    let (users, known) = numbers("user", "uid", stated, &remembered.users, problems);
    accounts.remembered.users = known;

    let mut members: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, user) in &declared.users {
        for group in &user.extra_groups {
            members.entry(group).or_default().insert(name);
        }
    }
    for (name, group) in &declared.groups {
        members.entry(name).or_default().extend(group.members.iter().map(String::as_str));
    }
    write_users(declared, &users, &groups, &mut accounts);
    for (name, gid) in by_number(&groups) {
        let members = members.remove(name).unwrap_or_default();
        let members: Vec<&str> = members.into_iter().collect();
        accounts.group += &format!("{name}:x:{gid}:{}\n", members.join(","));
    }
    for (group, users) in members {
        let users: Vec<&str> = users.into_iter().collect();
        let object = format!("group {group:?}");
        let message = format!("does not exist, and {} should be in it", users.join(", "));
        let cure = format!("add users.groups.{group}, or take it out of extraGroups");
        accounts.problems.push((object, message, cure));
    }
    accounts
}

fn write_users(
    declared: &Declared,
    users: &BTreeMap<String, u32>,
    groups: &BTreeMap<String, u32>,
    accounts: &mut Accounts,
) {
    for (name, uid) in by_number(users) {
        let Some(user) = declared.users.get(name) else { continue };
        let fields = [&user.description, &user.home, &user.shell];
        let broken = fields.into_iter().any(|field| field.contains([':', '\n', '\0']));
        let Some(gid) = groups.get(&user.group).filter(|_| !broken) else {
            let message = if broken {
                "has a colon or a line feed in its description, home or shell".to_owned()
            } else {
                format!("has the group {:?}, which does not exist", user.group)
            };
            let cure = format!("correct users.users.{name}; it is left out");
            accounts.problems.push((format!("user {name:?}"), message, cure));
            continue;
        };
        let User { description, home, shell, .. } = user;
        accounts.passwd += &format!("{name}:x:{uid}:{gid}:{description}:{home}:{shell}\n");
        accounts.shadow += &format!("{name}:!:{DAY}::::::\n");
        if user.create_home {
            accounts.homes.push((home.clone(), uid, *gid));
        }
    }
}

fn by_number(numbers: &BTreeMap<String, u32>) -> Vec<(&str, u32)> {
    let mut all: Vec<(&str, u32)> =
        numbers.iter().map(|(name, number)| (name.as_str(), *number)).collect();
    all.sort_by_key(|(name, number)| (*number, *name));
    all
}

/// The number of each account that can have one, and all that is to be remembered.
fn numbers<'a>(
    kind: &str,
    key: &str,
    stated: impl Iterator<Item = (&'a String, Option<u32>, bool)>,
    remembered: &BTreeMap<String, u32>,
    problems: &mut Vec<(String, String, String)>,
) -> (BTreeMap<String, u32>, BTreeMap<String, u32>) {
    let (mut given, mut taken) = (BTreeMap::new(), BTreeMap::new());
    let mut without = Vec::new();
    for (name, number, normal) in stated {
        let object = || format!("{kind} {name:?}");
        if !is_name(name) {
            let cure = "use at most 31 of a-z, 0-9, - and _, a letter or _ first";
            problems.push((object(), "is no name of an account".to_owned(), cure.to_owned()));
            continue;
        }
        let Some(number) = number else {
            without.push((name, normal));
            continue;
        };
        if let Some(other) = taken.insert(number, name.clone()) {
            let cure = format!("state another {key} for one of them; {name} is left out");
            problems.push((object(), format!("has {key} {number}, as {other:?}"), cure));
            taken.insert(number, other);
            continue;
        }
        given.insert(name.clone(), number);
    }
    let mut known = remembered.clone();
    let of_old: BTreeSet<u32> = remembered.values().copied().collect();
    let is_free = |number: u32, taken: &BTreeMap<u32, String>| {
        !taken.contains_key(&number) && !of_old.contains(&number)
    };
    for (name, normal) in without {
        let old = remembered.get(name).copied();
        let kept = old.filter(|old| !taken.contains_key(old));
        let new = || {
            if normal {
                NORMAL.clone().find(|number| is_free(*number, &taken))
            } else {
                SYSTEM.clone().rev().find(|number| is_free(*number, &taken))
            }
        };
        let Some(number) = kept.or_else(new) else {
            let cure = format!("state its {key}; it is left out");
            problems.push((format!("{kind} {name:?}"), "finds no free number".to_owned(), cure));
            continue;
        };
        if let (Some(old), None) = (old, kept) {
            let other = &taken[&old];
            let message = format!("had {key} {old}, which {other:?} states now: it has {number}");
            let cure = format!("chown what it owns, or state another {key} for {other}");
            problems.push((format!("{kind} {name:?}"), message, cure));
        }
        taken.insert(number, name.clone());
        given.insert(name.clone(), number);
    }
    known.extend(given.iter().map(|(name, number)| (name.clone(), *number)));
    (given, known)
}

/// useradd(8)'s rule, and what NixOS allows.
fn is_name(name: &str) -> bool {
    let head = |byte: &u8| byte.is_ascii_lowercase() || *byte == b'_';
    let tail = |byte: u8| head(&byte) || byte.is_ascii_digit() || byte == b'-';
    name.len() <= 31 && name.as_bytes().first().is_some_and(head) && name.bytes().all(tail)
}

#[cfg(test)]
#[path = "accounts_tests.rs"]
mod tests;
