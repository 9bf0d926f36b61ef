//! Words and options of a mode, taken one by one.

use super::Failure;
use std::str::FromStr;

/// What is left of the command line.
#[derive(Debug)]
pub(super) struct Arguments {
    words: Vec<String>,
}

impl Arguments {
    pub(super) fn new(words: impl Iterator<Item = String>) -> Self {
        Self { words: words.collect() }
    }

    /// The next word, whatever it is.
    pub(super) fn word(&mut self) -> Option<String> {
        if self.words.is_empty() { None } else { Some(self.words.remove(0)) }
    }

    /// The next word, which must be there.
    pub(super) fn needed<T: FromStr>(&mut self, what: &str) -> Result<T, Failure> {
        let word = self.word().ok_or_else(|| Failure(format!("{what} is missing")))?;
        read(what, &word)
    }

    /// `NAME VALUE`, wherever it stands; `default` without it.
    pub(super) fn option<T: FromStr>(&mut self, name: &str, default: T) -> Result<T, Failure> {
        Ok(self.option_if_any(name)?.unwrap_or(default))
    }

    /// `NAME VALUE`, wherever it stands.
    pub(super) fn option_if_any<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, Failure> {
        let Some(at) = self.words.iter().position(|word| word == name) else { return Ok(None) };
        self.words.remove(at);
        if at == self.words.len() {
            return Err(Failure(format!("{name} has no value")));
        }
        read(name, &self.words.remove(at)).map(Some)
    }

    /// Whether `NAME` stands anywhere.
    pub(super) fn flag(&mut self, name: &str) -> bool {
        let at = self.words.iter().position(|word| word == name);
        at.map(|at| self.words.remove(at)).is_some()
    }

    /// Nothing may be left.
    pub(super) fn finish(&self) -> Result<(), Failure> {
        match self.words.first() {
            None => Ok(()),
            Some(word) => Err(Failure(format!("{word:?} is not understood"))),
        }
    }
}

fn read<T: FromStr>(what: &str, word: &str) -> Result<T, Failure> {
    word.parse().map_err(|_| Failure(format!("{word:?} is no value of {what}")))
}
