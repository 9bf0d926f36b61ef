//! Task `etc`: makes `/etc` that of a system, also while the host runs.
//!
//! What it has to do is worked out in [`plan`]; here it is read and done.

mod plan;

use crate::context::Context;
use crate::files;
use crate::report::{Problem, Report};
use plan::{Found, Held, Owner, Step, Wanted};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// Files that were copied into `/etc` since the boot, one a line.
const RECORD: &str = "/run/rollinit/activate/etc-copied";

/// Names in `/etc`, or in a system's tree of it. NixOS systems have some hundreds.
const NAMES_MAX: usize = 100_000;

/// A list of names in bytes.
const LIST_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Makes `/etc` that of the context's system.
pub fn run(context: &Context, report: &mut Report) {
    match activate(context, report) {
        Ok(summary) => report.say(summary),
        Err(problem) => report.problem(&problem),
    }
}

fn activate(context: &Context, report: &mut Report) -> Result<String, Problem> {
    let wanted = read_wanted(context, report)?;
    let found = read_found(&context.path("/etc"))?;
    let old = read_record(context)?;
    let (steps, held) = plan::plan(&wanted, &found, &old);
    for Held(path) in held {
        report.problem(&Problem::new(
            format_args!("/etc/{}", path.display()),
            "is not rollinit's, and the system has a file of that name",
            "move it away, or take the name out of environment.etc",
        ));
    }
    let new: BTreeSet<PathBuf> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Copy(path, _) => Some(path.clone()),
            _ => None,
        })
        .collect();
    // What we are about to copy is ours, also if we do not get to the end.
    write_record(context, &old.union(&new).cloned().collect())?;
    let mut done = BTreeSet::new();
    let (mut links, mut removed) = (0, 0);
    for step in &steps {
        match carry_out(context, step) {
            Ok(()) => match step {
                Step::Copy(path, _) => drop(done.insert(path.clone())),
                Step::Link(..) => links += 1,
                Step::Remove(_) => removed += 1,
                _ => {}
            },
            Err(error) => report.problem(&failed(step, &error)),
        }
    }
    let kept = old.iter().filter(|path| context.path("/etc").join(path).is_file());
    write_record(context, &done.union(&kept.cloned().collect()).cloned().collect())?;
    let copies = done.len();
    Ok(format!("{links} links made, {removed} removed, {copies} files copied"))
}

/// What the tree of a system and its list of copies ask for.
fn read_wanted(
    context: &Context,
    report: &mut Report,
) -> Result<BTreeMap<PathBuf, Wanted>, Problem> {
    let tree = context.toplevel.join("etc");
    let unread = |error: io::Error| {
        Problem::new(
            tree.display(),
            format_args!("cannot be read: {error}"),
            "name a system by --toplevel; its etc leads to a tree in the store",
        )
    };
    // `etc` of a system is itself a link into the store.
    let tree = std::fs::read_link(context.path(&tree)).unwrap_or_else(|_| tree.clone());
    let mut wanted = BTreeMap::new();
    for (path, found) in scan(&context.path(&tree)).map_err(unread)? {
        if found != Found::Directory {
            wanted.insert(path, Wanted::Link);
        }
    }
    let list = files::read_in_root(context, &context.toplevel.join("etc-copied"), LIST_BYTES_MAX);
    let list = list.map_err(unread)?;
    for line in String::from_utf8_lossy(&list).lines() {
        match parse_copied(line) {
            Some((path, owner)) if plan::whole(&path).is_none() => {
                wanted.insert(path, Wanted::Copy(owner));
            }
            _ => report.problem(&Problem::new(
                format_args!("etc-copied: {line:?}"),
                "is not MODE UID GID NAME, or its directory is linked as a whole",
                "leave environment.etc.NAME.mode out for what lies below rollinit/",
            )),
        }
    }
    Ok(wanted)
}

