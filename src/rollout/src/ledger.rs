//! What a fleet expects of the engine that keeps its records.

use std::fmt;
use std::future::Future;

/// The version of one entry, as its engine names it. Only ever compared for being the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub String);

/// An entry: what is in it, and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its bytes.
    pub value: Vec<u8>,
    /// Its version.
    pub token: Token,
}

/// How a compare-and-swap ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cas {
    /// It was written; this is the entry's new version.
    Applied(Token),
    /// Somebody else was faster: the entry has another version than was expected. Nothing was
    /// written.
    Lost,
    /// No answer came. It may have been written, and it may still be written later, as long as the
    /// entry has the expected version. Read again.
    Unknown(String),
}

/// Why an engine gave no answer that counts. After it nothing was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerError {
    /// What was asked for: `get groups/prod/web from etcd http://10.0.0.5:2379`.
    pub step: String,
    /// What came of it.
    pub reason: String,
    /// What to do about it.
    pub cure: String,
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.step, self.reason, self.cure)
    }
}

impl std::error::Error for LedgerError {}

/// An engine. Keys are `/`-separated names of letters, digits and `-_.:@`.
///
/// One conformance suite says what is expected, on every engine, also behind a proxy that loses
/// answers.
pub trait Ledger {
    /// The entry of a key, linearizable: whatever was applied before this call began is seen.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Entry>, LedgerError>>;

    /// Puts `value` in place of the entry if that still has the version `expected`; `None`: if
    /// there is no entry.
    fn cas(
        &self,
        key: &str,
        expected: Option<&Token>,
        value: &[u8],
    ) -> impl Future<Output = Result<Cas, LedgerError>>;

    /// Removes the entry if it still has the version `expected`. `Applied`, with that version: it
    /// is gone; `Lost`: it has another, or there is none. A version never comes back: whoever knows
    /// an entry from before loses against one that was made anew.
    fn remove(&self, key: &str, expected: &Token)
    -> impl Future<Output = Result<Cas, LedgerError>>;

    /// All entries whose keys begin with `prefix`, each as of some moment since the call began.
    fn list(&self, prefix: &str)
    -> impl Future<Output = Result<Vec<(String, Entry)>, LedgerError>>;
}
