//! The reader of archives: foreign bytes in, events out.
//!
//! The reader knows from the start how many bytes the archive has (the signed NarSize), and takes
//! no more from its input than these and one more, to see that there is none: whatever a
//! decompressor would still give is never asked for. Between two calls it stands at one place:
//!
//! * `Start`: nothing read. Next: the magic, then the root node.
//! * `Contents{left}`: in a file's contents. Next: a piece of them, or, skipping, what follows.
//! * `Entries`: in a directory. Next: an entry's node, or the directory's end.
//! * `Done`: the root node has ended.
//! * `Failed`: an error was returned. Whatever is asked then, the answer is that error's kind.
//!
//! A node's end takes the closing words of its entry with it, so after each event the place is
//! one of these. Memory: one buffer, one name a level, one target.

use super::{DEPTH_MAX, Event, MAGIC, NAME_BYTES_MAX, NODES_MAX, TARGET_BYTES_MAX};
use crate::hash::{Hasher, Sha256};
use std::io::{self, Read};

/// Bytes read from the input at once.
const BUFFER_BYTES: usize = 64 << 10;
/// Bytes of the longest word of the grammar.
const WORD_BYTES_MAX: usize = MAGIC.len();

/// Why a NAR is refused.
#[derive(Debug, thiserror::Error)]
pub enum NarError {
    /// The input failed.
    #[error("NAR at byte {at}: cannot read on: {source}")]
    Input {
        /// Bytes of the archive read before.
        at: u64,
        /// What the input said.
        source: io::Error,
    },
    /// The input ended too early.
    #[error("NAR at byte {at}: ends there, in the middle: truncated on the way, fetch it again")]
    Truncated {
        /// Bytes of the archive read.
        at: u64,
    },
    /// It needs more bytes than it was said to have.
    #[error("NAR at byte {at}: does not end within the {size} bytes of its NarSize")]
    TooLong {
        /// Bytes of the archive read.
        at: u64,
        /// Bytes that it was said to have.
        size: u64,
    },
    /// It ended before the bytes that it was said to have.
    #[error("NAR at byte {at}: is complete there, but its NarSize is {size}")]
    TooShort {
        /// Bytes of the archive.
        at: u64,
        /// Bytes that it was said to have.
        size: u64,
    },
    /// Bytes follow its end.
    #[error("NAR at byte {at}: is complete there, but bytes follow")]
    Trailing {
        /// Bytes of the archive.
        at: u64,
    },
    /// The grammar.
    #[error("NAR at byte {at}: {expected} is due there")]
    Grammar {
        /// Where the word begins.
        at: u64,
        /// What should be there.
        expected: &'static str,
    },
    /// Padding that is not zero.
    #[error("NAR at byte {at}: the padding before it is not zero")]
    Padding {
        /// Where the padding ends.
        at: u64,
    },
    /// An entry's name that is no file name.
    #[error(
        "NAR at byte {at}: `{name}` cannot be an entry's name (1 to {NAME_BYTES_MAX} bytes, \
         no `/`, no NUL, not `.` or `..`)"
    )]
    Name {
        /// Where the name ends.
        at: u64,
        /// The name, escaped.
        name: String,
    },
    /// An entry that does not sort behind the one before it: out of order, or twice.
    #[error("NAR at byte {at}: entry `{name}` is not behind the one before it")]
    Order {
        /// Where the name ends.
        at: u64,
        /// The name, escaped.
        name: String,
    },
    /// A symlink's target.
    #[error("NAR at byte {at}: a symlink's target must have 1 to {TARGET_BYTES_MAX} bytes, no NUL")]
    Target {
        /// Where the target ends.
        at: u64,
    },
    /// A string longer than its cap.
    #[error("NAR at byte {at}: {what} has {length} bytes, {most} at most are allowed")]
    Length {
        /// Where the string begins.
        at: u64,
        /// What it is.
        what: &'static str,
        /// Its length.
        length: u64,
        /// The cap.
        most: u64,
    },
    /// Too many levels.
    #[error("NAR at byte {at}: more than {DEPTH_MAX} levels of directories")]
    Depth {
        /// Bytes of the archive read.
        at: u64,
    },
    /// Too many nodes.
    #[error("NAR at byte {at}: more than {NODES_MAX} files, directories and symlinks")]
    Nodes {
        /// Bytes of the archive read.
        at: u64,
    },
    /// Asked on after an error.
    #[error("NAR at byte {at}: reading stopped there before")]
    Stopped {
        /// Bytes of the archive read.
        at: u64,
    },
}

