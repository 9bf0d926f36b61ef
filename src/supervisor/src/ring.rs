//! A service's last output in one bounded file, which a killed writer leaves readable.
//!
//! The file is a header and a data region that is written round and round. What is written are
//! *chunks*: the bytes of one read from the service's pipe, as they came, behind a record header
//! with time, run, the number of the line they begin in, their own offset and a checksum. Lines
//! are put together when the ring is read ([`Assembler`]), so the writer keeps no half line in
//! memory that its death could lose.
//!
//! Offsets are logical: they only grow, and the place in the file is the remainder by the
//! capacity. A record names its own offset, so one of an earlier lap is never taken for a valid
//! one. Before a chunk overwrites others, the header's `first` moves past them; it is the only
//! field that changes. To open a ring is to walk from `first` over valid records: the walk ends
//! at the first that is torn or of an earlier lap, and there the next chunk goes. A writer may
//! thus be killed between any two system calls, and within one.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Data region in bytes: some 3,000 lines. tmpfs charges only what was written.
pub const RING_BYTES: u64 = 256 * 1024;

/// One line in bytes. A longer one is given out in pieces: a service that never ends its line
/// must not make its reader collect for ever.
pub const LINE_BYTES_MAX: usize = 16 * 1024;

/// One chunk's data in bytes, so that an overwritten one never takes much of the ring with it.
const CHUNK_BYTES_MAX: usize = 32 * 1024;

/// Magic, layout version 1, capacity, first.
const HEADER_BYTES: u64 = 24;
const MAGIC: &[u8; 8] = b"rlog\0\0\0\x01";

/// Length (4), flags (4), offset, time, incarnation, line, checksum (8 each); little-endian.
const RECORD_BYTES: u64 = 48;

/// The chunk begins in the middle of a line that an earlier chunk began.
const CONTINUES: u32 = 1;

/// One chunk as it was read from the pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// When it was read: `CLOCK_MONOTONIC` in nanoseconds.
    pub time_ns: u64,
    /// The run that was on.
    pub incarnation: u64,
    /// Number of the line in which it begins, counted from the service's first.
    pub line: u64,
    /// Its first byte goes on with a line.
    pub continues: bool,
    /// The bytes.
    pub data: Vec<u8>,
}

/// One whole line, or a piece of one above [`LINE_BYTES_MAX`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number, counted from the service's first.
    pub number: u64,
    /// The run that wrote it.
    pub incarnation: u64,
    /// When its first byte was read: `CLOCK_MONOTONIC` in nanoseconds.
    pub time_ns: u64,
    /// Its bytes without the newline.
    pub bytes: Vec<u8>,
}

/// Puts lines together from chunks in their order.
#[derive(Debug, Default)]
pub struct Assembler {
    partial: Option<Line>,
}

impl Assembler {
    /// Takes one chunk; appends the lines that it completes to `lines`.
    pub fn push(&mut self, chunk: &Chunk, lines: &mut Vec<Line>) {
        let mut data = chunk.data.as_slice();
        let mut number = chunk.line;
        match &self.partial {
            // Its end never comes: the run is over, or the chunk with it was not written.
            Some(partial) if partial.number != number => lines.extend(self.partial.take()),
            // The head of this line was overwritten: half a line would read like a whole one.
            None if chunk.continues => {
                let end = data.iter().position(|byte| *byte == b'\n');
                data = end.map_or(&[], |end| &data[end + 1..]);
                number += 1;
            }
            _ => {}
        }
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            self.extend(chunk, number, text, lines);
            if ended {
                lines.extend(self.partial.take());
                number += 1;
            }
        }
    }

    /// Adds bytes without a newline to the line being put together.
    fn extend(&mut self, chunk: &Chunk, number: u64, mut text: &[u8], lines: &mut Vec<Line>) {
        loop {
            let (time_ns, incarnation) = (chunk.time_ns, chunk.incarnation);
            let empty = || Line { number, incarnation, time_ns, bytes: Vec::new() };
            let partial = self.partial.get_or_insert_with(empty);
            let room = LINE_BYTES_MAX - partial.bytes.len();
            let (head, rest) = text.split_at(text.len().min(room));
            partial.bytes.extend_from_slice(head);
            if rest.is_empty() {
                return;
            }
            lines.extend(self.partial.take());
            text = rest;
        }
    }

    /// What was begun and has no end yet.
    #[must_use]
    pub fn partial(&self) -> Option<&Line> {
        self.partial.as_ref()
    }
}

