//! What the machine remembers of an app beside its sides.

use crate::app::{Side, Strategy};
use crate::effect::Program;
use crate::view::SwapPhase;
use serde::{Deserialize, Serialize};

/// Everything about an app that must outlive the supervisor and is no side's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::machine) struct AppMemory {
    /// The side that serves; during a swap the one that did before.
    pub serving: Side,
    /// What each side runs, by its index.
    pub closures: [Option<String>; 2],
    pub swap: Option<Swap>,
    /// The swap that ended last.
    pub last: Option<Last>,
    /// What tasks were run for, by the order of [`Task::ALL`](crate::Task::ALL).
    pub tasks: [Option<TaskMemory>; 3],
}

/// A swap under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::machine) struct Swap {
    pub id: String,
    pub strategy: Strategy,
    pub step: Step,
    /// The side whose closure is new.
    pub side: Side,
    /// The runs of that side up to this one are not of the closure that it has now.
    pub floor: u64,
    /// Strategy restart: what the side ran before; on the way back, what the candidate was.
    pub other: Option<String>,
}

/// How far a swap is; see the text of [`super`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::machine) enum Step {
    Preparing,
    Prepared,
    Admitted,
    Leaving { until_ns: u64 },
    Retiring,
    Returning { until_ns: u64 },
    Abandoning,
}

/// A swap that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::machine) struct Last {
    pub id: String,
    /// Its candidate serves.
    pub retired: bool,
}

/// What a task's newest run was for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::machine) struct TaskMemory {
    pub swap: String,
    /// When PID 1 kills it: `CLOCK_MONOTONIC` in nanoseconds.
    pub lease_ns: u64,
}

impl Step {
    pub fn phase(self) -> SwapPhase {
        match self {
            Self::Preparing => SwapPhase::Preparing,
            Self::Prepared => SwapPhase::Prepared,
            Self::Admitted => SwapPhase::Admitted,
            Self::Leaving { .. } | Self::Retiring => SwapPhase::Retiring,
            Self::Returning { .. } | Self::Abandoning => SwapPhase::Abandoning,
        }
    }
}

impl AppMemory {
    /// Whether a side shall run.
    pub fn wants(&self, side: Side) -> bool {
        match &self.swap {
            Some(swap) if swap.strategy.has_two_sides() => match swap.step {
                Step::Retiring => side == swap.side,
                Step::Abandoning => side != swap.side,
                _ => true,
            },
            _ => side == self.serving,
        }
    }

    /// How the group shall be: whose sockets are first, and what steers it. `is_leaving` says
    /// whether a side that is stopped is still there.
    pub fn group(&self, is_leaving: bool) -> (Side, Program) {
        let alone = match self.closures[self.serving.index()] {
            Some(_) => (self.serving, Program::Alone),
            None => (self.serving, Program::Nobody),
        };
        let Some(swap) = &self.swap else { return alone };
        match swap.step {
            Step::Preparing | Step::Prepared | Step::Returning { .. } => {
                (self.serving, Program::Gate)
            }
            Step::Admitted | Step::Leaving { .. } => (self.serving, Program::Switch),
            Step::Retiring if is_leaving => (self.serving, Program::Switch),
            Step::Retiring => (swap.side, Program::Alone),
            Step::Abandoning if is_leaving => (self.serving, Program::Gate),
            Step::Abandoning => alone,
        }
    }

    /// What the candidate of the swap under way runs.
    pub fn candidate_closure(&self) -> Option<&str> {
        let swap = self.swap.as_ref()?;
        match (swap.strategy, swap.step) {
            (Strategy::Restart, Step::Abandoning) => swap.other.as_deref(),
            _ => self.closures[swap.side.index()].as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{CLOSURE_BYTES_MAX, MEMO_BYTES_MAX, SWAP_ID_BYTES_MAX};
    use crate::machine::memory::{decode, encode};

    /// Every path and id at its cap and every number at its longest still fits what PID 1 keeps.
    #[test]
    fn the_fullest_memory_fits_and_comes_back() {
        let path = || Some("x".repeat(CLOSURE_BYTES_MAX));
        let id = || "7".repeat(SWAP_ID_BYTES_MAX);
        let task = || Some(TaskMemory { swap: id(), lease_ns: u64::MAX });
        let memory = AppMemory {
            serving: Side::One,
            closures: [path(), path()],
            swap: Some(Swap {
                id: id(),
                strategy: Strategy::Restart,
                step: Step::Returning { until_ns: u64::MAX },
                side: Side::One,
                floor: u64::MAX,
                other: path(),
            }),
            last: Some(Last { id: id(), retired: true }),
            tasks: [task(), task(), task()],
        };
        let memo = encode(&memory);
        assert!(memo.len() <= MEMO_BYTES_MAX, "{} bytes", memo.len());
        assert_eq!(decode::<AppMemory>(&memo), Ok(memory));
    }
}
