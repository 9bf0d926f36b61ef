//! What the helper does at the end: write out, swap off, unmount, make the root read-only.
//!
//! Runs in a copy of PID 1 that may sleep for ever; PID 1 waits for it under a deadline. It goes
//! over all mounts, newest first, until a pass changes nothing: what is busy is made read-only, and
//! what lies under something busy becomes free in the next pass. The root stays, read-only. Each
//! step that fails is said with who is in the way.

use std::path::Path;
use sys::detach::{self, Mounted};
use sys::kmsg::{Kmsg, Priority};

/// Passes over the mount table. Each must free something to be followed by another; nesting deeper
/// than this is no server.
const PASSES_MAX: usize = 32;

/// Writers named when the root stays busy.
const WRITERS_MAX: usize = 8;

/// Where the kernel's own file systems lie; `/proc` is read until the end.
const KERNEL_MOUNTS: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];

/// File systems of the kernel's own: nothing to write out.
const KERNEL_KINDS: [&str; 12] = [
    "proc",
    "sysfs",
    "devtmpfs",
    "devpts",
    "tmpfs",
    "ramfs",
    "rootfs",
    "cgroup2",
    "securityfs",
    "debugfs",
    "tracefs",
    "efivarfs",
];

/// The helper's work; returns 0 if every file system with data was detached or is read-only.
pub fn run() -> u8 {
    let mut kmsg = Kmsg::open().ok();
    let mut say = |priority, text: String| {
        if let Some(kmsg) = &mut kmsg {
            kmsg.write_line(priority, format!("rollinit-init: {text}").as_bytes());
        }
    };
    // First what takes longest: the passes below then find little left to write.
    detach::sync_all();
    for swap in detach::swaps().unwrap_or_default() {
        if let Err(error) = detach::swap_off(&swap) {
            say(Priority::Warning, format!("swap off {}: {error}; left on", swap.display()));
        }
    }
    for _ in 0..PASSES_MAX {
        if !one_pass(&mut say) {
            break;
        }
    }
    let root_fine = finish_root(&mut say);
    detach::sync_all();
    let left = detach::mounted().unwrap_or_default();
    let busy = left.iter().filter(|mounted| mounted.path != Path::new("/") && holds_data(mounted));
    let busy: Vec<_> = busy.map(|mounted| mounted.path.display().to_string()).collect();
    if !busy.is_empty() {
        say(Priority::Error, format!("still mounted for writing: {}", busy.join(", ")));
    }
    u8::from(!root_fine || !busy.is_empty())
}

/// Tries every mount but the root and the kernel's own once; true if anything changed.
fn one_pass(say: &mut impl FnMut(Priority, String)) -> bool {
    let mut changed = false;
    for mounted in detach::mounted().unwrap_or_default().iter().rev() {
        if is_kept(mounted) {
            continue;
        }
        let path = &mounted.path;
        if detach::unmount(path).is_ok() {
            changed = true;
        } else if holds_data(mounted) && detach::make_read_only(path).is_ok() {
            say(Priority::Warning, format!("{} is busy; made it read-only", path.display()));
            changed = true;
        }
    }
    changed
}

/// Makes the root read-only; false if it stays writable.
fn finish_root(say: &mut impl FnMut(Priority, String)) -> bool {
    let root = detach::mounted().unwrap_or_default().into_iter().rev();
    let Some(root) = root.into_iter().find(|mounted| mounted.path == Path::new("/")) else {
        return true;
    };
    if !holds_data(&root) {
        return true;
    }
    match detach::make_read_only(&root.path) {
        Ok(()) => true,
        Err(error) => {
            let writers = sys::who::writers(WRITERS_MAX).join(", ");
            let text = format!("root file system stays writable: {error}; open in it: {writers}");
            say(Priority::Error, text);
            false
        }
    }
}

/// The root, and the kernel's own where they belong. A disk mounted below `/run` is not kept.
fn is_kept(mounted: &Mounted) -> bool {
    let of_kernel = KERNEL_KINDS.contains(&mounted.kind.as_str());
    let in_place = KERNEL_MOUNTS.iter().any(|kept| mounted.path.starts_with(kept));
    mounted.path == Path::new("/") || (of_kernel && in_place)
}

/// Whether something in it may still have to be written out.
fn holds_data(mounted: &Mounted) -> bool {
    !mounted.read_only && !KERNEL_KINDS.contains(&mounted.kind.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounted(path: &str, kind: &str, read_only: bool) -> Mounted {
        Mounted { path: path.into(), kind: kind.into(), read_only }
    }

    /// Kept by whole path components (`/devices` is not below `/dev`), and never what a disk holds.
    #[test]
    fn the_kernels_own_mounts_are_kept() {
        let kept = [("/", "ext4"), ("/proc", "proc"), ("/sys/fs/cgroup", "cgroup2")];
        for (path, kind) in kept {
            assert!(is_kept(&mounted(path, kind, false)), "{path}");
        }
        let detached = [("/nix/store", "ext4"), ("/devices", "tmpfs"), ("/run/data", "ext4")];
        for (path, kind) in detached {
            assert!(!is_kept(&mounted(path, kind, false)), "{path}");
        }
    }

    /// Only a writable file system of a kind that lies on a disk can lose anything.
    #[test]
    fn data_is_what_a_disk_holds() {
        assert!(holds_data(&mounted("/", "ext4", false)));
        assert!(!holds_data(&mounted("/", "ext4", true)));
        assert!(!holds_data(&mounted("/tmp", "tmpfs", false)));
    }
}
