//! Whether the disk has room, said before the first byte is fetched.
//!
//! What is counted is NarSize, which is signed; FileSize is not, so nothing depends on it. A NAR
//! does not say how many files it holds, so inodes and the loss of half-filled blocks are
//! estimated.

use crate::error::{Error, Fault, Result, Step};
use std::path::Path;
use sys::files::Free;

/// The mean size of a file in a store, in bytes. Paths of code have files of 20 to 60 KiB in the
/// mean, ext4 has an inode for each 16 KiB by default: whoever runs out of inodes has smaller
/// files.
const FILE_BYTES_MEAN: u64 = 16 * 1024;

/// Inodes that a path takes beside its files: its own folder, `bin`, `lib`.
const FOLDERS_OF_A_PATH: u64 = 3;

/// Bytes that stay free after a fetch: the database's growth, the swap's journal, logs.
const RESERVE_BYTES: u64 = 16 << 20;

/// Inodes that stay free after a fetch.
const RESERVE_INODES: u64 = 64;

/// What paths need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Bytes.
    pub bytes: u64,
    /// Inodes, about.
    pub inodes: u64,
}

/// What NARs of `sizes` bytes need on a file system with blocks of `block_bytes`.
#[must_use]
pub fn need(sizes: impl Iterator<Item = u64>, block_bytes: u64) -> Need {
    let mut need = Need { bytes: 0, inodes: 0 };
    for size in sizes {
        // The smallest path is one file.
        let inodes = 1 + size / FILE_BYTES_MEAN;
        let inodes = if inodes > 1 { inodes + FOLDERS_OF_A_PATH } else { inodes };
        need.inodes = need.inodes.saturating_add(inodes);
        let lost_in_blocks = inodes.saturating_mul(block_bytes / 2);
        need.bytes = need.bytes.saturating_add(size).saturating_add(lost_in_blocks);
    }
    need
}

/// Whether `need` fits into `free`, the reserve left over.
///
/// # Errors
/// It does not, and how far.
pub fn check(need: Need, free: Free, folder: &Path) -> Result<()> {
    if need.inodes == 0 {
        return Ok(());
    }
    let refused = |fault| Err(Error::new(Step::Plan, folder.display(), fault));
    let needed_bytes = need.bytes.saturating_add(RESERVE_BYTES);
    if needed_bytes > free.bytes {
        return refused(Fault::Space { needed_bytes, free_bytes: free.bytes });
    }
    let needed = need.inodes.saturating_add(RESERVE_INODES);
    match free.inodes {
        Some(free) if needed > free => refused(Fault::Inodes { needed, free }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn judge(sizes: &[u64], bytes: u64, inodes: Option<u64>) -> Result<()> {
        let need = need(sizes.iter().copied(), 4096);
        check(need, Free { bytes, inodes, block_bytes: 4096 }, Path::new("/nix/store"))
    }

    #[test]
    fn the_reserve_stays_free_and_nothing_to_fetch_always_fits() {
        assert!(judge(&[], 0, Some(0)).is_ok());
        assert!(judge(&[10 * MIB], 30 * MIB, None).is_ok());
        let error = judge(&[10 * MIB], 20 * MIB, None).expect_err("the reserve");
        assert!(matches!(error.fault, Fault::Space { free_bytes, .. } if free_bytes == 20 * MIB));
    }

    #[test]
    fn many_small_paths_need_inodes_where_there_is_a_number_of_them() {
        let sizes = [400; 1000];
        assert!(judge(&sizes, 1 << 40, None).is_ok());
        assert!(judge(&sizes, 1 << 40, Some(2000)).is_ok());
        let error = judge(&sizes, 1 << 40, Some(900)).expect_err("one each at least");
        assert!(matches!(error.fault, Fault::Inodes { free: 900, .. }), "{error}");
    }

    #[test]
    fn sizes_that_no_disk_has_do_not_wrap() {
        let error = judge(&[u64::MAX, u64::MAX], u64::MAX - 1, None).expect_err("too large");
        assert!(matches!(error.fault, Fault::Space { .. }), "{error}");
    }
}
