//! DHCPv4 of one interface, as a machine: `step(now, event) -> effects`. Source: RFC 2131.
//!
//! ```text
//!          carrier, nothing held               offer               ack
//!  down ────────────────────────▶ selecting ────────▶ requesting ─────────▶ bound ◀──┐
//!   ▲ │ carrier, a lease held        ▲  ▲                 │                  │ T1    │ ack
//!   │ └──────────────▶ rebooting ────┘  └── nak, no answer┘                  ▼       │
//!   │                     │    nak                                        renewing ──┤
//!  no carrier             └── ack ─▶ bound; no answer ─▶ bound               │ T2    │
//!  (from everywhere)                                                         ▼       │
//!                                 selecting ◀── lease over, nak ───────── rebinding ─┘
//! ```
//!
//! - A lease is *held* from its ack until it is over, whatever the phase: its address stays while
//!   the carrier goes and comes. `rebooting` asks whether it still holds; where nobody answers, a
//!   lease that is not over is used on (RFC 2131, section 3.2).
//! - A lease that is over is dropped, unless [`Machine::new`] was told to keep: then another one is
//!   looked for while the address stays. EC2's addresses belong to their interfaces for life, and
//!   a fleet must not lose its network because a DHCP server was down for an hour.
//! - Nothing is ever given up: delays double up to a minute and stay there.
//! - The first offer is taken. No ARP probe before an address is used: it would cost seconds of
//!   each boot, and in a VPC nobody else can answer.

pub mod message;

use crate::lease::{Held, Lease4};
use crate::limits::{RENEW_MS_MIN, REQUESTS_MAX, RESEND_MS_MAX, RESEND_MS_MIN};
use crate::retry::{NS_PER_MS, NS_PER_S, Random};
use message::{Reply, Request};
use std::net::Ipv4Addr;

/// Port of a server.
pub const SERVER_PORT: u16 = 67;

/// Port of a client.
pub const CLIENT_PORT: u16 = 68;

const RESEND_MS: (u64, u64) = (RESEND_MS_MIN, RESEND_MS_MAX);

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The interface has a carrier now, or has none.
    Carrier(bool),
    /// A server said something.
    Reply(Reply),
    /// [`Machine::deadline_ns`] has come.
    Tick,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send this, to everybody or to one server.
    Send(Request, Option<Ipv4Addr>),
    /// This lease holds: configure it, and remember it.
    Hold(Held<Lease4>),
    /// No lease holds any longer: take the address away.
    Drop,
    /// What people should know.
    Say(String),
}

/// Where one interface stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No carrier.
    Down,
    /// Looking for a server.
    Selecting,
    /// An offer was asked for.
    Requesting,
    /// The lease of before is asked for.
    Rebooting,
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
            Self::Down => "no carrier",
            Self::Selecting => "looking for a server",
            Self::Requesting => "asking for an offer",
            Self::Rebooting => "asking for the lease of before",
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
    held: Option<Held<Lease4>>,
    /// The offer that was asked for.
    offer: Option<Lease4>,
    keeps_expired: bool,
    random: Random,
    /// The transaction, when it began, how often something was sent in it.
    id: u32,
    begun_ns: u64,
    sent_ns: u64,
    tries: u32,
    /// Refusals in a row.
    naks: u32,
    /// When this phase does its next.
    next_ns: Option<u64>,
}

