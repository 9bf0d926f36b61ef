//! DHCPv6 of one interface, for one address, as a machine: `step(now, event) -> effects`. Source:
//! RFC 8415.
//!
//! EC2 needs it: its routers advertise the way out and that addresses come by DHCPv6 (the flag M),
//! and no prefix from which a host could make one. So this machine sleeps until a router says M;
//! where routers give prefixes the kernel makes the addresses, and it sleeps for good.
//!
//! ```text
//!         router says M            advertise              reply
//!  idle ─────────────▶ soliciting ─────────▶ requesting ───────▶ bound ◀─────┐
//!                          ▲  ▲   no answer, refused │             │ T1      │ reply
//!                          │  └──────────────────────┘             ▼         │
//!                          │                                    renewing ────┤
//!                          │ lease over, refused                   │ T2      │
//!                          └─────────────────────────────────── rebinding ───┘
//! ```
//!
//! A lease of before (the daemon was restarted, the carrier went) is asked for by `rebinding`:
//! anybody may confirm it, and the address stays meanwhile.

pub mod message;

use crate::lease::{Held, Lease6};
use crate::limits::{RENEW_MS, REQUEST_MS, REQUESTS_MAX, SOLICIT_MS};
use crate::retry::{NS_PER_MS, NS_PER_S, Random};
use message::{Kind, Reply, Request};

/// Port of a server.
pub const SERVER_PORT: u16 = 547;

/// Port of a client.
pub const CLIENT_PORT: u16 = 546;

/// Nanoseconds of a hundredth of a second.
const NS_PER_CS: u64 = 10 * NS_PER_MS;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Whether there is a carrier and a router says that addresses come by DHCPv6.
    Managed(bool),
    /// A server said something.
    Reply(Reply),
    /// [`Machine::deadline_ns`] has come.
    Tick,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send this to all servers.
    Send(Request),
    /// This lease holds: configure it, and remember it.
    Hold(Held<Lease6>),
    /// No lease holds any longer: take the address away.
    Drop,
    /// What people should know.
    Say(String),
}

/// Where one interface stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No router asks for it.
    Idle,
    /// Looking for a server.
    Soliciting,
    /// An offer was asked for.
    Requesting,
    /// There is a lease, and nothing to do.
    Bound,
    /// Its server is asked to prolong it.
    Renewing,
    /// Anybody is asked to prolong it.
    Rebinding,
}

impl Phase {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Idle => "not asked for by a router",
            Self::Soliciting => "looking for a server",
            Self::Requesting => "asking for an offer",
            Self::Bound => "bound",
            Self::Renewing => "renewing",
            Self::Rebinding => "rebinding",
        }
    }
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Machine {
    phase: Phase,
    held: Option<Held<Lease6>>,
    /// The offer that was asked for.
    offer: Option<Lease6>,
    keeps_expired: bool,
    random: Random,
    id: u32,
    begun_ns: u64,
    sent_ns: u64,
    tries: u32,
    next_ns: Option<u64>,
}

impl Machine {
    /// One that waits for a router, with the lease of before if there is any. `keeps_expired`: see
    /// [`crate::dhcp4`].
    #[must_use]
    pub const fn new(seed: u64, held: Option<Held<Lease6>>, keeps_expired: bool) -> Self {
        Self {
            phase: Phase::Idle,
            held,
            offer: None,
            keeps_expired,
            random: Random::new(seed),
            id: 0,
            begun_ns: 0,
            sent_ns: 0,
            tries: 0,
            next_ns: None,
        }
    }

    /// Where it stands.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// The lease that holds.
    #[must_use]
    pub const fn held(&self) -> Option<&Held<Lease6>> {
        self.held.as_ref()
    }

    /// When [`Event::Tick`] is due.
    #[must_use]
    pub fn deadline_ns(&self) -> Option<u64> {
        self.next_ns.into_iter().chain(self.end_ns()).min()
    }

    /// When the held lease is over; none if never, or if it is kept beyond that.
    fn end_ns(&self) -> Option<u64> {
        let held = self.held.as_ref().filter(|_| !self.keeps_expired)?;
        held.lease.lease_s.map(|seconds| after(held.since_ns, seconds))
    }

