//! The fd store: descriptors that outlive who reads them, by name.
//!
//! Listening sockets, log pipes, notify and control sockets. Only names and numbers: nothing is
//! ever read from or written to them here.

use crate::children::Errno;
use port::limits::KEPT_FDS_MAX;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use sys::rendezvous;

/// The store. Ordered by name, so that a snapshot can go on after any name.
#[derive(Debug, Default)]
pub struct Kept {
    entries: Vec<(Box<str>, OwnedFd)>,
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
        match self.find(name) {
            Ok(at) => self.entries[at].1 = fd,
            Err(_) if self.entries.len() >= KEPT_FDS_MAX => return Err(Errno::AGAIN),
            Err(at) => self.entries.insert(at, (name.into(), fd)),
        }
        Ok(())
    }

    /// The descriptor of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<BorrowedFd<'_>> {
        self.find(name).ok().map(|at| self.entries[at].1.as_fd())
    }

    /// A duplicate of the descriptor of this name, or the descriptor itself if the entry goes.
    ///
    /// # Errors
    /// `NOENT` if there is no such name, `MFILE` if no descriptor is free.
    pub fn take(&mut self, name: &str, drop_entry: bool) -> Result<OwnedFd, Errno> {
        let at = self.find(name).map_err(|_| Errno::NOENT)?;
        if drop_entry {
            return Ok(self.entries.remove(at).1);
        }
        sys::process::duplicate(self.entries[at].1.as_fd()).map_err(|_| Errno::MFILE)
    }

    /// The first name after `name`, in order; with none, the first of all.
    #[must_use]
    pub fn name_after(&self, name: Option<&str>) -> Option<&str> {
        let at = match name.map(|name| self.find(name)) {
            None => 0,
            Some(Ok(at)) => at + 1,
            Some(Err(at)) => at,
        };
        self.entries.get(at).map(|(name, _)| &**name)
    }

    /// Where a name is, or would be.
    fn find(&self, name: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|(known, _)| (**known).cmp(name))
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
