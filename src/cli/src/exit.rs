//! How a command ends: the documented exit codes, and failures with their object and cure.

use crate::screen::{Screen, printable};
use control::Error;
use control::agent::{self, OutcomeKind};
use control::client::CallError;
use serde::Serialize;
use std::io;

/// The exit codes; `--help` and docs/cli.md explain them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// It is done.
    Done = 0,
    /// It failed.
    Failed = 1,
    // 2, usage, is clap's.
    /// The supervisor cannot be reached, or went away.
    Unreachable = 3,
    /// The caller may not do that.
    NotPermitted = 4,
    /// There is no such service.
    NoSuchService = 5,
    /// The supervisor refused.
    Refused = 6,
    /// A swap failed, and the previous release serves.
    RolledBack = 10,
    /// A swap failed, and so did the way back.
    FailedBack = 11,
    /// The agent refused: nothing was changed.
    SwapRefused = 12,
    /// Another swap took its place.
    Superseded = 13,
    /// Nobody watches it any more; it goes on.
    Detached = 14,
    /// The host reboots into it; how that ends is told after the boot.
    Rebooting = 15,
    /// Somebody ended the rollout.
    Aborted = 16,
}

impl From<OutcomeKind> for Code {
    fn from(kind: OutcomeKind) -> Code {
        match kind {
            OutcomeKind::Committed | OutcomeKind::NothingToDo | OutcomeKind::Planned => Code::Done,
            OutcomeKind::RolledBack => Code::RolledBack,
            OutcomeKind::FailedBack => Code::FailedBack,
            OutcomeKind::Refused => Code::SwapRefused,
            OutcomeKind::Superseded => Code::Superseded,
            OutcomeKind::Rebooting => Code::Rebooting,
        }
    }
}

/// The word for a supervisor that was reached and ended before it answered.
pub const WENT_AWAY: &str = "went_away";

/// Why a command did not get to its end.
#[derive(Debug)]
pub struct Failure {
    /// What to exit with.
    pub code: Code,
    /// A word for machines.
    pub kind: &'static str,
    /// What happened, to what.
    pub message: String,
    /// What to do about it, a line each.
    pub cures: Vec<String>,
}

/// The form of a failure with `--json`.
#[derive(Debug, Serialize)]
pub struct FailureJson<'a> {
    error: &'a str,
    message: &'a str,
    cures: &'a [String],
}

impl Failure {
    /// Something on this side failed.
    pub fn local(what: &str, error: &io::Error) -> Failure {
        let message = format!("{what}: {error}");
        Failure { code: Code::Failed, kind: "local", message, cures: Vec::new() }
    }

    /// The form with `--json`.
    pub fn json(&self) -> FailureJson<'_> {
        FailureJson { error: self.kind, message: &self.message, cures: &self.cures }
    }

    /// Tells the user, and returns what to exit with.
    ///
    /// A reader that closed the pipe has seen what it wanted: that is no failure.
    pub fn report(&self, screen: &mut Screen) -> Code {
        if self.kind == "broken_pipe" {
            return Code::Done;
        }
        // If even this cannot be written there is nobody to tell; the exit code still says it.
        let _ = if screen.json {
            screen.json(&self.json()).and_then(|()| screen.flush())
        } else {
            screen.complain(&self.lines())
        };
        self.code
    }

    /// For a person: the message, and indented the cures.
    pub fn lines(&self) -> String {
        let mut text = format!("rollinit: {}\n", printable(&self.message));
        for cure in &self.cures {
            text.push_str(&format!("  {}\n", printable(cure)));
        }
        text
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        let kind = match error.kind() {
            io::ErrorKind::BrokenPipe => "broken_pipe",
            _ => "local",
        };
        Failure { kind, ..Failure::local("cannot write to stdout", &error) }
    }
}

/// Who is at the other end, and what its errors mean here.
trait Answers: Sized {
    /// Its name, for a person.
    const SERVER: &'static str;
    /// How to look at it again.
    const LOOK: &'static str;
    /// The failure that one of its errors is.
    fn failure(self) -> Failure;
}

impl Answers for Error {
    const SERVER: &'static str = "supervisor";
    const LOOK: &'static str = "rollinit status";
    fn failure(self) -> Failure {
        answered(&self)
    }
}

impl Answers for agent::Error {
    const SERVER: &'static str = "agent";
    const LOOK: &'static str = "rollinit swaps";
    fn failure(self) -> Failure {
        agent_answered(&self)
    }
}

