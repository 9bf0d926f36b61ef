//! Reply of `Reload`.

use super::Problem;
use serde::{Deserialize, Serialize};
use zlink::introspect::{CustomType, Type};

/// Reply of `Reload`: what has become of the definitions, or with `dry_run` what would.
///
/// Names are sorted. What was added starts and what was removed stops after the reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct Reload {
    /// Nothing was done.
    pub dry_run: bool,
    /// Defined now, and not before.
    pub added: Vec<String>,
    /// Defined otherwise than before.
    pub changed: Vec<Change>,
    /// No longer defined.
    pub removed: Vec<String>,
    /// Defined as before.
    pub unchanged: Vec<String>,
    /// Those of the others whose file cannot be used: what was sound before keeps its definition.
    pub refused: Vec<String>,
    /// What is wrong with the files and how to cure it; empty if all of them can be used.
    pub problems: Vec<Problem>,
}

/// A service or app that is defined otherwise than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// Its run cannot stay: it stops and starts again.
    pub restart: bool,
    /// The keys that differ.
    pub keys: Vec<String>,
}

impl Reload {
    /// Whether nothing is different.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}
