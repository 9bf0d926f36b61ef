//! A mount namespace of one's own: to write where everybody else may only read.

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::mount::{MountFlags, MountPropagationFlags, mount_change, mount_remount};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::io;
use std::path::Path;

/// What became of [`writable_alone`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writable {
    /// It was writable already; nothing was changed.
    Already,
    /// It is now, in a mount namespace of this process alone.
    Remounted,
}

/// Makes the mount at `target` writable for this process and those it starts, and for nobody else.
/// Mounts that the host makes later are seen here too; those made here stay here.
///
/// To be called before the process starts a thread: a thread keeps the namespace it was born in.
///
/// # Errors
/// Those of statvfs(3), unshare(2) and mount(2): `EPERM` without privilege, `EINVAL` if `target` is
/// no mount point, `EROFS` if its file system itself is read-only.
pub fn writable_alone(target: &Path) -> io::Result<Writable> {
    let held = statvfs(target)?.f_flag;
    if !held.contains(StatVfsMountFlags::RDONLY) {
        return Ok(Writable::Already);
    }
    // SAFETY: CLONE_NEWNS makes no descriptor invalid; it only gives this thread its own mounts.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS)? };
    let downstream = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", downstream)?;
    // A remount sets all flags of the mount anew, so those it has are given again.
    mount_remount(target, MountFlags::BIND | kept(held), c"")?;
    Ok(Writable::Remounted)
}

/// The flags of a mount, less read-only.
fn kept(held: StatVfsMountFlags) -> MountFlags {
    [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ]
    .into_iter()
    .filter(|(flag, _)| held.contains(*flag))
    .fold(MountFlags::empty(), |flags, (_, flag)| flags | flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is writable is left alone: no namespace is made (its link in /proc stays the same).
    #[test]
    fn a_writable_place_needs_no_namespace() {
        let directory = tempfile::tempdir().expect("a directory");
        let namespace = || std::fs::read_link("/proc/thread-self/ns/mnt").expect("a namespace");
        let before = namespace();
        assert_eq!(writable_alone(directory.path()).expect("asked"), Writable::Already);
        assert_eq!(namespace(), before);
    }

    /// Beside a read-only bind mount: writable in here, still read-only for who looked before. The
    /// thread of the test is thrown away afterwards, and with it its namespace. Needs root.
    #[test]
    fn a_read_only_mount_becomes_writable_here_alone() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let store = directory.path().join("store");
        std::fs::create_dir(&store).expect("a directory");
        let inside = store.clone();
        let outcome = std::thread::spawn(move || -> io::Result<(bool, Writable)> {
            // A namespace for the test's own mount, so that the host never sees it.
            // SAFETY: as in `writable_alone`; the thread ends with the test.
            unsafe { unshare_unsafe(UnshareFlags::NEWNS)? };
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
            rustix::mount::mount_bind(&inside, &inside)?;
            let only = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NODEV;
            mount_remount(&inside, only, c"")?;
            // Another thread of this namespace is everybody else.
            let other = inside.clone();
            let (ask, asked) = std::sync::mpsc::channel::<()>();
            let everybody = std::thread::spawn(move || {
                asked.recv().ok();
                std::fs::write(other.join("by-everybody"), "x").is_err()
            });
            let writable = writable_alone(&inside)?;
            std::fs::write(inside.join("by-the-agent"), "x")?;
            let flags = statvfs(&inside)?.f_flag;
            assert!(flags.contains(StatVfsMountFlags::NODEV), "other flags stay");
            ask.send(()).ok();
            Ok((everybody.join().expect("it ends"), writable))
        });
        let (is_refused, writable) = outcome.join().expect("it ends").expect("mounts");
        assert_eq!(writable, Writable::Remounted);
        assert!(is_refused, "everybody else still sees it read-only");
        assert!(store.join("by-the-agent").exists());
    }
}
