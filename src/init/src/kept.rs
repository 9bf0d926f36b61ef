//! The fd store: descriptors that outlive who reads them, by name.
//!
//! Listening sockets, log pipes, notify and control sockets. Only names and numbers: nothing is
//! ever read from or written to them here.

use crate::children::Errno;
use port::limits::KEPT_FDS_MAX;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use sys::rendezvous;

/// The store.
#[derive(Debug, Default)]
pub struct Kept {
    entries: BTreeMap<Box<str>, OwnedFd>,
}

impl Kept {
    /// Keeps `fd` under `name`, in place of an older one.
    ///
    /// # Errors
    /// `INVAL` for an internet socket without a port of its own: the kernel gives a port away that
    /// it chose itself as soon as a tenant shuts the socket down. `AGAIN` if the store is full.
    pub fn keep(&mut self, name: &str, fd: OwnedFd) -> Result<(), Errno> {
        if rendezvous::lacks_port(fd.as_fd()) {
            return Err(Errno::INVAL);
        }
        if self.entries.len() >= KEPT_FDS_MAX && !self.entries.contains_key(name) {
            return Err(Errno::AGAIN);
        }
        self.entries.insert(name.into(), fd);
        Ok(())
    }

    /// The descriptor of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<BorrowedFd<'_>> {
        self.entries.get(name).map(AsFd::as_fd)
    }

    /// A duplicate of the descriptor of this name, or the descriptor itself if the entry goes.
    ///
    /// # Errors
    /// `NOENT` if there is no such name, `MFILE` if no descriptor is free.
    pub fn take(&mut self, name: &str, drop_entry: bool) -> Result<OwnedFd, Errno> {
        if drop_entry {
            return self.entries.remove(name).ok_or(Errno::NOENT);
        }
        let fd = self.get(name).ok_or(Errno::NOENT)?;
        sys::process::duplicate(fd).map_err(|_| Errno::MFILE)
    }

    /// The first name after `name`, in order; with none, the first of all.
    #[must_use]
    pub fn name_after(&self, name: Option<&str>) -> Option<&str> {
        let from = name.map_or(Bound::Unbounded, Bound::Excluded);
        self.entries.range::<str, _>((from, Bound::Unbounded)).next().map(|(name, _)| &**name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn null() -> OwnedFd {
        sys::process::open_null().expect("/dev/null")
    }

    /// Names come in order, each once; taking with the entry removes it.
    #[test]
    fn names_are_kept_until_taken_away() {
        let mut kept = Kept::default();
        for name in ["b", "a", "b"] {
            kept.keep(name, null()).expect("kept");
        }
        assert_eq!(kept.name_after(None), Some("a"));
        assert_eq!(kept.name_after(Some("a")), Some("b"));
        assert_eq!(kept.name_after(Some("b")), None);
        kept.take("a", false).expect("a duplicate");
        kept.take("a", true).expect("the entry itself");
        assert_eq!(kept.take("a", true).expect_err("gone"), Errno::NOENT);
        assert!(kept.get("b").is_some());
    }
}
