//! The trial of a boot: blessed when the host has come up, left when it does not in time.

use super::machine::Verb;
use super::{Answer, Effect, Level, Machine, State};
use crate::effect::Ticket;
use crate::event::Failure;
use crate::limits::RETRY_MS_MAX;
use crate::report::{Step, StepState};
use crate::slot::EntryName;

/// This boot's entry has a counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trial {
    /// The entry.
    entry: EntryName,
    /// When it must have come up; `CLOCK_BOOTTIME`, which begins with the boot.
    until_ns: u64,
    /// What it waits for; none: it has come up.
    waits_for: Option<String>,
    /// The time is over.
    is_late: bool,
    /// The host is about to reboot out of it.
    gave_up: bool,
    /// The blessing under way.
    flight: Option<Ticket>,
    /// When it is due: it has been up for long enough, or is tried again.
    bless_ns: u64,
}

impl Trial {
    pub(super) fn waits_for(&self) -> Option<&str> {
        self.waits_for.as_deref()
    }
}

impl Machine {
    /// A boot begins, or goes on, whose entry has a counter.
    pub(super) fn begin_trial(&mut self, entry: EntryName) {
        self.trial = Some(Trial {
            entry,
            until_ns: self.facts.bless_within_ms.saturating_mul(1_000_000),
            waits_for: Some("its first look".to_owned()),
            is_late: false,
            gave_up: false,
            flight: None,
            bless_ns: 0,
        });
    }

    pub(super) fn trial_wake_ns(&self) -> Option<u64> {
        let trial = self.trial.as_ref()?;
        let until_ns = (!trial.is_late).then_some(trial.until_ns);
        let is_up = trial.waits_for.is_none() && trial.flight.is_none() && !trial.gave_up;
        let bless_ns = is_up.then_some(trial.bless_ns);
        until_ns.into_iter().chain(bless_ns).min()
    }

    pub(super) fn trial_gave_up(&self) -> bool {
        self.trial.as_ref().is_some_and(|trial| trial.gave_up)
    }

    /// The generation of the swap under way runs: it is blessed once the host has come up.
    pub(super) fn booted(&mut self) {
        self.begin_step(Step::Bless, "");
        if self.trial.is_none() {
            // It needs none, or an earlier agent of this boot gave it.
            self.tell(Step::Bless, StepState::Skip, "the loader keeps no count of it", None);
            self.enter(State::Blessed);
        }
    }

    /// The host has come up, or not yet.
    pub(super) fn health(&mut self, waits_for: Option<String>) {
        let bless_ns = self.now.plus_ms(self.facts.bless_after_ms);
        let Some(trial) = self.trial.as_mut() else { return };
        let is_news = trial.waits_for != waits_for;
        if is_news && waits_for.is_none() {
            trial.bless_ns = bless_ns;
        }
        trial.waits_for.clone_from(&waits_for);
        let (entry, is_late) = (trial.entry.to_string(), trial.is_late);
        match waits_for {
            // The blessing follows when the time is looked at.
            None => {}
            Some(waits_for) if is_news => {
                let text = format!("waits for {waits_for}");
                if self.record.swap.as_ref().is_some_and(|swap| swap.state == State::Booted) {
                    self.tell(Step::Bless, StepState::Running, &text, None);
                }
                if !is_late {
                    let text = format!("this boot ({entry}) is on trial: it {text}");
                    self.notice(Level::Information, text, None);
                }
            }
            Some(_) => {}
        }
    }

    fn bless(&mut self) {
        let ticket = self.ticket();
        let Some(trial) = self.trial.as_mut() else { return };
        trial.flight = Some(ticket);
        let entry = trial.entry.clone();
        self.effects.push(Effect::Bless { ticket, entry });
    }

    /// Whether this ticket was the blessing's.
    pub(super) fn trial_landed(&mut self, ticket: Ticket) -> bool {
        let trial = self.trial.as_mut();
        trial.is_some_and(|trial| trial.flight.take_if(|flight| *flight == ticket).is_some())
    }

    /// The host's fault: it is tried again, and the trial's end comes nearer.
    pub(super) fn not_blessed(&mut self, failure: &Failure) {
        let again_ns = self.now.plus_ms(RETRY_MS_MAX);
        let Some(trial) = self.trial.as_mut() else { return };
        trial.bless_ns = again_ns;
        let text = format!("{} cannot be blessed: {}", trial.entry, failure.reason);
        self.notice(Level::Error, text, failure.cure.first().cloned());
    }

    /// The loader stays with this boot's generation.
    pub(super) fn blessed(&mut self, answer: &Answer) {
        let gave_up = self.trial_gave_up();
        self.trial = None;
        self.stand();
        match self.record.swap.as_ref().map(|swap| swap.state) {
            // Too late: the host goes down already, and will come up with it.
            _ if gave_up => {}
            Some(State::Booted) => {
                let text = if let Answer::Text(text) = answer { text.as_str() } else { "" };
                self.tell(Step::Bless, StepState::Ok, text, None);
                self.enter(State::Blessed);
            }
            // It waited for that before it touched the boot partition.
            Some(State::Fetched) if self.flight.is_none() => self.inspect(),
            _ => {}
        }
    }

    /// A trial that takes too long is left by a reboot, if that leads anywhere.
    pub(super) fn pass_trial(&mut self) {
        let now_ns = self.now.clock_ns;
        let has_fallback = self.facts.has_fallback;
        let minutes = self.facts.bless_within_ms / 60_000;
        let Some(trial) = self.trial.as_mut() else { return };
        if trial.gave_up || trial.flight.is_some() {
            return;
        }
        if trial.waits_for.is_none() && trial.bless_ns <= now_ns {
            return self.bless();
        }
        if trial.until_ns > now_ns || trial.is_late {
            return;
        }
        trial.is_late = true;
        trial.gave_up = has_fallback;
        let waits_for = trial.waits_for.clone().unwrap_or_else(|| "its blessing".to_owned());
        let time = match minutes {
            0 => format!("{} s", self.facts.bless_within_ms / 1000),
            minutes => format!("{minutes} min"),
        };
        let reason = format!("not up within {time}: it waits for {waits_for}");
        let entry = trial.entry.to_string();
        if !has_fallback {
            let text = format!(
                "this boot ({entry}) is {reason}; there is no other generation to fall back to"
            );
            return self.notice(Level::Error, text, Some(format!("mend {waits_for}")));
        }
        let path = self.facts.booted.as_ref().map(|booted| booted.path.clone());
        self.record.given_up = Some((path.unwrap_or_default(), reason.clone()));
        self.persist();
        let text = format!("this boot ({entry}) is {reason}; the host reboots, and falls back");
        self.notice(Level::Error, text, None);
        self.tell(Step::Bless, StepState::Failed, &reason, None);
        self.reboot_out();
    }

    /// Leaves a boot that was not to be.
    pub(super) fn leave(&mut self) {
        let Some(trial) = self.trial.as_mut() else { return };
        trial.gave_up = true;
        let text = format!(
            "this boot ({}) runs a generation that was being taken back; the host reboots",
            trial.entry
        );
        self.notice(Level::Warning, text, None);
        self.reboot_out();
    }

    /// Reboots out of a trial.
    pub(super) fn reboot_out(&mut self) {
        let ticket = self.fly(Verb::Reboot);
        self.effects.push(Effect::Reboot { ticket });
    }
}
