//! The cpio format that the kernel unpacks, "new ASCII" without checksum.
//!
//! Source: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel. Deterministic:
//! entries sorted by path, numbered from 1, owned by root, dated 1970.

use std::collections::BTreeMap;
use std::io::{self, Write};

/// A file's size and everything else in a header is eight hexadecimal digits.
const FILE_BYTES_MAX: usize = u32::MAX as usize;

/// A path in bytes; the kernel's `PATH_MAX` less the NUL.
const PATH_BYTES_MAX: usize = 4095;

/// Entries, headers and data start at multiples of this.
const ALIGNMENT_BYTES: usize = 4;

/// The last entry's name.
const TRAILER: &[u8] = b"TRAILER!!!";

/// linux/stat.h: file types.
const TYPE_DIRECTORY: u32 = 0o040_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_LINK: u32 = 0o120_000;
const TYPE_CHARACTER_DEVICE: u32 = 0o020_000;

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Directory,
    File { executable: bool, bytes: Vec<u8> },
    Link { target: Vec<u8> },
    CharacterDevice { mode: u32, major: u32, minor: u32 },
}

/// An archive under construction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Archive {
    nodes: BTreeMap<Vec<u8>, Node>,
}

/// Why a path cannot be in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathError {
    /// Empty, longer than [`PATH_BYTES_MAX`], or with a NUL, an empty part, `.` or `..`.
    Malformed(String),
    /// Something else stands there already.
    Taken(String),
    /// Above the four gigabytes that a header can say.
    TooLarge(String),
}

impl std::fmt::Display for PathError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(path) => {
                write!(f, "image path {path:?}: must be relative, without NUL, . or ..")
            }
            Self::Taken(path) => write!(f, "image path {path:?}: something else is there already"),
            Self::TooLarge(path) => write!(f, "image path {path:?}: above 4 GiB"),
        }
    }
}

impl std::error::Error for PathError {}

impl Archive {
    /// Adds a directory, and those above it; one that is there is fine.
    ///
    /// # Errors
    /// `Malformed`; `Taken` by anything but a directory.
    pub fn directory(&mut self, path: impl AsRef<[u8]>) -> Result<(), PathError> {
        let path = checked(path.as_ref())?;
        self.parents(path)?;
        match self.nodes.entry(path.to_owned()).or_insert(Node::Directory) {
            Node::Directory => Ok(()),
            _ => Err(PathError::Taken(shown(path))),
        }
    }

    /// Adds a file, readable by all, and the directories above it.
    ///
    /// # Errors
    /// `Malformed`, `Taken`, `TooLarge`.
    pub fn file(
        &mut self,
        path: impl AsRef<[u8]>,
        executable: bool,
        bytes: Vec<u8>,
    ) -> Result<(), PathError> {
        if bytes.len() > FILE_BYTES_MAX {
            return Err(PathError::TooLarge(shown(path.as_ref())));
        }
        self.add(path.as_ref(), Node::File { executable, bytes })
    }

    /// Adds a symbolic link, and the directories above it.
    ///
    /// # Errors
    /// `Malformed`, `Taken`.
    pub fn link(
        &mut self,
        path: impl AsRef<[u8]>,
        target: impl AsRef<[u8]>,
    ) -> Result<(), PathError> {
        self.add(path.as_ref(), Node::Link { target: target.as_ref().to_owned() })
    }

    /// Adds a character device, and the directories above it.
    ///
    /// # Errors
    /// `Malformed`, `Taken`.
    pub fn character_device(
        &mut self,
        path: impl AsRef<[u8]>,
        mode: u32,
        major: u32,
        minor: u32,
    ) -> Result<(), PathError> {
        self.add(path.as_ref(), Node::CharacterDevice { mode, major, minor })
    }

    /// Writes the whole archive.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for (number, (path, node)) in (1..).zip(&self.nodes) {
            write_entry(out, number, path, node)?;
        }
        write_header(out, &Header { name: TRAILER, links: 1, ..Header::default() })
    }

    /// The whole archive.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A vector takes everything.
        let _ = self.write(&mut bytes);
        bytes
    }

    fn add(&mut self, path: &[u8], node: Node) -> Result<(), PathError> {
        let path = checked(path)?;
        self.parents(path)?;
        if self.nodes.contains_key(path) {
            return Err(PathError::Taken(shown(path)));
        }
        self.nodes.insert(path.to_owned(), node);
        Ok(())
    }

    fn parents(&mut self, path: &[u8]) -> Result<(), PathError> {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends {
            match self.nodes.entry(path[..end].to_owned()).or_insert(Node::Directory) {
                Node::Directory => {}
                _ => return Err(PathError::Taken(shown(&path[..end]))),
            }
        }
        Ok(())
    }
}

/// The path if it is fit for an archive; one leading slash is dropped, as people write it.
fn checked(path: &[u8]) -> Result<&[u8], PathError> {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let part_is_fine = |part: &[u8]| !part.is_empty() && part != b"." && part != b"..";
    let fine = path.len() <= PATH_BYTES_MAX
        && !path.contains(&0)
        && path != TRAILER
        && path.split(|byte| *byte == b'/').all(part_is_fine);
    if fine { Ok(path) } else { Err(PathError::Malformed(shown(path))) }
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

#[derive(Default)]
struct Header<'a> {
    number: u32,
    mode: u32,
    links: u32,
    data_bytes: u32,
    device: (u32, u32),
    name: &'a [u8],
}

fn write_entry(out: &mut impl Write, number: u32, path: &[u8], node: &Node) -> io::Result<()> {
    let header = Header { number, links: 1, name: path, ..Header::default() };
    let (header, data): (_, &[u8]) = match node {
        Node::Directory => (Header { mode: TYPE_DIRECTORY | 0o755, links: 2, ..header }, &[]),
        Node::File { executable, bytes } => {
            let mode = TYPE_FILE | if *executable { 0o555 } else { 0o444 };
            (Header { mode, ..header }, bytes)
        }
        Node::Link { target } => (Header { mode: TYPE_LINK | 0o777, ..header }, target),
        Node::CharacterDevice { mode, major, minor } => {
            let mode = TYPE_CHARACTER_DEVICE | mode;
            (Header { mode, device: (*major, *minor), ..header }, &[])
        }
    };
    let data_bytes = u32::try_from(data.len()).map_err(io::Error::other)?;
    write_header(out, &Header { data_bytes, ..header })?;
    out.write_all(data)?;
    pad(out, data.len())
}

/// Magic, thirteen numbers of eight hexadecimal digits, the name with its NUL.
fn write_header(out: &mut impl Write, header: &Header<'_>) -> io::Result<()> {
    let Header { number, mode, links, data_bytes, device, name } = *header;
    let (major, minor) = device;
    let name_bytes = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
    let (owner, group, time, on_major, on_minor, checksum) = (0, 0, 0, 0, 0, 0);
    write!(out, "070701")?;
    for field in [
        number, mode, owner, group, links, time, data_bytes, on_major, on_minor, major, minor,
        name_bytes, checksum,
    ] {
        write!(out, "{field:08X}")?;
    }
    out.write_all(name)?;
    out.write_all(&[0])?;
    pad(out, 110 + name.len() + 1)
}

fn pad(out: &mut impl Write, written: usize) -> io::Result<()> {
    let padding = written.next_multiple_of(ALIGNMENT_BYTES) - written;
    out.write_all(&[0; ALIGNMENT_BYTES][..padding])
}
