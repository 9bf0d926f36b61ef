//! How an app of this host stands, as its group's member wants to know it. Pure.

use rollout::fleet::{Barred, Local, LocalSwap, Stop};
use rollout::{Machine, Outcome, OutcomeKind, Record, State, Summary};

/// A request of the fleet's that was over before it became a swap: no journal knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Over {
    /// The id that the swap would have had.
    pub id: String,
    /// What came of it.
    pub stop: Stop,
}

/// The app, for a host whose slot goes with the swap `slot`, if it holds one.
///
/// Of several swaps the one that goes on is told first, then the slot's own, then the newest: a
/// swap of the slot that ended counts also when another one came after it.
#[must_use]
pub fn local(machine: &Machine, slot: Option<&str>, over: Option<&Over>) -> Local {
    let record = machine.record();
    let over = over.filter(|over| slot.is_none_or(|slot| slot == over.id));
    let over = over.map(|over| LocalSwap::Ended { id: over.id.clone(), stop: over.stop.clone() });
    let newest = || {
        let current = machine.current();
        current.or_else(|| record.book.history.last().cloned()).map(|last| ended(record, &last))
    };
    let swap = running(record)
        .or_else(|| slot.and_then(|id| known(machine, id)))
        .or(over)
        .or_else(newest)
        .unwrap_or(LocalSwap::None);
    let barred = record.book.failed.iter().map(|failed| Barred {
        path: failed.path.clone(),
        swap: failed.swap.clone(),
        reason: failed.reason.clone(),
    });
    Local {
        app: record.app.clone(),
        path: machine.profile().map(str::to_owned),
        swap,
        barred: barred.collect(),
        says: String::new(),
    }
}

/// The swap that goes on; one in its watch window is over, to a group.
fn running(record: &Record) -> Option<LocalSwap> {
    let goes_on = |state: State| !matches!(state, State::Committed { .. });
    let swap = record.swap.as_ref().filter(|swap| goes_on(swap.state)).or(record.next.as_ref())?;
    Some(LocalSwap::Running { id: swap.id.clone(), switched: swap.has_switched() })
}

/// The swap of this id, if it has ended.
fn known(machine: &Machine, id: &str) -> Option<LocalSwap> {
    let record = machine.record();
    let current = machine.current().filter(|summary| summary.id == id);
    let past = || record.book.history.iter().rev().find(|summary| summary.id == id).cloned();
    current.or_else(past).map(|summary| ended(record, &summary))
}

fn ended(record: &Record, summary: &Summary) -> LocalSwap {
    LocalSwap::Ended { id: summary.id.clone(), stop: stop(record, summary) }
}

/// What came of a swap, to the group. One that was taken back after users had seen it is a failure
/// whoever took it back; so is one that fell sick after its commit.
fn stop(record: &Record, summary: &Summary) -> Stop {
    let failed = record.book.failed.iter().find(|failed| failed.swap == summary.id);
    if let Some(failed) = failed {
        return Stop::Failed(format!("{}: {}", failed.step.word(), failed.reason));
    }
    let Some(outcome) = &summary.outcome else { return Stop::Refused(String::new()) };
    match outcome.kind {
        OutcomeKind::Committed | OutcomeKind::NothingToDo => Stop::Committed,
        OutcomeKind::RolledBack | OutcomeKind::FailedBack => {
            let reason = outcome.reason.clone();
            Stop::Failed(reason.unwrap_or_else(|| "it was taken back".to_owned()))
        }
        OutcomeKind::Refused | OutcomeKind::Superseded | OutcomeKind::Rebooting => {
            Stop::Refused(why_not(outcome))
        }
    }
}

/// Why a host could not, and what to do about it, in a line.
#[must_use]
pub fn why_not(outcome: &Outcome) -> String {
    let reason = outcome.reason.clone();
    let reason = reason.unwrap_or_else(|| "it took no release, and did not say why".to_owned());
    match outcome.cure.first() {
        Some(cure) => format!("{reason}; {cure}"),
        None => reason,
    }
}
