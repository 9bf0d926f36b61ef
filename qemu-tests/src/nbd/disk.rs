//! A disk that forgets what was never flushed.
//!
//! Killing QEMU is no power cut: the host's page cache keeps every write that the guest has made,
//! so a missing fsync is never found. This disk keeps writes apart until a flush (or a write with
//! FUA) makes them last, and at a cut it drops them: all, or all but a seeded choice of sectors,
//! since a real disk may have written any of them by itself, in any order, and torn.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What a disk writes whole, in bytes.
pub const SECTOR_BYTES: usize = 512;

/// In what pieces changes are kept, in bytes: the file system's own block.
const BLOCK_BYTES: usize = 4096;

/// Changed blocks that are kept in memory (512 MiB): a test that writes more has run away.
const BLOCKS_MAX: usize = 512 << 20 >> 12;

type Block = Box<[u8; BLOCK_BYTES]>;

/// What is lost at a cut, of what was not flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Everything.
    All,
    /// Each sector by the toss of a coin; the same seed tosses the same.
    Some {
        /// Seed of the coin.
        seed: u64,
    },
}

/// When the power goes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Just before this flush of those still to come takes effect; 1 is the next.
    BeforeFlush(u64),
    /// Just after it.
    AfterFlush(u64),
}

/// How much the disk was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// Flushes, those with nothing to flush included.
    pub flushes: u64,
    /// Writes.
    pub writes: u64,
    /// Bytes that a cut would lose now.
    pub unflushed_bytes: u64,
}

/// A write since the last flush.
#[derive(Debug)]
struct Write {
    offset: u64,
    bytes: Vec<u8>,
    /// It lasts already, and is here because older ones that do not would come over it.
    lasts: bool,
}

/// The disk: an image that is only read, and what was changed since.
#[derive(Debug)]
pub struct Disk {
    image: File,
    length: u64,
    /// What lasts.
    durable: BTreeMap<u64, Block>,
    /// What the guest sees: what lasts and what does not yet.
    seen: BTreeMap<u64, Block>,
    unflushed: Vec<Write>,
    moment: Option<Moment>,
    used: Use,
    is_cut: bool,
}

/// The power is gone: nothing is answered any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut;

impl Disk {
    /// A fresh disk over an image, which stays as it is.
    ///
    /// # Errors
    /// Those of open(2); an image that does not end at a sector's end.
    pub fn open(image: &Path) -> Result<Self> {
        let file = File::open(image).with_context(|| format!("open {}", image.display()))?;
        let length = file.metadata()?.len();
        let whole = length.is_multiple_of(SECTOR_BYTES as u64);
        ensure!(whole, "{} has {length} bytes, which are no whole sectors", image.display());
        Ok(Self {
            image: file,
            length,
            durable: BTreeMap::new(),
            seen: BTreeMap::new(),
            unflushed: Vec::new(),
            moment: None,
            used: Use::default(),
            is_cut: false,
        })
    }

    /// Bytes on it.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// How much it was used.
    #[must_use]
    pub const fn used(&self) -> Use {
        self.used
    }

    /// Whether the power is gone.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Has the power go at a moment to come.
    pub fn cut_at(&mut self, moment: Moment) {
        self.moment = Some(moment);
    }

    /// The power goes now.
    pub fn cut(&mut self) {
        self.is_cut = true;
    }

