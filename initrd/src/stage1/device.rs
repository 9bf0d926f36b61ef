//! Waiting for the root device.
//!
//! ```text
//! listen to uevents ─▶ look at /sys ─▶ found? ── yes ─▶ done
//!                         ▲              │ no
//!                         └─ block event,┴─ lost events ─▶ … ─▶ deadline: fail with what was seen
//! ```
//!
//! The socket is opened before the first look, so a device that appears in between is heard. It is
//! never asked twice "in a while": only an event, lost events, or the deadline wake it.

use crate::command_line::Root;
use crate::voice::Failure;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use sys::block::{self, Device};
use sys::clock::{NS_PER_MS, NS_PER_S, monotonic_ns};
use sys::poll::{self, PollFd, PollFlags};
use sys::uevent::{EVENT_BYTES_MAX, Heard, Listener};

/// Devices listed in a failure; a screen has 25 lines.
const LISTED_MAX: usize = 12;

/// The device that `root` means, if it is there.
fn find<'a>(root: &Root, devices: &'a [Device]) -> Option<&'a Device> {
    devices.iter().find(|device| match root {
        // A drive without a medium has a node, and no root file system.
        Root::Name(name) => device.name == *name && device.bytes > 0,
        Root::PartitionUuid(uuid) => device.partition_uuid.as_ref() == Some(uuid),
    })
}

/// Waits for the root device; returns its path and how long it took in milliseconds.
///
/// # Errors
/// A [`Failure`] if it does not appear in time, with what did.
pub fn wait(root: &Root, listener: &Listener, wait_s: u64) -> Result<(PathBuf, u64), Failure> {
    let start_ns = monotonic_ns();
    let deadline_ns = start_ns + wait_s * NS_PER_S;
    let trouble = |error: io::Error| failure(root, &format!("looking at devices: {error}"), &[]);
    loop {
        let devices = block::devices().map_err(trouble)?;
        if let Some(device) = find(root, &devices) {
            let path = PathBuf::from("/dev").join(&device.name);
            // devtmpfs makes the node before the event is sent, so it is there.
            return Ok((path, (monotonic_ns() - start_ns) / NS_PER_MS));
        }
        while !something_new(listener).map_err(trouble)? {
            if monotonic_ns() >= deadline_ns {
                return Err(failure(
                    root,
                    &format!("it did not appear within {wait_s} s"),
                    &devices,
                ));
            }
            let mut polled = [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)];
            poll::until(&mut polled, Some(deadline_ns)).map_err(trouble)?;
        }
    }
}

/// Takes all that was heard; true if the block devices may have changed.
fn something_new(listener: &Listener) -> io::Result<bool> {
    let mut buffer = [0; EVENT_BYTES_MAX];
    let mut new = false;
    while let Some(heard) = listener.hear(&mut buffer)? {
        new |= match heard {
            Heard::Event(event) => event.value("SUBSYSTEM") == Some(b"block"),
            Heard::Lost => true,
            Heard::Noise => false,
        };
    }
    Ok(new)
}

fn failure(root: &Root, cause: &str, devices: &[Device]) -> Failure {
    let object = match root {
        Root::Name(name) => format!("/dev/{name}"),
        Root::PartitionUuid(uuid) => format!("PARTUUID={uuid}"),
    };
    let mut seen: Vec<String> = devices.iter().take(LISTED_MAX).map(describe).collect();
    if devices.is_empty() {
        seen.push("no block device at all".to_owned());
    } else if devices.len() > LISTED_MAX {
        seen.push(format!("{} more", devices.len() - LISTED_MAX));
    }
    let cure = "correct root= on the kernel command line, attach the disk, or add its driver \
                to the modules of the initrd";
    Failure {
        step: "find the root device",
        object,
        cause: cause.to_owned(),
        seen,
        cure: cure.to_owned(),
    }
}

fn describe(device: &Device) -> String {
    let uuid = device.partition_uuid.as_ref().map(|uuid| format!(" PARTUUID={uuid}"));
    let uuid = uuid.unwrap_or_default();
    format!("/dev/{} {} MiB{uuid}", device.name, device.bytes / (1024 * 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str, bytes: u64, uuid: Option<&str>) -> Device {
        Device { name: name.to_owned(), bytes, partition_uuid: uuid.map(str::to_owned) }
    }

    /// A name must be whole and have a medium; a UUID belongs to a partition.
    #[test]
    fn finding() {
        let devices =
            [device("sr0", 0, None), device("vda", 9, None), device("vda1", 8, Some("ab-01"))];
        let name = |name: &str| find(&Root::Name(name.to_owned()), &devices).is_some();
        assert!(name("vda") && name("vda1"));
        assert!(!name("vd") && !name("vda2") && !name("sr0"));
        let by_uuid = find(&Root::PartitionUuid("ab-01".to_owned()), &devices);
        assert_eq!(by_uuid.map(|device| device.name.as_str()), Some("vda1"));
        assert!(find(&Root::PartitionUuid(String::new()), &devices).is_none());
    }

    /// The words name what was asked for, what is there, and end when there is too much.
    #[test]
    fn failing_lists_what_is_there() {
        let devices = vec![device("vda1", 64 << 20, Some("ab-01")); LISTED_MAX + 2];
        let failure = failure(&Root::Name("vdz".to_owned()), "gone", &devices);
        assert_eq!(failure.object, "/dev/vdz");
        assert_eq!(failure.seen[0], "/dev/vda1 64 MiB PARTUUID=ab-01");
        assert_eq!(failure.seen.last().map(String::as_str), Some("2 more"));
    }
}