/// `0600 0 0 ssh/key`: permission bits in octal, owner, group, name.
fn parse_copied(line: &str) -> Option<(PathBuf, Owner)> {
    let mut words = line.splitn(4, ' ');
    let mode = u32::from_str_radix(words.next()?, 8).ok().filter(|mode| *mode <= 0o7777)?;
    let uid = words.next()?.parse().ok()?;
    let gid = words.next()?.parse().ok()?;
    let path = PathBuf::from(words.next()?);
    let plain = |part| matches!(part, std::path::Component::Normal(_));
    let fine = !path.as_os_str().is_empty() && path.components().all(plain);
    fine.then_some((path, Owner { mode, uid, gid }))
}

fn read_found(etc: &Path) -> Result<BTreeMap<PathBuf, Found>, Problem> {
    scan(etc).map_err(|error| {
        Problem::new(etc.display(), format_args!("cannot be read: {error}"), "is it mounted?")
    })
}

/// All names below a directory, which itself may be a link.
fn scan(top: &Path) -> io::Result<BTreeMap<PathBuf, Found>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(top.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let kind = entry.file_type()?;
            let one = if kind.is_symlink() {
                Found::Link(std::fs::read_link(entry.path())?)
            } else if kind.is_dir() {
                folders.push(path.clone());
                Found::Directory
            } else {
                Found::File
            };
            found.insert(path, one);
            if found.len() > NAMES_MAX {
                return Err(io::Error::other(format!("more than {NAMES_MAX} names")));
            }
        }
    }
    found.remove(Path::new("static"));
    Ok(found)
}

fn read_record(context: &Context) -> Result<BTreeSet<PathBuf>, Problem> {
    match files::read(&context.path(RECORD), LIST_BYTES_MAX) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).lines().map(PathBuf::from).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(Problem::new(
            RECORD,
            format_args!("cannot be read: {error}"),
            "remove it; files it names then count as somebody's own",
        )),
    }
}

fn write_record(context: &Context, copied: &BTreeSet<PathBuf>) -> Result<(), Problem> {
    let text: String = copied.iter().map(|path| format!("{}\n", path.display())).collect();
    files::replace(&context.path(RECORD), text.as_bytes(), 0o600, None).map_err(|error| {
        Problem::new(RECORD, format_args!("cannot be written: {error}"), "is /run writable?")
    })
}

fn carry_out(context: &Context, step: &Step) -> io::Result<()> {
    let at = |path: &Path| context.path("/etc").join(path);
    match step {
        Step::Remove(path) => std::fs::remove_file(at(path)),
        Step::RemoveDirectory(path) => std::fs::remove_dir(at(path)),
        Step::Flip => files::point(&at(Path::new("static")), &context.toplevel.join("etc")),
        Step::MakeDirectory(path) => {
            std::fs::create_dir(at(path))?;
            files::set_mode(&at(path), 0o755)
        }
        Step::Link(path, text) => files::point(&at(path), text),
        Step::Copy(path, owner) => {
            let from = context.toplevel.join("etc").join(path);
            let bytes = files::read_in_root(context, &from, LIST_BYTES_MAX)?;
            files::replace(&at(path), &bytes, owner.mode, Some((owner.uid, owner.gid)))
        }
    }
}

fn failed(step: &Step, error: &io::Error) -> Problem {
    let (verb, path) = match step {
        Step::Remove(path) => ("remove the link", path.as_path()),
        Step::RemoveDirectory(path) => ("remove the directory", path.as_path()),
        Step::Flip => ("flip the link", Path::new("static")),
        Step::MakeDirectory(path) => ("make the directory", path.as_path()),
        Step::Link(path, _) => ("make the link", path.as_path()),
        Step::Copy(path, _) => ("copy the file", path.as_path()),
    };
    Problem::new(
        format_args!("/etc/{}", path.display()),
        format_args!("cannot {verb}: {error}"),
        "`rollinit restart activate-etc` tries again",
    )
}