    /// Reads what the guest would see.
    ///
    /// # Errors
    /// Beyond the end; those of pread(2) on the image.
    pub fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        self.within(offset, length)?;
        let mut bytes = vec![0; length];
        for (block, inside, piece) in pieces(offset, length) {
            let part = &mut bytes[piece.clone()];
            match self.seen.get(&block) {
                Some(data) => part.copy_from_slice(&data[inside..inside + part.len()]),
                None => {
                    self.image.read_exact_at(part, block * BLOCK_BYTES as u64 + inside as u64)?;
                }
            }
        }
        Ok(bytes)
    }

    /// Writes; it lasts from the next flush on, or from now on with `fua`.
    ///
    /// # Errors
    /// Beyond the end; more changes than a test makes; those of pread(2) on the image.
    pub fn write(&mut self, offset: u64, bytes: Vec<u8>, fua: bool) -> Result<()> {
        self.within(offset, bytes.len())?;
        ensure!(self.seen.len() < BLOCKS_MAX, "a guest changed more than {BLOCKS_MAX} blocks");
        put(&self.image, self.length, &mut self.seen, offset, &bytes)?;
        self.used.writes += 1;
        if fua {
            put(&self.image, self.length, &mut self.durable, offset, &bytes)?;
        } else {
            self.used.unflushed_bytes += bytes.len() as u64;
        }
        self.unflushed.push(Write { offset, bytes, lasts: fua });
        Ok(())
    }

    /// Makes all that was written last. False if the power went instead, or with it.
    ///
    /// # Errors
    /// Those of pread(2) on the image.
    pub fn flush(&mut self) -> Result<Result<(), Cut>> {
        self.used.flushes += 1;
        let due = match &mut self.moment {
            Some(Moment::BeforeFlush(left) | Moment::AfterFlush(left)) => {
                *left = left.saturating_sub(1);
                *left == 0
            }
            None => false,
        };
        if due && matches!(self.moment, Some(Moment::BeforeFlush(_))) {
            self.is_cut = true;
            return Ok(Err(Cut));
        }
        for write in std::mem::take(&mut self.unflushed) {
            put(&self.image, self.length, &mut self.durable, write.offset, &write.bytes)?;
        }
        self.used.unflushed_bytes = 0;
        if due {
            self.is_cut = true;
            return Ok(Err(Cut));
        }
        Ok(Ok(()))
    }

    /// The power comes back: what was lost is lost. The disk can be used again.
    ///
    /// # Errors
    /// Those of pread(2) on the image.
    pub fn restore(&mut self, loss: Loss) -> Result<()> {
        let unflushed = std::mem::take(&mut self.unflushed);
        if let Loss::Some { seed } = loss {
            let mut coin = fastrand::Rng::with_seed(seed);
            for write in unflushed {
                for (index, sector) in write.bytes.chunks(SECTOR_BYTES).enumerate() {
                    let offset = write.offset + (index * SECTOR_BYTES) as u64;
                    if coin.bool() || write.lasts {
                        put(&self.image, self.length, &mut self.durable, offset, sector)?;
                    }
                }
            }
        }
        self.seen = self.durable.clone();
        self.used = Use::default();
        self.moment = None;
        self.is_cut = false;
        Ok(())
    }

    /// Writes the disk as the guest sees it into a file, for tools of the host.
    ///
    /// # Errors
    /// Those of copying the image and of pwrite(2).
    pub fn save(&self, image: &Path, path: &Path) -> Result<()> {
        std::fs::copy(image, path).with_context(|| format!("copy to {}", path.display()))?;
        let file = File::options().write(true).open(path)?;
        for (block, data) in &self.seen {
            let offset = block * BLOCK_BYTES as u64;
            let length = (self.length - offset).min(BLOCK_BYTES as u64);
            file.write_all_at(&data[..usize::try_from(length)?], offset)?;
        }
        Ok(())
    }

    fn within(&self, offset: u64, length: usize) -> Result<()> {
        let end = offset.checked_add(length as u64);
        ensure!(
            end.is_some_and(|end| end <= self.length),
            "{length} at {offset} is beyond the end"
        );
        Ok(())
    }
}

/// The blocks of a range: their number, where in them, and where in the range.
fn pieces(
    offset: u64,
    length: usize,
) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        (done < length).then(|| {
            let at = offset + done as u64;
            // Below a block's size, so it fits.
            let inside = usize::try_from(at % BLOCK_BYTES as u64).unwrap_or_default();
            let piece = (BLOCK_BYTES - inside).min(length - done);
            let range = done..done + piece;
            done += piece;
            (at / BLOCK_BYTES as u64, inside, range)
        })
    })
}

