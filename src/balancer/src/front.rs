//! Either kind of balancer.

use crate::alb::Alb;
use crate::haproxy::Haproxy;
use crate::machine::{Order, Rules, Seen, Taken, Trouble};
use std::time::Duration;

/// Which places of a host are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All.
    #[default]
    All,
    /// Those at this port.
    At(u16),
    /// Those at any other ports than these two.
    NotAt([u16; 2]),
}

impl Scope {
    /// Whether a place at `port` is meant, of a balancer that is `only` for one port, if it is.
    #[must_use]
    pub fn holds(self, port: u16, only: Option<u16>) -> bool {
        match self {
            Self::All => only.is_none_or(|only| port == only),
            Self::At(wanted) => port == wanted,
            Self::NotAt(others) => only.is_none_or(|only| port == only) && !others.contains(&port),
        }
    }
}

/// A balancer in front of this host.
#[derive(Debug)]
pub enum Front {
    /// One or more HAProxies.
    Haproxy(Haproxy),
    /// One or more target groups.
    Alb(Alb),
}

impl Front {
    /// How the host stands in each place of `scope`, those that were `taken` before among them.
    ///
    /// # Errors
    /// [`Trouble`] says whether it may be known another time.
    pub async fn look(&self, scope: Scope, taken: &[Taken]) -> Result<Vec<Seen>, Trouble> {
        match self {
            Self::Haproxy(haproxy) => haproxy.look(scope).await,
            Self::Alb(alb) => alb.look(scope, taken).await,
        }
    }

    /// Carries out an order.
    ///
    /// # Errors
    /// It was not, or perhaps was.
    pub async fn tell(&self, order: &Order) -> Result<(), Trouble> {
        match self {
            Self::Haproxy(haproxy) => haproxy.tell(order).await,
            Self::Alb(alb) => alb.tell(order).await,
        }
    }

    /// The rules, with what the balancer itself says about its times put in.
    ///
    /// # Errors
    /// It does not tell.
    pub async fn rules(&self, wanted: &Wanted) -> Result<Rules, Trouble> {
        match self {
            Self::Haproxy(_) => Ok(Haproxy::rules(wanted)),
            Self::Alb(alb) => alb.rules(wanted).await,
        }
    }
}

/// What the file says about times and numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// [`Rules::floor`].
    pub floor: Duration,
    /// [`Rules::drain_max`]; nothing: what the balancer says, else a default.
    pub drain_max: Option<Duration>,
    /// [`Rules::join_max`]; nothing: what the balancer says, else a default.
    pub join_max: Option<Duration>,
    /// [`Rules::settle`].
    pub settle: Duration,
    /// [`Rules::min_healthy`].
    pub min_healthy: usize,
    /// [`Rules::patience`].
    pub patience: Duration,
}
