//! What went wrong: which call, on what, why, and what to do about it.

use crate::limits::MESSAGE_BYTES_MAX;

/// The result of a call.
pub type Result<T> = std::result::Result<T, Error>;

/// A call that brought nothing. Its text names the call, the object, and the cure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call} {object}: {fault}")]
pub struct Error {
    /// The call, as IAM names it (`ssm:GetParameters`), or `metadata`.
    pub call: &'static str,
    /// What it was about: a parameter, a bucket and key, an instance, a path.
    pub object: String,
    /// Why it failed.
    pub fault: Fault,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nobody answered, over all tries.
    #[error("no answer from {address} in {tries} tries: {last}")]
    Unreachable {
        /// Who was asked.
        address: String,
        /// How often.
        tries: u32,
        /// What the last try said.
        last: String,
    },
    /// Nobody can tell whether it was carried out, and it must not happen twice.
    #[error("no answer that counts: {0}; it may have been carried out, so look at it again")]
    Unclear(String),
    /// The metadata service answers nobody.
    #[error("the metadata service refuses ({status}): {cure}")]
    Metadata {
        /// The HTTP status.
        status: u16,
        /// What to do.
        cure: &'static str,
    },
    /// The instance has no role, so there is nobody to ask AWS as.
    #[error(
        "no credentials: {0}; attach an instance profile whose role may make this call \
         (docs/cloud.md has the policy)"
    )]
    NoCredentials(String),
    /// No region is known.
    #[error("no region: {0}; set AWS_REGION, or `region` in [cloud] of agent.toml")]
    NoRegion(String),
    /// Whoever asked may not.
    #[error("not allowed: {message}; add {action} to the policy of its role (docs/cloud.md)")]
    Denied {
        /// The IAM action that is missing, as far as AWS tells.
        action: String,
        /// What AWS said.
        message: String,
    },
    /// There is no such object.
    #[error("there is no such object ({code}: {message})")]
    Missing {
        /// AWS's word for it.
        code: String,
        /// What AWS said.
        message: String,
    },
    /// AWS says no, and will again.
    #[error("refused with {status} {code}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// AWS's word for it.
        code: String,
        /// What AWS said.
        message: String,
    },
    /// The answer is not what such a call answers.
    #[error("an answer that makes no sense: {0}")]
    Answer(String),
    /// The answer is larger than any that is expected.
    #[error("an answer of more than {0} bytes")]
    TooLarge(usize),
    /// What was asked for cannot be asked.
    #[error("{0}")]
    Request(String),
}

impl Error {
    pub(crate) fn new(call: &'static str, object: impl Into<String>, fault: Fault) -> Self {
        Self { call, object: object.into(), fault }
    }

    /// Whether the same call may work another time with nobody doing anything about it.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match &self.fault {
            Fault::Unreachable { .. } => true,
            Fault::Refused { status, code, .. } => {
                *status >= 500 || *status == 429 || crate::aws::is_throttled(code)
            }
            _ => false,
        }
    }

    /// Whether the role may not do that.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self.fault, Fault::Denied { .. })
    }

    /// Whether the object is not there (and whoever asked may know).
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self.fault, Fault::Missing { .. })
    }
}

/// At most [`MESSAGE_BYTES_MAX`] of a foreign text, on one line, without control characters.
pub(crate) fn excerpt(text: &str) -> String {
    let mut kept = String::new();
    for letter in text.trim().chars() {
        if kept.len() >= MESSAGE_BYTES_MAX {
            kept.push('…');
            break;
        }
        kept.push(if letter.is_control() { ' ' } else { letter });
    }
    kept
}

/// What an HTTP error comes down to: the innermost cause says more than the words around it.
pub(crate) fn reason(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let text = excerpt(&innermost.to_string());
    if error.is_timeout() { format!("timed out ({text})") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_call_object_and_the_action_that_is_missing() {
        let fault = Fault::Denied {
            action: "ssm:GetParameters".to_owned(),
            message: "AccessDeniedException: User: x is not authorized".to_owned(),
        };
        let text = Error::new("ssm:GetParameters", "/web/key", fault).to_string();
        for word in ["ssm:GetParameters /web/key:", "add ssm:GetParameters to the policy"] {
            assert!(text.contains(word), "{text}");
        }
    }

    /// Elastic Load Balancing and Auto Scaling say it with 400, and it still passes.
    #[test]
    fn what_is_throttled_is_tried_another_time() {
        let refused = |status, code: &str| {
            let (code, message) = (code.to_owned(), "Rate exceeded".to_owned());
            Error::new("call", "object", Fault::Refused { status, code, message }).is_passing()
        };
        assert!(refused(400, "Throttling") && refused(429, "") && refused(503, "SlowDown"));
        assert!(!refused(400, "ValidationError"));
    }

    #[test]
    fn foreign_text_is_one_short_line() {
        assert_eq!(excerpt(" a\nb\u{1b}[31m "), "a b [31m");
        assert!(excerpt(&"é".repeat(9_000)).len() <= MESSAGE_BYTES_MAX + 8);
    }
}
