//! Waiting for the root device.
//!
//! ```text
//! listen to uevents ─▶ look at /sys ─▶ found? ── yes ─▶ done
//!                         ▲              │ no
//!        load its driver ─┤              ▼
//!                         └─ event, lost events ─▶ … ─▶ deadline: fail with what was seen
//! ```
//!
//! The socket is opened before the first look, so a device that appears in between is heard. It is
//! never asked twice "in a while": only an event, lost events, or the deadline wake it.

use crate::command_line::Root;
use crate::voice::{Failure, Voice};
use disk::Device;
use disk::superblock::{Superblock, Usage};
use initrd::drivers::Drivers;
use std::io;
use std::os::fd::AsFd;
use sys::clock::{NS_PER_MS, NS_PER_S, monotonic_ns};
use sys::kmsg::Priority;
use sys::poll::{self, PollFd, PollFlags};
use sys::uevent::{EVENT_BYTES_MAX, Heard, Listener};

/// Devices listed in a failure; a screen has 25 lines.
const LISTED_MAX: usize = 12;

/// Time of silence before somebody at the console is told what is waited for, in seconds.
const PATIENCE_S: u64 = 3;

/// The root device, as it was found.
#[derive(Debug)]
pub struct Found {
    /// The device.
    pub device: Device,
    /// What is on it, if that could be told: a file system.
    pub superblock: Option<Superblock>,
    /// How long it took, in milliseconds.
    pub waited_ms: u64,
}

/// Waits for the root device, and loads drivers for what appears meanwhile.
///
/// # Errors
/// A [`Failure`] if it does not appear in time, with what did.
pub fn wait(
    root: &Root,
    listener: &Listener,
    drivers: &mut Drivers,
    voice: &mut Voice,
    wait_s: u64,
) -> Result<Found, Failure> {
    let start_ns = monotonic_ns();
    let deadline_ns = start_ns + wait_s * NS_PER_S;
    let mut patience_ns = Some(start_ns + PATIENCE_S * NS_PER_S).filter(|end| *end < deadline_ns);
    let trouble = |error: io::Error| failure(root, &format!("looking at devices: {error}"), vec![]);
    loop {
        let devices = disk::devices().map_err(trouble)?;
        let mut fitting = devices.iter().filter(|device| means(root, device));
        if let Some(device) = fitting.next() {
            warn_of_twins(root, device, fitting, voice);
            return Ok(Found {
                // devtmpfs makes the node before the event is sent, so it is there.
                superblock: file_system(device),
                device: device.clone(),
                waited_ms: (monotonic_ns() - start_ns) / NS_PER_MS,
            });
        }
        while !something_new(listener, drivers).map_err(trouble)? {
            let now_ns = monotonic_ns();
            if now_ns >= deadline_ns {
                // Said before the disks are read, which may be what hangs.
                let text = format!("no {root} within {wait_s} s; looking at what the disks hold");
                voice.say(Priority::Error, &text);
                let mut seen: Vec<String> = devices.iter().map(describe).collect();
                seen.extend(drivers.troubles());
                return Err(failure(root, &format!("it did not appear within {wait_s} s"), seen));
            }
            if patience_ns.is_some_and(|end| now_ns >= end) {
                patience_ns = None;
                voice.say(Priority::Notice, &format!("waiting for {root}, {wait_s} s at most"));
            }
            let until_ns = patience_ns.unwrap_or(deadline_ns);
            let mut polled = [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)];
            poll::until(&mut polled, Some(until_ns)).map_err(trouble)?;
        }
    }
}

/// Whether the root may mean this device.
fn means(root: &Root, device: &Device) -> bool {
    // A drive without a medium has a node, and no root file system.
    if device.bytes == 0 {
        return false;
    }
    let partition = device.partition.as_ref();
    match root {
        Root::Name(name) => device.name == *name,
        Root::PartitionUuid(uuid) => {
            partition.is_some_and(|partition| partition.uuid.as_ref() == Some(uuid))
        }
        Root::PartitionLabel(label) => {
            partition.is_some_and(|partition| partition.label.as_ref() == Some(label))
        }
        Root::Uuid(uuid) => {
            file_system(device).is_some_and(|found| found.uuid.as_ref() == Some(uuid))
        }
        Root::Label(label) => {
            file_system(device).is_some_and(|found| found.label.as_ref() == Some(label))
        }
    }
}

/// The one file system on a device. A member of an array or of a volume group looks like one to its
/// label, and is none.
fn file_system(device: &Device) -> Option<Superblock> {
    let mut found = device.superblocks().ok()?;
    let only = found.pop().filter(|_| found.is_empty())?;
    (only.usage == Usage::FileSystem).then_some(only)
}

/// On EC2 a volume made from the root's own snapshot has all of its names: then somebody has to be
/// told which of the two it was.
fn warn_of_twins<'a>(
    root: &Root,
    taken: &Device,
    others: impl Iterator<Item = &'a Device>,
    voice: &mut Voice,
) {
    let others: Vec<&str> = others.map(|device| device.name.as_str()).collect();
    if !others.is_empty() {
        let (name, others) = (&taken.name, others.join(", "));
        let text = format!("root: {root} is /dev/{name}, but /dev/{others} has that name too");
        voice.say(Priority::Warning, &format!("{text}; detach the copy, or give it another"));
    }
}

