//! Where swaps are said aloud: each step in the agent's log, each end on the host's console too.

use control::agent::{OutcomeKind, Progress, StepState, report};
use std::cell::RefCell;
use sys::kmsg::Priority;
use sys::log_sink::LogSink;

/// The log, and the console if this is the host's own agent.
#[derive(Debug)]
pub struct Console {
    kernel: Option<RefCell<LogSink>>,
}

impl Console {
    /// `is_host`: outcomes also go to the kernel's log, which a serial line shows. Somebody who
    /// tries rollinit out in a folder does not want that.
    #[must_use]
    pub fn new(is_host: bool) -> Self {
        let kernel = if is_host { LogSink::kernel("rollinit").ok() } else { None };
        Self { kernel: kernel.map(RefCell::new) }
    }

    /// Says one line aloud: in the log, and on the console.
    pub fn announce(&self, priority: Priority, line: &str) {
        match priority {
            Priority::Error => tracing::error!("{line}"),
            Priority::Warning => tracing::warn!("{line}"),
            _ => tracing::info!("{line}"),
        }
        if let Some(kernel) = &self.kernel {
            kernel.borrow_mut().write(priority, line);
        }
    }

    /// Says a step that is over, or the end of a swap.
    pub fn say(&self, progress: &Progress) {
        if progress.state != StepState::Running || progress.outcome.is_some() {
            tracing::info!("{}", step(progress));
        }
        let Some(outcome) = &progress.outcome else { return };
        let priority = priority(outcome.kind);
        for line in report::lines(progress) {
            self.announce(priority, &line);
        }
    }
}

/// How loud an end is.
fn priority(kind: OutcomeKind) -> Priority {
    match kind {
        OutcomeKind::FailedBack => Priority::Error,
        OutcomeKind::RolledBack => Priority::Warning,
        OutcomeKind::Committed | OutcomeKind::Refused | OutcomeKind::Superseded => Priority::Notice,
        OutcomeKind::Rebooting => Priority::Notice,
        OutcomeKind::NothingToDo | OutcomeKind::Planned => Priority::Information,
    }
}

/// One step in a line: `web 7H2K gate ok 2100 ms GET /up 200 x3`.
fn step(progress: &Progress) -> String {
    let state = match progress.state {
        StepState::Pending => "pending",
        StepState::Running => "running",
        StepState::Ok => "ok",
        StepState::Skip => "skip",
        StepState::Failed => "failed",
    };
    let mut line = format!("{} {} {} {state}", progress.app, progress.swap, progress.step.word());
    if progress.elapsed_ms > 0 {
        line.push_str(&format!(" {} ms", progress.elapsed_ms));
    }
    if !progress.text.is_empty() {
        line.push_str(": ");
        line.push_str(&progress.text);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use control::agent::{Release, Step};

    /// One line that can be searched for by app, swap and step.
    #[test]
    fn a_step_is_a_line() {
        let mut progress = Progress {
            swap: "7H2K".to_owned(),
            app: "web".to_owned(),
            from: None,
            to: Release::of_path("/nix/store/x-web", None),
            step: Step::Gate,
            state: StepState::Ok,
            text: "GET /up ok x3".to_owned(),
            elapsed_ms: 2_100,
            bytes_done: None,
            bytes_total: None,
            paths_done: None,
            paths_total: None,
            outcome: None,
        };
        assert_eq!(step(&progress), "web 7H2K gate ok 2100 ms: GET /up ok x3");
        (progress.elapsed_ms, progress.text) = (0, String::new());
        assert_eq!(step(&progress), "web 7H2K gate ok");
    }

    /// What somebody must look at is an error on the console, what took care of itself a warning.
    #[test]
    fn ends_are_as_loud_as_they_matter() {
        assert_eq!(priority(OutcomeKind::FailedBack), Priority::Error);
        assert_eq!(priority(OutcomeKind::RolledBack), Priority::Warning);
        assert_eq!(priority(OutcomeKind::Committed), Priority::Notice);
    }
}
