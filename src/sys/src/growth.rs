//! Growing a mounted file system to the size of its device.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// fs/ext4/ext4.h: `EXT4_IOC_RESIZE_FS`, `_IOW('f', 16, __u64)`.
const EXT4_RESIZE: libc::Ioctl = 0x4008_6610;

/// fs/xfs/libxfs/xfs_fs.h: `XFS_IOC_FSGEOMETRY_V1`, `_IOR('X', 100, …)`.
const XFS_GEOMETRY: libc::Ioctl = 0x8070_5864;

/// fs/xfs/libxfs/xfs_fs.h: `XFS_IOC_FSGROWFSDATA`, `_IOW('X', 110, …)`.
const XFS_GROW: libc::Ioctl = 0x4010_586e;

/// linux/btrfs.h: `BTRFS_IOC_RESIZE`, `_IOW(0x94, 3, …)`.
const BTRFS_RESIZE: libc::Ioctl = 0x5000_9403;

/// fs/xfs/libxfs/xfs_fs.h: `struct xfs_fsop_geom_v1`.
#[repr(C)]
#[derive(Default)]
struct XfsGeometry {
    block_bytes: u32,
    unused_before: [u32; 6],
    inode_percent_max: u32,
    data_blocks: u64,
    unused_after: [u64; 9],
}

/// fs/xfs/libxfs/xfs_fs.h: `struct xfs_growfs_data`.
#[repr(C)]
struct XfsGrow {
    data_blocks: u64,
    inode_percent_max: u32,
}

/// linux/btrfs.h: `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct BtrfsArguments {
    fd: i64,
    name: [u8; 4088],
}

/// Grows the ext4 that is mounted where `directory` lies to `device_bytes`. Nothing to do is fine.
///
/// # Errors
/// `EROFS` if it is mounted read-only, `EPERM` without the right, `EOPNOTSUPP` for one whose
/// features do not allow it while mounted, `EINVAL` if it would shrink.
pub fn ext4(directory: &File, device_bytes: u64) -> io::Result<()> {
    // The kernel counts blocks of the file system, whatever the device's sectors are.
    let block_bytes = rustix::fs::fstatvfs(directory)?.f_frsize;
    let mut blocks = device_bytes / block_bytes.max(1);
    // SAFETY: the kernel reads the eight bytes that are pointed at.
    let answer = unsafe { libc::ioctl(directory.as_raw_fd(), EXT4_RESIZE, &raw mut blocks) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The same for xfs.
///
/// # Errors
/// `EROFS` if it is mounted read-only, `EPERM` without the right, `EINVAL` if it would shrink.
pub fn xfs(directory: &File, device_bytes: u64) -> io::Result<()> {
    let mut geometry = XfsGeometry::default();
    // SAFETY: the kernel writes no more than the structure, whose size is in the request.
    let answer = unsafe { libc::ioctl(directory.as_raw_fd(), XFS_GEOMETRY, &raw mut geometry) };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    let data_blocks = device_bytes / u64::from(geometry.block_bytes.max(1));
    if data_blocks <= geometry.data_blocks {
        return Ok(());
    }
    let mut grow = XfsGrow { data_blocks, inode_percent_max: geometry.inode_percent_max };
    // SAFETY: the kernel reads no more than the structure, whose size is in the request.
    let answer = unsafe { libc::ioctl(directory.as_raw_fd(), XFS_GROW, &raw mut grow) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The same for the first device of a btrfs; it asks the device for its size itself.
///
/// # Errors
/// `EROFS` if it is mounted read-only, `EPERM` without the right.
pub fn btrfs(directory: &File) -> io::Result<()> {
    let mut arguments = BtrfsArguments { fd: 0, name: [0; 4088] };
    arguments.name[..3].copy_from_slice(b"max");
    // SAFETY: the kernel reads no more than the structure, whose size is in the request.
    let answer = unsafe { libc::ioctl(directory.as_raw_fd(), BTRFS_RESIZE, &raw mut arguments) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The structures have the sizes that are part of the requests' numbers, and a file system of
    /// another kind refuses.
    #[test]
    fn other_file_systems_refuse() {
        let size = |request: libc::Ioctl| usize::try_from((request >> 16) & 0x3fff).expect("small");
        assert_eq!(size(XFS_GEOMETRY), size_of::<XfsGeometry>());
        assert_eq!(size(XFS_GROW), size_of::<XfsGrow>());
        assert_eq!(size(BTRFS_RESIZE), size_of::<BtrfsArguments>());
        assert_eq!(size(EXT4_RESIZE), size_of::<u64>());
        let proc = File::open("/proc").expect("a directory of no disk");
        for answer in [ext4(&proc, 1 << 30), xfs(&proc, 1 << 30), btrfs(&proc)] {
            answer.expect_err("it is no such file system");
        }
    }
}
