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
mod modules;
mod random_seed;
mod ready;
mod report;
mod switch;
mod sysctl;
mod tmpfiles;
mod users;
mod volume;

use context::{Context, Request};
use report::Report;
use std::ffi::OsString;
use std::path::Path;
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
    Task { name: "users", purpose: "accounts, each with its number", run: users::run },
    Task { name: "tmpfiles", purpose: "files and directories to be there", run: tmpfiles::run },
    Task { name: "sysctl", purpose: "the kernel's settings", run: sysctl::run },
    Task { name: "host-name", purpose: "the name that the system states", run: host_name::run },
    Task { name: "machine-id", purpose: "/etc/machine-id, of the instance", run: machine_id::run },
    Task { name: "random-seed", purpose: "seed the kernel's numbers", run: random_seed::run },
    Task { name: "clock", purpose: "never earlier than it can be", run: clock::run },
    Task { name: "modules", purpose: "drivers for devices, also later ones", run: modules::run },
    Task { name: "modprobe", purpose: "load the modules that are named", run: modules::modprobe },
    Task { name: "volume", purpose: "a data volume, made, mounted, grown", run: volume::run },
    Task { name: "switch", purpose: "become another system without a boot", run: switch::run },
];

/// Exit code of a command line that cannot be understood.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let words = words(std::env::args_os());
    let request = match Request::parse(&words, TASKS.iter().map(|task| task.name)) {
        Ok(request) => request,
        Err(trouble) => {
            eprintln!("rollinit-activate: {trouble}\n\n{}", usage());
            return ExitCode::from(USAGE);
        }
    };
    let Some(mut request) = request else {
        println!("{}", usage());
        return ExitCode::SUCCESS;
    };
    request.context.resolve();
    let mut report = Report::default();
    for name in &request.tasks {
        if let Some(task) = TASKS.iter().find(|task| task.name == name) {
            report.begin(task.name);
            (task.run)(&request.context, &mut report);
        }
    }
    report.code()
}

/// The words of the command line. Under the name `modprobe` it is the kernel's call, all of whose
/// words are that task's.
fn words(arguments: impl Iterator<Item = OsString>) -> Vec<String> {
    let mut arguments = arguments.map(|word| word.to_string_lossy().into_owned());
    let program = arguments.next().unwrap_or_default();
    if Path::new(&program).file_name().is_some_and(|name| name == "modprobe") {
        return ["modprobe".to_owned(), "--".to_owned()].into_iter().chain(arguments).collect();
    }
    arguments.collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel calls it (kernel/module/kmod.c), and as a person does.
    #[test]
    fn the_kernels_command_line() {
        let words = |line: &str| words(line.split(' ').map(OsString::from));
        assert_eq!(
            words("/run/booted-system/modprobe -q -- fs-vfat"),
            ["modprobe", "--", "-q", "--", "fs-vfat"]
        );
        assert_eq!(words("/bin/rollinit-activate etc"), ["etc"]);
    }
}
