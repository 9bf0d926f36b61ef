//! The machine: the swaps of one app on one host.
//!
//! # How it thinks
//!
//! A swap moves an app from the closure that serves (*from*, the recorded previous) to another one
//! (*to*). Its [`State`] says what is achieved. Entering a state is always the same: it is written
//! to disk, then what follows from it is begun. Resuming is entering without writing, so there is
//! no code that only a crash ever runs; every effect therefore bears to be carried out twice.
//!
//! ```text
//!  Planned ─plan, fetch─▶ Fetched ─roots─▶ Rooted ─migrate─▶ Migrated ─prepare─▶ Started
//!     │ nothing was touched: refused         │ refused           │                  │ gate
//!     ▼                                      ▼                   ▼                  ▼
//!    over ◀──────────────────────────────────┘              Abandoning ◀───────── Gated
//!                                                                ▲                  │ admit
//!   over ◀─watch─ Committed ◀─link─ Retired ◀─retire─ Baked ◀─bake─ Baking ◀─hook─ Switched
//!                     │                 │                        │                  │
//!                     │                 ▼ reverse                └───▶ Abandoning ◀─┘
//!                     ▼ a swap of its own, to the recorded previous
//!
//!  Abandoning ─candidate gone─▶ Verifying ─is from well?─▶ Telling ─hook on-rollback─▶ over
//! ```
//!
//! *Forward.* Faults before anything is touched end the swap as `refused`. A migration that is done
//! is marked and never run again for that path; one that failed bars the path, and is told as
//! rolled back although no process was touched; one that was interrupted (by a death, a power cut,
//! a lease) is run again. The gate opens after so many good answers in a row, of one and the same
//! run; a refused connection means "not yet"; the deadline is on disk, so a death of the agent does
//! not lengthen it. After the switch the candidate is asked on: the end of its run, or
//! [`PROBE_FAILURES_MAX`](crate::limits::PROBE_FAILURES_MAX) bad answers in a row, take the swap
//! back. The bake is over when its time has passed and the newest answer is a good one; with
//! `--test` also somebody must have confirmed it in time. Then the old side goes, and only then,
//! with the new version alone and well, the profile link moves.
//!
//! *Back.* While the old side is there, the way back is `Abandon`. It ends when the previous
//! version passed the gate, asked as a user would: `rolled back`; or did not: `failed back`, never
//! success. Once the old side is gone but the link has not moved (`retire = "at-switch"`, or a link
//! that cannot be moved), the previous version comes back as the candidate of a *reverse* swap
//! through the same states, under the id `ID-back`; if that one does not pass its gate, the version
//! that serves goes on and the swap has failed back. Whatever is barred is on the failed list and
//! needs `--force`; faults of the host never bar a path.
//!
//! *Watch.* The outcome is told at the commit. For a while the new version is asked on; a crash
//! loop or bad answers make a new swap `ID-back` to the recorded previous, through the same states,
//! but without migration, hook, bake and watch, like `rollinit rollback`. After a rollback there is
//! no recorded previous, so two bad versions cannot play ball.
//!
//! *One at a time.* There is at most one verb under way (migration, prepare, admit, retire,
//! abandon, commit): a decision to go back waits for its answer. Fetches and hooks are broken off.
//! A second request for the same path joins; another one takes the place of a swap that users have
//! not seen yet, waits for one that they have, and cuts a watch window short.
//!
//! *A power cut* leaves the record and the profile link; a boot starts what the link points to.
//! Planned and Fetched go on. From Rooted on the swap is over and the previous version, which the
//! boot started, is verified: a release that takes the host down gets no second try by itself. With
//! the link moved, it is committed. A way back of a watch window begins anew.
//!
//! *Roots.* `running` holds what serves, `target` where the swap goes, `previous` where a rollback
//! goes. `running` and `target` are made before the first process; at the commit `previous` and
//! `running` move before `target` goes. So nothing live is ever without a root of ours.
//!
//! *A record that cannot be written.* Before the switch the swap goes back, and going back does not
//! wait for the disk: the record on disk then says too little, and whoever resumes from it sees in
//! the supervisor's view that the swap is lost, and goes back again. After the switch the swap
//! stands still, tries on, and goes back if the new version falls sick meanwhile.