/// What a whole archive was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Hash of all its bytes.
    pub hash: Sha256,
    /// How many they are.
    pub size: u64,
    /// Files, directories and symlinks: the inodes it takes.
    pub nodes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Start,
    Contents { left: u64, padding: u64 },
    Entries,
    Done,
    Failed,
}

/// Reads one archive from `R`.
#[derive(Debug)]
pub struct Reader<R> {
    source: Source<R>,
    place: Place,
    /// The name last seen in each open directory, outermost first.
    levels: Vec<Vec<u8>>,
    /// Where a name is read before it is judged.
    name: Vec<u8>,
    target: Vec<u8>,
    nodes: u64,
}

impl<R: Read> Reader<R> {
    /// A reader of the archive of exactly `size` bytes that `input` gives.
    pub fn new(input: R, size: u64) -> Self {
        Self {
            source: Source::new(input, size),
            place: Place::Start,
            levels: Vec::new(),
            name: Vec::new(),
            target: Vec::new(),
            nodes: 0,
        }
    }

    /// The next event; `None` when the archive is complete and its input at its end. What was not
    /// read of a file's contents is skipped (and hashed).
    ///
    /// # Errors
    /// The input fails, breaks the grammar or a cap, or is not as long as was said.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, NarError> {
        while !self.contents()?.is_empty() {}
        let place = std::mem::replace(&mut self.place, Place::Failed);
        match place {
            Place::Start => {
                self.source.word(MAGIC, "the magic `nix-archive-1`")?;
                self.node().map(Some)
            }
            Place::Entries => self.entry().map(Some),
            Place::Done => {
                self.source.end()?;
                self.place = Place::Done;
                Ok(None)
            }
            // `contents` has left no other.
            Place::Contents { .. } | Place::Failed => Err(NarError::Stopped { at: self.source.at }),
        }
    }

    /// The next piece of the contents of the file that the last event named; empty at their end.
    ///
    /// # Errors
    /// As [`Reader::next_event`].
    pub fn contents(&mut self) -> Result<&[u8], NarError> {
        let (left, padding) = match self.place {
            Place::Contents { left, padding } => (left, padding),
            Place::Failed => return Err(NarError::Stopped { at: self.source.at }),
            Place::Start | Place::Entries | Place::Done => return Ok(&[]),
        };
        self.place = Place::Failed;
        if left == 0 {
            self.source.padding(padding)?;
            self.close_node()?;
            return Ok(&[]);
        }
        let piece = self.source.piece(left)?;
        let left = left - u64::try_from(piece.len()).unwrap_or(left);
        self.place = Place::Contents { left, padding };
        Ok(piece)
    }

    /// Reads to the end; what the whole was.
    ///
    /// # Errors
    /// As [`Reader::next_event`].
    pub fn finish(mut self) -> Result<Summary, NarError> {
        while self.next_event()?.is_some() {}
        let (size, nodes) = (self.source.at, self.nodes);
        Ok(Summary { hash: self.source.hasher.finish(), size, nodes })
    }

    /// An entry of the innermost directory, or the directory's end.
    fn entry(&mut self) -> Result<Event<'_>, NarError> {
        if self.source.either(b"entry", b")", "`entry` or `)`")? {
            self.source.word(b"(", "`(` of an entry")?;
            self.source.word(b"name", "`name`")?;
            self.read_name()?;
            self.source.word(b"node", "`node`")?;
            return self.node();
        }
        self.levels.pop();
        self.close_entry()?;
        Ok(Event::EndDirectory)
    }

    /// An entry's name, into the level it belongs to.
    fn read_name(&mut self) -> Result<(), NarError> {
        self.source.string(&mut self.name, NAME_BYTES_MAX, "an entry's name")?;
        let (name, at) = (&self.name, self.source.at);
        let bad = name.is_empty()
            || name == b"."
            || name == b".."
            || name.iter().any(|byte| matches!(byte, b'/' | 0));
        let shown = || name.escape_ascii().to_string();
        if bad {
            return Err(NarError::Name { at, name: shown() });
        }
        // A level that exists has a name only after its first entry.
        let Some(last) = self.levels.last_mut() else { return Err(NarError::Stopped { at }) };
        if !last.is_empty() && name <= last {
            return Err(NarError::Order { at, name: shown() });
        }
        std::mem::swap(last, &mut self.name);
        Ok(())
    }

    fn node(&mut self) -> Result<Event<'_>, NarError> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(NarError::Nodes { at: self.source.at });
        }
        self.source.word(b"(", "`(` of a node")?;
        self.source.word(b"type", "`type`")?;
        let mut word = [0; WORD_BYTES_MAX];
        let at = self.source.at;
        match self.source.any_word(&mut word)? {
            b"regular" => self.regular(),
            b"symlink" => self.symlink(),
            b"directory" => self.directory(),
            _ => Err(NarError::Grammar { at, expected: "`regular`, `symlink` or `directory`" }),
        }
    }

    fn regular(&mut self) -> Result<Event<'_>, NarError> {
        let executable =
            self.source.either(b"executable", b"contents", "`executable` or `contents`")?;
        if executable {
            self.source.word(b"", "the empty string after `executable`")?;
            self.source.word(b"contents", "`contents`")?;
        }
        let size = self.source.number()?;
        let padding = size.wrapping_neg() % 8;
        self.source.check_left(size)?;
        self.place = Place::Contents { left: size, padding };
        Ok(Event::File { name: name_in(&self.levels), executable, size })
    }

    fn symlink(&mut self) -> Result<Event<'_>, NarError> {
        self.source.word(b"target", "`target`")?;
        self.source.string(&mut self.target, TARGET_BYTES_MAX, "a symlink's target")?;
        if self.target.is_empty() || self.target.contains(&0) {
            return Err(NarError::Target { at: self.source.at });
        }
        self.close_node()?;
        Ok(Event::Symlink { name: name_in(&self.levels), target: &self.target })
    }

    fn directory(&mut self) -> Result<Event<'_>, NarError> {
        if self.levels.len() == DEPTH_MAX {
            return Err(NarError::Depth { at: self.source.at });
        }
        self.levels.push(Vec::new());
        self.place = Place::Entries;
        let above = self.levels.len() - 1;
        Ok(Event::Directory { name: name_in(&self.levels[..above]) })
    }

    /// The `)` of a node, and of the entry it is in.
    fn close_node(&mut self) -> Result<(), NarError> {
        self.source.word(b")", "`)` of a node")?;
        self.close_entry()
    }

    /// The `)` of the entry that the node was in; the root is in none.
    fn close_entry(&mut self) -> Result<(), NarError> {
        if self.levels.is_empty() {
            self.place = Place::Done;
            return Ok(());
        }
        self.source.word(b")", "`)` of an entry")?;
        self.place = Place::Entries;
        Ok(())
    }
}