impl<E: Answers> From<CallError<E>> for Failure {
    fn from(error: CallError<E>) -> Failure {
        let message = error_text(&error);
        match error {
            CallError::Answered(error) => error.failure(),
            CallError::Connect { socket, error } => unreachable(E::SERVER, &socket, &error),
            CallError::Broken { .. } => Failure {
                code: Code::Unreachable,
                kind: WENT_AWAY,
                message,
                cures: vec![format!(
                    "The {} was restarted, or has too many callers; look again with `{}`.",
                    E::SERVER,
                    E::LOOK
                )],
            },
            CallError::Foreign { .. } => Failure {
                code: Code::Unreachable,
                kind: "not_understood",
                message,
                cures: vec![format!("Is this rollinit as old as the {} that runs?", E::SERVER)],
            },
        }
    }
}

/// What broke, in words; an answered error has its own.
fn error_text<E>(error: &CallError<E>) -> String {
    match error {
        CallError::Answered(_) => String::new(),
        CallError::Connect { socket, error } => format!("cannot connect to {socket}: {error}"),
        CallError::Broken { socket, method, error } => {
            format!("{socket}: the connection ended before the answer to {method} came: {error}")
        }
        CallError::Foreign { socket, method, error } => {
            format!("{socket}: the answer to {method} is not understood: {error}")
        }
    }
}

/// The agent's answer was no.
fn agent_answered(error: &agent::Error) -> Failure {
    use agent::Error;
    let (code, kind, cures) = match error {
        Error::NoSuchApp { .. } => (Code::NoSuchService, "no_such_app", Vec::new()),
        Error::NoSuchSwap { .. } => (Code::NoSuchService, "no_such_swap", Vec::new()),
        Error::NoSuchGeneration { .. } => (Code::NoSuchService, "no_such_generation", Vec::new()),
        Error::NotPermitted { needs, .. } => {
            (Code::NotPermitted, "not_permitted", vec![role_cure(needs)])
        }
        Error::Refused { .. } => (Code::SwapRefused, "refused", Vec::new()),
        Error::Failed { .. } => {
            let cure = "`rollinit swaps` and `rollinit logs rollinit-agent` tell more.".to_owned();
            (Code::Failed, "failed", vec![cure])
        }
    };
    Failure { code, kind, message: error.to_string(), cures }
}

/// The supervisor's answer was no.
fn answered(error: &Error) -> Failure {
    let (code, kind, cures) = match error {
        Error::NoSuchService { .. } => (Code::NoSuchService, "no_such_service", Vec::new()),
        Error::NotPermitted { needs, .. } => {
            (Code::NotPermitted, "not_permitted", vec![role_cure(needs)])
        }
        Error::Refused { .. } => (Code::Refused, "refused", Vec::new()),
        Error::ShuttingDown { .. } => (Code::Refused, "shutting_down", Vec::new()),
        Error::NoSuchApp { .. } => (Code::NoSuchService, "no_such_app", Vec::new()),
        Error::SwapUnderWay { .. } => (Code::Refused, "swap_under_way", Vec::new()),
        Error::WrongPhase { .. } => (Code::Refused, "wrong_phase", Vec::new()),
        Error::NoSuchSwap { .. } => (Code::NoSuchService, "no_such_swap", Vec::new()),
        Error::StartFailed { .. } => (Code::Failed, "start_failed", Vec::new()),
        Error::Failed { name, .. } => {
            let cure = format!("`rollinit status {name}` and `rollinit logs {name}` tell more.");
            (Code::Failed, "failed", vec![cure])
        }
    };
    Failure { code, kind, message: error.to_string(), cures }
}

/// How to get a role.
fn role_cure(role: &str) -> String {
    match role {
        "read" => "Become a member of the group rollinit-read (and log in again), or root.",
        "operate" => "Become a member of the group rollinit (and log in again), or root.",
        _ => "Become root, outside of any service.",
    }
    .to_owned()
}

/// No connection came about.
fn unreachable(server: &str, socket: &str, error: &io::Error) -> Failure {
    let cure = match error.kind() {
        io::ErrorKind::NotFound if server == "agent" => {
            "There is no such socket. Does this host have apps? Another path is given with \
             --agent or ROLLINIT_AGENT."
        }
        io::ErrorKind::ConnectionRefused if server == "agent" => {
            "The socket is there and nobody listens: `rollinit status rollinit-agent`."
        }
        io::ErrorKind::NotFound => {
            "There is no such socket. Does rollinit run on this host? Another path is given with \
             --socket or ROLLINIT_SOCKET."
        }
        io::ErrorKind::ConnectionRefused => {
            "The socket is there and nobody listens. Was rollinit-init stopped?"
        }
        io::ErrorKind::PermissionDenied => {
            "You may not enter that directory. Are you in the group rollinit-read?"
        }
        _ => "Does rollinit run on this host? Are you in the group rollinit-read?",
    };
    Failure {
        code: Code::Unreachable,
        kind: "unreachable",
        message: format!("cannot reach the {server} at {socket}: {error}"),
        cures: vec![cure.to_owned()],
    }
}