mod ask;
mod back;
mod forward;
mod request;
mod resume;
mod tell;
mod watch;

use crate::effect::{Effect, Ticket};
use crate::event::{Answer, Event, Failure, Fault};
use crate::limits::{RETRY_MS_MAX, RETRY_MS_MIN};
use crate::record::{Back, Record, State, Summary, Swap};
use crate::report::{Outcome, OutcomeKind};
use crate::view::View;
use crate::{HookKind, Now};
use ask::Asking;

/// What is known when the agent starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `/proc/sys/kernel/random/boot_id` of now.
    pub boot: String,
    /// The app, as the supervisor sees it; `None` when no such app is defined any more.
    pub view: Option<View>,
    /// The path that the app's profile link points to.
    pub profile: Option<String>,
}

/// The swaps of one app.
#[derive(Clone, Debug)]
pub struct Machine {
    record: Record,
    view: Option<View>,
    profile: Option<String>,
    now: Now,
    effects: Vec<Effect>,
    /// The newest batch, for [`Event::Broke`].
    batch: Vec<Effect>,
    tickets: u64,
    flight: Option<Flight>,
    asking: Option<Asking>,
    /// A way back that waits for the verb in flight.
    turn: Option<Back>,
    /// Effects that broke after the switch and are tried again.
    owed: Vec<Effect>,
    owed_retry: Option<Retry>,
    verb_retry: Option<Retry>,
    step_began_ns: u64,
    hook_until_ns: Option<u64>,
    migrations: u32,
    dry_run: bool,
    /// A swap of the supervisor's that cannot be ended, and why.
    stuck_stray: Option<(String, String)>,
}

/// The effect that is being waited for.
#[derive(Clone, Copy, Debug)]
struct Flight {
    ticket: Ticket,
    verb: Verb,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Plan,
    Fetch,
    Migrate,
    Prepare,
    Admit,
    Retire,
    Abandon,
    Commit,
    Hook(HookKind),
    /// An `Abandon` of a swap that nobody remembers.
    Stray,
}

impl Verb {
    /// Whether it may be left alone; all others are waited for.
    const fn can_be_cancelled(self) -> bool {
        matches!(self, Self::Plan | Self::Fetch | Self::Hook(_))
    }
}

#[derive(Clone, Copy, Debug)]
struct Retry {
    at_ns: u64,
    tries: u32,
}

impl Retry {
    fn after(earlier: Option<Self>, now: Now) -> Self {
        let tries = earlier.map_or(0, |retry| retry.tries);
        let pause_ms = RETRY_MS_MIN.checked_shl(tries).unwrap_or(RETRY_MS_MAX).min(RETRY_MS_MAX);
        Self { at_ns: now.plus_ms(pause_ms), tries: tries.saturating_add(1) }
    }
}

impl Machine {
    /// Something happened: what shall be done.
    pub fn step(&mut self, now: Now, event: Event) -> Vec<Effect> {
        self.now = now;
        match event {
            Event::Request(request) => self.request(request),
            Event::Done { ticket, answer } => self.done(ticket, answer),
            Event::Failed { ticket, failure } => self.failed(ticket, failure),
            Event::Broke { index, reason } => self.broke(index, &reason),
            Event::View(view) => self.view = Some(view),
            Event::Tick => {}
            Event::Confirm { number } => self.confirm(number),
            Event::Cancel { number, reason } => self.cancel(number, &reason),
        }
        self.settle_down()
    }

    /// When [`Event::Tick`] is due at the latest, on [`Now::clock_ns`].
    #[must_use]
    pub fn wake_ns(&self) -> Option<u64> {
        let swap = self.record.swap.as_ref();
        let state_ns = swap.and_then(|swap| match swap.state {
            State::Started { until_ns }
            | State::Committed { until_ns }
            | State::Verifying { until_ns } => Some(until_ns),
            State::Baking { until_ns } => Some(until_ns),
            _ => None,
        });
        let test = swap.and_then(|swap| swap.test.filter(|_| swap.waits_for_confirmation()));
        [
            state_ns,
            test.map(|test| test.deadline_ns),
            self.hook_until_ns,
            self.owed_retry.map(|retry| retry.at_ns),
            self.verb_retry.map(|retry| retry.at_ns),
            self.asking.as_ref().and_then(Asking::wake_ns),
        ]
        .into_iter()
        .flatten()
        // What is due by now was looked at; if it did not come about, it waits for an event.
        .filter(|at_ns| *at_ns > self.now.clock_ns && *at_ns < u64::MAX)
        .min()
    }

