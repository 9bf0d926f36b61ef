//! What became of a load.

use super::request::{Answer, Request};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Failures shown in full. The first ones tell what happened.
const EXAMPLES_MAX: usize = 10;

/// A request sent so much after it was due says that the *generator* could not keep up.
const LATE: Duration = Duration::from_millis(250);

/// Why an answer was not right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Another status than 200.
    Status(u16),
    /// The answer to another request.
    WrongId,
    /// The server has seen this request before, though it was sent once.
    SeenTwice,
    /// The right request, another body.
    WrongBody,
    /// Reset by the server or its host.
    Reset,
    /// Nobody listens.
    Refused,
    /// The connection ended before the answer did.
    EndedEarly,
    /// Not answered in time.
    TooLate,
    /// Not HTTP/1.1 with a length.
    Protocol,
    /// Another error of the network: its `errno`.
    Other(i32),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::WrongId => f.write_str("answer to another request"),
            Self::SeenTwice => f.write_str("request seen twice by the server"),
            Self::WrongBody => f.write_str("wrong body"),
            Self::Reset => f.write_str("connection reset"),
            Self::Refused => f.write_str("connection refused"),
            Self::EndedEarly => f.write_str("answer cut short"),
            Self::TooLate => f.write_str("not in time"),
            Self::Protocol => f.write_str("not an HTTP/1.1 answer with a length"),
            Self::Other(errno) => write!(f, "errno {errno}"),
        }
    }
}

/// A failed request, in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Example {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// When it was due, in milliseconds from the start of the load.
    pub due_ms: u64,
    /// How long after that it failed, in milliseconds.
    pub after_ms: u64,
    /// Why.
    pub failure: String,
}

/// What became of a load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The load's name.
    pub name: String,
    /// Requests sent.
    pub sent: u64,
    /// Requests answered right and in time.
    pub answered: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Failures by reason.
    pub failures: BTreeMap<String, u64>,
    /// The first failures.
    pub examples: Vec<Example>,
    /// Requests that the generator itself sent late. Not 0: believe no latency of this report.
    pub sent_late: u64,
    /// Latency of right answers from when they were due, in milliseconds: half are faster.
    pub latency_p50_ms: f64,
    /// 99 of 100 are faster.
    pub latency_p99_ms: f64,
    /// The slowest.
    pub latency_max_ms: f64,
    /// Processes that answered, and how often.
    pub instances: BTreeMap<u32, u64>,
    /// Versions that answered, and how often.
    pub versions: BTreeMap<String, u64>,
}

/// Counts while a load is under way.
#[derive(Debug, Default)]
pub(super) struct Tally {
    sent: u64,
    sent_late: u64,
    failures: BTreeMap<String, u64>,
    examples: Vec<Example>,
    latencies: Vec<Duration>,
    instances: BTreeMap<u32, u64>,
    versions: BTreeMap<String, u64>,
}

impl Tally {
    pub fn sent(&mut self, late: Duration) {
        self.sent += 1;
        self.sent_late += u64::from(late > LATE);
    }

    pub fn answered(&self) -> u64 {
        self.latencies.len() as u64
    }

    pub fn ended(
        &mut self,
        request: &Request,
        due: Duration,
        latency: Duration,
        outcome: Result<Answer, Failure>,
    ) {
        match outcome {
            Ok(answer) => {
                self.latencies.push(latency);
                if let Some(instance) = answer.instance {
                    *self.instances.entry(instance).or_default() += 1;
                }
                if let Some(version) = answer.version {
                    *self.versions.entry(version).or_default() += 1;
                }
            }
            Err(failure) => {
                *self.failures.entry(failure.to_string()).or_default() += 1;
                if self.examples.len() < EXAMPLES_MAX {
                    self.examples.push(Example {
                        id: request.id.clone(),
                        kind: format!("{:?}", request.kind),
                        due_ms: whole_milliseconds(due),
                        after_ms: whole_milliseconds(latency),
                        failure: failure.to_string(),
                    });
                }
            }
        }
    }

    /// A worker panicked: that is a failure, never a request less.
    pub fn broken(&mut self) {
        *self.failures.entry("the generator itself broke".to_owned()).or_default() += 1;
    }

    pub fn report(&mut self, name: &str) -> Report {
        self.latencies.sort_unstable();
        let quantile = |per_mille: usize| {
            let index = self.latencies.len() * per_mille / 1000;
            let latency = self.latencies.get(index).or(self.latencies.last());
            latency.copied().map_or(0.0, milliseconds)
        };
        Report {
            name: name.to_owned(),
            sent: self.sent,
            answered: self.answered(),
            failed: self.failures.values().sum(),
            failures: self.failures.clone(),
            examples: self.examples.clone(),
            sent_late: self.sent_late,
            latency_p50_ms: quantile(500),
            latency_p99_ms: quantile(990),
            latency_max_ms: quantile(1000),
            instances: self.instances.clone(),
            versions: self.versions.clone(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99, max) = (self.latency_p50_ms, self.latency_p99_ms, self.latency_max_ms);
        write!(f, "{}: {} sent, {} failed; ", self.name, self.sent, self.failed)?;
        write!(f, "latency p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.1} ms")?;
        for (failure, count) in &self.failures {
            write!(f, "\n  {count} x {failure}")?;
        }
        for example in &self.examples {
            let Example { id, kind, due_ms, after_ms, failure } = example;
            write!(f, "\n  at {due_ms} ms: {kind} {id}: {failure} after {after_ms} ms")?;
        }
        if self.sent_late > 0 {
            write!(f, "\n  {} were sent late: this machine could not keep up", self.sent_late)?;
        }
        Ok(())
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn whole_milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What the server saw of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Different ids that it answered.
    pub seen: u64,
    /// Ids that came more than once.
    pub repeated: u64,
}

impl Ledger {
    /// From `seen=N repeated=N`.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let seen = words.next()?.strip_prefix("seen=")?.parse().ok()?;
        let repeated = words.next()?.strip_prefix("repeated=")?.parse().ok()?;
        Some(Self { seen, repeated })
    }
}
