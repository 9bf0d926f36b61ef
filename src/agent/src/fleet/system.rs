//! How this host's own system stands, as its group's member wants to know it, and whether the host
//! is back for its users after it was swapped.

use super::{Over, why_not};
use crate::app::{self, Tools};
use crate::convert;
use control::agent::SYSTEM;
use rollout::fleet::{Barred, Local, LocalSwap, Stop};
use rollout::system::{Machine, Record, State, Swap};
use rollout::{Outcome, OutcomeKind, RunState, Strategy};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::sleep;

/// Until apps that were not well are asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// The system, for a host whose slot goes with the swap `slot`, if it holds one. `waits_for`: what
/// its balancers wait for before the reboot, or what keeps the host out after it.
#[must_use]
pub fn local(
    machine: &Machine,
    slot: Option<&str>,
    over: Option<&Over>,
    waits_for: Option<&str>,
) -> Local {
    let record = machine.record();
    let over = over.filter(|over| slot.is_none_or(|slot| slot == over.id));
    let over = over.map(|over| LocalSwap::Ended { id: over.id.clone(), stop: over.stop.clone() });
    let running = record.swap.as_ref().map(|swap| LocalSwap::Running {
        id: swap.id.clone(),
        switched: !matches!(swap.state, State::Planned | State::Fetched),
    });
    let swap = running
        .or_else(|| slot.and_then(|id| ended(record, id)))
        .or(over)
        .or_else(|| record.history.last().and_then(|last| ended(record, &last.id)))
        .unwrap_or(LocalSwap::None);
    let (swap, says) = match (swap, waits_for) {
        (LocalSwap::Ended { id, stop: Stop::Committed }, Some(why)) if slot == Some(&id) => {
            (LocalSwap::Settles { id }, format!("it runs it, and is back once {why}"))
        }
        (swap, _) => (
            swap,
            record.swap.as_ref().map_or_else(String::new, |swap| says(machine, swap, waits_for)),
        ),
    };
    let barred = record.failed.iter().map(|failed| Barred {
        path: failed.path.clone(),
        swap: failed.swap.clone(),
        reason: failed.reason.clone(),
    });
    Local {
        app: SYSTEM.to_owned(),
        path: machine.profile().map(str::to_owned),
        swap,
        barred: barred.collect(),
        says,
    }
}

/// What a swap under way is at, where that takes its time.
fn says(machine: &Machine, swap: &Swap, waits_for: Option<&str>) -> String {
    match swap.state {
        State::Rebooting => waits_for
            .map_or_else(|| "reboots".to_owned(), |why| format!("is about to reboot: {why}")),
        State::Booted => match machine.trial_waits_for() {
            Some(waits_for) => format!("has rebooted, and waits for {waits_for}"),
            None => "has rebooted, and has to stay up for a while".to_owned(),
        },
        _ => String::new(),
    }
}

/// The swap of this id, if it has ended.
fn ended(record: &Record, id: &str) -> Option<LocalSwap> {
    let summary = record.history.iter().rev().find(|summary| summary.id == id)?;
    let stop = summary.outcome.as_ref().map_or_else(|| Stop::Refused(String::new()), stop);
    Some(LocalSwap::Ended { id: id.to_owned(), stop })
}

/// What came of a swap, to the group. Whatever was tried and had to be left counts as a failure,
/// also when the host may be to blame: the next host would be out as well.
fn stop(outcome: &Outcome) -> Stop {
    let reason = || {
        let reason = outcome.reason.clone().unwrap_or_else(|| "it was taken back".to_owned());
        outcome.failed_at.map_or(reason.clone(), |step| format!("{}: {reason}", step.word()))
    };
    match outcome.kind {
        OutcomeKind::Committed | OutcomeKind::NothingToDo => Stop::Committed,
        OutcomeKind::RolledBack | OutcomeKind::FailedBack => Stop::Failed(reason()),
        OutcomeKind::Refused | OutcomeKind::Superseded | OutcomeKind::Rebooting => {
            Stop::Refused(why_not(outcome))
        }
    }
}

/// After a swap of the system: whether the host's apps are well again, and in their balancers.
#[derive(Debug)]
pub struct Settling {
    /// The swap.
    id: String,
    /// What keeps the host out; none: it is back.
    waits_for: Rc<RefCell<Option<String>>>,
    task: AbortHandle,
}

impl Settling {
    /// Looks until the host is back, as long as this lives.
    #[must_use]
    pub fn begin(tools: &Rc<Tools>, id: &str) -> Self {
        let waits_for = Rc::new(RefCell::new(Some("its apps were looked at".to_owned())));
        let (tools, cell) = (Rc::clone(tools), Rc::clone(&waits_for));
        let look = async move {
            loop {
                let now = waits_for_app(&tools).await;
                let is_back = now.is_none();
                if cell.replace(now.clone()) != now {
                    tools.moved.notify_one();
                }
                if is_back {
                    return;
                }
                sleep(AGAIN).await;
            }
        };
        let task = tokio::task::spawn_local(look).abort_handle();
        Self { id: id.to_owned(), waits_for, task }
    }

    /// Whether it is about this swap.
    #[must_use]
    pub fn is_of(&self, id: &str) -> bool {
        self.id == id
    }