    /// Takes one event; says what to do, in this order.
    pub fn step(&mut self, now_ns: u64, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Managed(true) if self.phase == Phase::Idle => self.begin(now_ns, &mut effects),
            Event::Managed(true) => {}
            Event::Managed(false) => {
                self.phase = Phase::Idle;
                self.next_ns = None;
            }
            Event::Reply(reply) => self.reply(now_ns, reply, &mut effects),
            Event::Tick => self.tick(now_ns, &mut effects),
        }
        effects
    }

    fn begin(&mut self, now_ns: u64, effects: &mut Vec<Effect>) {
        self.over(now_ns, effects);
        match self.held.clone() {
            Some(held) => {
                effects.push(Effect::Hold(held));
                self.transact(now_ns, Phase::Rebinding);
            }
            None => self.transact(now_ns, Phase::Soliciting),
        }
        self.send(now_ns, effects);
    }

    fn over(&mut self, now_ns: u64, effects: &mut Vec<Effect>) -> bool {
        let is_over = self.end_ns().is_some_and(|end_ns| end_ns <= now_ns);
        if let Some(held) = self.held.take_if(|_| is_over) {
            let address = held.lease.address;
            effects.push(Effect::Say(format!(
                "the lease of {address} is over and nobody prolonged it"
            )));
            effects.push(Effect::Drop);
        }
        is_over
    }

    fn transact(&mut self, now_ns: u64, phase: Phase) {
        self.phase = phase;
        self.id = self.random.id() & 0x00ff_ffff;
        self.begun_ns = now_ns;
        self.tries = 0;
    }

    fn send(&mut self, now_ns: u64, effects: &mut Vec<Effect>) {
        let held = self.held.as_ref().map(|held| &held.lease);
        let (kind, server, address, bounds_ms) = match (self.phase, &self.offer, held) {
            (Phase::Soliciting, _, held) => {
                (Kind::Solicit, None, held.map(|lease| lease.address), SOLICIT_MS)
            }
            (Phase::Requesting, Some(offer), _) => {
                (Kind::Request, Some(offer.server.clone()), Some(offer.address), REQUEST_MS)
            }
            (Phase::Renewing, _, Some(lease)) => {
                (Kind::Renew, Some(lease.server.clone()), Some(lease.address), RENEW_MS)
            }
            (Phase::Rebinding, _, Some(lease)) => {
                (Kind::Rebind, None, Some(lease.address), RENEW_MS)
            }
            _ => return,
        };
        let elapsed_cs = now_ns.saturating_sub(self.begun_ns) / NS_PER_CS;
        let elapsed_cs = u16::try_from(elapsed_cs).unwrap_or(u16::MAX);
        effects.push(Effect::Send(Request { kind, id: self.id, elapsed_cs, server, address }));
        self.tries += 1;
        self.sent_ns = now_ns;
        let next_ns = now_ns + self.random.delay_ns(self.tries, bounds_ms);
        let held = self.held.as_ref().filter(|_| self.phase == Phase::Renewing);
        let rebind_ns = held.map(|held| after(held.since_ns, held.lease.rebind_s));
        self.next_ns = Some(rebind_ns.map_or(next_ns, |rebind_ns| next_ns.min(rebind_ns)));
    }

    fn tick(&mut self, now_ns: u64, effects: &mut Vec<Effect>) {
        if self.deadline_ns().is_none_or(|deadline_ns| now_ns < deadline_ns) {
            return;
        }
        if self.over(now_ns, effects) {
            if self.phase != Phase::Idle {
                self.transact(now_ns, Phase::Soliciting);
                self.send(now_ns, effects);
            }
            return;
        }
        let phase = match self.phase {
            Phase::Requesting if self.tries >= REQUESTS_MAX => Phase::Soliciting,
            Phase::Bound => Phase::Renewing,
            Phase::Renewing if self.is_after(now_ns, |lease| Some(lease.rebind_s)) => {
                Phase::Rebinding
            }
            // Only with `keeps_expired`: the address stays, a server is looked for.
            Phase::Rebinding if self.is_after(now_ns, |lease| lease.lease_s) => Phase::Soliciting,
            same => same,
        };
        if phase != self.phase {
            self.transact(now_ns, phase);
        }
        self.send(now_ns, effects);
    }

    fn is_after(&self, now_ns: u64, seconds: impl Fn(&Lease6) -> Option<u32>) -> bool {
        let held = self.held.as_ref();
        let at_ns = held.and_then(|held| Some(after(held.since_ns, seconds(&held.lease)?)));
        at_ns.is_some_and(|at_ns| at_ns <= now_ns)
    }

    fn reply(&mut self, now_ns: u64, reply: Reply, effects: &mut Vec<Effect>) {
        let is_asking =
            matches!(self.phase, Phase::Requesting | Phase::Renewing | Phase::Rebinding);
        match reply {
            Reply::Advertise(id, lease) if id == self.id && self.phase == Phase::Soliciting => {
                self.offer = Some(*lease);
                self.transact(now_ns, Phase::Requesting);
                self.send(now_ns, effects);
            }
            Reply::Lend(id, lease) if id == self.id && is_asking => {
                self.bind(*lease, effects);
            }
            Reply::Refuse(id, why) if id == self.id && is_asking => {
                effects.push(Effect::Say(format!("a server refuses the address: {why}")));
                if self.held.take().is_some() {
                    effects.push(Effect::Drop);
                }
                self.transact(now_ns, Phase::Soliciting);
                // Not at once: it would offer and refuse without end.
                self.tries = 1;
                self.next_ns = Some(now_ns + self.random.delay_ns(1, SOLICIT_MS));
            }
            Reply::Refuse(id, why)
                if id == self.id && self.phase == Phase::Soliciting && self.tries == 1 =>
            {
                effects.push(Effect::Say(format!("a server has no address for us: {why}")));
            }
            _ => {}
        }
    }

    fn bind(&mut self, lease: Lease6, effects: &mut Vec<Effect>) {
        if self.held.as_ref().is_none_or(|held| held.lease.address != lease.address) {
            effects.push(Effect::Say(format!("{} is lent by DHCPv6", lease.address)));
        }
        let renew_s = lease.lease_s.map(|_| lease.renew_s);
        let held = Held { lease, since_ns: self.sent_ns };
        effects.push(Effect::Hold(held.clone()));
        self.held = Some(held);
        self.offer = None;
        self.phase = Phase::Bound;
        self.next_ns = renew_s.map(|seconds| after(self.sent_ns, seconds));
    }
}

fn after(since_ns: u64, seconds: u32) -> u64 {
    since_ns.saturating_add(u64::from(seconds) * NS_PER_S)
}

#[cfg(test)]
mod tests;
