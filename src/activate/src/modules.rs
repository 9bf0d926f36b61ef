//! Tasks `modules` and `modprobe`: drivers for the devices of this machine, and what the kernel
//! asks for by name.
//!
//! `modules` first listens to the kernel's events, then loads what the devices that are there want,
//! is ready, and stays: a device that appears later, because a bus was found by a driver that was
//! loaded just now or because somebody attached it, gets its driver too. When events were lost it
//! looks at all devices again.
//!
//! `modprobe` is what the kernel runs when it needs a module itself: a file system that is to be
//! mounted, a cipher, a netfilter table. It calls `PATH -q -- NAME`, with the path of
//! `kernel.modprobe`, which `modules` sets to the system's own `modprobe` link.

use crate::context::Context;
use crate::files;
use crate::ready;
use crate::report::{Problem, Report};
use initrd::drivers::{Drivers, Named};
use initrd::settings::Settings;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use sys::poll::{self, PollFd, PollFlags};
use sys::uevent::{EVENT_BYTES_MAX, Heard, Listener};

/// The system whose kernel runs: its modules fit, also after a switch to another one.
const BOOTED: &str = "/run/booted-system";

/// Links of such a system.
const TREE: &str = "kernel-modules/lib/modules";
const MODPROBE: &str = "modprobe";

/// The setting with the program that the kernel starts.
const SETTING: &str = "/proc/sys/kernel/modprobe";

/// A file of modprobe.d, or the kernel's command line, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Loads drivers now, and those of devices to come.
pub fn run(context: &Context, report: &mut Report) {
    // Before the first look, so that nothing is missed in between.
    let listener = match Listener::open() {
        Ok(listener) => listener,
        Err(error) => {
            let message = format!("cannot be heard: {error}");
            return report.problem(&Problem::new(
                "the kernel's events",
                message,
                "boot a kernel with CONFIG_NET",
            ));
        }
    };
    let Some(mut drivers) = open(context, report) else { return };
    drivers.load_for_all();
    let waited = hear(&listener, &mut drivers).and_then(|()| {
        report.say(drivers.summary());
        if let Some(troubles) = drivers.troubles() {
            // A driver that finds no hardware is no mistake of anybody's.
            report.say(troubles);
        }
        set_modprobe(context, report);
        if !ready::say(&drivers.summary())? {
            return Ok(());
        }
        stay(&listener, &mut drivers, report)
    });
    if let Err(error) = waited {
        let message = format!("cannot be waited for: {error}");
        report.problem(&Problem::new("the kernel's events", message, "it starts again by itself"));
    }
}

fn stay(listener: &Listener, drivers: &mut Drivers, report: &mut Report) -> io::Result<()> {
    loop {
        poll::until(&mut [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)], None)?;
        let before = drivers.loaded();
        hear(listener, drivers)?;
        if drivers.loaded() > before {
            report.say(drivers.summary());
        }
    }
}

/// Loads what devices want that the kernel has told of, until there is no more to hear.
fn hear(listener: &Listener, drivers: &mut Drivers) -> io::Result<()> {
    let mut buffer = [0; EVENT_BYTES_MAX];
    while let Some(heard) = listener.hear(&mut buffer)? {
        match heard {
            Heard::Event(event) if event.action == b"add" => {
                if let Some(modalias) = event.value("MODALIAS") {
                    drivers.load_for(&String::from_utf8_lossy(modalias));
                }
            }
            Heard::Lost => drivers.load_for_all(),
            Heard::Event(_) | Heard::Noise => {}
        }
    }
    Ok(())
}

/// Loads the modules that are named: the kernel's call, or a person's. Names that no module has
/// are a failure, which is how the kernel learns that there is nothing to be had.
pub fn modprobe(context: &Context, report: &mut Report) {
    let Some(mut drivers) = open(context, report) else { return };
    for name in context.words.iter().filter(|word| !word.starts_with('-')) {
        let problem = match drivers.load_named(name) {
            Named::There => continue,
            Named::Failed => (drivers.troubles().unwrap_or_default(), "see the kernel's log"),
            Named::Unknown => (
                "no module has this name or alias".to_owned(),
                "is it in the kernel's modules? `modinfo` on the builder says",
            ),
        };
        report.problem(&Problem::new(name, problem.0, problem.1));
    }
}

