//! The start of the agent: what the record says, beside what was booted.

use super::{Back, Effect, Facts, Level, Machine, Record, State, Swap};
use crate::Now;
use crate::record::Origin;
use crate::release::Release;
use crate::report::{Outcome, OutcomeKind, Step, StepState};

/// What is told of a generation that left no word of its own.
const SILENT: &str = "it did not come up: it panicked, hung or was reset; \
                      its last words are on the serial console";

impl Machine {
    /// Goes on where the record is, in this boot or after another one.
    #[must_use]
    pub fn resume(record: Record, now: Now, facts: Facts) -> (Self, Vec<Effect>) {
        let is_same_boot = record.boot == facts.boot;
        let mut machine = Self::new(record, now, facts);
        let given_up = machine.record.given_up.clone().filter(|_| !is_same_boot);
        if !is_same_boot {
            machine.record.boot.clone_from(&machine.facts.boot);
            machine.record.running.clone_from(&machine.facts.booted);
            machine.record.given_up = None;
        }
        if let Some(entry) = machine.facts.trial.clone() {
            machine.begin_trial(entry);
        }
        machine.stand();
        match machine.record.swap.clone() {
            _ if is_same_boot && machine.was_leaving() => machine.leave(),
            Some(_) if is_same_boot => machine.act(),
            Some(swap) => machine.after_a_boot(&swap, given_up),
            None => {
                if !is_same_boot {
                    machine.persist();
                }
                machine.look_around(given_up);
            }
        }
        let effects = machine.hand_out();
        (machine, effects)
    }

    /// An earlier agent of this boot was about to reboot out of it.
    fn was_leaving(&self) -> bool {
        let is_undone = self.record.swap.as_ref().is_some_and(|swap| {
            swap.back.is_some() && self.facts.has_fallback && self.is_booted(&swap.to)
        });
        self.trial.is_some() && (self.record.given_up.is_some() || is_undone)
    }

    fn is_booted(&self, release: &Release) -> bool {
        self.facts.booted.as_ref().is_some_and(|booted| booted.path == release.path)
    }

    fn is_tried_out(&self, release: &Release) -> bool {
        self.facts.tried_out.iter().any(|tried| tried.path == release.path)
    }

    /// Another boot than the one in which the record was written.
    fn after_a_boot(&mut self, swap: &Swap, given_up: Option<(String, String)>) {
        if let Some(booted) = self.facts.booted.clone().filter(|_| self.is_booted(&swap.to)) {
            if swap.back.is_some() && self.trial.is_some() && self.facts.has_fallback {
                // The power went before its entry did: it was on its way out.
                self.persist();
                return self.leave();
            }
            if let Some(swap) = self.record.swap.as_mut() {
                (swap.to, swap.back) = (booted, None);
            }
            self.tell(Step::Reboot, StepState::Ok, "this boot runs it", None);
            return self.enter(State::Booted);
        }
        let tried = self.facts.tried_out.iter().find(|tried| tried.path == swap.to.path);
        if let (Some(tried), Some(swap)) = (tried, self.record.swap.as_mut()) {
            // The power went between its entry and the record.
            swap.to.generation = swap.to.generation.or(tried.generation);
        }
        match swap.state {
            State::Undoing => {
                // A boot starts what was before by itself.
                if let Some(back) = self.record.swap.as_mut().and_then(|swap| swap.back.as_mut()) {
                    back.reverts = false;
                }
                self.persist();
                self.act();
            }
            State::Planned | State::Fetched if !self.is_tried_out(&swap.to) => {
                let running = self.record.running.clone();
                if let Some(swap) = self.record.swap.as_mut() {
                    // What ran when it began may have fallen.
                    swap.from = running;
                }
                self.persist();
                self.act();
            }
            // It is the one to stay, whatever somebody chose in the loader's menu.
            State::Blessed => {
                self.persist();
                self.act();
            }
            _ => {
                let back = self.fallen(&swap.to, given_up);
                self.go_back(back);
            }
        }
    }

    /// How a swap ends whose generation was tried, or should have been, and does not run.
    fn fallen(&self, to: &Release, given_up: Option<(String, String)>) -> Back {
        let given_up = given_up.filter(|(path, _)| *path == to.path).map(|(_, reason)| reason);
        let was_tried = given_up.is_some() || self.is_tried_out(to);
        let untried = "the boot loader started another entry, and this one was never tried";
        let reason =
            given_up.unwrap_or_else(|| if was_tried { SILENT } else { untried }.to_owned());
        let cure = if was_tried {
            Vec::new()
        } else {
            vec!["loader/loader.conf on the boot partition must say: default rollinit-*".to_owned()]
        };
        let step = if was_tried { Step::Bless } else { Step::Reboot };
        let outcome = Outcome {
            kind: OutcomeKind::RolledBack,
            failed_at: Some(step),
            reason: Some(reason),
            details: Vec::new(),
            cure,
        };
        // The link may have moved without the record knowing.
        let linked = self.facts.profile.as_ref().is_some_and(|profile| profile.path == to.path);
        Back { outcome, bars: was_tried, reverts: false, linked }
    }

    /// No swap is under way: is what was booted what the profile says? Asked at each start, and
    /// when a swap ends that an unlooked-for boot interrupted.
    pub(super) fn look_around(&mut self, given_up: Option<(String, String)>) {
        let (booted, profile) = (self.facts.booted.clone(), self.facts.profile.clone());
        let (Some(booted), Some(profile)) = (booted, profile) else { return };
        let is_live = self.record.running.as_ref().is_some_and(|running| !self.is_booted(running));
        if booted.path == profile.path || is_live || self.record.swap.is_some() {
            return;
        }
        if !self.is_tried_out(&profile) {
            let name = profile.name();
            let number = profile.generation.unwrap_or(0);
            let text = format!(
                "this boot runs {}, and the profile says generation {number}, {name}: somebody \
                 chose another one, in the boot loader or by init=",
                booted.name()
            );
            let cure = format!("stay with this one: rollinit swap system {}", booted.path);
            return self.notice(Level::Warning, text, Some(cure));
        }
        // Swapped in without a reboot some time ago, and its first boot failed.
        let back = self.fallen(&profile, given_up);
        self.record.swap = Some(Swap {
            id: self.facts.fresh_id.clone(),
            origin: Origin::Swap,
            from: Some(booted),
            to: profile,
            reboot: super::Reboot::Never,
            began_ms: self.now.wall_ms,
            state: State::Activated,
            back: None,
        });
        self.go_back(back);
    }
}
