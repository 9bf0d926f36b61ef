//! What the machine is told, and what it says.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How the host stands in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stand {
    /// It gets requests.
    Serving,
    /// It will: the balancer is about to find out whether it is well.
    Joining,
    /// The balancer would send, but finds it unwell: why.
    Sick(String),
    /// It is registered, and nobody uses the group: why.
    Idle(String),
    /// It gets no new requests; what was accepted goes on.
    Draining,
    /// It gets nothing, and is not looked at.
    Shut,
    /// It is not there.
    Absent,
}

impl Stand {
    /// Whether requests may come, now or without anybody doing anything.
    #[must_use]
    pub const fn is_in(&self) -> bool {
        matches!(self, Self::Serving | Self::Joining | Self::Sick(_) | Self::Idle(_))
    }
}

/// One place, as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its name: stable, and for people.
    pub place: String,
    /// How the host stands there.
    pub stand: Stand,
    /// Requests that are not over; nothing where nobody knows.
    pub in_flight: Option<u64>,
    /// Other places of the same group that are well.
    pub others_healthy: usize,
}

/// What is written down about a place that is taken out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Its name.
    pub place: String,
    /// Whether it served at that time.
    pub was_well: bool,
}

/// Where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Out, to come back.
    Out,
    /// Out for good.
    Leave,
    /// Back in where it was taken out.
    In,
    /// In, in every place.
    Join,
}

impl Goal {
    pub(super) const fn is_out(self) -> bool {
        matches!(self, Self::Out | Self::Leave)
    }
}

/// What the balancer is like, and what its users want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long it may go on sending after it was told not to.
    pub floor: Duration,
    /// How long what is in flight may take, from when it was told.
    pub drain_max: Duration,
    /// How long it may take until it finds the host well.
    pub join_max: Duration,
    /// How long the host then has to stay well.
    pub settle: Duration,
    /// Other healthy places that each group keeps.
    pub min_healthy: usize,
    /// How long it may be away, and others be sick.
    pub patience: Duration,
    /// Between two looks.
    pub poll: Duration,
    /// Whether what has drained is shut then.
    pub shuts: bool,
    /// Whether somebody is told beforehand that the host will be missing ([`Order::Excuse`]).
    pub excuses: bool,
}

/// What is asked of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Where to.
    pub goal: Goal,
    /// Whether nobody waits for others to be well.
    pub in_haste: bool,
    /// Whether the host ends here, as far as anybody knows: whoever was told that it would be
    /// missing for a while ([`Order::Excuse`]) is told otherwise once it is out.
    pub for_good: bool,
    /// Whether what is in flight is waited for.
    pub waits: bool,
    /// What was taken out before.
    pub taken: Vec<Taken>,
}

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Of [`Effect::Look`].
    Looked(Result<Vec<Seen>, Trouble>),
    /// Of [`Effect::Tell`]. An order that was not carried out, or perhaps was, says why.
    Told(Result<(), Trouble>),
    /// [`Effect::Keep`] failed: why. What followed it in its batch was not done.
    Broke(String),
    /// Time passed: at [`Machine::wake`](super::Machine::wake) at the latest.
    Tick,
}

/// Why something could not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It may be done another time.
    Passing(String),
    /// It will not: why, and what to do about it.
    Lasting(String, String),
}

/// An order to the balancer. Each bears to be carried out twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// No new requests there.
    Take(String),
    /// Nothing there any more.
    Shut(String),
    /// Requests again.
    Give(String),
    /// The host will be missing for a while: nobody shall replace it.
    Excuse,
    /// It is back.
    Recall,
}

/// What to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write down what is taken out, durably. Answered by [`Event::Broke`] only if it fails.
    Keep(Vec<Taken>),
    /// See how the host stands. Answered by [`Event::Looked`].
    Look,
    /// Give an order. Answered by [`Event::Told`].
    Tell(Order),
    /// What is going on, for people.
    Say {
        /// What.
        words: String,
        /// Whether it waits for somebody who should do something about it.
        is_stuck: bool,
    },
    /// It is over.
    End(Outcome),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done; what is worth a word, else nothing.
    Done(String),
    /// Not done.
    Failed(Failed),
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// What kind of reason.
    pub kind: FailedKind,
    /// What happened, naming the place.
    pub reason: String,
    /// What to do about it.
    pub cure: String,
}

/// What kind of reason it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailedKind {
    /// The host cannot be spared: others are unwell.
    Needed,
    /// The balancer does not answer, or not as it should.
    Away,
    /// The balancer finds the host unwell, which it was not before.
    Unwell,
}
