//! Growing the root: its partition before it is mounted, its file system after.
//!
//! Nothing here ends a boot: a root that stays small is said and used.

use crate::command_line::CommandLine;
use crate::voice::Voice;
use disk::{Device, growth};
use initrd::image::ROOT_DIRECTORY;
use std::io;
use std::path::Path;
use sys::kmsg::Priority;

const MIB: u64 = 1024 * 1024;

/// Lets the root's partition take the disk's room; returns the device's size in bytes.
pub fn partition(device: &Device, line: &CommandLine, voice: &mut Voice) -> u64 {
    if !line.grows || line.read_only || device.partition.is_none() {
        return device.bytes;
    }
    let shown = device.path.display();
    match growth::grow_partition(device) {
        Ok(grown) => {
            if grown.after_bytes != grown.before_bytes {
                let (before, after) = (grown.before_bytes / MIB, grown.after_bytes / MIB);
                let text = format!("root: partition {shown} grown from {before} to {after} MiB");
                voice.say(Priority::Information, &text);
            }
            grown.after_bytes
        }
        Err(error) => {
            voice
                .say(Priority::Warning, &format!("root: partition {shown} does not grow: {error}"));
            device.bytes
        }
    }
}

/// Lets the root's file system take the device's room.
pub fn file_system(kind: &str, device_bytes: u64, line: &CommandLine, voice: &mut Voice) {
    if !line.grows || line.read_only {
        return;
    }
    match growth::grow_file_system(kind, Path::new(ROOT_DIRECTORY), device_bytes) {
        Ok((before, after)) if before == after => {}
        Ok((before, after)) => {
            let (before, after) = (before / MIB, after / MIB);
            let text = format!("root: {kind} grown from {before} to {after} MiB");
            voice.say(Priority::Information, &text);
        }
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            let text = format!("root: {kind} does not grow while it is mounted; grow it by hand");
            voice.say(Priority::Warning, &text);
        }
        Err(error) => {
            voice.say(Priority::Warning, &format!("root: {kind} does not grow: {error}"));
        }
    }
}
