//! The errors of the interface, as they travel and as a person reads them.

use crate::types::ShutdownKind;

/// Why a call was not done.
///
/// On the wire each is `io.rollinit.Supervisor.NAME` with the fields as parameters.
#[derive(Debug, Clone, PartialEq, Eq, zlink::ReplyError, zlink::introspect::ReplyError)]
#[zlink(interface = "io.rollinit.Supervisor")]
pub enum Error {
    /// No service of that name is defined on this host.
    NoSuchService {
        /// The name that was asked for.
        name: String,
        /// The defined name that looks most like it, if one is close.
        nearest: Option<String>,
    },
    /// The caller's role does not reach that far.
    NotPermitted {
        /// The method that was called.
        method: String,
        /// The role it needs: read, operate or admin.
        needs: String,
        /// The role the caller has: none, read, operate or admin.
        has: String,
        /// Where the caller's role comes from, for a person.
        reason: String,
    },
    /// The supervisor understood and will not do it; nothing was changed.
    Refused {
        /// The object: a service's name, or what else was asked for.
        name: String,
        /// Why, and what to do instead; a sentence that names the object.
        reason: String,
    },
    /// It was tried and did not succeed.
    Failed {
        /// The object: a service's name, or what else was asked for.
        name: String,
        /// What happened; a sentence that names the object.
        reason: String,
    },
    /// The host is going down; nothing is started any more.
    ShuttingDown {
        /// The shutdown that is under way.
        kind: ShutdownKind,
    },
    /// No app of that name is defined on this host.
    NoSuchApp {
        /// The name that was asked for.
        name: String,
        /// The defined name that looks most like it, if one is close.
        nearest: Option<String>,
    },
    /// Another swap of the app is under way; nothing was changed.
    SwapUnderWay {
        /// The app.
        app: String,
        /// The id of the swap that is under way.
        swap: String,
    },
    /// The app has no swap of that id, so it cannot be taken further; nothing was changed.
    NoSuchSwap {
        /// The app.
        app: String,
        /// The id that was asked for.
        swap: String,
    },
    /// The swap is at a point from which that cannot be done; nothing was changed.
    WrongPhase {
        /// The app.
        app: String,
        /// The swap.
        swap: String,
        /// Why, and what can be done instead; a sentence that names the app.
        reason: String,
    },
    /// A program of the app could not be started at all.
    StartFailed {
        /// The app.
        app: String,
        /// Which step failed and why; a sentence that names the program.
        reason: String,
    },
}

impl std::error::Error for Error {}

impl std::fmt::Display for Error {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::NoSuchService { name, nearest: Some(nearest) } => {
                write!(out, "no service is called \"{name}\"; did you mean \"{nearest}\"?")
            }
            Error::NoSuchService { name, nearest: None } => {
                write!(out, "no service is called \"{name}\"; `rollinit status` lists them")
            }
            Error::NotPermitted { method, needs, has, reason } => {
                write!(out, "{method} needs the role {needs}, yours is {has}: {reason}")
            }
            Error::Refused { reason, .. }
            | Error::Failed { reason, .. }
            | Error::WrongPhase { reason, .. } => out.write_str(reason),
            Error::ShuttingDown { kind } => {
                write!(out, "the host is going down ({kind}); nothing is started any more")
            }
            Error::NoSuchApp { name, nearest: Some(nearest) } => {
                write!(out, "no app is called \"{name}\"; did you mean \"{nearest}\"?")
            }
            Error::NoSuchApp { name, nearest: None } => {
                write!(out, "no app is called \"{name}\"; `rollinit status` lists them")
            }
            Error::SwapUnderWay { app, swap } => {
                write!(out, "{app}: the swap {swap} is under way; end it before another one")
            }
            Error::NoSuchSwap { app, swap } => {
                write!(out, "{app} has no swap {swap} under way")
            }
            Error::StartFailed { app, reason } => write!(out, "{app}: {reason}"),
        }
    }
}

impl Error {
    /// A [`Error::NoSuchService`] that names the closest of `defined`, if one is close enough to
    /// be a slip of the fingers: at most a third of the letters differ.
    pub fn no_such_service<'a>(name: &str, defined: impl IntoIterator<Item = &'a str>) -> Error {
        let (name, nearest) = nearest(name, defined);
        Error::NoSuchService { name, nearest }
    }

    /// A [`Error::NoSuchApp`], in the same way.
    pub fn no_such_app<'a>(name: &str, defined: impl IntoIterator<Item = &'a str>) -> Error {
        let (name, nearest) = nearest(name, defined);
        Error::NoSuchApp { name, nearest }
    }
}

/// `name`, cut to what a name may have, and the one of `defined` that it may have been meant to be.
pub(crate) fn nearest<'a>(
    name: &str,
    defined: impl IntoIterator<Item = &'a str>,
) -> (String, Option<String>) {
    let name: String = name.chars().take(crate::limits::NAME_BYTES_MAX).collect();
    let allowed = (name.chars().count() / 3).max(1);
    let nearest = defined
        .into_iter()
        .map(|candidate| (distance(&name, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate.to_owned());
    (name, nearest)
}

/// Letters to insert, remove or replace to turn `left` into `right` (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(crate::limits::NAME_BYTES_MAX).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, &to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::{Error, distance};

    /// Known distances, from the definition.
    #[test]
    fn distances() {
        assert_eq!(distance("", "web"), 3);
        assert_eq!(distance("web", "web"), 0);
        assert_eq!(distance("wbe", "web"), 2);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    /// A slip gets its suggestion, a foreign word none, ties go to the first in the alphabet.
    #[test]
    fn nearest_name() {
        let defined = ["web", "worker", "db"];
        let nearest = |name| match Error::no_such_service(name, defined) {
            Error::NoSuchService { nearest, .. } => nearest,
            other => panic!("{other}"),
        };
        assert_eq!(nearest("wrker").as_deref(), Some("worker"));
        assert_eq!(nearest("wen").as_deref(), Some("web"));
        assert_eq!(nearest("postgres"), None);
    }

    /// The wire form is the one the Varlink specification asks for.
    #[test]
    fn wire_form() {
        let error = Error::Refused { name: "web".into(), reason: "no".into() };
        let json = serde_json::to_value(&error).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "error": "io.rollinit.Supervisor.Refused",
                "parameters": {"name": "web", "reason": "no"}
            })
        );
        assert_eq!(serde_json::from_value::<Error>(json).unwrap(), error);
    }
}