/// Changes blocks; one that is new begins as the image has it.
fn put(
    image: &File,
    length: u64,
    blocks: &mut BTreeMap<u64, Block>,
    offset: u64,
    bytes: &[u8],
) -> Result<()> {
    for (block, inside, piece) in pieces(offset, bytes.len()) {
        let part = &bytes[piece];
        let data = match blocks.entry(block) {
            std::collections::btree_map::Entry::Occupied(data) => data.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                let mut data = Box::new([0; BLOCK_BYTES]);
                let start = block * BLOCK_BYTES as u64;
                let there = usize::try_from((length - start).min(BLOCK_BYTES as u64))?;
                image.read_exact_at(&mut data[..there], start)?;
                place.insert(data)
            }
        };
        data[inside..inside + part.len()].copy_from_slice(part);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(length: usize) -> (tempfile::NamedTempFile, Disk) {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), vec![7; length]).expect("image");
        let disk = Disk::open(file.path()).expect("disk");
        (file, disk)
    }

    /// A write is seen at once, and is gone after a cut unless a flush came in between.
    #[test]
    fn only_what_was_flushed_is_there_after_a_cut() {
        let (_file, mut disk) = disk(3 * BLOCK_BYTES + SECTOR_BYTES);
        disk.write(4000, vec![1; 1000], false).expect("write");
        assert_eq!(disk.flush().expect("flush"), Ok(()));
        disk.write(4096, vec![2; 512], false).expect("write");
        disk.write(3 * 4096, vec![2; 512], false).expect("write");
        disk.write(3 * 4096, vec![3; 512], true).expect("write");
        assert_eq!(disk.read(4095, 2).expect("read"), [1, 2]);
        disk.cut();
        disk.restore(Loss::All).expect("restore");
        assert_eq!(disk.read(3999, 2).expect("read"), [7, 1]);
        assert_eq!(disk.read(4096, 512).expect("read"), [1; 512], "lost, as it should be");
        assert_eq!(disk.read(3 * 4096, 512).expect("read"), [3; 512], "FUA lasts at once");
        assert!(disk.read(3 * 4096, 513).is_err(), "beyond the end");
    }

    /// A seed loses some sectors and not others, and the same ones again.
    #[test]
    fn a_seed_tears_the_same_sectors() {
        let run = |seed| {
            let (_file, mut disk) = disk(64 * SECTOR_BYTES);
            disk.write(0, vec![1; 64 * SECTOR_BYTES], false).expect("write");
            disk.cut();
            disk.restore(Loss::Some { seed }).expect("restore");
            let bytes = disk.read(0, 64 * SECTOR_BYTES).expect("read");
            bytes.chunks(SECTOR_BYTES).map(|sector| sector[0]).collect::<Vec<u8>>()
        };
        assert_eq!(run(5), run(5));
        assert_ne!(run(5), run(6));
        assert!(run(5).contains(&1) && run(5).contains(&7));
    }

    /// The power goes at the flush that was named, before or after it takes effect.
    #[test]
    fn the_power_goes_at_its_moment() {
        for (moment, lasts) in [(Moment::BeforeFlush(2), 7), (Moment::AfterFlush(2), 1)] {
            let (_file, mut disk) = disk(BLOCK_BYTES);
            disk.cut_at(moment);
            assert_eq!(disk.flush().expect("flush"), Ok(()));
            disk.write(0, vec![1; 512], false).expect("write");
            assert_eq!(disk.flush().expect("flush"), Err(Cut));
            assert!(disk.is_cut());
            disk.restore(Loss::All).expect("restore");
            assert_eq!(disk.read(0, 1).expect("read"), [lasts], "{moment:?}");
        }
    }
}