impl Machine {
    /// One for an interface without a carrier, with the lease of before if there is any.
    #[must_use]
    pub const fn new(seed: u64, held: Option<Held<Lease4>>, keeps_expired: bool) -> Self {
        Self {
            phase: Phase::Down,
            held,
            offer: None,
            keeps_expired,
            random: Random::new(seed),
            id: 0,
            begun_ns: 0,
            sent_ns: 0,
            tries: 0,
            naks: 0,
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
    pub const fn held(&self) -> Option<&Held<Lease4>> {
        self.held.as_ref()
    }

    /// When [`Event::Tick`] is due.
    #[must_use]
    pub fn deadline_ns(&self) -> Option<u64> {
        self.next_ns.into_iter().chain(self.end_ns()).min()
    }

    /// Takes one event; says what to do, in this order.
    pub fn step(&mut self, now_ns: u64, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Carrier(true) if self.phase == Phase::Down => self.begin(now_ns, &mut effects),
            Event::Carrier(true) => {}
            Event::Carrier(false) => {
                self.phase = Phase::Down;
                self.next_ns = None;
            }
            Event::Reply(reply) => self.reply(now_ns, reply, &mut effects),
            Event::Tick => self.tick(now_ns, &mut effects),
        }
        effects
    }

    /// When the held lease is over; none if never, or if it is kept beyond that.
    fn end_ns(&self) -> Option<u64> {
        let held = self.held.as_ref().filter(|_| !self.keeps_expired)?;
        held.lease.lease_s.map(|seconds| after(held.since_ns, seconds))
    }

    fn begin(&mut self, now_ns: u64, effects: &mut Vec<Effect>) {
        self.over(now_ns, effects);
        match self.held.clone() {
            Some(held) => {
                effects.push(Effect::Hold(held));
                self.transact(now_ns, Phase::Rebooting);
                self.send(now_ns, effects);
            }
            None => self.select(now_ns, effects),
        }
    }

    /// Drops the held lease if it is over.
    fn over(&mut self, now_ns: u64, effects: &mut Vec<Effect>) -> bool {
        let is_over = self.end_ns().is_some_and(|end_ns| end_ns <= now_ns);
        if let Some(held) = self.held.take_if(|_| is_over) {
            let Lease4 { address, server, .. } = held.lease;
            effects.push(Effect::Say(format!(
                "the lease of {address} from {server} is over and nobody prolonged it"
            )));
            effects.push(Effect::Drop);
        }
        is_over
    }

    fn transact(&mut self, now_ns: u64, phase: Phase) {
        self.phase = phase;
        self.id = self.random.id();
        self.begun_ns = now_ns;
        self.tries = 0;
    }

    fn select(&mut self, now_ns: u64, effects: &mut Vec<Effect>) {
        self.offer = None;
        self.transact(now_ns, Phase::Selecting);
        if self.naks > 1 {
            // A server that offers and then refuses is not asked without end.
            self.next_ns = Some(now_ns + self.random.delay_ns(self.naks, RESEND_MS));
        } else {
            self.send(now_ns, effects);
        }
    }

    /// Sends what this phase has to say, and sets the time to say it again.
    fn send(&mut self, now_ns: u64, effects: &mut Vec<Effect>) {
        let seconds = now_ns.saturating_sub(self.begun_ns) / NS_PER_S;
        let mut request = Request {
            is_discover: false,
            id: self.id,
            seconds: u16::try_from(seconds).unwrap_or(u16::MAX),
            own: None,
            wanted: None,
            server: None,
        };
        let held = self.held.as_ref().map(|held| &held.lease);
        let mut to = None;
        match (self.phase, &self.offer, held) {
            (Phase::Selecting, _, held) => {
                request.is_discover = true;
                request.wanted = held.map(|lease| lease.address);
            }
            (Phase::Requesting, Some(offer), _) => {
                request.wanted = Some(offer.address);
                request.server = Some(offer.server);
            }
            (Phase::Rebooting, _, Some(lease)) => request.wanted = Some(lease.address),
            (Phase::Renewing, _, Some(lease)) => {
                request.own = Some(lease.address);
                to = Some(lease.server);
            }
            (Phase::Rebinding, _, Some(lease)) => request.own = Some(lease.address),
            _ => return,
        }
        effects.push(Effect::Send(request, to));
        self.tries += 1;
        self.sent_ns = now_ns;
        self.next_ns = Some(match self.phase {
            Phase::Renewing | Phase::Rebinding => self.renew_again_ns(now_ns),
            _ => now_ns + self.random.delay_ns(self.tries, RESEND_MS),
        });
    }

    /// Half of what is left until the phase ends, a minute at least (RFC 2131, section 4.4.5).
    fn renew_again_ns(&self, now_ns: u64) -> u64 {
        let Some(Held { lease, since_ns }) = &self.held else { return now_ns };
        let until_ns = match self.phase {
            Phase::Renewing => Some(after(*since_ns, lease.rebind_s)),
            _ => lease.lease_s.map(|seconds| after(*since_ns, seconds)),
        };
        let until_ns = until_ns.filter(|until_ns| *until_ns > now_ns);
        let half_ns = until_ns.map_or(0, |until_ns| (until_ns - now_ns) / 2);
        let again_ns = now_ns + half_ns.max(RENEW_MS_MIN * NS_PER_MS);
        until_ns.map_or(again_ns, |until_ns| again_ns.min(until_ns))
    }

    fn tick(&mut self, now_ns: u64, effects: &mut Vec<Effect>) {
        if self.deadline_ns().is_none_or(|deadline_ns| now_ns < deadline_ns) {
            return;
        }
        if self.over(now_ns, effects) {
            if self.phase != Phase::Down {
                self.select(now_ns, effects);
            }
            return;
        }
        match self.phase {
            Phase::Requesting if self.tries >= REQUESTS_MAX => {
                effects.push(Effect::Say("a server offers an address and then is silent".into()));
                self.select(now_ns, effects);
            }
            Phase::Rebooting if self.tries >= REQUESTS_MAX => self.use_on(now_ns),
            Phase::Bound => {
                self.transact(now_ns, Phase::Renewing);
                self.send(now_ns, effects);
            }
            Phase::Renewing if self.is_after(now_ns, |lease| Some(lease.rebind_s)) => {
                self.transact(now_ns, Phase::Rebinding);
                self.send(now_ns, effects);
            }
            Phase::Rebinding if self.is_after(now_ns, |lease| lease.lease_s) => {
                // Only with `keeps_expired`: the address stays, a server is looked for.
                effects.push(Effect::Say("the lease is over; its address is used on".into()));
                self.select(now_ns, effects);
            }
            _ => self.send(now_ns, effects),
        }
    }

    fn is_after(&self, now_ns: u64, seconds: impl Fn(&Lease4) -> Option<u32>) -> bool {
        let held = self.held.as_ref();
        let at_ns = held.and_then(|held| Some(after(held.since_ns, seconds(&held.lease)?)));
        at_ns.is_some_and(|at_ns| at_ns <= now_ns)
    }

    /// Nobody answered: the lease of before holds as long as it said.
    fn use_on(&mut self, now_ns: u64) {
        let Some(held) = &self.held else { return };
        self.phase = Phase::Bound;
        self.next_ns = held.lease.lease_s.map(|_| after(held.since_ns, held.lease.renew_s));
        // What should have been asked meanwhile is asked now.
        self.next_ns = self.next_ns.map(|next_ns| next_ns.max(now_ns));
    }

    fn reply(&mut self, now_ns: u64, reply: Reply, effects: &mut Vec<Effect>) {
        match (self.phase, reply) {
            (Phase::Selecting, Reply::Offer(id, lease)) if id == self.id => {
                let (begun_ns, id) = (self.begun_ns, self.id);
                self.offer = Some(*lease);
                self.transact(now_ns, Phase::Requesting);
                (self.begun_ns, self.id) = (begun_ns, id); // one transaction from offer to ack
                self.send(now_ns, effects);
            }
            (
                Phase::Requesting | Phase::Rebooting | Phase::Renewing | Phase::Rebinding,
                Reply::Ack(id, lease),
            ) if id == self.id => self.bind(now_ns, *lease, effects),
            (
                Phase::Requesting | Phase::Rebooting | Phase::Renewing | Phase::Rebinding,
                Reply::Nak(id, why),
            ) if id == self.id => {
                self.naks += 1;
                let why = if why.is_empty() { "it does not say why" } else { &why };
                effects.push(Effect::Say(format!("a server refuses the address: {why}")));
                if self.held.take().is_some() {
                    effects.push(Effect::Drop);
                }
                self.select(now_ns, effects);
            }
            _ => {}
        }
    }

    fn bind(&mut self, now_ns: u64, lease: Lease4, effects: &mut Vec<Effect>) {
        let is_news = self.held.as_ref().is_none_or(|held| held.lease.address != lease.address);
        if is_news {
            let Lease4 { address, prefix_bits, server, .. } = &lease;
            let until = match lease.lease_s {
                Some(seconds) => format!("for {seconds} s"),
                None => "for ever".to_owned(),
            };
            effects.push(Effect::Say(format!("{server} lends {address}/{prefix_bits} {until}")));
        }
        // Counted from the request: the server may count from when it came.
        let held = Held { lease, since_ns: self.sent_ns };
        effects.push(Effect::Hold(held.clone()));
        self.held = Some(held);
        self.offer = None;
        self.naks = 0;
        self.use_on(now_ns);
    }
}

fn after(since_ns: u64, seconds: u32) -> u64 {
    since_ns.saturating_add(u64::from(seconds) * NS_PER_S)
}

#[cfg(test)]
mod tests;
