//! The kernel's own file systems, each mounted once: one that is there already is kept.
//!
//! Somebody else may have been first: the kernel (`CONFIG_DEVTMPFS_MOUNT`), or a stage 1 that moved
//! its mounts over. Mounting `/run` anew would hide what an initramfs left there.

use crate::detach;
use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags};
use std::ffi::CString;
use std::io;
use std::path::Path;

/// A file system of the kernel's and where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelMount {
    /// Type, which is also its source: `proc`.
    pub kind: &'static str,
    /// Where.
    pub path: &'static str,
    /// Programs in it may run.
    pub executable: bool,
    /// Device nodes in it work.
    pub devices: bool,
    /// Options of the file system: `mode=755`.
    pub options: &'static str,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Mounted now.
    Mounted,
    /// It was there.
    Present,
}

impl KernelMount {
    /// Mounts it unless a file system of its kind is at its path. The mount point is made if it is
    /// missing and its file system can be written.
    ///
    /// # Errors
    /// Those of mount(2), `EBUSY` apart (it is there): `ENODEV` says that the kernel lacks it.
    pub fn ensure(&self) -> io::Result<Outcome> {
        if self.is_present() {
            return Ok(Outcome::Present);
        }
        match std::fs::create_dir_all(self.path) {
            Err(error) if !Path::new(self.path).is_dir() => return Err(error),
            _ => {}
        }
        let mut flags = MountFlags::NOSUID;
        flags.set(MountFlags::NOEXEC, !self.executable);
        flags.set(MountFlags::NODEV, !self.devices);
        let options = CString::new(self.options)?;
        match rustix::mount::mount(self.kind, self.path, self.kind, flags, options.as_c_str()) {
            Ok(()) => Ok(Outcome::Mounted),
            Err(Errno::BUSY) => Ok(Outcome::Present),
            Err(error) => Err(error.into()),
        }
    }

    /// Before `/proc` is there nobody can tell, and nothing is there.
    fn is_present(&self) -> bool {
        let mounted = detach::mounted().unwrap_or_default();
        mounted.iter().any(|mounted| {
            // Stage 1's /dev may be a tmpfs under a kernel without devtmpfs: still a /dev.
            mounted.path == Path::new(self.path) && (mounted.kind == self.kind || self.devices)
        })
    }
}

/// Makes the root and all below it shared, so that mounts reach the namespaces of services made
/// later. The kernel's own default is private.
///
/// # Errors
/// Those of mount(2).
pub fn share_all() -> io::Result<()> {
    let flags = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    Ok(rustix::mount::mount_change("/", flags)?)
}

/// Makes the root writable.
///
/// # Errors
/// Those of mount(2): `EROFS` for a device or an image that cannot be.
pub fn make_root_writable() -> io::Result<()> {
    Ok(rustix::mount::mount_remount("/", MountFlags::empty(), c"")?)
}

/// Makes what lies below `path` read-only for all, by a mount of the directory onto itself; one
/// that is a mount already becomes read-only as it is. What it holds is not touched, and who needs
/// to write makes the mount writable in a mount namespace of its own.
///
/// # Errors
/// Those of mount(2): `ENOENT` if there is no such directory.
pub fn protect(path: &Path) -> io::Result<()> {
    if !detach::mounted()?.iter().any(|mounted| mounted.path == path) {
        rustix::mount::mount_bind(path, path)?;
    }
    // A remount sets all flags of a mount anew, so those it has are given again.
    let held = rustix::fs::statvfs(path)?.f_flag;
    let kept = MOUNT_FLAGS.iter().filter(|(flag, _)| held.contains(*flag));
    let flags = kept.fold(MountFlags::BIND | MountFlags::RDONLY, |flags, (_, flag)| flags | *flag);
    Ok(rustix::mount::mount_remount(path, flags, c"")?)
}

/// The flags of a mount that are not of its file system, as they are read and as they are set.
const MOUNT_FLAGS: [(StatVfsMountFlags, MountFlags); 6] = [
    (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
    (StatVfsMountFlags::NODEV, MountFlags::NODEV),
    (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
    (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
    (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
    (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
];

/// Whether the root is read-only.
///
/// # Errors
/// Those of statvfs(2).
pub fn root_is_read_only() -> io::Result<bool> {
    let flags = rustix::fs::statvfs("/")?.f_flag;
    Ok(flags.contains(StatVfsMountFlags::RDONLY))
}

/// Sets the host's name.
///
/// # Errors
/// Those of sethostname(2): `EINVAL` above 64 bytes.
pub fn set_hostname(name: &[u8]) -> io::Result<()> {
    Ok(rustix::system::sethostname(name)?)
}

/// The running kernel's release, `6.1.0-56-cloud-amd64`.
#[must_use]
pub fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On any Linux `/proc` is mounted: it must be seen as present and left alone.
    #[test]
    fn what_is_there_is_left_alone() {
        let proc = KernelMount {
            kind: "proc",
            path: "/proc",
            executable: false,
            devices: false,
            options: "",
        };
        assert_eq!(proc.ensure().expect("it is there"), Outcome::Present);
    }

    /// A plain directory and one that is a mount with flags of its own: both cannot be written
    /// afterwards, flags stay, and what is in them is there. On a thread with a mount namespace of
    /// its own, thrown away with it. Needs root.
    #[test]
    fn protected_directories_cannot_be_written() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().to_owned();
        let protected = std::thread::spawn(move || -> io::Result<()> {
            // SAFETY: CLONE_NEWNS makes no descriptor invalid; the thread ends with the test.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS)? };
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            rustix::mount::mount_change("/", private)?;
            let plain = root.join("plain");
            let mounted = root.join("mounted");
            for path in [&plain, &mounted] {
                std::fs::create_dir(path)?;
            }
            let flags = MountFlags::NOSUID | MountFlags::NOATIME;
            rustix::mount::mount("tmpfs", &mounted, "tmpfs", flags, c"")?;
            for path in [&plain, &mounted] {
                std::fs::write(path.join("before"), "x")?;
                for _again in 0..2 {
                    protect(path)?;
                    let error = std::fs::write(path.join("after"), "x").expect_err("read-only");
                    assert_eq!(error.kind(), io::ErrorKind::ReadOnlyFilesystem);
                    assert_eq!(std::fs::read(path.join("before"))?, b"x");
                }
            }
            let held = rustix::fs::statvfs(&mounted)?.f_flag;
            assert!(held.contains(StatVfsMountFlags::NOSUID | StatVfsMountFlags::NOATIME));
            let mounts = detach::mounted()?;
            assert_eq!(mounts.iter().filter(|mount| mount.path == plain).count(), 1);
            Ok(())
        });
        protected.join().expect("no panic").expect("mounts");
        assert!(!directory.path().join("plain/after").exists());
    }
}
