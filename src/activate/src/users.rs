//! Task `users`: `/etc/passwd`, `/etc/group` and `/etc/shadow`, without a tool and without Perl.
//!
//! The system states its accounts in `etc/rollinit/users.toml`; who has which number is worked out
//! by [`accounts`].

mod accounts;

use crate::context::Context;
use crate::files;
use crate::report::{Problem, Report};
use accounts::{Accounts, Declared, Remembered};
use std::io;
use std::path::Path;
use sys::place::{self, Ownership};

/// What the system states.
const DECLARED: &str = "etc/rollinit/users.toml";

/// Numbers that were ever given.
const REMEMBERED: &str = "/var/lib/rollinit/accounts.toml";

/// Either file in bytes; a line each of some thousand accounts.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// First lines of what is remembered.
const HEAD: &str = "\
# Numbers of accounts that state none, and of those that once existed: a number is
# never given to another name. Written by `rollinit-activate users`.
";

/// Writes the account files, and makes homes.
pub fn run(context: &Context, report: &mut Report) {
    let (declared, remembered) = match (read_declared(context), read_remembered(context)) {
        (Ok(declared), Ok(remembered)) => (declared, remembered),
        (declared, remembered) => {
            let problems = [declared.err(), remembered.err()];
            return problems.iter().flatten().for_each(|problem| report.problem(problem));
        }
    };
    let accounts = accounts::settle(&declared, &remembered);
    for (object, message, cure) in &accounts.problems {
        report.problem(&Problem::new(object, message, cure));
    }
    if let Err(problem) = write(context, &accounts, &remembered) {
        return report.problem(&problem);
    }
    for (home, uid, gid) in &accounts.homes {
        let ownership = Ownership { mode: Some(0o700), uid: Some(*uid), gid: Some(*gid) };
        let path = context.path(home);
        // Who has a home already may have changed its mode.
        let made = if path.is_dir() { Ok(()) } else { place::directory(&path, ownership) };
        if let Err(error) = made {
            let message = format!("a home cannot be made: {error}");
            report.problem(&Problem::new(home, message, "make what is above it"));
        }
    }
    let (users, groups) = (accounts.passwd.lines().count(), accounts.group.lines().count());
    report.say(format_args!("{users} users, {groups} groups"));
}

fn read_declared(context: &Context) -> Result<Declared, Problem> {
    let path = context.toplevel.join(DECLARED);
    let cure = "build the system again with rollinit.activate.enable = true";
    let bytes = files::read_in_root(context, &path, FILE_BYTES_MAX).map_err(|error| {
        Problem::new(path.display(), format_args!("cannot be read: {error}"), cure)
    })?;
    toml::from_slice(&bytes).map_err(|error| {
        Problem::new(path.display(), format_args!("is not understood: {error}"), cure)
    })
}

/// A file that cannot be understood is not replaced: whoever has numbers by it would lose them.
fn read_remembered(context: &Context) -> Result<Remembered, Problem> {
    let path = context.path(REMEMBERED);
    let cure = "restore it; or remove it, and accounts without a stated number get new ones";
    let bytes = match files::read(&path, FILE_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Remembered::default()),
        Err(error) => {
            let message = format!("cannot be read: {error}");
            return Err(Problem::new(path.display(), message, cure));
        }
        Ok(bytes) => bytes,
    };
    toml::from_slice(&bytes).map_err(|error| {
        Problem::new(path.display(), format_args!("is not understood: {error}"), cure)
    })
}

fn write(context: &Context, accounts: &Accounts, before: &Remembered) -> Result<(), Problem> {
    let unwritten = |path: &str, error: &dyn std::fmt::Display| {
        let message = format!("cannot be written: {error}");
        Problem::new(path, message, "see whether its directory is writable and its disk full")
    };
    // Numbers are on the disk before anybody can own a file by them.
    if accounts.remembered != *before || !context.path(REMEMBERED).exists() {
        let text = toml::to_string(&accounts.remembered);
        let text = HEAD.to_owned() + &text.map_err(|error| unwritten(REMEMBERED, &error))?;
        files::replace_for_good(&context.path(REMEMBERED), text.as_bytes(), 0o644)
            .map_err(|error| unwritten(REMEMBERED, &error))?;
    }
    for (path, text, mode) in [
        ("/etc/group", &accounts.group, 0o644),
        ("/etc/shadow", &accounts.shadow, 0o600),
        ("/etc/passwd", &accounts.passwd, 0o644),
    ] {
        let path = Path::new(path);
        files::replace(&context.path(path), text.as_bytes(), mode, None)
            .map_err(|error| unwritten(&path.display().to_string(), &error))?;
    }
    Ok(())
}
