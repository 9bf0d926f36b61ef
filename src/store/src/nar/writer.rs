//! The writer of archives: events in, bytes out; the reader's counterpart.

use super::{Event, MAGIC};
use std::io::{self, Write};

/// Writes one archive to `W`. What [`Reader`](super::Reader) reads from the bytes is what was put
/// in; names and their order are the caller's to get right.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
    written: u64,
    depth: usize,
    /// Bytes of a file's contents that are due.
    due: u64,
    /// Zeros that follow them.
    padding: u64,
    begun: bool,
}

impl<W: Write> Writer<W> {
    /// A writer of an archive to `output`.
    pub fn new(output: W) -> Self {
        Self { output, written: 0, depth: 0, due: 0, padding: 0, begun: false }
    }

    /// The next event. After a file's, its contents are due.
    ///
    /// # Errors
    /// The output fails; `InvalidInput` when contents are due, or after the root's end.
    pub fn put(&mut self, event: &Event<'_>) -> io::Result<()> {
        if self.due != 0 || (self.begun && self.depth == 0) {
            return Err(misuse("an event where a NAR has none"));
        }
        if !self.begun {
            self.string(MAGIC)?;
            self.begun = true;
        }
        match *event {
            Event::Directory { name } => {
                self.open(name, b"directory")?;
                self.depth += 1;
                Ok(())
            }
            Event::EndDirectory => {
                self.depth -= 1;
                self.close()
            }
            Event::Symlink { name, target } => {
                self.open(name, b"symlink")?;
                self.string(b"target")?;
                self.string(target)?;
                self.close()
            }
            Event::File { name, executable, size } => {
                self.open(name, b"regular")?;
                if executable {
                    self.string(b"executable")?;
                    self.string(b"")?;
                }
                self.string(b"contents")?;
                self.bytes(&size.to_le_bytes())?;
                (self.due, self.padding) = (size, size.wrapping_neg() % 8);
                if size == 0 { self.close() } else { Ok(()) }
            }
        }
    }

    /// The next piece of the last file's contents.
    ///
    /// # Errors
    /// The output fails; `InvalidInput` for more than the file's size.
    pub fn contents(&mut self, piece: &[u8]) -> io::Result<()> {
        if piece.is_empty() {
            return Ok(());
        }
        let length = u64::try_from(piece.len()).map_err(|_| misuse("a piece beyond all sizes"))?;
        self.due = self.due.checked_sub(length).ok_or_else(|| misuse("more than its size"))?;
        self.bytes(piece)?;
        if self.due == 0 {
            let zeros = usize::try_from(self.padding).unwrap_or(0);
            self.bytes(&[0; 8][..zeros])?;
            self.close()?;
        }
        Ok(())
    }

    /// Ends it; how many bytes were written.
    ///
    /// # Errors
    /// The output fails at its flush; `InvalidInput` when the archive is not complete.
    pub fn finish(mut self) -> io::Result<u64> {
        if !self.begun || self.depth != 0 || self.due != 0 {
            return Err(misuse("a NAR that is not complete"));
        }
        self.output.flush()?;
        Ok(self.written)
    }

    /// From the entry around a node to its type.
    fn open(&mut self, name: &[u8], kind: &[u8]) -> io::Result<()> {
        if self.depth != 0 {
            for word in [b"entry", b"(".as_slice(), b"name", name, b"node"] {
                self.string(word)?;
            }
        }
        for word in [b"(", b"type".as_slice(), kind] {
            self.string(word)?;
        }
        Ok(())
    }

    /// The end of a node, and of the entry around it.
    fn close(&mut self) -> io::Result<()> {
        self.string(b")")?;
        if self.depth == 0 { Ok(()) } else { self.string(b")") }
    }

    fn string(&mut self, text: &[u8]) -> io::Result<()> {
        let length = u64::try_from(text.len()).map_err(|_| misuse("a string beyond all sizes"))?;
        self.bytes(&length.to_le_bytes())?;
        self.bytes(text)?;
        let zeros = usize::try_from(length.wrapping_neg() % 8).unwrap_or(0);
        self.bytes(&[0; 8][..zeros])
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes)?;
        self.written += u64::try_from(bytes.len()).unwrap_or(0);
        Ok(())
    }
}

fn misuse(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}
