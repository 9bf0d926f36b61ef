//! What a task has to say: lines for the log, and what could not be done.

use std::fmt::Display;
use std::process::ExitCode;

/// Problems of one call that are printed; the rest is counted. A log line each, of a boot.
const PROBLEMS_MAX: usize = 50;

/// Collects what tasks say. Every line is printed at once, so that it is there if the task hangs.
#[derive(Debug, Default)]
pub struct Report {
    task: &'static str,
    problems: usize,
    #[cfg(test)]
    lines: Vec<String>,
}

/// Something that could not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it happened to: a file with its line, a name, a path.
    pub object: String,
    /// What was tried and what came of it.
    pub message: String,
    /// What to do about it.
    pub cure: String,
}

impl Problem {
    /// A problem from its three parts.
    pub fn new(object: impl Display, message: impl Display, cure: impl Display) -> Self {
        Self { object: object.to_string(), message: message.to_string(), cure: cure.to_string() }
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} ({})", self.object, self.message, self.cure)
    }
}

impl Report {
    /// From now on it is this task that speaks.
    pub fn begin(&mut self, task: &'static str) {
        self.task = task;
    }

    /// A line for the log.
    pub fn say(&mut self, line: impl Display) {
        println!("{}: {line}", self.task);
    }

    /// Something could not be done; the exit code will say so.
    pub fn problem(&mut self, problem: &Problem) {
        self.problems += 1;
        #[cfg(test)]
        self.lines.push(problem.to_string());
        if self.problems <= PROBLEMS_MAX {
            eprintln!("{}: {problem}", self.task);
        }
    }

    /// Every problem so far, as it was printed.
    #[cfg(test)]
    pub fn lines(&self) -> Vec<&str> {
        self.lines.iter().map(String::as_str).collect()
    }

    /// The exit code, after the last line.
    #[must_use]
    pub fn code(&self) -> ExitCode {
        if self.problems > PROBLEMS_MAX {
            eprintln!("{} further problems are not shown", self.problems - PROBLEMS_MAX);
        }
        if self.problems == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
