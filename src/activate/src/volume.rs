//! Task `volume -- NAME`: a data volume, from its disk's appearance to its unmount.
//!
//! ```text
//! serial ─▶ disk with it ─▶ what does it hold? ─▶ make │ check ─▶ mount ─▶ grow ─▶ READY
//!   ▲ the agent, by tag        │ somebody's                                         │
//!   │                          ▼                          grow ◀── it became larger ┤
//!   └─ wait ── deadline ─▶ said, not touched               unmount ◀────── SIGTERM ─┘
//! ```
//!
//! Nothing is asked for "every so often": the kernel's events, a change in the folder with the
//! serial numbers, a signal, and the deadline are all that wakes it. It stays while the volume is
//! mounted, for the two things that happen to a volume then. Killed, it leaves the mount as it is
//! and finds it there when it is started again.

mod decision;
mod made;
mod mounted;
mod settings;
mod sources;

use crate::context::Context;
use crate::files;
use crate::ready;
use crate::report::{Problem, Report};
use decision::{Decision, decide};
use disk::Device;
use disk::content;
use settings::Volume;
use sources::{Sources, Woken};
use std::fs::File;
use std::io;
use sys::clock::{NS_PER_S, monotonic_ns};

/// Where the agent writes the serial numbers of volumes that have a tag, a file each; and this
/// task, for a volume that did not come in time, `NAME.late`.
pub const FOLDER: &str = "/run/rollinit/volumes";

/// Brings the volume up, and stays until it is to go.
pub fn run(context: &Context, report: &mut Report) {
    let Some(name) = context.words.first() else {
        let cure = "write `rollinit-activate volume -- NAME`";
        return report.problem(&Problem::new("volume", "its name is missing", cure));
    };
    if let Err(problem) = bring_up(context, name, report) {
        report.problem(&problem);
        // Nobody need read the log to see it in `rollinit status`.
        let _ = ready::tell(&problem.to_string());
    }
}

fn bring_up(context: &Context, name: &str, report: &mut Report) -> Result<(), Problem> {
    let text = files::read(&context.path(settings::FILE), settings::FILE_BYTES_MAX);
    let text = text.map_err(|error| {
        Problem::new(settings::FILE, format!("read: {error}"), "write rollinit.volumes")
    })?;
    let volume = settings::find(&String::from_utf8_lossy(&text), name)?;
    let awaited = |error: io::Error| {
        Problem::new(name, format!("cannot wait for it: {error}"), "start it again")
    };
    let mut sources = Sources::open(&context.path(FOLDER), name).map_err(awaited)?;
    let Some(device) = wait(&volume, name, &mut sources, report)? else {
        report.say(format_args!("{name}: told to stop before it came"));
        return Ok(());
    };
    report.say(format_args!("{name}: {device}"));
    prepare(context, &volume, name, &device, report)?;
    let place = volume.mount_point.display();
    let status = format!("{} on {place}, {}", device.path.display(), volume.file_system);
    report.say(format_args!("{name}: {status}"));
    let told = ready::say(&status).map_err(awaited)?;
    if told { stay(&volume, name, &device, &mut sources, report) } else { Ok(()) }
}

/// Waits for the serial number and the disk; none if it was told to stop meanwhile.
fn wait(
    volume: &Volume,
    name: &str,
    sources: &mut Sources,
    report: &mut Report,
) -> Result<Option<Device>, Problem> {
    let deadline_ns = monotonic_ns() + volume.wait_s.saturating_mul(NS_PER_S);
    let mut said = String::new();
    loop {
        let serial = volume.serial.clone().or_else(|| sources.serial());
        let serial = serial.map(|serial| settings::serial_of(&serial));
        let devices = disk::devices().map_err(|error| {
            Problem::new(name, format!("looking at devices: {error}"), "mount /sys")
        })?;
        let fits = |device: &&Device| {
            device.partition.is_none() && device.bytes > 0 && device.serial == serial
        };
        if let Some(device) = devices.iter().find(fits).filter(|_| serial.is_some()) {
            return Ok(Some(device.clone()));
        }
        let waiting = missing(volume, serial.as_deref(), sources);
        if waiting != said {
            report.say(format_args!("{name}: waiting for {waiting}"));
            let _ = ready::tell(&format!("waiting for {waiting}"));
            said = waiting;
        }
        match sources.wait(Some(deadline_ns)).map_err(|error| {
            Problem::new(name, format!("cannot wait for it: {error}"), "start it again")
        })? {
            Woken::Stop => return Ok(None),
            Woken::Change => {}
            Woken::Deadline => {
                sources.note_late(serial.as_deref());
                return Err(came_not(volume, name, &said, &devices));
            }
        }
    }
}