/// The modules of the kernel that runs; none (said) if the system brings none.
fn open(context: &Context, report: &mut Report) -> Option<Drivers> {
    let tree = tree(context);
    if !tree.is_dir() {
        report.say(format_args!("{} is not there: all is as stage 1 left it", tree.display()));
        return None;
    }
    let mut settings = Settings::default();
    let line = files::read(&context.path("/proc/cmdline"), FILE_BYTES_MAX).unwrap_or_default();
    settings.add_command_line(&line);
    for (name, text) in files::read_folder(context, "etc/modprobe.d", FILE_BYTES_MAX, report) {
        for (line, command) in settings.add_file(&text) {
            let message = format!("{command:?} is not understood");
            let cure = "write `blacklist NAME` or `options NAME PARAMETER=VALUE`";
            report.problem(&Problem::new(format_args!("{name}:{line}"), message, cure));
        }
    }
    Some(Drivers::open(&tree, settings))
}

fn tree(context: &Context) -> PathBuf {
    let release = sys::kernel_mounts::kernel_release();
    context.path(Path::new(BOOTED).join(TREE)).join(release)
}

/// Until now the kernel started nothing: PID 1 emptied the setting, since the default of the
/// kernel is a path that is not there.
fn set_modprobe(context: &Context, report: &mut Report) {
    let program = Path::new(BOOTED).join(MODPROBE);
    if !context.path(&program).exists() {
        return;
    }
    if let Err(error) = std::fs::write(context.path(SETTING), format!("{}\n", program.display())) {
        let message = format!("does not take {}: {error}", program.display());
        report.problem(&Problem::new(SETTING, message, "it takes root"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> (tempfile::TempDir, Context) {
        let root = tempfile::tempdir().expect("a root");
        let context = Context {
            root: root.path().to_owned(),
            toplevel: "/system".into(),
            prefix: None,
            words: vec!["-q".to_owned(), "--".to_owned(), "fs-rollinit".to_owned()],
        };
        (root, context)
    }

    /// A module is asked for by name or alias; one that nobody has is a failure, and one that the
    /// kernel does not take is, too.
    #[test]
    fn the_kernels_call() {
        let (_root, context) = host();
        let tree = tree(&context);
        std::fs::create_dir_all(&tree).expect("a tree");
        std::fs::write(tree.join("modules.dep"), "rollinit.ko:\n").expect("modules.dep");
        let mut report = Report::default();
        modprobe(&context, &mut report);
        assert!(
            report.lines()[0].starts_with("fs-rollinit: no module has this name"),
            "{report:?}"
        );
        std::fs::write(tree.join("modules.alias"), "alias fs-rollinit rollinit\n")
            .expect("aliases");
        let mut report = Report::default();
        modprobe(&context, &mut report);
        assert!(report.lines()[0].contains("rollinit.ko: "), "{report:?}");
    }

    /// A system without modules is one that needs none: said, and no failure.
    #[test]
    fn a_system_without_modules() {
        let (_root, context) = host();
        let mut report = Report::default();
        modprobe(&context, &mut report);
        assert_eq!(report.lines(), [""; 0]);
    }

    /// Commands of modprobe.d that would run programs are told with their place.
    #[test]
    fn files_of_modprobe_are_read() {
        let (root, context) = host();
        std::fs::create_dir_all(tree(&context)).expect("a tree");
        let folder = root.path().join("system/etc/modprobe.d");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("a.conf"), "blacklist x\ninstall x y\n").expect("a file");
        let mut report = Report::default();
        assert!(open(&context, &mut report).is_some());
        assert!(report.lines()[0].starts_with("a.conf:2: \"install x y\""), "{report:?}");
    }
}
