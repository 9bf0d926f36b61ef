//! One closure of an app, as people name it.

use serde::{Deserialize, Serialize};

/// A closure, and the generation that it is or was, if it ever was one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its top store path.
    pub path: String,
    /// Its generation in the app's profile.
    pub generation: Option<u64>,
}

impl Release {
    /// A release that is no generation yet.
    #[must_use]
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), generation: None }
    }

    /// Its name without directory and hash: `storefront-1.9.3`.
    #[must_use]
    pub fn name(&self) -> &str {
        let base = self.path.rsplit('/').next().unwrap_or(&self.path);
        base.split_once('-').map_or(base, |(_hash, name)| name)
    }
}
