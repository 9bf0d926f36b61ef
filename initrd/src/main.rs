//! `rollinit-stage1`: `/init` of the initramfs, from the kernel's hand to the real root's init.
//!
//! Is: modules, the root device, the way out. May touch: the kernel through `sys`, once, in order.
//! Never: a shell, a sleep, a guess. What fails is said on the console and in the kernel's log:
//! step, object, cause, what was seen, the cure; then the machine reboots after a stated delay.

#[path = "stage1/check.rs"]
mod check;
#[path = "stage1/command_line.rs"]
mod command_line;
#[path = "stage1/device.rs"]
mod device;
#[path = "stage1/growth.rs"]
mod growth;
#[path = "stage1/root.rs"]
mod root;
#[path = "stage1/voice.rs"]
mod voice;

use command_line::{CommandLine, ROOT_CURE};
use initrd::drivers::Drivers;
use initrd::image::{MODULES_DIRECTORY, MODULES_LIST};
use initrd::settings::Settings;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use sys::kernel_mounts::KernelMount;
use sys::kmsg::Priority;
use voice::{Failure, Voice};

/// Seconds from a kernel panic to the reboot, unless `panic=` says otherwise; the kernel's default
/// is to hang for ever.
const PANIC_S: &str = "10";

/// `/proc/cmdline` in bytes: the kernel's own limit is 4096.
const TEXT_BYTES_MAX: u64 = 64 * 1024;

/// What stage 1 itself needs; the rest is PID 1's to mount. All of it moves to the new root.
const MOUNTS: [KernelMount; 4] = [
    mount("proc", "/proc", ""),
    mount("sysfs", "/sys", ""),
    KernelMount { executable: true, devices: true, ..mount("devtmpfs", "/dev", "mode=755") },
    KernelMount { executable: true, ..mount("tmpfs", "/run", "mode=755") },
];

const fn mount(kind: &'static str, path: &'static str, options: &'static str) -> KernelMount {
    KernelMount { kind, path, executable: false, devices: false, options }
}

fn main() -> ExitCode {
    if sys::process::pid() != 1 {
        eprintln!(
            "rollinit-stage1 is /init of an initramfs, started by the kernel; see docs/boot.md"
        );
        return ExitCode::from(2);
    }
    let mounted = mount_all();
    let mut voice = Voice::open();
    let failure = match mounted.and_then(|()| boot(&mut voice)) {
        Err(failure) => failure,
        Ok(never) => match never {},
    };
    voice.fail(&failure)
}

/// A boot does not come back.
enum Never {}

fn mount_all() -> Result<(), Failure> {
    for mount in MOUNTS {
        mount.ensure().map_err(|error| Failure {
            step: "mount a file system of the kernel",
            object: format!("{} on {}", mount.kind, mount.path),
            cause: error.to_string(),
            seen: Vec::new(),
            cure: "boot a kernel with it (CONFIG_PROC_FS, _SYSFS, _DEVTMPFS, _TMPFS)".to_owned(),
        })?;
    }
    Ok(())
}

fn boot(voice: &mut Voice) -> Result<Never, Failure> {
    let line = CommandLine::parse(&read_small("/proc/cmdline").unwrap_or_default());
    settle(voice, &line);
    // Before the modules, whose devices are then heard.
    let listener = sys::uevent::Listener::open().map_err(|error| Failure {
        step: "listen to the kernel's events",
        object: "netlink".to_owned(),
        cause: error.to_string(),
        seen: Vec::new(),
        cure: "boot a kernel with CONFIG_NET".to_owned(),
    })?;
    let mut settings = Settings::default();
    settings.add_command_line(&read_small("/proc/cmdline").unwrap_or_default());
    let mut drivers = Drivers::open(Path::new(MODULES_DIRECTORY), settings);
    drivers.load_listed(Path::new(MODULES_LIST));
    drivers.load_for_all();
    let wanted = line.root.as_ref().map_err(|trouble| Failure {
        step: "read the kernel command line",
        object: "root=".to_owned(),
        cause: trouble.clone(),
        seen: vec![
            String::from_utf8_lossy(&read_small("/proc/cmdline").unwrap_or_default()).into(),
        ],
        cure: ROOT_CURE.to_owned(),
    })?;
    let found = device::wait(wanted, &listener, &mut drivers, voice, line.root_wait_s)?;
    let kind = mount_root(&found, &line, &mut drivers, voice)?;
    voice.say(Priority::Information, &drivers.summary());
    if let Some(troubles) = drivers.troubles() {
        voice.say(Priority::Warning, &troubles);
    }
    let access = if line.read_only { "read-only" } else { "writable" };
    let (path, waited_ms) = (found.device.path.display(), found.waited_ms);
    let text = format!("root: {path} ({kind}, {access}) after {waited_ms} ms");
    voice.say(Priority::Information, &text);
    root::check_init(&line.init)?;
    root::switch()?;
    let path = line.init.path.display();
    voice.say(Priority::Information, &format!("starting {path} (named by {})", line.init.source));
    start(&line)
}

/// Streams, the log's rate limit, and the reboot after a panic. None of it is worth ending a boot.
fn settle(voice: &mut Voice, line: &CommandLine) {
    // With its line feed: without, the kernel answers EINVAL.
    let mut settings = vec![("/proc/sys/kernel/printk_devkmsg", "on\n")];
    if !line.has_panic {
        settings.push(("/proc/sys/kernel/panic", PANIC_S));
    }
    for (path, value) in settings {
        if let Err(error) = std::fs::write(path, value) {
            voice.say(Priority::Warning, &format!("write {value:?} to {path}: {error}"));
        }
    }
    if let Err(error) = sys::stdio::point_at_null() {
        voice.say(Priority::Warning, &format!("point standard streams at /dev/null: {error}"));
    }
}

/// Makes the root as large as its disk, checks it and mounts it; returns the kind of its file
/// system.
fn mount_root(
    found: &device::Found,
    line: &CommandLine,
    drivers: &mut Drivers,
    voice: &mut Voice,
) -> Result<String, Failure> {
    let device_bytes = growth::partition(&found.device, line, voice);
    check::check(&found.device.path, found.superblock.as_ref(), line, voice)?;
    let kinds = root::kinds(found.superblock.as_ref(), line)?;
    for kind in &kinds {
        // The kernel would ask a program for it, and there is none.
        drivers.load_for(&format!("fs-{kind}"));
    }
    let kind = root::mount_root(&found.device.path, &kinds, line)?;
    growth::file_system(&kind, device_bytes, line, voice);
    Ok(kind)
}

/// Becomes the root's init, with the words and the environment that the kernel gave.
fn start(line: &CommandLine) -> Result<Never, Failure> {
    let error = Command::new(&line.init.path).args(std::env::args_os().skip(1)).exec();
    Err(Failure {
        step: "start",
        object: line.init.path.display().to_string(),
        cause: error.to_string(),
        seen: Vec::new(),
        cure: "a script's interpreter may be missing, or the program be for another processor"
            .to_owned(),
    })
}

fn read_small(path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(TEXT_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}
