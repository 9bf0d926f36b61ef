//! The migration lock: one host of a group at a time runs `bin/migrate`, and each release's once.
//!
//! # How it goes
//!
//! ```text
//!  read ─▶ outcome known: done ───────────────────────────────▶ Skip
//!    │                    failed (without --force) ────────────▶ Barred
//!    │     held by another: wait, read again; unchanged for a whole lease on this host's clock,
//!    │     counted from the *answer* that first showed it: take it over
//!    ▼ free
//!  Taking ─written─▶ Holding: Run, and Renew until 2/3 of the lease after the *request* of the
//!    ▲                 │      heartbeat that was last written; a heartbeat each 1/3
//!    │ lost: read      │ ended        │ taken by another: Stop; read, and wait for what becomes
//!                      ▼              │ of the other's
//!                  Settling ─written─▶ Over
//! ```
//!
//! The holder counts from before its request and the waiter from after its answer, so what the
//! waiter sees as a whole lease is at least that for the holder, whose PID 1 kills the migration
//! at 2/3 of it. Clocks need not agree; they may differ in speed by a third.
//! `CLOCK_BOOTTIME`: a host that was suspended wakes with its lease over, and stops at its first
//! look at the clock what PID 1 (whose deadlines do not pass in a suspension) has not killed yet.
//!
//! A migration that *failed* is remembered, and no host runs it again without `--force`. One that
//! was *interrupted* (its host died, its lease ran out) is run again by whoever takes over: so
//! `bin/migrate` must bear repetition. The fence grows with each taking; `bin/migrate` finds it as
//! `ROLLINIT_FENCE` and may check it.

use super::group::FORMAT;
use super::limits::{LOOK_BUSY_MS, MIGRATIONS_MAX, RETRY_MS_MAX, RETRY_MS_MIN, TEXT_BYTES_MAX};
use super::migrations::{Hold, Migrations, Outcome};
use crate::ledger::{Cas, Token};
use crate::{Now, text};

/// Who wants to migrate what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// This host.
    pub host: String,
    /// Its swap: the same again after a restart of the agent.
    pub swap: String,
    /// The release.
    pub path: String,
    /// The lease in milliseconds.
    pub lease_ms: u64,
    /// Also if it failed before.
    pub force: bool,
}

/// What the agent tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockEvent {
    /// Time passed: at [`Lock::wake_ns`] at the latest.
    Tick,
    /// Answer to [`LockEffect::Look`]: the record, if there is one.
    Looked(Option<(Migrations, Token)>),
    /// Answer to [`LockEffect::Look`]: the ledger gave none.
    LookFailed(String),
    /// Answer to [`LockEffect::Write`].
    Wrote(Cas),
    /// Answer to [`LockEffect::Write`]: nothing was written.
    WriteFailed(String),
    /// The migration ended by itself: why it failed, or that it did not.
    Ended(Result<(), String>),
    /// It was killed, since nobody renewed it. That is no failure: it is run again.
    Interrupted,
}

/// What the agent shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockEffect {
    /// Read the record. One at a time with [`LockEffect::Write`].
    Look,
    /// Write the record, if it still has that version (`None`: if there is none).
    Write {
        /// The version.
        expected: Option<Token>,
        /// The record.
        record: Box<Migrations>,
    },
    /// Begin the migration, or join that of the same swap; it is killed at this moment unless it is
    /// renewed.
    Run {
        /// Number of the taking.
        fence: u64,
        /// `CLOCK_BOOTTIME` in nanoseconds.
        until_ns: u64,
    },
    /// The migration may go on until then.
    Renew {
        /// `CLOCK_BOOTTIME` in nanoseconds.
        until_ns: u64,
    },
    /// It is another's turn, or may be: the migration is not renewed, and ends.
    Stop,
    /// Nothing else follows.
    Over(Verdict),
    /// A line for people: who is waited for.
    Waits(String),
}

/// How it ended for this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was run here and did what it should.
    Migrated,
    /// It was done before, by this host under that fence.
    Done {
        /// By whom.
        host: String,
        /// The fence.
        fence: u64,
    },
    /// It failed, here or elsewhere.
    Failed {
        /// Where.
        host: String,
        /// What happened.
        reason: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Asking,
    Holding,
    Settling(Result<(), String>),
    Over,
}

#[derive(Clone, Debug)]
enum Busy {
    Look,
    /// What is being written, and when it was asked for.
    Write(Box<Migrations>, u64),
}

/// What a waiter last saw, and when.
#[derive(Clone, Debug)]
struct Seen {
    token: Token,
    since_ns: u64,
}

