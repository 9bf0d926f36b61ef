//! Task `tmpfiles`: files and directories that the system wants to be there, or gone, from
//! `etc/tmpfiles.d/*.conf` of the system. The lines are those of [`line`].
//!
//! Of several lines for one path and one verb the first counts, files in the order of their names.
//! What is removed is removed first; then what is made, by path, so that what is above comes before
//! what is below; then owners, as tmpfiles.d(5) has it. Nothing is cleaned by age.

mod line;

use crate::context::Context;
use crate::files;
use crate::report::{Problem, Report};
use line::{Line, Specifiers, Verb};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use sys::place::{self, Ownership};
use sys::user::Accounts;

/// One file of lines in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A small file of the kernel's or of ours, in bytes.
const TEXT_BYTES_MAX: u64 = 256;

/// Paths that a pattern may mean.
const MATCHES_MAX: usize = 10_000;

/// Where the word that a boot is over is left: lines with `!` are for the first call.
const BOOTED: &str = "/run/rollinit/activate/tmpfiles";

/// A line and where it stands.
struct Entry {
    line: Line,
    source: String,
}

/// Makes all that the system wants, or with a prefix what is at or below it.
pub fn run(context: &Context, report: &mut Report) {
    let is_boot = !context.path(BOOTED).exists();
    apply(context, context.prefix.as_deref(), is_boot, report);
    if context.prefix.is_none()
        && let Err(error) = files::replace(&context.path(BOOTED), b"", 0o644, None)
    {
        let message = format!("cannot be written: {error}");
        report.problem(&Problem::new(BOOTED, message, "is /run writable?"));
    }
}

/// What the system wants at or below a place that has only now been mounted.
pub fn apply_below(context: &Context, prefix: &Path, report: &mut Report) {
    apply(context, Some(prefix), true, report);
}

fn apply(context: &Context, prefix: Option<&Path>, is_boot: bool, report: &mut Report) {
    let accounts = Accounts::read(&context.path("/etc")).unwrap_or_else(|error| {
        let message = format!("cannot be read: {error}");
        report.problem(&Problem::new(
            "/etc/passwd",
            message,
            "see `rollinit status activate-users`",
        ));
        Accounts::default()
    });
    let (mut done, mut entries) = (0, read_entries(context, report));
    entries.retain(|entry| {
        let below = |prefix| entry.line.path.starts_with(prefix);
        prefix.is_none_or(below) && (is_boot || !entry.line.at_boot_only)
    });
    for phase in [removes, makes, owns] {
        for entry in entries.iter().filter(|entry| phase(entry.line.verb)) {
            match carry_out(context, entry, &accounts, is_boot) {
                Ok(()) => done += 1,
                Err(_) if entry.line.may_fail => {}
                Err(problem) => report.problem(&problem),
            }
        }
    }
    report.say(format_args!("{done} lines done"));
}

fn removes(verb: Verb) -> bool {
    matches!(verb, Verb::Remove | Verb::RemoveTree)
}

fn makes(verb: Verb) -> bool {
    !removes(verb) && !owns(verb)
}

fn owns(verb: Verb) -> bool {
    matches!(verb, Verb::Own | Verb::OwnTree)
}

/// All lines in the order of their paths, each verb of a path once.
fn read_entries(context: &Context, report: &mut Report) -> Vec<Entry> {
    let specifiers = specifiers(context);
    let mut entries: BTreeMap<(PathBuf, char), Entry> = BTreeMap::new();
    for (name, text) in files::read_folder(context, "etc/tmpfiles.d", FILE_BYTES_MAX, report) {
        for (number, text) in (1..).zip(text.lines()) {
            let source = format!("{name}:{number}");
            let line = match line::parse(text, &specifiers) {
                Ok(None) => continue,
                Ok(Some(line)) => line,
                Err(message) => {
                    let cure = "TYPE PATH MODE USER GROUP AGE ARGUMENT, see docs/activate.md";
                    report.problem(&Problem::new(source, message, cure));
                    continue;
                }
            };
            if line.has_age {
                report.say(format_args!("{source}: nothing is cleaned by age here"));
            }
            let kind = if removes(line.verb) {
                'r'
            } else if owns(line.verb) {
                'z'
            } else {
                'm'
            };
            let key = (line.path.clone(), kind);
            match entries.get(&key) {
                None => drop(entries.insert(key, Entry { line, source })),
                // The same line in two packages is common, and no mistake.
                Some(first) if first.line == line => {}
                Some(first) => report.say(format_args!(
                    "{source}: {} is stated in {} already, which counts",
                    line.path.display(),
                    first.source
                )),
            }
        }
    }
    entries.into_values().collect()
}

fn specifiers(context: &Context) -> Specifiers {
    let read = |path: &str| {
        let bytes = files::read(&context.path(path), TEXT_BYTES_MAX).unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    };
    Specifiers {
        machine_id: read("/etc/machine-id"),
        boot_id: read("/proc/sys/kernel/random/boot_id").replace('-', ""),
        host_name: read("/proc/sys/kernel/hostname"),
        kernel: read("/proc/sys/kernel/osrelease"),
    }
}

