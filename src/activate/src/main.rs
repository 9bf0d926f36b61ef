//! `rollinit-activate`: what a host has to be told once a boot.
//!
//! Is: one task a call (`/etc`, accounts, tmpfiles, sysctl, host name, machine id, random seed,
//! clock, modules, data volumes), run by the supervisor as services of its graph. May touch: what
//! the task names. Never: runs a shell, changes what an operator made.
//!
//! A task does all it can and says what it could not: one line that has to stand (an owner that
//! does not exist, a key that this kernel has not) is a problem, makes the exit code 1, and keeps
//! nothing else from being done.

mod clock;
mod context;
mod etc;
mod files;
mod host_name;
mod machine_id;
mod random_seed;
mod report;
mod sysctl;
mod tmpfiles;
mod users;

use context::{Context, Request};
use report::Report;
use std::process::ExitCode;

/// A task's name, what it is for, and how it is done.
struct Task {
    name: &'static str,
    purpose: &'static str,
    run: fn(&Context, &mut Report),
}

/// Every task, in the order of `--help`.
const TASKS: &[Task] = &[
    Task { name: "etc", purpose: "make /etc that of the system", run: etc::run },
    Task { name: "host-name", purpose: "the name that the system states", run: host_name::run },
    Task { name: "machine-id", purpose: "/etc/machine-id, of the instance", run: machine_id::run },
    Task { name: "random-seed", purpose: "seed the kernel's numbers", run: random_seed::run },
    Task { name: "sysctl", purpose: "the kernel's settings", run: sysctl::run },
    Task { name: "users", purpose: "accounts, each with its number", run: users::run },
    Task { name: "tmpfiles", purpose: "files and directories to be there", run: tmpfiles::run },
    Task { name: "clock", purpose: "never earlier than it can be", run: clock::run },
];

/// Exit code of a command line that cannot be understood.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let request = match Request::parse(&words, TASKS.iter().map(|task| task.name)) {
        Ok(request) => request,
        Err(trouble) => {
            eprintln!("rollinit-activate: {trouble}\n\n{}", usage());
            return ExitCode::from(USAGE);
        }
    };
    let Some(request) = request else {
        println!("{}", usage());
        return ExitCode::SUCCESS;
    };
    let mut report = Report::default();
    for name in &request.tasks {
        if let Some(task) = TASKS.iter().find(|task| task.name == name) {
            report.begin(task.name);
            (task.run)(&request.context, &mut report);
        }
    }
    report.code()
}

fn usage() -> String {
    let mut text = "\
Usage: rollinit-activate TASK… [--toplevel PATH] [--root DIR] [--prefix PATH] [-- WORD…]

  --toplevel PATH  the system whose files count (default: /run/current-system)
  --root DIR       act on the system below DIR, for tests (default: /)
  --prefix PATH    tmpfiles: only what lies at or below PATH
  WORD             what the task's own words are: its page in docs/activate.md says

Tasks:
"
    .to_owned();
    for task in TASKS {
        text += &format!("  {:<12} {}\n", task.name, task.purpose);
    }
    text
}