/// The name last seen in the innermost of `levels`; empty for the root.
fn name_in(levels: &[Vec<u8>]) -> &[u8] {
    levels.last().map_or(&[], Vec::as_slice)
}

/// Strings from a stream of known length, hashed as they come.
#[derive(Debug)]
struct Source<R> {
    input: R,
    hasher: Hasher,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes handed out.
    at: u64,
    /// Bytes that may still be taken from the input.
    left: u64,
    size: u64,
}

impl<R: Read> Source<R> {
    fn new(input: R, size: u64) -> Self {
        let buffer = vec![0; BUFFER_BYTES].into_boxed_slice();
        Self { input, hasher: Hasher::new(), buffer, start: 0, end: 0, at: 0, left: size, size }
    }

    /// Some of the next `most` bytes, at least one.
    fn piece(&mut self, most: u64) -> Result<&[u8], NarError> {
        if self.start == self.end {
            self.fill()?;
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let length = most.min(self.end - self.start);
        let piece = &self.buffer[self.start..self.start + length];
        self.start += length;
        self.at += u64::try_from(length).unwrap_or(0);
        Ok(piece)
    }

    fn fill(&mut self) -> Result<(), NarError> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(self.buffer.len());
        if most == 0 {
            return Err(NarError::TooLong { at: self.at, size: self.size });
        }
        let length = read(&mut self.input, &mut self.buffer[..most], self.at)?;
        if length == 0 {
            return Err(NarError::Truncated { at: self.at });
        }
        (self.start, self.end) = (0, length);
        self.left -= u64::try_from(length).unwrap_or(self.left);
        self.hasher.update(&self.buffer[..length]);
        Ok(())
    }

