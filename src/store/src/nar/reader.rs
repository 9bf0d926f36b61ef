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
//! * `Failed`: an error was returned. Whatever is asked then, the answer is `Stopped`.
//!
//! A node's end takes the closing words of its entry with it, so after each event the place is
//! one of these. Memory: one buffer, one name a level, one target.

use super::error::NarError;
use super::source::{Source, WORD_BYTES_MAX};
use super::{DEPTH_MAX, Event, MAGIC, NAME_BYTES_MAX, NODES_MAX, TARGET_BYTES_MAX};
use crate::hash::Sha256;
use std::io::Read;

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
            Place::Contents { .. } | Place::Failed => {
                Err(NarError::Stopped { at: self.source.at() })
            }
        }
    }

    /// The next piece of the contents of the file that the last event named; empty at their end.
    ///
    /// # Errors
    /// As [`Reader::next_event`].
    pub fn contents(&mut self) -> Result<&[u8], NarError> {
        let (left, padding) = match self.place {
            Place::Contents { left, padding } => (left, padding),
            Place::Failed => return Err(NarError::Stopped { at: self.source.at() }),
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
        let (size, nodes) = (self.source.at(), self.nodes);
        Ok(Summary { hash: self.source.hash(), size, nodes })
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
        let (name, at) = (&self.name, self.source.at());
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
            return Err(NarError::Nodes { at: self.source.at() });
        }
        self.source.word(b"(", "`(` of a node")?;
        self.source.word(b"type", "`type`")?;
        let mut word = [0; WORD_BYTES_MAX];
        let at = self.source.at();
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
            return Err(NarError::Target { at: self.source.at() });
        }
        self.close_node()?;
        Ok(Event::Symlink { name: name_in(&self.levels), target: &self.target })
    }

    fn directory(&mut self) -> Result<Event<'_>, NarError> {
        if self.levels.len() == DEPTH_MAX {
            return Err(NarError::Depth { at: self.source.at() });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nar::Writer;

    /// The cap on nodes, without four million of them: the count stands two before it.
    #[test]
    fn nodes_have_a_bound() {
        let archive = |files: usize| {
            let mut bytes = Vec::new();
            let mut writer = Writer::new(&mut bytes);
            writer.put(&Event::Directory { name: b"" }).expect("memory");
            for name in [b"a", b"b"].iter().take(files) {
                let event = Event::File { name: *name, executable: false, size: 0 };
                writer.put(&event).expect("memory");
            }
            writer.put(&Event::EndDirectory).expect("memory");
            writer.finish().expect("memory");
            bytes
        };
        for (files, fits) in [(1, true), (2, false)] {
            let bytes = archive(files);
            let mut reader = Reader::new(bytes.as_slice(), u64::try_from(bytes.len()).unwrap());
            reader.nodes = NODES_MAX - 2;
            match reader.finish() {
                Ok(summary) => assert!(fits && summary.nodes == NODES_MAX),
                Err(error) => assert!(!fits && matches!(error, NarError::Nodes { .. }), "{error}"),
            }
        }
    }
}