    /// What keeps the host out; none: it is back.
    #[must_use]
    pub fn waits_for(&self) -> Option<String> {
        self.waits_for.borrow().clone()
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The first app that has to be waited for.
async fn waits_for_app(tools: &Tools) -> Option<String> {
    let all = match tools.supervisor.apps().await {
        Ok(all) => all,
        Err(error) => return Some(format!("the supervisor answers ({error})")),
    };
    for one in all {
        let (view, policy) = (convert::view(&one), convert::policy(&one.policy));
        let name = &one.name;
        match view.serving.state {
            // It has no generation, or an operator stopped it.
            _ if view.serving.closure.is_none() => continue,
            RunState::Down => continue,
            RunState::Failed => return Some(format!("{name} runs: {}", view.serving.reason)),
            RunState::Waiting | RunState::Starting => return Some(format!("{name} runs")),
            RunState::Up => {}
        }
        // Of two ports each is asked by its balancers.
        if policy.strategy != Strategy::Ports && !app::is_well(tools, &policy.health).await {
            return Some(format!("{name} is well"));
        }
        if tools.balancers.is_out(name) {
            return Some(format!("{name} is back in its balancers"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollout::system::{Facts, Reboot};
    use rollout::{Now, Origin, Release, Step, Summary};

    /// A host of this boot, with a swap under way or one that went well.
    fn machine(under_way: Option<State>) -> Machine {
        let to = Release { path: "/nix/store/new".to_owned(), generation: Some(2) };
        let from = Release { path: "/nix/store/old".to_owned(), generation: Some(1) };
        let (id, origin) = ("r1-7".to_owned(), Origin::Swap);
        let mut record = Record { boot: "b".to_owned(), ..Record::default() };
        let facts = Facts { boot: "b".to_owned(), profile: Some(from.clone()), ..Facts::default() };
        match under_way {
            Some(state) => {
                let (reboot, began_ms, from) = (Reboot::Auto, 1, Some(from));
                record.swap =
                    Some(Swap { id, origin, from, to, reboot, began_ms, state, back: None });
            }
            None => record.history.push(Summary {
                id,
                origin,
                from: Some(from),
                to,
                began_ms: 1,
                ended_ms: 2,
                outcome: Some(Outcome::plain(OutcomeKind::Committed)),
            }),
        }
        Machine::resume(record, Now::default(), facts).0
    }

    /// A swap can be called back until its entry is written. One that went well keeps the host out
    /// as long as its apps are not back, to whoever holds the slot that it went with.
    #[test]
    fn how_the_system_stands() {
        let id = "r1-7".to_owned();
        for (state, switched, says) in [
            (State::Planned, false, ""),
            (State::Fetched, false, ""),
            (State::Rebooting, true, "reboots"),
            (State::Activating, true, ""),
        ] {
            let local = local(&machine(Some(state)), Some(&id), None, None);
            assert_eq!(local.swap, LocalSwap::Running { id: id.clone(), switched }, "{state:?}");
            assert_eq!(
                (local.says.as_str(), local.path.as_deref()),
                (says, Some("/nix/store/old"))
            );
        }
        let reboots = machine(Some(State::Rebooting));
        let waits = local(&reboots, Some(&id), None, Some("web is needed"));
        assert_eq!(waits.says, "is about to reboot: web is needed");
        let done = machine(None);
        let stands = |slot, settling| local(&done, slot, None, settling);
        let ended = LocalSwap::Ended { id: id.clone(), stop: Stop::Committed };
        assert_eq!(stands(Some(&*id), None).swap, ended);
        assert_eq!(stands(None, Some("web runs")).swap, ended, "nobody waits for it");
        let settles = stands(Some(&*id), Some("web runs"));
        assert_eq!(settles.swap, LocalSwap::Settles { id });
        assert!(settles.says.contains("is back once web runs"), "{}", settles.says);
    }

    /// Rooms that know nothing of each other say the same.
    #[test]
    fn the_system_has_one_name() {
        assert_eq!(SYSTEM, rollout::fleet::SYSTEM);
    }

    fn outcome(kind: OutcomeKind, reason: &str) -> Outcome {
        let failed_at = Some(Step::Bless);
        let reason = Some(reason.to_owned());
        Outcome { kind, failed_at, reason, details: Vec::new(), cure: Vec::new() }
    }

    /// What was tried and left ends the rollout; what was never tried is the host's own matter.
    #[test]
    fn what_a_swap_of_the_system_is_to_the_group() {
        let text = |stop: Stop| match stop {
            Stop::Committed => "committed".to_owned(),
            Stop::Failed(why) => format!("failed {why}"),
            Stop::Refused(why) => format!("refused {why}"),
        };
        let of = |kind| text(stop(&outcome(kind, "it panicked")));
        assert_eq!(of(OutcomeKind::Committed), "committed");
        assert_eq!(of(OutcomeKind::NothingToDo), "committed");
        assert_eq!(of(OutcomeKind::RolledBack), "failed bless: it panicked");
        assert_eq!(of(OutcomeKind::FailedBack), "failed bless: it panicked");
        assert_eq!(of(OutcomeKind::Refused), "refused it panicked");
    }
}