/// Where a record lies, so that overwriting one needs no read.
#[derive(Clone, Copy, Debug)]
struct Place {
    bytes: u64,
    line: u64,
}

/// A ring, open for writing and reading by its only user.
#[derive(Debug)]
pub struct Ring {
    file: File,
    capacity: u64,
    first: u64,
    next: u64,
    records: VecDeque<Place>,
    /// The line in which the next byte lies.
    line: u64,
    /// The run of the unfinished line, if the last byte was no newline.
    unfinished: Option<u64>,
}

impl Ring {
    /// Opens or makes the file, 0600. One that is no ring is begun anew.
    ///
    /// # Errors
    /// Those of open(2), read and write.
    pub fn open(path: &Path, capacity: u64) -> io::Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        let mut header = [0; 24];
        let (records, line, unfinished) = (VecDeque::new(), 0, None);
        let mut ring = Self { file, capacity, first: 0, next: 0, records, line, unfinished };
        let whole = ring.file.read_exact_at(&mut header, 0).is_ok();
        let first = number(&header[16..24]);
        // No ring writes so much in a machine's life; sums with a sane offset cannot overflow.
        let sane = number(&header[8..16]) == capacity && first < u64::MAX / 2;
        if !whole || header[..8] != *MAGIC || !sane {
            ring.file.set_len(0)?;
            ring.write_header()?;
            return Ok(ring);
        }
        ring.first = first;
        ring.next = first;
        while let Some(chunk) = ring.read(ring.next)? {
            ring.note(&chunk);
        }
        Ok(ring)
    }

    /// Writes the bytes of one read. On an error (a full tmpfs) they are lost, and a gap in the
    /// line numbers says how many lines that were.
    ///
    /// # Errors
    /// Those of write(2).
    pub fn append(
        &mut self,
        time_ns: u64,
        incarnation: u64,
        data: &[u8],
    ) -> io::Result<Vec<Chunk>> {
        let mut chunks = Vec::new();
        if self.unfinished.is_some_and(|run| run != incarnation) {
            self.line += 1;
            self.unfinished = None;
        }
        for piece in data.chunks(CHUNK_BYTES_MAX) {
            let continues = self.unfinished.is_some();
            let data = piece.to_vec();
            let chunk = Chunk { time_ns, incarnation, line: self.line, continues, data };
            if let Err(error) = self.write(&chunk) {
                self.line += newlines(piece) + 1;
                self.unfinished = None;
                return Err(error);
            }
            self.note(&chunk);
            chunks.push(chunk);
        }
        Ok(chunks)
    }

    /// The run is over: its unfinished line, if there is one, gets no end. Returns the empty chunk
    /// that says so.
    ///
    /// # Errors
    /// Those of write(2).
    pub fn end_run(&mut self, time_ns: u64) -> io::Result<Option<Chunk>> {
        let Some(incarnation) = self.unfinished.take() else { return Ok(None) };
        self.line += 1;
        let (line, data) = (self.line, Vec::new());
        let chunk = Chunk { time_ns, incarnation, line, continues: false, data };
        self.write(&chunk)?;
        self.note(&chunk);
        Ok(Some(chunk))
    }

    /// All chunks that are left, oldest first.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn chunks(&self) -> io::Result<Vec<Chunk>> {
        let mut chunks = Vec::with_capacity(self.records.len());
        let mut offset = self.first;
        while offset < self.next {
            let Some(chunk) = self.read(offset)? else { break };
            offset += RECORD_BYTES + chunk.data.len() as u64;
            chunks.push(chunk);
        }
        Ok(chunks)
    }

    /// Lines of the service that were overwritten.
    #[must_use]
    pub fn lines_lost(&self) -> u64 {
        self.records.front().map_or(self.line, |place| place.line)
    }

    /// Takes a chunk that lies at `next` into account.
    fn note(&mut self, chunk: &Chunk) {
        let bytes = RECORD_BYTES + chunk.data.len() as u64;
        self.records.push_back(Place { bytes, line: chunk.line });
        self.next += bytes;
        self.line = chunk.line.saturating_add(newlines(&chunk.data));
        let open = chunk.data.last().is_some_and(|last| *last != b'\n');
        self.unfinished = open.then_some(chunk.incarnation);
    }

    fn write(&mut self, chunk: &Chunk) -> io::Result<()> {
        self.make_room(RECORD_BYTES + chunk.data.len() as u64)?;
        let mut record = header_of(chunk, self.next);
        record.extend_from_slice(&chunk.data);
        let checksum = checksum(&record);
        record[40..48].copy_from_slice(&checksum.to_le_bytes());
        let at = self.next % self.capacity;
        let (head, tail) = record.split_at(record.len().min(size(self.capacity - at)));
        self.file.write_all_at(head, HEADER_BYTES + at)?;
        self.file.write_all_at(tail, HEADER_BYTES)
    }

    /// Moves `first` past what will be overwritten, an eighth of the ring at once.
    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        if self.next + bytes - self.first <= self.capacity {
            return Ok(());
        }
        while self.next + bytes + self.capacity / 8 > self.first + self.capacity {
            let Some(place) = self.records.pop_front() else { break };
            self.first += place.bytes;
        }
        self.write_header()
    }

    fn write_header(&self) -> io::Result<()> {
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&self.capacity.to_le_bytes());
        header.extend_from_slice(&self.first.to_le_bytes());
        self.file.write_all_at(&header, 0)
    }

    /// The record at `offset`, if one was wholly written there in this lap.
    fn read(&self, offset: u64) -> io::Result<Option<Chunk>> {
        let mut record = vec![0; size(RECORD_BYTES)];
        if !self.read_wrapped(&mut record, offset)? {
            return Ok(None);
        }
        let length = u64::from(half(&record[..4]));
        let fits = length <= CHUNK_BYTES_MAX as u64
            && offset + RECORD_BYTES + length - self.first <= self.capacity;
        if !fits || number(&record[8..16]) != offset {
            return Ok(None);
        }
        let mut data = vec![0; size(length)];
        if !self.read_wrapped(&mut data, offset + RECORD_BYTES)? {
            return Ok(None);
        }
        let expected = number(&record[40..48]);
        record[40..48].fill(0);
        record.extend_from_slice(&data);
        if checksum(&record) != expected {
            return Ok(None);
        }
        Ok(Some(Chunk {
            time_ns: number(&record[16..24]),
            incarnation: number(&record[24..32]),
            line: number(&record[32..40]),
            continues: half(&record[4..8]) & CONTINUES != 0,
            data,
        }))
    }

    /// Fills `buffer` from a logical offset; false if the file does not reach so far yet.
    fn read_wrapped(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        let at = offset % self.capacity;
        let split = buffer.len().min(size(self.capacity - at));
        let (head, tail) = buffer.split_at_mut(split);
        for (part, at) in [(head, at), (tail, 0)] {
            match self.file.read_exact_at(part, HEADER_BYTES + at) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// A record's header, its checksum still zero.
fn header_of(chunk: &Chunk, offset: u64) -> Vec<u8> {
    let length = u32::try_from(chunk.data.len()).unwrap_or(u32::MAX);
    let flags = if chunk.continues { CONTINUES } else { 0 };
    let mut record = Vec::with_capacity(size(RECORD_BYTES) + chunk.data.len());
    record.extend_from_slice(&length.to_le_bytes());
    record.extend_from_slice(&flags.to_le_bytes());
    for field in [offset, chunk.time_ns, chunk.incarnation, chunk.line, 0] {
        record.extend_from_slice(&field.to_le_bytes());
    }
    record
}

fn newlines(data: &[u8]) -> u64 {
    data.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// FNV-1a, 64 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>): tells torn writes, no attacks.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn half(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// A length that is known to be below the ring's.
fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
