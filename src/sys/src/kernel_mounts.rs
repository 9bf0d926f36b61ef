//! The kernel's own file systems, each mounted once: one that is there already is kept.
//!
//! Somebody else may have been first: the kernel (`CONFIG_DEVTMPFS_MOUNT`), or a stage 1 that moved
//! its mounts over. Mounting `/run` anew would hide what an initramfs left there.

use crate::detach;
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

/// Whether the root is read-only.
///
/// # Errors
/// Those of statvfs(2).
pub fn root_is_read_only() -> io::Result<bool> {
    let flags = rustix::fs::statvfs("/")?.f_flag;
    Ok(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY))
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
}
