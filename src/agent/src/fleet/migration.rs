//! `bin/migrate` of a host in a group: the shell around [`rollout::fleet::Lock`].
//!
//! One run of the lock for each migration of the swap machine. Calls of the ledger, the run and its
//! renewals are begun beside and answer through a channel; whatever of them is left is dropped with
//! the lock. An agent that is started anew takes the lock again as the same swap, and joins the
//! run.
//!
//! The supervisor is never told a length of time but a moment, on the clock that PID 1 holds its
//! deadlines by: an order that lies about gives no more time than the lock gave.

use super::records::RecordError;
use super::{Before, Fleet};
use crate::app::{now, until};
use crate::supervisor::{Run, Supervisor};
use rollout::fleet::{Lock, LockEffect, LockEvent, Migrations, Verdict, Wish, keys};
use rollout::{Failure, Ledger, Token};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use sys::clock::{boottime_ns, monotonic_ns};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

/// Answers that wait for the lock: it has one call, one run and no more under way.
const EVENTS_MAX: usize = 8;

/// Between two looks at the clock, in nanoseconds: timers stand still while the host is suspended,
/// and another host may have the lock when it wakes.
const CLOCK_LOOK_NS: u64 = 1_000_000_000;

/// Until a supervisor that did not run the migration is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// What a host does for the one migration of its swap.
struct Driver<'a> {
    fleet: &'a Rc<Fleet>,
    supervisor: &'a Supervisor,
    app: &'a str,
    run: Rc<Run>,
    events: mpsc::Sender<LockEvent>,
    /// All that is under way; dropped with this.
    tasks: JoinSet<()>,
    /// When the run ends unless it is renewed; `CLOCK_MONOTONIC` nanoseconds.
    until_ns: Rc<Cell<u64>>,
    running: Option<AbortHandle>,
    renewing: Option<AbortHandle>,
}

/// How it ended.
pub enum End {
    /// It was run here and did what it should.
    Migrated,
    /// It was done before, by that host.
    Done(String),
    /// The swap was called back while nothing of it ran.
    CalledBack(Failure),
    /// It failed, here or on that host.
    Failed {
        /// Where.
        host: String,
        /// What happened.
        reason: String,
    },
}

impl Fleet {
    /// Has the migration of a release done once in the group: here, or it was elsewhere. `say` is
    /// told who is waited for. `force`: also one that failed before.
    pub async fn migrate(
        self: &Rc<Self>,
        supervisor: &Supervisor,
        app: &str,
        run: &Run,
        force: bool,
        say: impl Fn(&str),
    ) -> End {
        let wish = Wish {
            host: self.host().await.to_owned(),
            swap: run.swap.clone(),
            path: run.closure.clone(),
            lease_ms: run.lease_ms,
            force,
        };
        let (events, mut inbox) = mpsc::channel(EVENTS_MAX);
        let mut driver = Driver {
            fleet: self,
            supervisor,
            app,
            run: Rc::new(run.clone()),
            events,
            tasks: JoinSet::new(),
            until_ns: Rc::default(),
            running: None,
            renewing: None,
        };
        let mut lock = Lock::new(wish, now());
        let mut began = Some(Instant::now());
        let mut event = LockEvent::Tick;
        loop {
            let mut is_waiting = false;
            if let LockEvent::LookFailed(why) | LockEvent::WriteFailed(why) = &event {
                say(&format!("waits for the ledger: {why}"));
            }
            for effect in lock.step(now(), event) {
                if let LockEffect::Run { .. } | LockEffect::Over(_) = &effect
                    && let Some(began) = began.take()
                {
                    self.metrics.lock_waited(app, began.elapsed());
                }
                match effect {
                    LockEffect::Waits(text) => {
                        say(&format!("waits: {text}"));
                        is_waiting = true;
                    }
                    LockEffect::Over(verdict) => return End::of(verdict),
                    effect => driver.carry_out(effect),
                }
            }
            // A run is never left alone. Somebody may have ended the rollout and taken the lock
            // away, since the migration hangs: then it is not begun again.
            if is_waiting
                && driver.is_idle()
                && let Err(failure) = self.may(app, &run.swap, Before::Users).await
            {
                return End::CalledBack(failure);
            }
            let wake_ns = lock.wake_ns().min(boottime_ns().saturating_add(CLOCK_LOOK_NS));
            event = tokio::select! {
                biased;
                Some(event) = inbox.recv() => event,
                () = until(Some(wake_ns)) => LockEvent::Tick,
            };
        }
    }

    async fn migrations(&self, app: &str) -> Result<Option<(Migrations, Token)>, RecordError> {
        let key = keys::migrations(&self.group, app)?;
        let Some(entry) = self.engine().await?.get(&key).await? else { return Ok(None) };
        Ok(Some((Migrations::read(&entry.value)?, entry.token)))
    }

