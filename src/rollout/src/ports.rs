//! The strategy `ports`: whom balancers send users to, around each verb of a swap.
//!
//! Two versions on one host are two targets. The moves below come before the verb, in their order;
//! each bears repetition, and they are worked out anew from what the supervisor says now. So an
//! agent that was killed between two of them goes on from what is true.
//!
//! ```text
//!  prepare   the port that rests leaves: nobody is sent to a version behind its gate
//!  admit     the candidate's joins, then the old one leaves: at no moment there is none
//!  retire    the old one leaves, and what it has in flight ends: then it is stopped
//!  abandon   the old one joins if it runs, then the candidate's leaves, in flight too
//!  at rest   what is at neither port leaves, the one that serves joins, the other one leaves
//! ```

use crate::view::{HostSwap, SwapPhase};

/// Who binds which port, as the supervisor has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sides {
    /// The port of the side that serves, or did before a swap.
    pub serving: u16,
    /// Whether a process is there.
    pub is_live: bool,
    /// The candidate's port, or that of the side that rests.
    pub other: u16,
    /// The swap that the supervisor knows of.
    pub swap: Option<HostSwap>,
}

/// What all balancers of an app are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Users may come to this port. Over when each balancer finds it well.
    Join(u16),
    /// Nobody new comes to this port.
    Leave {
        /// Which.
        port: u16,
        /// Over only when what it has in flight ended, or took too long.
        waits: bool,
    },
    /// Nobody comes to any other port of this host than these: those that the app had before its
    /// definition was changed, at which nobody serves.
    LeaveAllBut([u16; 2]),
}

/// A verb of the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// The candidate starts.
    Prepare,
    /// The switch.
    Admit,
    /// The old side goes.
    Retire,
    /// The candidate goes. A balancer that does not obey does not keep it: of this verb each move
    /// is tried, whatever became of the one before.
    Abandon,
}

impl Sides {
    /// What comes before this verb of this swap.
    #[must_use]
    pub fn before(&self, verb: Verb, swap: &str) -> Vec<Move> {
        let phase = self.swap.as_ref().filter(|known| known.id == swap).map(|known| known.phase);
        let now = |port| Move::Leave { port, waits: false };
        let drained = |port| Move::Leave { port, waits: true };
        match (verb, phase) {
            (Verb::Prepare, Some(SwapPhase::Preparing | SwapPhase::Prepared)) => {
                vec![now(self.other)]
            }
            (Verb::Prepare, None) if self.swap.is_none() => vec![now(self.other)],
            (Verb::Admit, Some(_)) => vec![Move::Join(self.other), now(self.serving)],
            (Verb::Retire, Some(_)) => vec![drained(self.serving)],
            // It is over already: the candidate serves.
            (Verb::Retire, None) => vec![drained(self.other)],
            // Users may be there, or it is another swap's: the supervisor will say what is wrong.
            (Verb::Prepare, _)
            | (Verb::Admit, None)
            | (Verb::Abandon, Some(SwapPhase::Retiring) | None) => Vec::new(),
            (Verb::Abandon, Some(_)) => {
                let joins = self.is_live.then_some(Move::Join(self.serving));
                joins.into_iter().chain([drained(self.other)]).collect()
            }
        }
    }

    /// What is so between swaps; `None` while there is one, or nobody to send to.
    #[must_use]
    pub fn at_rest(&self) -> Option<[Move; 3]> {
        let rests = self.swap.is_none() && self.is_live;
        let strangers = Move::LeaveAllBut([self.serving, self.other]);
        let leaves = Move::Leave { port: self.other, waits: false };
        rests.then_some([strangers, Move::Join(self.serving), leaves])
    }
}
