//! An honest load generator: open loop, no retries, every answer checked.
//!
//! * **Open loop.** Request *i* is due at `start + i / rate`, whatever became of those before it.
//!   Latency counts from when it was due, so a stalled server cannot hide behind a waiting client.
//! * **No retries.** A request is sent once. A kept connection that its server closed *before*
//!   anything was sent on it is replaced, as any client would, and so is one that was idle for
//!   longer than [`KEPT_IDLE_MAX`]: a server that waits longer than that before it closes one never
//!   closes it under a request. Nothing else is replaced.
//! * **Checked.** Each request carries an id, which the server sends back together with how often
//!   it has seen it. Another status than 200, another body, a reset, a refused connection, an
//!   answer that ends early, an id seen twice, or not in time ([`ANSWER_MAX`]): a failure.
//!
//! What a server under test answers is described at [`request::Kind`]. The generator's own honesty
//! is tested against servers that cheat (`tests/load.rs`).

mod connection;
pub mod report;
pub mod request;

use connection::Connection;
use report::{Ledger, Report, Tally};
use request::{Kind, Request};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// An answer later than this after its request was due is a failure, where a plan says no other.
pub const ANSWER_MAX: Duration = Duration::from_secs(2);

/// A kept connection that was idle for longer is not used again.
pub const KEPT_IDLE_MAX: Duration = Duration::from_millis(400);

/// Requests a second. Above it one thread a request would measure this machine's scheduler.
pub const RATE_MAX: u32 = 500;

/// What load to make.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Server under test.
    pub target: SocketAddr,
    /// Requests a second, 1 to [`RATE_MAX`].
    pub rate: u32,
    /// Requests in all; [`Running::stop`] ends it earlier.
    pub count: u64,
    /// Kinds of requests, taken in turn.
    pub mix: Vec<Kind>,
    /// Names this load in its ids, so that two loads on one server are told apart.
    pub name: String,
    /// An answer later than this after its request was due is a failure.
    pub answer_max: Duration,
}

impl Plan {
    /// All kinds of requests at `rate` for `seconds`.
    #[must_use]
    pub fn new(target: SocketAddr, name: &str, rate: u32, seconds: u64) -> Self {
        let count = u64::from(rate) * seconds;
        let (mix, answer_max) = (Kind::ALL.to_vec(), ANSWER_MAX);
        Self { target, rate, count, mix, name: name.to_owned(), answer_max }
    }

    /// The same for a guest that TCG computes: on a busy machine it freezes for seconds. What is
    /// lost, refused or cut does not come back in that time either.
    #[must_use]
    pub fn patient(self) -> Self {
        Self { answer_max: ANSWER_MAX * 5, ..self }
    }
}

/// A load under way.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    plan: Plan,
    started: Instant,
    next: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
    kept: Mutex<Vec<Kept>>,
}

/// A connection between two requests.
#[derive(Debug)]
struct Kept {
    connection: Connection,
    since: Instant,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    tally: Tally,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A worker that panicked has already failed its test; the counts are still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `due`; false if the load was stopped before.
    fn wait_until(&self, due: Instant) -> bool {
        let mut state = self.lock();
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if state.stopped || left.is_zero() {
                return !state.stopped;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state);
        }
    }

    /// One worker: takes the next request that is due, until there is none.
    fn work(&self) {
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let offset = Duration::from_nanos(index * 1_000_000_000 / u64::from(self.plan.rate));
            let due = self.started + offset;
            if index >= self.plan.count || !self.wait_until(due) {
                return;
            }
            let mix = &self.plan.mix;
            let kind = mix[usize::try_from(index).unwrap_or(0) % mix.len()];
            let request = Request::new(&self.plan.name, index, kind);
            let late = due.elapsed();
            self.lock().tally.sent(late);
            let outcome = self.exchange(&request, due + self.plan.answer_max);
            let latency = due.elapsed();
            let late = latency > self.plan.answer_max;
            let outcome = if late { Err(report::Failure::TooLate) } else { outcome };
            self.lock().tally.ended(&request, offset, latency, outcome);
            self.changed.notify_all();
        }
    }

    /// Sends one request and reads its answer, on a kept connection if the kind says so.
    fn exchange(
        &self,
        request: &Request,
        deadline: Instant,
    ) -> Result<request::Answer, report::Failure> {
        let reused = if request.kind.keeps_connection() { self.take_kept() } else { None };
        let mut connection = match reused {
            Some(connection) => connection,
            None => Connection::open(self.plan.target, deadline)?,
        };
        let response = connection.exchange(&request.bytes(), deadline)?;
        let answer = request.check(&response)?;
        if request.kind.keeps_connection() && !response.closes {
            self.lock_kept().push(Kept { connection, since: Instant::now() });
        }
        Ok(answer)
    }

    fn lock_kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was used last, so that the others grow old and are closed.
    fn take_kept(&self) -> Option<Connection> {
        let mut kept = self.lock_kept();
        kept.retain(|one| one.since.elapsed() <= KEPT_IDLE_MAX && one.connection.is_open());
        kept.pop().map(|one| one.connection)
    }
}