    async fn write_migrations(
        &self,
        app: &str,
        expected: Option<&Token>,
        record: &Migrations,
    ) -> Result<rollout::Cas, RecordError> {
        let (key, bytes) = (keys::migrations(&self.group, app)?, record.write()?);
        Ok(self.engine().await?.cas(&key, expected, &bytes).await?)
    }
}

impl Driver<'_> {
    /// Nothing runs here.
    fn is_idle(&self) -> bool {
        self.running.as_ref().is_none_or(AbortHandle::is_finished)
    }

    fn carry_out(&mut self, effect: LockEffect) {
        match effect {
            LockEffect::Look => {
                self.call(async |fleet, app| match fleet.migrations(&app).await {
                    Ok(record) => LockEvent::Looked(record),
                    Err(error) => LockEvent::LookFailed(error.to_string()),
                });
            }
            LockEffect::Write { expected, record } => {
                self.call(async move |fleet, app| {
                    match fleet.write_migrations(&app, expected.as_ref(), &record).await {
                        Ok(cas) => LockEvent::Wrote(cas),
                        Err(error) => LockEvent::WriteFailed(error.to_string()),
                    }
                })
            }
            LockEffect::Run { fence, until_ns } => self.begin(fence, until_ns),
            LockEffect::Renew { until_ns } => self.renew(until_ns),
            // What is renewed until now ends now.
            LockEffect::Stop => self.renew(boottime_ns()),
            LockEffect::Waits(_) | LockEffect::Over(_) => {}
        }
    }

    /// Asks the ledger, beside.
    fn call(&mut self, ask: impl AsyncFnOnce(Rc<Fleet>, String) -> LockEvent + 'static) {
        let (fleet, app) = (Rc::clone(self.fleet), self.app.to_owned());
        let events = self.events.clone();
        self.tasks.spawn_local(async move {
            let event = ask(fleet, app).await;
            // Nobody listens any more once the lock is over.
            let _ = events.send(event).await;
        });
    }

    fn begin(&mut self, fence: u64, until_ns: u64) {
        self.until_ns.set(monotonic(until_ns));
        // One of an earlier taking is joined by the new one.
        if let Some(earlier) = self.running.take() {
            earlier.abort();
        }
        let (supervisor, app) = (self.supervisor.clone(), self.app.to_owned());
        let (run, end_ns) = (Rc::clone(&self.run), Rc::clone(&self.until_ns));
        let events = self.events.clone();
        let running = self.tasks.spawn_local(async move {
            let end = supervisor.run_under(&app, &run, fence, &end_ns).await;
            let event = match end {
                Ok(end) if end.is_success() => LockEvent::Ended(Ok(())),
                Ok(end) if end.lease_ended => LockEvent::Interrupted,
                Ok(end) => LockEvent::Ended(Err(how_it_ended(end.exit, end.signal))),
                Err(control::Error::StartFailed { reason, .. }) => {
                    LockEvent::Ended(Err(format!("the migration does not start: {reason}")))
                }
                // Too late to begin, or the supervisor has other things to do: it is asked again.
                Err(error) => {
                    tracing::warn!("{app}: the migration was not run: {error}");
                    tokio::time::sleep(AGAIN).await;
                    LockEvent::Interrupted
                }
            };
            let _ = events.send(event).await;
        });
        self.running = Some(running);
    }

    fn renew(&mut self, until_ns: u64) {
        let end_ns = monotonic(until_ns);
        self.until_ns.set(end_ns);
        if let Some(earlier) = self.renewing.take() {
            earlier.abort();
        }
        let (supervisor, app) = (self.supervisor.clone(), self.app.to_owned());
        let run = Rc::clone(&self.run);
        let renewing = self.tasks.spawn_local(async move {
            supervisor.renew_until(&app, &run, end_ns).await;
        });
        self.renewing = Some(renewing);
    }
}

impl End {
    fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Migrated => Self::Migrated,
            Verdict::Done { host, .. } => Self::Done(host),
            Verdict::Failed { host, reason } => Self::Failed { host, reason },
        }
    }
}

/// That moment on the clock of PID 1's deadlines.
fn monotonic(boottime: u64) -> u64 {
    monotonic_ns().saturating_add(boottime.saturating_sub(boottime_ns()))
}

fn how_it_ended(exit: Option<i32>, signal: Option<i32>) -> String {
    match (exit, signal) {
        (Some(code), _) => format!("the migration exited with {code}"),
        (None, Some(signal)) => format!("the migration was ended by signal {signal}"),
        (None, None) => "the migration ended, nobody knows how".to_owned(),
    }
}
