//! Reading TOML tables key by key, so that every problem of a file is found and has its place.
//!
//! serde's `deny_unknown_fields` stops at the first problem. Here each value is deserialized by
//! serde on its own, and a key that nobody asked for is a problem of its own when the table is
//! finished.

use crate::nearest::nearest;
use crate::problem::{Place, Problem, Severity};
use serde::Deserialize;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

/// Problems reported of one file: more than anybody repairs at once.
const PROBLEMS_MAX: usize = 64;

/// What is wrong with a value, and what to write instead.
#[derive(Debug)]
pub struct Fault {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub suggestion: String,
}

impl Fault {
    /// Of these words.
    pub fn new(message: impl Into<String>, suggestion: impl Into<String>) -> Self {
        Self { message: message.into(), suggestion: suggestion.into() }
    }
}

/// A value that is written as a string of its own grammar.
pub trait Written: Sized {
    /// How one is written, for somebody who wrote something else.
    const EXAMPLE: &'static str;

    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with the text.
    fn read(text: &str) -> Result<Self, Fault>;
}

/// A file, and what was found wrong with it so far.
#[derive(Debug)]
pub struct File<'t> {
    /// Its name in messages.
    pub label: &'t str,
    /// What is in it.
    pub text: &'t str,
    /// In the order in which they were found.
    pub problems: Vec<Problem>,
}

impl<'t> File<'t> {
    /// Nothing is wrong with it yet.
    #[must_use]
    pub fn new(label: &'t str, text: &'t str) -> Self {
        Self { label, text, problems: Vec::new() }
    }

    /// The whole file as a table; none if it is no TOML.
    pub fn root(&mut self) -> Option<Section<'t>> {
        let (root, errors) = DeTable::parse_recoverable(self.text);
        if errors.is_empty() {
            return Some(Section::new("", root.span(), root.into_inner()));
        }
        for error in &errors {
            self.fault_toml(error, &(0..0), "see https://toml.io");
        }
        None
    }

    /// Says what is wrong at a span of bytes.
    pub fn fault(&mut self, span: &Range<usize>, fault: Fault) {
        let place = Place::of(self.text, span.start);
        let suggestion = Some(fault.suggestion).filter(|text| !text.is_empty());
        self.push(place, fault.message, suggestion);
    }

    /// Says what is wrong with the file as a whole.
    pub fn fault_whole(&mut self, fault: Fault) {
        self.push(Place::default(), fault.message, Some(fault.suggestion));
    }

    fn push(&mut self, place: Place, message: String, suggestion: Option<String>) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem {
                file: self.label.to_owned(),
                line: place.line,
                column: place.column,
                message,
                suggestion,
                severity: Severity::Error,
            });
        }
    }

    /// Says what the TOML reader or serde found.
    pub fn fault_toml(&mut self, error: &toml::de::Error, otherwise: &Range<usize>, cure: &str) {
        let span = error.span().unwrap_or_else(|| otherwise.clone());
        let message = error.message().replace('\n', ", ");
        self.fault(&span, Fault::new(message, cure));
    }
}

/// A table being read: asking for a key takes it out.
#[derive(Debug)]
pub struct Section<'t> {
    path: String,
    span: Range<usize>,
    entries: DeTable<'t>,
    known: Vec<&'static str>,
}

impl<'t> Section<'t> {
    /// A table, the name it goes by, and where it stands.
    pub fn new(path: impl Into<String>, span: Range<usize>, entries: DeTable<'t>) -> Self {
        Self { path: path.into(), span, entries, known: Vec::new() }
    }

    /// The table's name, `service.limits`.
    pub fn path(&self) -> &str {
        self.path.trim_start_matches('.')
    }

    /// Where the table begins.
    pub fn span(&self) -> &Range<usize> {
        &self.span
    }

    /// Where a key's value stands, if it is there and not yet taken.
    pub fn place_of(&mut self, key: &'static str) -> Option<Range<usize>> {
        self.know(key);
        self.entries.get(key).map(Spanned::span)
    }