/// Starts the load.
///
/// # Errors
/// `InvalidInput` for a rate outside 1 to [`RATE_MAX`] or an empty mix; those of starting threads.
pub fn start(plan: Plan) -> io::Result<Running> {
    if plan.rate == 0 || plan.rate > RATE_MAX || plan.mix.is_empty() {
        let text = format!("rate must be 1 to {RATE_MAX} and the mix not empty");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    // As many as can be under way at once if every one takes as long as it may, and one more.
    let workers = u64::from(plan.rate) * plan.answer_max.as_secs() + 1;
    let workers = workers.min(plan.count);
    let shared = Arc::new(Shared {
        plan,
        started: Instant::now(),
        next: AtomicU64::new(0),
        state: Mutex::default(),
        changed: Condvar::new(),
        kept: Mutex::default(),
    });
    let spawn = |_| {
        let shared = Arc::clone(&shared);
        std::thread::Builder::new().stack_size(128 * 1024).spawn(move || shared.work())
    };
    let workers = (0..workers).map(spawn).collect::<io::Result<_>>()?;
    Ok(Running { shared, workers })
}

impl Running {
    /// Waits until `count` more requests were answered correctly than now. False after `patience`.
    #[must_use]
    pub fn answered(&self, count: u64, patience: Duration) -> bool {
        let give_up = Instant::now() + patience;
        let mut state = self.shared.lock();
        let wanted = state.tally.answered() + count;
        while state.tally.answered() < wanted {
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state);
        }
        true
    }

    /// Time since the first request was due; what [`report::Example::due_ms`] counts from.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// Sends no more, waits for what is under way, and reports.
    #[must_use]
    pub fn stop(self) -> Report {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
        self.finish()
    }

    /// Waits for all requests of the plan, and reports.
    #[must_use]
    pub fn finish(self) -> Report {
        for worker in self.workers {
            if worker.join().is_err() {
                self.shared.lock().tally.broken();
            }
        }
        self.shared.lock().tally.report(&self.shared.plan.name)
    }
}

/// Asks a server what it saw of the load called `name`: the other side of the check.
///
/// # Errors
/// What went wrong, in words.
pub fn ledger(target: SocketAddr, name: &str) -> Result<Ledger, String> {
    let deadline = Instant::now() + ANSWER_MAX;
    let request = format!(
        "GET /ledger?name={name} HTTP/1.1\r\nHost: load\r\nX-Request-Id: ledger\r\n\
         Connection: close\r\n\r\n"
    );
    let response = Connection::open(target, deadline)
        .and_then(|mut connection| connection.exchange(request.as_bytes(), deadline))
        .map_err(|failure| format!("asking {target} for its ledger: {failure}"))?;
    let text = String::from_utf8_lossy(&response.body).into_owned();
    Ledger::read(&text).ok_or_else(|| format!("{target} answered {text:?} instead of a ledger"))
}
