//! What travels about credentials: which there are to be, and the secrets themselves.

use serde::{Deserialize, Serialize};
use std::fmt;
use zlink::introspect::{CustomType, Type};

/// Reply of `WatchCredentials`: all credentials that definitions name, never their values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct CredentialList {
    /// When the reply was made; CLOCK_MONOTONIC nanoseconds.
    pub now_ns: u64,
    /// By owner and name.
    pub credentials: Vec<Credential>,
}

/// A credential that a definition names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Credential {
    /// The service or app that gets it.
    pub owner: String,
    /// Its name, which is its file's.
    pub name: String,
    /// Where it comes from.
    pub source: CredentialSource,
    /// The path of a file of this host, or the name of a parameter of SSM.
    pub place: String,
    /// Whether it is there. One from a path is from the first start on.
    pub present: bool,
    /// Why it is not, or not as new as it should be.
    pub problem: Option<String>,
}

/// Where a credential comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, CustomType)]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum CredentialSource {
    /// A file of this host, read at each start.
    Path,
    /// A parameter of SSM, which the agent delivers.
    Ssm,
}

impl CredentialSource {
    /// The word for it, as in JSON and in definitions.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            CredentialSource::Path => "path",
            CredentialSource::Ssm => "ssm",
        }
    }
}

/// A secret on its way to the supervisor.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct NewCredential {
    /// Its name in the owner's definition.
    pub name: String,
    /// Its bytes, in base64 (RFC 4648 section 4).
    pub value: String,
}

impl fmt::Debug for NewCredential {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "NewCredential {{ name: {:?}, value: … }}", self.name)
    }
}

/// Why a credential cannot be had as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct CredentialProblem {
    /// Its name in the owner's definition.
    pub name: String,
    /// What stands in the way and what to do; never the value.
    pub reason: String,
}

/// Reply of `PutCredentials`: it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct CredentialsPut {
    /// Names of those that were not there before, or were another secret.
    pub changed: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever prints an order by mistake prints no secret.
    #[test]
    fn a_secret_does_not_print() {
        let credential =
            NewCredential { name: "database".to_owned(), value: "aHVudGVyMg==".into() };
        let printed = format!("{credential:?} {credential:#?}");
        assert!(printed.contains("database") && !printed.contains("aHVu"), "{printed}");
    }
}