    /// What is remembered, as the next `Persist` would write it.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// The path that the app's profile link points to: what a boot would start.
    #[must_use]
    pub fn profile(&self) -> Option<&str> {
        self.profile.as_deref()
    }

    /// The swap under way. In its watch window it has the outcome `committed` already.
    #[must_use]
    pub fn current(&self) -> Option<Summary> {
        let swap = self.record.swap.as_ref()?;
        let is_committed = matches!(swap.state, State::Committed { .. });
        let outcome = is_committed.then(|| Outcome::plain(OutcomeKind::Committed));
        Some(swap.summary(0, outcome))
    }

    /// Moves on as far as it goes now, and hands the effects out.
    fn settle_down(&mut self) -> Vec<Effect> {
        self.retry();
        self.observe();
        // Each turn enters a state or ends a swap; there is no way around in so many.
        for _ in 0..64 {
            if !self.advance() {
                break;
            }
            self.observe();
        }
        self.ask();
        let batch = std::mem::take(&mut self.effects);
        self.batch.clone_from(&batch);
        batch
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// A ticket for the one verb under way.
    fn fly(&mut self, verb: Verb) -> Ticket {
        let ticket = self.ticket();
        self.flight = Some(Flight { ticket, verb });
        ticket
    }

    fn persist(&mut self) {
        if !self.owed.is_empty() {
            // What is owed comes before the record that takes it for done.
            self.pay();
        }
        let bytes = if self.dry_run {
            // A dry run is nothing to remember.
            Record { swap: None, ..self.record.clone() }.encode()
        } else {
            self.record.encode()
        };
        self.effects.push(Effect::Persist { bytes });
    }

    /// Writes a state down and begins what follows from it.
    fn enter(&mut self, state: State) {
        let Some(swap) = self.record.swap.as_mut() else { return };
        swap.state = state;
        swap.since_ns = self.now.clock_ns;
        if !matches!(state, State::Baking { .. }) {
            self.stop_asking();
        }
        self.verb_retry = None;
        self.hook_until_ns = None;
        if self.owed.is_empty() {
            self.owed_retry = None;
        }
        self.persist();
        self.act();
    }

    /// Begins what follows from the state.
    fn act(&mut self) {
        let Some(state) = self.record.swap.as_ref().map(|swap| swap.state) else { return };
        match state {
            State::Planned => self.plan(),
            State::Fetched => self.root(),
            State::Rooted => self.migrate(),
            State::Migrated => self.prepare(),
            State::Started { .. } => self.start_asking(ask::Mode::Gate),
            State::Gated => self.admit(),
            State::Switched => self.switched(),
            State::Baking { .. } => self.bake(),
            State::Baked => self.retire(),
            State::Retired => self.retired(),
            State::Committed { .. } => self.watch(),
            State::Abandoning => self.abandon(),
            State::Verifying { .. } => self.verify(),
            State::Telling { .. } => self.tell_hook(),
        }
    }

    /// One move that time or a view allows; whether there was one.
    fn advance(&mut self) -> bool {
        let Some(swap) = self.record.swap.as_ref() else { return self.start_next() };
        let state = swap.state;
        if self.flight.is_none()
            && let Some(back) = self.turn.take()
        {
            self.go_back(back);
            return true;
        }
        if self.turn.is_some() {
            return false;
        }
        match state {
            State::Started { until_ns } => self.judge_gate(until_ns),
            State::Switched | State::Baking { .. } => self.judge_bake(state),
            State::Committed { until_ns } => self.judge_watch(until_ns),
            State::Verifying { until_ns } => self.judge_previous(until_ns),
            State::Telling { .. } => self.judge_telling(),
            _ => false,
        }
    }

    fn done(&mut self, ticket: Ticket, answer: Answer) {
        if self.asking.as_ref().is_some_and(|asking| asking.awaits(ticket)) {
            if let Answer::Probed(result) = answer {
                self.probed(result);
            }
            return;
        }
        let Some(flight) = self.flight.take_if(|flight| flight.ticket == ticket) else { return };
        match (flight.verb, answer) {
            (Verb::Plan, Answer::Planned(plan)) => self.planned(&plan),
            (Verb::Fetch, Answer::Fetched { has_migration, text }) => {
                self.fetched(has_migration, &text);
            }
            (Verb::Migrate, Answer::Ended { exit, signal, lease_ended }) => {
                self.migrated(exit, signal, lease_ended);
            }
            (Verb::Hook(hook), Answer::Ended { exit, signal, lease_ended }) => {
                self.hooked(hook, exit, signal, lease_ended);
            }
            (Verb::Commit, Answer::Committed { generation }) => self.committed(generation),
            (verb, Answer::App(view)) => {
                self.view = Some(view);
                self.obeyed(verb);
            }
            (verb, _) => {
                let reason = "the agent answered something else than was asked".to_owned();
                self.verb_failed(verb, Failure { fault: Fault::Host, reason, cure: Vec::new() });
            }
        }
    }

    /// The supervisor did what a verb wanted.
    fn obeyed(&mut self, verb: Verb) {
        match verb {
            Verb::Prepare => self.prepared(),
            Verb::Admit => self.admitted(),
            Verb::Retire => self.old_side_gone(),
            Verb::Abandon => self.abandoned(),
            _ => {}
        }
    }

    fn failed(&mut self, ticket: Ticket, failure: Failure) {
        if let Some(flight) = self.flight.take_if(|flight| flight.ticket == ticket) {
            self.verb_failed(flight.verb, failure);
        }
    }

    /// Carries out again what is due again.
    fn retry(&mut self) {
        let now_ns = self.now.clock_ns;
        let is_due = |retry: Option<Retry>| retry.is_some_and(|retry| retry.at_ns <= now_ns);
        if is_due(self.owed_retry) {
            self.pay();
        }
        if is_due(self.verb_retry) && self.flight.is_none() {
            // Not `None`: the count of tries goes on until another state is entered.
            if let Some(retry) = self.verb_retry.as_mut() {
                retry.at_ns = u64::MAX;
            }
            self.act();
        }
    }

    /// Tries the verb of this state again after a pause; how often that was so.
    fn try_again(&mut self) -> u32 {
        let retry = Retry::after(self.verb_retry, self.now);
        self.verb_retry = Some(retry);
        retry.tries
    }

    fn swap(&self) -> Option<&Swap> {
        self.record.swap.as_ref()
    }
}

impl Swap {
    /// What is remembered of it.
    fn summary(&self, ended_ms: u64, outcome: Option<Outcome>) -> Summary {
        Summary {
            id: self.id.clone(),
            origin: self.origin.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            began_ms: self.began_ms,
            ended_ms,
            outcome,
        }
    }

    /// Whether the previous version is on its way in as a candidate of its own.
    fn is_reverse(&self) -> bool {
        self.back.as_ref().is_some_and(|back| back.reverse)
    }

    /// How long it bakes: a version that served before does not.
    fn bake_ms(&self) -> u64 {
        if self.origin.is_rollback() { 0 } else { self.policy.bake_ms }
    }

    /// Its id to the supervisor.
    fn host_id(&self) -> String {
        if self.is_reverse() { format!("{}-back", self.id) } else { self.id.clone() }
    }

    /// What the supervisor shall start.
    fn candidate(&self) -> &str {
        match &self.from {
            Some(from) if self.is_reverse() => &from.path,
            _ => &self.to.path,
        }
    }

    /// `--test`, past its gate and neither confirmed nor retired.
    fn waits_for_confirmation(&self) -> bool {
        let is_open = matches!(self.state, State::Gated | State::Switched | State::Baking { .. });
        is_open && self.back.is_none() && self.test.is_some_and(|test| !test.confirmed)
    }
}