/// One host's way through the lock.
#[derive(Clone, Debug)]
pub struct Lock {
    wish: Wish,
    now: Now,
    stage: Stage,
    record: Option<(Migrations, Token)>,
    is_fresh: bool,
    seen: Option<Seen>,
    busy: Option<Busy>,
    next_ns: u64,
    retry_ms: u64,
    /// The request of the newest heartbeat that was written.
    beat_ns: u64,
    /// Since that heartbeat the run was told to end.
    is_stopped: bool,
    effects: Vec<LockEffect>,
}

impl Lock {
    /// Nothing was asked yet.
    #[must_use]
    pub fn new(wish: Wish, now: Now) -> Self {
        Self {
            wish,
            now,
            stage: Stage::Asking,
            record: None,
            is_fresh: false,
            seen: None,
            busy: None,
            next_ns: now.clock_ns,
            retry_ms: RETRY_MS_MIN,
            beat_ns: now.clock_ns,
            is_stopped: false,
            effects: Vec::new(),
        }
    }

    /// Takes one event; returns what follows.
    pub fn step(&mut self, now: Now, event: LockEvent) -> Vec<LockEffect> {
        self.now = now;
        self.hear(event);
        if self.stage == Stage::Holding && now.clock_ns >= self.until_ns() && !self.is_stopped {
            self.is_stopped = true;
            self.effects.push(LockEffect::Stop);
        }
        if self.busy.is_none() && self.is_fresh {
            self.is_fresh = false;
            self.decide();
        }
        if self.busy.is_none() && self.stage != Stage::Over && now.clock_ns >= self.next_ns {
            self.look_or_beat();
        }
        std::mem::take(&mut self.effects)
    }

    /// When it wants to be woken.
    #[must_use]
    pub fn wake_ns(&self) -> u64 {
        if self.busy.is_some() || self.stage == Stage::Over { u64::MAX } else { self.next_ns }
    }

    fn hear(&mut self, event: LockEvent) {
        match event {
            LockEvent::Tick => {}
            LockEvent::Looked(record) => {
                self.busy = None;
                self.retry_ms = RETRY_MS_MIN;
                self.note(record);
            }
            LockEvent::LookFailed(_) | LockEvent::WriteFailed(_) => self.back_off(),
            LockEvent::Wrote(Cas::Applied(token)) => self.wrote(token),
            LockEvent::Wrote(Cas::Lost) => {
                self.busy = None;
                self.record = None;
                self.next_ns = self.now.clock_ns;
            }
            LockEvent::Wrote(Cas::Unknown(_)) => {
                self.record = None;
                self.back_off();
            }
            LockEvent::Ended(result) if self.stage == Stage::Holding => {
                self.stage = Stage::Settling(result);
                self.is_fresh = self.record.is_some();
                self.next_ns = self.next_ns.min(self.now.clock_ns);
            }
            LockEvent::Interrupted if self.stage == Stage::Holding => self.ask_again(),
            // Of a run that was stopped.
            LockEvent::Ended(_) | LockEvent::Interrupted => {}
        }
    }

    fn back_off(&mut self) {
        self.busy = None;
        self.next_ns = self.now.plus_ms(self.retry_ms);
        self.retry_ms = (self.retry_ms * 2).min(RETRY_MS_MAX).min(self.wish.lease_ms / 6);
    }

    /// An answer: a waiter's clock starts with it, if it shows something new.
    fn note(&mut self, record: Option<(Migrations, Token)>) {
        match &record {
            None => self.seen = None,
            Some((_, token)) => {
                if self.seen.as_ref().is_none_or(|seen| seen.token != *token) {
                    let since_ns = self.now.clock_ns;
                    self.seen = Some(Seen { token: token.clone(), since_ns });
                }
            }
        }
        self.record = record;
        self.is_fresh = true;
    }

    fn wrote(&mut self, token: Token) {
        let Some(Busy::Write(record, asked_ns)) = self.busy.take() else { return };
        self.retry_ms = RETRY_MS_MIN;
        if self.holds(&record) {
            self.beat(asked_ns, record.fence);
        }
        self.record = Some((*record, token));
        self.is_fresh = true;
    }

    /// A heartbeat whose request was made at `asked_ns` is written.
    fn beat(&mut self, asked_ns: u64, fence: u64) {
        (self.beat_ns, self.is_stopped) = (asked_ns, false);
        let until_ns = self.until_ns();
        self.next_ns = asked_ns.saturating_add(self.lease_ns() / 3);
        match self.stage {
            Stage::Asking => {
                self.stage = Stage::Holding;
                self.effects.push(LockEffect::Run { fence, until_ns });
            }
            Stage::Holding => self.effects.push(LockEffect::Renew { until_ns }),
            Stage::Settling(_) | Stage::Over => {}
        }
    }

    /// Until when the run may go on.
    const fn until_ns(&self) -> u64 {
        self.beat_ns.saturating_add(self.lease_ns() / 3 * 2)
    }

    /// The lock is not this host's any more, or its run was killed: as if nothing had been asked.
    fn ask_again(&mut self) {
        self.stage = Stage::Asking;
        self.next_ns = self.now.clock_ns;
        self.is_fresh = false;
    }

