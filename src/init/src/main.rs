//! `rollinit-init`: PID 1.
//!
//! Is: spawn, reap, kill, keep descriptors, first mounts, power off. One thread.
//! May touch: the kernel through `sys`, its owner through `port`.
//! Never: policy, text formats, async, a call that can sleep once it has booted, an end.

mod boot;
mod children;
mod console;
mod crash;
mod deaths;
mod detach;
mod end;
mod guard;
mod kept;
mod options;
mod outbox;
mod owner;
mod power;
mod starts;
mod table;
mod teardown;
mod turn;
mod verbs;

use console::Console;
use options::{Mode, Options, Unknown};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use sys::clock::monotonic_ns;
use sys::kmsg::Priority;
use sys::process;

/// Open files of PID 1: the fd store at its cap, what a turn needs, and room.
const OPEN_FILES: u64 = 16 * 1024;

/// PID 1 and the supervisor go before what they look after, so that a restart under load is as
/// quick as on an idle host. Not lower: below -5 they starve what they start.
const NICE: i8 = -5;

/// Exit status for a command line that makes no sense (sysexits.h: EX_USAGE).
const EXIT_USAGE: u8 = 64;

/// Exit status of an ordinary process that could not begin (sysexits.h: EX_OSERR).
const EXIT_BROKEN: u8 = 71;

fn main() -> ExitCode {
    let started_ns = monotonic_ns();
    let (options, unknown) = options::read(std::env::args().skip(1));
    if let Some(problem) = misuse(&options, &unknown) {
        sys::console::write_standard_error(format!("rollinit-init: {problem}\n").as_bytes());
        return ExitCode::from(EXIT_USAGE);
    }
    let mode = options.mode;
    let console = Console::open(mode);
    match begin(options, &unknown, console, started_ns) {
        Ok(init) => ExitCode::from(init.run()),
        Err(error) => {
            // Without a table or a spawn engine there is no PID 1. Restart the machine and hope.
            sys::signal::say_crash(format_args!("cannot begin: {error}"));
            if mode == Mode::Kernel {
                sys::signal::end_after_crash();
            }
            ExitCode::from(EXIT_BROKEN)
        }
    }
}

/// Why this command line makes no sense, if it does not. The kernel's is never refused: words on it
/// may belong to anybody.
fn misuse(options: &Options, unknown: &Unknown) -> Option<String> {
    const USAGE: &str = "rollinit-init --contained [--supervisor PATH] [--definitions DIR] \
                         [--profiles DIR] [--run DIR] [--cgroup DIR]";
    if options.mode == Mode::Kernel {
        let text = "this is PID 1; start it by init= on the kernel command line, or contained";
        return (process::pid() != 1).then(|| format!("{text}: {USAGE}"));
    }
    let first = unknown.0.first()?;
    Some(format!("unknown option {first:?}; write: {USAGE}"))
}

/// Everything before the first turn.
fn begin(
    options: Options,
    unknown: &Unknown,
    console: Console,
    started_ns: u64,
) -> io::Result<turn::Init> {
    let mode = options.mode;
    let mut said = |priority: Priority, text: &str| console.say(priority, format_args!("{text}"));
    let open_files = process::raise_open_files(OPEN_FILES);
    process::set_umask(starts::UMASK);
    match mode {
        Mode::Kernel => boot::prepare(&mut said),
        Mode::Contained if process::pid() != 1 => process::become_subreaper()?,
        Mode::Contained => {}
    }
    let warn = |what: &str, error: &io::Error| {
        console.say(Priority::Warning, format_args!("{what}: {error}"));
    };
    if let Err(error) = crash::arm(mode) {
        warn("arm the crash path", &error);
    }
    let signals = sys::signal::Signals::take_all()?;
    let spawner = sys::spawn::Spawner::new()?;
    let nice = match process::set_nice(NICE) {
        Ok(()) => Some(0),
        Err(error) => {
            warn("set own niceness", &error);
            None
        }
    };
    let button = match mode {
        Mode::Kernel => {
            power::Button::open().inspect_err(|error| warn("listen for the power button", error))
        }
        Mode::Contained => Err(io::ErrorKind::Unsupported.into()),
    };
    let root = open_root(&options, &console);
    if let Some(root) = &root {
        boot::prepare_cgroups(root, &mut said);
    }
    let guard = match mode {
        Mode::Kernel => guard::Guard::start(&mut said),
        Mode::Contained => guard::Guard::default(),
    };
    for word in &unknown.0 {
        said(Priority::Information, &format!("{word:?} on the command line is not ours; ignored"));
    }
    Ok(turn::Init::new(turn::Parts {
        supervisor: supervisor_path(&options),
        options,
        signals,
        button: button.ok(),
        guard,
        spawner,
        root,
        children: children::Children::new(table::Table::create(started_ns)?),
        null: process::open_null()?,
        limits: open_files.into_iter().collect(),
        nice,
        console,
    }))
}

/// The cgroup tree: where the command line says, else where cgroup2 is mounted.
fn open_root(options: &Options, console: &Console) -> Option<sys::cgroup::Root> {
    let Some(path) = options.cgroup.clone().or_else(sys::cgroup::find_mount) else {
        console.say(
            Priority::Error,
            format_args!("no cgroup2 is mounted: services cannot start; mount it or use --cgroup"),
        );
        return None;
    };
    match sys::cgroup::Root::open(&path) {
        Ok(root) => Some(root),
        Err(error) => {
            console.say(
                Priority::Error,
                format_args!("cgroup tree {}: {error}; services cannot start", path.display()),
            );
            None
        }
    }
}

/// The supervisor's program: as told, else beside PID 1's own.
fn supervisor_path(options: &Options) -> PathBuf {
    options.supervisor.clone().unwrap_or_else(|| {
        let own = std::fs::read_link("/proc/self/exe").unwrap_or_default();
        own.with_file_name("rollinit-supervisor")
    })
}