fn carry_out(
    context: &Context,
    entry: &Entry,
    accounts: &Accounts,
    is_boot: bool,
) -> Result<(), Problem> {
    let line = &entry.line;
    let stated = ownership(entry, accounts)?;
    let or = |mode| Ownership {
        mode: stated.mode.or(Some(mode)),
        uid: stated.uid.or(Some(0)),
        gid: stated.gid.or(Some(0)),
    };
    let path = context.path(&line.path);
    let is_there = path.symlink_metadata().is_ok();
    // What is there keeps what the line does not state, or states for new ones only.
    let owned = |mode| match (is_there, line.only_new) {
        (false, _) => or(mode),
        (true, true) => Ownership::default(),
        (true, false) => stated,
    };
    let argument = line.argument.as_deref().unwrap_or_default();
    let done = match line.verb {
        Verb::Directory => place::directory(&path, owned(0o755)),
        Verb::EmptyDirectory => {
            let cleared =
                if is_boot && path.is_dir() { place::clear(&path).map(drop) } else { Ok(()) };
            cleared.and_then(|()| place::directory(&path, owned(0o755)))
        }
        Verb::File { anew } => place::file(&path, argument.as_bytes(), anew, owned(0o644)),
        Verb::Link { replace } => {
            place::link(&path, Path::new(argument), replace).and_then(|made| {
                if made { Ok(()) } else { Err(io::Error::from(io::ErrorKind::AlreadyExists)) }
            })
        }
        Verb::Own => each(&path, |path| place::own(path, stated)),
        Verb::OwnTree => each(&path, |path| place::own_tree(path, stated)),
        Verb::Remove => each(&path, |path| place::remove(path, false)),
        Verb::RemoveTree => each(&path, |path| place::remove(path, true)),
    };
    done.map_err(|error| {
        let object = format!("{}: {}", entry.source, line.path.display());
        Problem::new(object, format_args!("{}: {error}", verb_text(line.verb)), cure(&error))
    })
}

fn verb_text(verb: Verb) -> &'static str {
    match verb {
        Verb::Directory => "cannot make the directory",
        Verb::EmptyDirectory => "cannot make an empty directory",
        Verb::File { .. } => "cannot write the file",
        Verb::Link { .. } => "cannot make the link",
        Verb::Own | Verb::OwnTree => "cannot change mode and owner",
        Verb::Remove | Verb::RemoveTree => "cannot remove it",
    }
}

fn cure(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "its path runs through what an account owns into what it does not: mend owner or link"
        }
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            "something else is there: remove it, or write L+ for a link that replaces it"
        }
        io::ErrorKind::DirectoryNotEmpty => "write R to remove what is in it, too",
        _ => "see whether the file system is writable and full",
    }
}

fn ownership(entry: &Entry, accounts: &Accounts) -> Result<Ownership, Problem> {
    let line = &entry.line;
    let unknown = |kind: &str, name: &str| {
        let message = format!("there is no {kind} {name:?}");
        let cure = format!("add users.{kind}s.{name}");
        Problem::new(format_args!("{}: {}", entry.source, line.path.display()), message, cure)
    };
    let user = |name: &str| {
        let number = || name.parse().ok();
        accounts.user(name).map(|user| user.uid).or_else(number)
    };
    let uid = line.user.as_deref().map(|name| user(name).ok_or_else(|| unknown("user", name)));
    let group = |name: &str| accounts.group(name).ok_or_else(|| unknown("group", name));
    let gid = line.group.as_deref().map(group);
    Ok(Ownership { mode: line.mode, uid: uid.transpose()?, gid: gid.transpose()? })
}

/// Does something to every path that a pattern means; none is fine.
fn each(pattern: &Path, mut act: impl FnMut(&Path) -> io::Result<bool>) -> io::Result<()> {
    let mut paths = vec![PathBuf::from("/")];
    for part in pattern.components().skip(1) {
        let part = part.as_os_str();
        let text = part.to_string_lossy();
        if !text.contains(['*', '?']) {
            paths.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        let mut found = Vec::new();
        for folder in paths {
            let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            let names = entries.map(|entry| entry.file_name());
            // A leading dot is only matched by a dot (glob(7)).
            let fits = |name: &str| {
                name.starts_with('.') == text.starts_with('.') && files::matches(&text, name)
            };
            let names = names.filter(|name| fits(&name.to_string_lossy()));
            found.extend(names.map(|name| folder.join(name)));
            if found.len() > MATCHES_MAX {
                return Err(io::Error::other(format!("more than {MATCHES_MAX} paths match")));
            }
        }
        found.sort();
        paths = found;
    }
    paths.iter().try_for_each(|path| act(path).map(drop))
}

#[cfg(test)]
#[path = "tmpfiles/tests.rs"]
mod tests;