    /// Whether `length` bytes and their padding can still come.
    fn check_left(&self, length: u64) -> Result<(), NarError> {
        let left = self.size - self.at;
        match length.checked_next_multiple_of(8) {
            Some(padded) if padded <= left => Ok(()),
            _ => Err(NarError::TooLong { at: self.at, size: self.size }),
        }
    }

    fn exact(&mut self, mut place: &mut [u8]) -> Result<(), NarError> {
        while !place.is_empty() {
            let most = u64::try_from(place.len()).unwrap_or(u64::MAX);
            let piece = self.piece(most)?;
            let (filled, rest) = place.split_at_mut(piece.len());
            filled.copy_from_slice(piece);
            place = rest;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<u64, NarError> {
        let mut bytes = [0; 8];
        self.exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn padding(&mut self, length: u64) -> Result<(), NarError> {
        let mut bytes = [0; 8];
        let bytes = &mut bytes[..usize::try_from(length % 8).unwrap_or(0)];
        self.exact(bytes)?;
        match bytes.iter().all(|byte| *byte == 0) {
            true => Ok(()),
            false => Err(NarError::Padding { at: self.at }),
        }
    }

    /// A string of at most `most` bytes, into `text`.
    fn string(
        &mut self,
        text: &mut Vec<u8>,
        most: usize,
        what: &'static str,
    ) -> Result<(), NarError> {
        let at = self.at;
        let length = self.number()?;
        let fits = usize::try_from(length).ok().filter(|length| *length <= most);
        let Some(fits) = fits else {
            let most = u64::try_from(most).unwrap_or(u64::MAX);
            return Err(NarError::Length { at, what, length, most });
        };
        text.clear();
        text.resize(fits, 0);
        self.exact(text)?;
        self.padding(length.wrapping_neg() % 8)
    }

    /// Any word of the grammar; one that is too long for it reads as none of its words.
    fn any_word<'word>(
        &mut self,
        place: &'word mut [u8; WORD_BYTES_MAX],
    ) -> Result<&'word [u8], NarError> {
        /// In no word of the grammar.
        const NO_WORD: &[u8] = &[0];
        let length = self.number()?;
        let Some(word) = usize::try_from(length).ok().and_then(|fits| place.get_mut(..fits)) else {
            return Ok(NO_WORD);
        };
        self.exact(word)?;
        self.padding(length.wrapping_neg() % 8)?;
        Ok(word)
    }

    fn word(&mut self, word: &[u8], expected: &'static str) -> Result<(), NarError> {
        let at = self.at;
        match self.any_word(&mut [0; WORD_BYTES_MAX])? == word {
            true => Ok(()),
            false => Err(NarError::Grammar { at, expected }),
        }
    }

    /// `true` for `first`, `false` for `second`.
    fn either(
        &mut self,
        first: &[u8],
        second: &[u8],
        expected: &'static str,
    ) -> Result<bool, NarError> {
        let at = self.at;
        let mut place = [0; WORD_BYTES_MAX];
        let word = self.any_word(&mut place)?;
        match (word == first, word == second) {
            (true, _) => Ok(true),
            (_, true) => Ok(false),
            _ => Err(NarError::Grammar { at, expected }),
        }
    }

    /// That nothing is left: neither of the size nor in the input.
    fn end(&mut self) -> Result<(), NarError> {
        let at = self.at;
        let follows = self.start != self.end || read(&mut self.input, &mut [0], at)? != 0;
        match (follows, at == self.size) {
            (true, _) => Err(NarError::Trailing { at }),
            (false, true) => Ok(()),
            (false, false) => Err(NarError::TooShort { at, size: self.size }),
        }
    }
}

/// One read that a signal does not end.
fn read(input: &mut impl Read, place: &mut [u8], at: u64) -> Result<usize, NarError> {
    loop {
        match input.read(place) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(NarError::Input { at, source }),
            Ok(length) => return Ok(length),
        }
    }
}