    fn know(&mut self, key: &'static str) {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'t>>> {
        self.know(key);
        self.entries.remove(key)
    }

    /// A value that serde can read by itself.
    pub fn value<T>(&mut self, file: &mut File, key: &'static str, cure: &str) -> Option<Spanned<T>>
    where
        T: for<'de> Deserialize<'de>,
    {
        let value = self.take(key)?;
        let span = value.span();
        match T::deserialize(ValueDeserializer::from(value)) {
            Ok(inner) => Some(Spanned::new(span, inner)),
            Err(error) => {
                file.fault_toml(&error, &span, cure);
                None
            }
        }
    }

    /// A value with a grammar of its own.
    pub fn written<T: Written>(&mut self, file: &mut File, key: &'static str) -> Option<T> {
        let cure = format!("write {key} = {}", T::EXAMPLE);
        let text = self.value::<String>(file, key, &cure)?;
        match T::read(text.get_ref()) {
            Ok(value) => Some(value),
            Err(fault) => {
                file.fault(&text.span(), fault);
                None
            }
        }
    }

    /// Takes a value out for the caller to read.
    pub fn raw(&mut self, key: &'static str) -> Option<Spanned<DeValue<'t>>> {
        self.take(key)
    }

    /// A table within; none if it is missing or something else.
    pub fn section(&mut self, file: &mut File, key: &'static str) -> Option<Section<'t>> {
        let value = self.take(key)?;
        let (path, span) = (format!("{}.{key}", self.path), value.span());
        if let DeValue::Table(table) = value.into_inner() {
            return Some(Section::new(path, span, table));
        }
        let path = path.trim_start_matches('.');
        file.fault(&span, Fault::new(format!("{key} is not a table"), format!("write [{path}]")));
        None
    }

    /// The tables `[this.NAME]` with their names; whatever else is in it is a problem.
    pub fn named(self, file: &mut File) -> Vec<(Spanned<String>, Section<'t>)> {
        let mut sections = Vec::new();
        for (key, value) in self.entries {
            let (name, span) = (key.get_ref().to_string(), value.span());
            let path = format!("{}.{name}", self.path);
            match value.into_inner() {
                DeValue::Table(table) => {
                    let section = Section::new(path, span, table);
                    sections.push((Spanned::new(key.span(), name), section));
                }
                _ => {
                    let cure = format!("write [{}]", path.trim_start_matches('.'));
                    file.fault(&span, Fault::new(format!("{name} is not a table"), cure));
                }
            }
        }
        sections
    }

    /// The tables of `[[key]]`.
    pub fn sections(&mut self, file: &mut File, key: &'static str) -> Vec<Section<'t>> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let (path, span) = (format!("{}.{key}", self.path), value.span());
        let wrong =
            Fault::new(format!("{key} is not a list of tables"), format!("write [[{path}]]"));
        let DeValue::Array(array) = value.into_inner() else {
            file.fault(&span, wrong);
            return Vec::new();
        };
        let mut sections = Vec::new();
        for element in array {
            let span = element.span();
            match element.into_inner() {
                DeValue::Table(table) => sections.push(Section::new(&path, span, table)),
                _ => file.fault(&span, Fault::new(&wrong.message, &wrong.suggestion)),
            }
        }
        sections
    }

    /// Every key that nobody asked for is a problem.
    pub fn finish(self, file: &mut File) {
        let place = match self.path.trim_start_matches('.') {
            "" => "at the top of the file".to_owned(),
            path => format!("in [{path}]"),
        };
        for (key, _) in self.entries {
            let name = key.get_ref();
            let cure = match nearest(name, self.known.iter().copied()) {
                Some(known) => format!("write {known}"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            file.fault(&key.span(), Fault::new(format!("unknown key {name:?} {place}"), cure));
        }
    }
}