/// Takes all that was heard; true if the block devices may have changed.
fn something_new(listener: &Listener, drivers: &mut Drivers) -> io::Result<bool> {
    let mut buffer = [0; EVENT_BYTES_MAX];
    let mut new = false;
    while let Some(heard) = listener.hear(&mut buffer)? {
        new |= match heard {
            Heard::Event(event) => {
                if event.action == b"add"
                    && let Some(modalias) = event.value("MODALIAS")
                {
                    drivers.load_for(&String::from_utf8_lossy(modalias));
                }
                event.value("SUBSYSTEM") == Some(b"block")
            }
            Heard::Lost => {
                drivers.load_for_all();
                true
            }
            Heard::Noise => false,
        };
    }
    Ok(new)
}

fn failure(root: &Root, cause: &str, mut seen: Vec<String>) -> Failure {
    if seen.is_empty() {
        seen.push("no block device at all".to_owned());
    } else if seen.len() > LISTED_MAX {
        let more = seen.len() - LISTED_MAX;
        seen.truncate(LISTED_MAX);
        seen.push(format!("{more} more"));
    }
    Failure {
        step: "find the root device",
        object: root.to_string(),
        cause: cause.to_owned(),
        seen,
        cure: "correct root= on the kernel command line, attach the disk, or add its driver to \
               the modules of the initrd"
            .to_owned(),
    }
}

/// A device and what is on it.
fn describe(device: &Device) -> String {
    let held = match device.superblocks() {
        Ok(found) => found.iter().map(|superblock| format!(" {superblock}")).collect(),
        Err(_) if device.bytes == 0 => " (no medium)".to_owned(),
        Err(error) => format!(" (cannot be read: {error})"),
    };
    format!("{device}{held}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use disk::device::Partition;

    /// A device of 1 MiB with `bytes` at an offset; the folder holds its node.
    fn device(folder: &std::path::Path, name: &str, at: usize, bytes: &[u8]) -> Device {
        let mut content = vec![0; 1024 * 1024];
        content[at..at + bytes.len()].copy_from_slice(bytes);
        let path = folder.join(name);
        std::fs::write(&path, content).expect("a file");
        let partition = Partition {
            number: 1,
            uuid: Some(format!("{name}-01")),
            label: Some(format!("{name}-part")),
            kind: None,
        };
        Device {
            name: name.to_owned(),
            path,
            bytes: 1024 * 1024,
            serial: None,
            partition: Some(partition),
            disk: None,
        }
    }

    /// Each way to name a root finds its device and no other; a member of an array is not taken for
    /// the file system in it.
    #[test]
    fn finding() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut xfs = b"XFSB".to_vec();
        xfs.resize(120, 0);
        xfs[32..48].fill(0x11);
        xfs[108..112].copy_from_slice(b"data");
        let mut member = xfs.clone();
        member.resize(5000, 0);
        member[4096..4104].copy_from_slice(&[0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0]);
        let devices = [
            device(folder.path(), "vda", 0, &[0]),
            device(folder.path(), "vdb", 0, &xfs),
            device(folder.path(), "vdc", 0, &member),
            Device { bytes: 0, ..device(folder.path(), "sr0", 0, &xfs) },
        ];
        let found = |root: Root| -> Vec<&str> {
            let fitting = devices.iter().filter(|device| means(&root, device));
            fitting.map(|device| device.name.as_str()).collect()
        };
        let text = str::to_owned;
        assert_eq!(found(Root::Name(text("vda"))), ["vda"]);
        assert_eq!(found(Root::PartitionUuid(text("vdb-01"))), ["vdb"]);
        assert_eq!(found(Root::PartitionLabel(text("vdc-part"))), ["vdc"]);
        assert_eq!(found(Root::Label(text("data"))), ["vdb"], "not the member of an array");
        let uuid = text("11111111-1111-1111-1111-111111111111");
        assert_eq!(found(Root::Uuid(uuid)), ["vdb"]);
        for nothing in [Root::Name(text("vd")), Root::Name(text("sr0")), Root::Label(text("dat"))] {
            assert!(found(nothing.clone()).is_empty(), "{nothing}");
        }
        let words = describe(&devices[1]);
        assert!(
            words.contains("vdb 1 MiB PARTUUID=vdb-01 PARTLABEL=vdb-part xfs LABEL=data UUID=1")
        );
    }

    /// The words name what was asked for, what is there, and end when there is too much.
    #[test]
    fn failing_lists_what_is_there() {
        let seen: Vec<String> = (0..LISTED_MAX + 2).map(|number| number.to_string()).collect();
        let failed = failure(&Root::Name("vdz".to_owned()), "gone", seen);
        assert_eq!((failed.object.as_str(), failed.seen.len()), ("/dev/vdz", LISTED_MAX + 1));
        assert_eq!(failed.seen.last().map(String::as_str), Some("2 more"));
        let failed = failure(&Root::Label("x".to_owned()), "gone", Vec::new());
        assert_eq!(failed.seen, ["no block device at all"]);
    }
}