    const fn lease_ns(&self) -> u64 {
        self.wish.lease_ms.saturating_mul(1_000_000)
    }

    fn holds(&self, record: &Migrations) -> bool {
        let own = |hold: &Hold| hold.host == self.wish.host && hold.swap == self.wish.swap;
        record.holder.as_ref().is_some_and(own)
    }

    fn decide(&mut self) {
        let record = self.record.as_ref().map(|(record, _)| record.clone()).unwrap_or_default();
        match self.stage.clone() {
            Stage::Asking => self.ask(&record),
            Stage::Holding if !self.holds(&record) => {
                self.effects.push(LockEffect::Stop);
                self.ask_again();
                self.ask(&record);
            }
            Stage::Holding | Stage::Over => {}
            Stage::Settling(result) => self.settle(&record, result),
        }
    }

    fn ask(&mut self, record: &Migrations) {
        if let Some(outcome) = record.outcome(&self.wish.path) {
            match &outcome.failed {
                None => {
                    let (host, fence) = (outcome.host.clone(), outcome.fence);
                    return self.over(Verdict::Done { host, fence });
                }
                Some(reason) if !self.wish.force => {
                    let (host, reason) = (outcome.host.clone(), reason.clone());
                    return self.over(Verdict::Failed { host, reason });
                }
                Some(_) => {}
            }
        }
        let Some(hold) = &record.holder else { return self.take(record) };
        let lease_ns = hold.lease_ms.max(self.wish.lease_ms).saturating_mul(1_000_000);
        let seen_ns = self.seen.as_ref().map_or(self.now.clock_ns, |seen| seen.since_ns);
        let is_over = self.now.clock_ns >= seen_ns.saturating_add(lease_ns);
        if is_over || self.holds(record) {
            return self.take(record);
        }
        self.next_ns = self.now.plus_ms(LOOK_BUSY_MS.min(self.wish.lease_ms / 6));
        let text = format!("{} migrates to {} (fence {})", hold.host, hold.path, record.fence);
        self.effects.push(LockEffect::Waits(text));
    }

    fn take(&mut self, record: &Migrations) {
        let mut next = record.clone();
        next.format = FORMAT;
        // After a restart of the agent it is the same taking, and the same run goes on.
        if !self.holds(record) {
            next.fence = next.fence.saturating_add(1);
        }
        let beat = record.holder.as_ref().map_or(0, |hold| hold.beat).saturating_add(1);
        next.holder = Some(Hold {
            host: self.wish.host.clone(),
            swap: self.wish.swap.clone(),
            path: self.wish.path.clone(),
            beat,
            lease_ms: self.wish.lease_ms,
            since_ms: self.now.wall_ms,
        });
        self.write(next);
    }

    fn settle(&mut self, record: &Migrations, result: Result<(), String>) {
        let known = record.outcome(&self.wish.path);
        let is_told = known.is_some_and(|outcome| outcome.host == self.wish.host);
        if !self.holds(record) {
            // Told already, by a write whose answer was lost; or another took over, who runs it
            // again and tells.
            return match result {
                _ if !is_told => {
                    self.ask_again();
                    self.ask(record);
                }
                Ok(()) => self.over(Verdict::Migrated),
                Err(reason) => {
                    let host = self.wish.host.clone();
                    self.over(Verdict::Failed { host, reason });
                }
            };
        }
        let mut next = record.clone();
        next.holder = None;
        next.outcomes.retain(|outcome| outcome.path != self.wish.path);
        if next.outcomes.len() >= MIGRATIONS_MAX {
            next.outcomes.remove(0);
        }
        next.outcomes.push(Outcome {
            path: self.wish.path.clone(),
            host: self.wish.host.clone(),
            fence: record.fence,
            failed: result.err().map(|reason| text::cut(reason, TEXT_BYTES_MAX)),
            ended_ms: self.now.wall_ms,
        });
        self.write(next);
    }

    fn look_or_beat(&mut self) {
        match (&self.stage, &self.record) {
            (Stage::Holding, Some((record, _))) => {
                let mut next = record.clone();
                if let Some(hold) = &mut next.holder {
                    hold.beat = hold.beat.saturating_add(1);
                }
                self.write(next);
            }
            _ => {
                self.busy = Some(Busy::Look);
                self.effects.push(LockEffect::Look);
            }
        }
    }

    fn write(&mut self, next: Migrations) {
        let expected = self.record.as_ref().map(|(_, token)| token.clone());
        self.busy = Some(Busy::Write(Box::new(next.clone()), self.now.clock_ns));
        self.effects.push(LockEffect::Write { expected, record: Box::new(next) });
    }

    fn over(&mut self, verdict: Verdict) {
        self.stage = Stage::Over;
        self.effects.push(LockEffect::Over(verdict));
    }
}
