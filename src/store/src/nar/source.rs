//! Strings from a stream: the words of the grammar, lengths and padding, without their order.

use super::MAGIC;
use super::error::NarError;
use crate::hash::{Hasher, Sha256};
use std::io::{self, Read};

/// Bytes read from the input at once.
const BUFFER_BYTES: usize = 64 << 10;
/// Bytes of the longest word of the grammar.
pub(super) const WORD_BYTES_MAX: usize = MAGIC.len();

/// Strings from a stream of known length, hashed as they come.
#[derive(Debug)]
pub(super) struct Source<R> {
    input: R,
    hasher: Hasher,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    at: u64,
    /// Bytes that may still be taken from the input.
    left: u64,
    size: u64,
}

impl<R: Read> Source<R> {
    pub(super) fn new(input: R, size: u64) -> Self {
        let buffer = vec![0; BUFFER_BYTES].into_boxed_slice();
        Self { input, hasher: Hasher::new(), buffer, start: 0, end: 0, at: 0, left: size, size }
    }

    /// Bytes handed out.
    pub(super) const fn at(&self) -> u64 {
        self.at
    }

    /// The hash of all that was taken.
    pub(super) fn hash(self) -> Sha256 {
        self.hasher.finish()
    }

    /// Some of the next `most` bytes, at least one.
    pub(super) fn piece(&mut self, most: u64) -> Result<&[u8], NarError> {
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
    pub(super) fn check_left(&self, length: u64) -> Result<(), NarError> {
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

    pub(super) fn number(&mut self) -> Result<u64, NarError> {
        let mut bytes = [0; 8];
        self.exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(super) fn padding(&mut self, length: u64) -> Result<(), NarError> {
        let mut bytes = [0; 8];
        let bytes = &mut bytes[..usize::try_from(length % 8).unwrap_or(0)];
        self.exact(bytes)?;
        match bytes.iter().all(|byte| *byte == 0) {
            true => Ok(()),
            false => Err(NarError::Padding { at: self.at }),
        }
    }

    /// A string of at most `most` bytes, into `text`.
    pub(super) fn string(
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
    pub(super) fn any_word<'word>(
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

    pub(super) fn word(&mut self, word: &[u8], expected: &'static str) -> Result<(), NarError> {
        let at = self.at;
        match self.any_word(&mut [0; WORD_BYTES_MAX])? == word {
            true => Ok(()),
            false => Err(NarError::Grammar { at, expected }),
        }
    }

    /// `true` for `first`, `false` for `second`.
    pub(super) fn either(
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
    pub(super) fn end(&mut self) -> Result<(), NarError> {
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