/// What is waited for, in words.
fn missing(volume: &Volume, serial: Option<&str>, sources: &Sources) -> String {
    match (serial, &volume.tag) {
        (Some(serial), _) => format!("the disk with the serial number {serial}"),
        (None, Some(tag)) => {
            let trouble = sources.trouble().map(|text| format!(": {text}")).unwrap_or_default();
            format!("the agent to find the volume tagged {}={}{trouble}", tag.key, tag.value)
        }
        (None, None) => "a serial number".to_owned(),
    }
}

fn came_not(volume: &Volume, name: &str, said: &str, devices: &[Device]) -> Problem {
    let whole = devices.iter().filter(|device| device.partition.is_none() && device.bytes > 0);
    let seen: Vec<String> = whole.map(ToString::to_string).collect();
    let seconds = volume.wait_s;
    let message =
        format!("not there after {seconds} s, waiting for {said}; seen: {}", seen.join(", "));
    let cure = format!(
        "attach it; it is then left alone until `rollinit start volume-{name}`, since services \
         may have gone on without it"
    );
    Problem::new(name, message, cure)
}

/// Makes, checks, mounts and grows.
fn prepare(
    context: &Context,
    volume: &Volume,
    name: &str,
    device: &Device,
    report: &mut Report,
) -> Result<(), Problem> {
    if mounted::is_mounted(volume, name, device)? {
        report.say(format_args!("{name}: it is mounted already"));
        return mounted::grow(volume, name, device, report);
    }
    let named = |step: &str, error: io::Error| {
        let cure = "see the kernel's log for the disk's own words";
        Problem::new(name, format!("{step} {}: {error}", device.path.display()), cure)
    };
    let file = File::open(&device.path).map_err(|error| named("open", error))?;
    let held = content::look(&file, device.bytes);
    let held = held.map_err(|error| named("read", error))?;
    drop(file);
    match decide(&held, volume) {
        Decision::Refuse { reason, cure } => {
            return Err(Problem::new(name, format!("{device}: {reason}: not touched"), cure));
        }
        Decision::Make => made::make(volume, name, device, &held, report)?,
        Decision::Mount { checked_before: true } => made::check(volume, name, device, report)?,
        Decision::Mount { checked_before: false } => {}
    }
    mounted::mount(volume, name, device, report)?;
    mounted::grow(volume, name, device, report)?;
    crate::tmpfiles::apply_below(context, &volume.mount_point, report);
    Ok(())
}

/// While it is mounted: grows with its disk, until it is told to stop or the disk goes.
fn stay(
    volume: &Volume,
    name: &str,
    device: &Device,
    sources: &mut Sources,
    report: &mut Report,
) -> Result<(), Problem> {
    let mut device = device.clone();
    loop {
        match sources.wait(None) {
            Ok(Woken::Stop) => return mounted::unmount(volume, name, report),
            Ok(Woken::Change | Woken::Deadline) => {}
            Err(error) => {
                let message = format!("cannot hear of its disk any more: {error}");
                return Err(Problem::new(name, message, "the mount stays; start it again"));
            }
        }
        let devices = disk::devices().unwrap_or_default();
        let now = devices.into_iter().find(|other| other.name == device.name);
        match now.filter(|now| now.serial == device.serial && now.bytes > 0) {
            None => {
                let message = format!("its disk {} is gone", device.path.display());
                let cure = "stop the services on it, then `rollinit start` it once it is back";
                return Err(Problem::new(name, message, cure));
            }
            Some(now) if now.bytes != device.bytes => {
                if let Err(problem) = mounted::grow(volume, name, &now, report) {
                    report.say(&problem);
                }
                device = now;
            }
            Some(_) => {}
        }
    }
}
