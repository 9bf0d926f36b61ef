//! A tree of files as a NAR.
//!
//! Only what a NAR knows counts: names, contents, the owner's execute bit, targets of symlinks. The
//! same caps hold as for reading, so what is dumped can be unpacked. Memory: the names of the
//! directories on the way down.

use super::{DEPTH_MAX, Event, NODES_MAX, Writer};
use crate::hash::{Hasher, Sha256};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use sys::tree::Kind;

/// Bytes read from a file at once.
const BUFFER_BYTES: usize = 64 << 10;

/// Why there is no archive.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The file system refused.
    #[error("dump: {step} `{name}`: {source}")]
    File {
        /// What was tried.
        step: &'static str,
        /// The last step of its path.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A socket, a device or a FIFO: a NAR has no word for it.
    #[error("dump: `{0}` is neither a file, a directory nor a symlink")]
    Kind(String),
    /// It changed its length on the way.
    #[error("dump: file `{0}` changed while it was read")]
    Changed(String),
    /// Too many levels.
    #[error("dump: more than {DEPTH_MAX} levels of directories, at `{0}`")]
    Depth(String),
    /// Too many nodes.
    #[error("dump: more than {NODES_MAX} files, directories and symlinks, at `{0}`")]
    Nodes(String),
    /// The output failed.
    #[error("dump: cannot write the archive: {0}")]
    Output(io::Error),
}

/// What was dumped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dumped {
    /// Hash of the NAR.
    pub hash: Sha256,
    /// Bytes of the NAR.
    pub size: u64,
}

/// Writes `name` in the directory `parent` as a NAR to `output` (`std::io::sink()` for the hash
/// alone).
///
/// # Errors
/// See [`DumpError`].
pub fn dump(parent: BorrowedFd<'_>, name: &OsStr, output: impl Write) -> Result<Dumped, DumpError> {
    let mut hasher = Hasher::new();
    let writer = Writer::new(Both { output, hasher: &mut hasher });
    let mut dumper = Dumper { writer, nodes: 0, buffer: vec![0; BUFFER_BYTES] };
    let mut levels = Vec::new();
    levels.extend(dumper.node(parent, name, &[])?);
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.pop() else {
            levels.pop();
            dumper.put(&Event::EndDirectory)?;
            continue;
        };
        let deeper = dumper.node(level.directory.as_fd(), &name, name.as_bytes())?;
        levels.extend(deeper);
        if levels.len() > DEPTH_MAX {
            return Err(DumpError::Depth(shown(&name)));
        }
    }
    let size = dumper.writer.finish().map_err(DumpError::Output)?;
    Ok(Dumped { hash: hasher.finish(), size })
}

/// A directory on the way down, and the names in it that are still due, last first.
struct Level {
    directory: OwnedFd,
    names: Vec<OsString>,
}

struct Dumper<W> {
    writer: Writer<W>,
    nodes: u64,
    buffer: Vec<u8>,
}

impl<W: Write> Dumper<W> {
    /// Writes the node `name` in `parent`, called `called` in the archive; of a directory only its
    /// begin.
    fn node(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        called: &[u8],
    ) -> Result<Option<Level>, DumpError> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(DumpError::Nodes(shown(name)));
        }
        match sys::tree::look(parent, name).map_err(|error| fault("look at", name, error))? {
            Kind::Other => Err(DumpError::Kind(shown(name))),
            Kind::File { executable, size } => {
                self.put(&Event::File { name: called, executable, size })?;
                self.file(parent, name, size).map(|()| None)
            }
            Kind::Symlink => {
                let target = sys::tree::read_symlink(parent, name)
                    .map_err(|error| fault("read symlink", name, error))?;
                self.put(&Event::Symlink { name: called, target: &target }).map(|()| None)
            }
            Kind::Directory => {
                let directory = sys::tree::open_directory(parent, name)
                    .map_err(|error| fault("open directory", name, error))?;
                let most = usize::try_from(NODES_MAX).unwrap_or(usize::MAX);
                let mut names = sys::tree::list(directory.as_fd(), most)
                    .map_err(|error| fault("list directory", name, error))?;
                names.sort_unstable_by(|left, right| right.as_bytes().cmp(left.as_bytes()));
                self.put(&Event::Directory { name: called })?;
                Ok(Some(Level { directory, names }))
            }
        }
    }

    fn file(&mut self, parent: BorrowedFd<'_>, name: &OsStr, size: u64) -> Result<(), DumpError> {
        let mut file =
            sys::tree::open_file(parent, name).map_err(|error| fault("open file", name, error))?;
        let mut left = size;
        loop {
            let read = match file.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(|error| fault("read file", name, error))?,
            };
            let length = u64::try_from(read).unwrap_or(u64::MAX);
            if length > left || (length == 0 && left != 0) {
                return Err(DumpError::Changed(shown(name)));
            }
            if length == 0 {
                return Ok(());
            }
            left -= length;
            self.writer.contents(&self.buffer[..read]).map_err(DumpError::Output)?;
        }
    }

    fn put(&mut self, event: &Event<'_>) -> Result<(), DumpError> {
        self.writer.put(event).map_err(DumpError::Output)
    }
}

fn fault(step: &'static str, name: &OsStr, source: io::Error) -> DumpError {
    DumpError::File { step, name: shown(name), source }
}

fn shown(name: &OsStr) -> String {
    name.as_bytes().escape_ascii().to_string()
}

/// What is written is hashed, too.
struct Both<'hasher, W> {
    output: W,
    hasher: &'hasher mut Hasher,
}

impl<W: Write> Write for Both<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.output.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
