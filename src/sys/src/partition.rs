//! What the kernel believes of a disk's partitions: ioctls of linux/blkpg.h and linux/fs.h.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// linux/blkpg.h: `_IO(0x12, 105)`.
const BLKPG: libc::Ioctl = 0x1269;

/// linux/blkpg.h: `BLKPG_RESIZE_PARTITION`, Linux 3.6.
const RESIZE_PARTITION: i32 = 3;

/// linux/blkpg.h: `struct blkpg_ioctl_arg`.
#[repr(C)]
struct Call {
    operation: i32,
    flags: i32,
    data_bytes: i32,
    data: *mut Partition,
}

/// linux/blkpg.h: `struct blkpg_partition`; the names are not looked at.
#[repr(C)]
struct Partition {
    start_bytes: i64,
    length_bytes: i64,
    number: i32,
    device_name: [u8; 64],
    volume_name: [u8; 64],
}

/// Tells the kernel how long a partition of `disk` is now, also while it is mounted. The table on
/// the disk is the caller's to write.
///
/// # Errors
/// `ENXIO` for a partition that the kernel does not know, `EINVAL` if it starts elsewhere, `EBUSY`
/// if it would overlap another; `ENOTTY` for what is no disk.
pub fn resize(disk: &File, number: u32, start_bytes: u64, length_bytes: u64) -> io::Result<()> {
    let too_large = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let mut partition = Partition {
        start_bytes: i64::try_from(start_bytes).map_err(too_large)?,
        length_bytes: i64::try_from(length_bytes).map_err(too_large)?,
        number: i32::try_from(number).map_err(too_large)?,
        device_name: [0; 64],
        volume_name: [0; 64],
    };
    let mut call = Call {
        operation: RESIZE_PARTITION,
        flags: 0,
        data_bytes: i32::try_from(size_of::<Partition>()).map_err(too_large)?,
        data: &raw mut partition,
    };
    // SAFETY: both structures are laid out as the kernel's and live through the call.
    let answer = unsafe { libc::ioctl(disk.as_raw_fd(), BLKPG, &raw mut call) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Opens a block device for reading and writing while nobody else has claimed it: nothing on it is
/// mounted, and no other tool that claims works on it.
///
/// # Errors
/// `EBUSY` if somebody has; else those of open(2).
pub fn claim(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_EXCL).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The structures have the kernel's sizes, and what is no disk is refused by the kernel.
    #[test]
    fn only_disks_have_partitions() {
        assert_eq!(size_of::<Partition>(), 152);
        assert_eq!(size_of::<Call>(), 24);
        let file = tempfile::tempfile().expect("a file");
        let error = resize(&file, 1, 0, 4096).expect_err("it is a file");
        assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
        assert!(resize(&file, 1, u64::MAX, 1).is_err());
    }
}
