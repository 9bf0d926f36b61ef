//! The machine by hand, step for step as RFC 2131 tells it, and by a seeded world that answers late,
//! twice, wrongly or not at all.

use super::*;
use crate::lease::Route4;
use message::Reply;
use proptest::prelude::*;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const S: u64 = NS_PER_S;

fn lease(last: u8) -> Lease4 {
    Lease4 {
        address: Ipv4Addr::new(10, 0, 0, last),
        prefix_bits: 24,
        server: SERVER,
        routes: vec![Route4 {
            destination: Ipv4Addr::UNSPECIFIED,
            prefix_bits: 0,
            gateway: SERVER,
        }],
        name_servers: Vec::new(),
        search: Vec::new(),
        host_name: None,
        mtu_bytes: None,
        time_servers: Vec::new(),
        lease_s: Some(3600),
        renew_s: 1800,
        rebind_s: 3150,
    }
}

fn sent(effects: &[Effect]) -> Vec<(&Request, Option<Ipv4Addr>)> {
    let one = |effect: &'_ Effect| matches!(effect, Effect::Send(..));
    assert!(effects.iter().filter(|effect| one(effect)).count() <= 1, "{effects:?}");
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Send(request, to) => Some((request, *to)),
            _ => None,
        })
        .collect()
}

fn only(effects: &[Effect]) -> (Request, Option<Ipv4Addr>) {
    let sent = sent(effects);
    assert_eq!(sent.len(), 1, "{effects:?}");
    (sent[0].0.clone(), sent[0].1)
}

/// From no carrier to a lease, in the four messages of RFC 2131, section 3.1.
fn bound(machine: &mut Machine, now_ns: u64) -> Vec<Effect> {
    let (discover, _) = only(&machine.step(now_ns, Event::Carrier(true)));
    assert!(discover.is_discover && discover.wanted.is_none());
    let offer = Reply::Offer(discover.id, Box::new(lease(5)));
    let (request, to) = only(&machine.step(now_ns, Event::Reply(offer)));
    assert_eq!((request.id, to), (discover.id, None));
    assert_eq!((request.wanted, request.server), (Some(lease(5).address), Some(SERVER)));
    machine.step(now_ns, Event::Reply(Reply::Ack(request.id, Box::new(lease(5)))))
}

fn tick_at_deadline(machine: &mut Machine) -> (u64, Vec<Effect>) {
    let at_ns = machine.deadline_ns().expect("it waits for something");
    (at_ns, machine.step(at_ns, Event::Tick))
}

#[test]
fn a_lease_is_taken_renewed_and_rebound() {
    let mut machine = Machine::new(1, None, false);
    assert_eq!(machine.deadline_ns(), None);
    let effects = bound(&mut machine, 0);
    assert!(effects.contains(&Effect::Hold(Held { lease: lease(5), since_ns: 0 })));
    assert_eq!((machine.phase(), machine.deadline_ns()), (Phase::Bound, Some(1800 * S)));

    // T1: its server is asked, by an address that is ours; a minute at least between two tries.
    let (at_ns, effects) = tick_at_deadline(&mut machine);
    let (request, to) = only(&effects);
    assert_eq!((at_ns, to, machine.phase()), (1800 * S, Some(SERVER), Phase::Renewing));
    assert_eq!((request.own, request.wanted, request.server), (Some(lease(5).address), None, None));
    assert!(machine.deadline_ns() >= Some(1860 * S));
    // T2: anybody is asked.
    while machine.phase() == Phase::Renewing {
        tick_at_deadline(&mut machine);
    }
    assert_eq!(machine.phase(), Phase::Rebinding);
    let now_ns = 3200 * S;
    let id = machine.id;
    let effects = machine.step(now_ns, Event::Reply(Reply::Ack(id, Box::new(lease(5)))));
    let Some(Effect::Hold(held)) = effects.last() else { panic!("{effects:?}") };
    // Counted from the request that it answers.
    assert_eq!(held.since_ns, 3150 * S);
    assert_eq!(machine.phase(), Phase::Bound);
}

#[test]
fn a_lease_that_is_over_is_dropped_or_kept() {
    for keeps in [false, true] {
        let mut machine = Machine::new(2, None, keeps);
        bound(&mut machine, 0);
        let mut dropped_ns = None;
        let mut at_ns = 0;
        while at_ns < 5000 * S {
            let (now_ns, effects) = tick_at_deadline(&mut machine);
            assert!(now_ns > at_ns, "time goes on");
            at_ns = now_ns;
            if effects.contains(&Effect::Drop) {
                dropped_ns = dropped_ns.or(Some(at_ns));
            }
        }
        assert_eq!(dropped_ns, (!keeps).then_some(3600 * S), "to the second");
        assert_eq!((machine.phase(), machine.held().is_some()), (Phase::Selecting, keeps));
        // The address that was ours is asked for again.
        let (_, effects) = tick_at_deadline(&mut machine);
        assert_eq!(only(&effects).0.wanted, keeps.then_some(lease(5).address));
    }
}

#[test]
fn a_lease_of_before_is_asked_for_and_used_on() {
    let held = Held { lease: lease(5), since_ns: 100 * S };
    // It still holds.
    let mut machine = Machine::new(3, Some(held.clone()), false);
    let effects = machine.step(200 * S, Event::Carrier(true));
    assert_eq!(effects[0], Effect::Hold(held.clone()));
    let (request, to) = only(&effects);
    assert_eq!((request.wanted, request.own, to), (Some(lease(5).address), None, None));
    assert_eq!(request.server, None, "RFC 2131, table 5");
    // Nobody answers: it is used as long as it holds, and renewed at its time.
    while machine.phase() == Phase::Rebooting {
        tick_at_deadline(&mut machine);
    }
    assert_eq!((machine.phase(), machine.deadline_ns()), (Phase::Bound, Some(1900 * S)));
    // The network is another one: the address goes at once.
    let mut machine = Machine::new(4, Some(held.clone()), false);
    let (request, _) = only(&machine.step(200 * S, Event::Carrier(true)));
    let effects = machine.step(201 * S, Event::Reply(Reply::Nak(request.id, "moved".into())));
    assert!(effects.contains(&Effect::Drop), "{effects:?}");
    assert!(only(&effects).0.is_discover);
    // It is over.
    let mut machine = Machine::new(5, Some(held), false);
    let effects = machine.step(4000 * S, Event::Carrier(true));
    assert!(effects.contains(&Effect::Drop) && only(&effects).0.is_discover, "{effects:?}");
}

#[test]
fn a_carrier_that_goes_takes_nothing_away() {
    let mut machine = Machine::new(6, None, false);
    bound(&mut machine, 0);
    assert_eq!(machine.step(S, Event::Carrier(false)), []);
    assert!(machine.held().is_some());
    let effects = machine.step(2 * S, Event::Carrier(true));
    assert_eq!(machine.phase(), Phase::Rebooting);
    assert!(only(&effects).0.wanted.is_some());
    machine.step(3 * S, Event::Carrier(false));
    // But for its time.
    let (at_ns, effects) = tick_at_deadline(&mut machine);
    assert_eq!((at_ns, effects.last()), (3600 * S, Some(&Effect::Drop)));
    assert_eq!(machine.deadline_ns(), None);
}

#[test]
fn a_server_that_refuses_for_ever_is_not_asked_without_end() {
    let mut machine = Machine::new(7, None, false);
    let mut now_ns = 0;
    let mut effects = machine.step(now_ns, Event::Carrier(true));
    let mut discovers = 0;
    while now_ns < 600 * S {
        for (request, _) in sent(&effects) {
            discovers += u32::from(request.is_discover);
        }
        effects = match (machine.phase(), sent(&effects).first()) {
            (Phase::Selecting, Some((request, _))) => {
                let offer = Reply::Offer(request.id, Box::new(lease(9)));
                machine.step(now_ns, Event::Reply(offer))
            }
            (Phase::Requesting, Some((request, _))) => {
                machine.step(now_ns, Event::Reply(Reply::Nak(request.id, String::new())))
            }
            _ => {
                let (at_ns, effects) = tick_at_deadline(&mut machine);
                now_ns = at_ns;
                effects
            }
        };
    }
    assert!((5..40).contains(&discovers), "{discovers} in ten minutes");
}

/// What the world does next.
#[derive(Clone, Debug)]
enum Move {
    /// Time goes to the machine's deadline, or so many seconds.
    Deadline,
    Seconds(u16),
    /// An answer to the last message that was sent: which, and for which address.
    Offer(u8),
    Ack(u8),
    Nak,
    /// The same for a transaction that is none of ours.
    Stray(u8),
    Carrier(bool),
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        4 => Just(Move::Deadline),
        1 => (0..4000_u16).prop_map(Move::Seconds),
        2 => (1..4_u8).prop_map(Move::Offer),
        3 => (1..4_u8).prop_map(Move::Ack),
        1 => Just(Move::Nak),
        1 => (1..4_u8).prop_map(Move::Stray),
        1 => any::<bool>().prop_map(Move::Carrier),
    ]
}

proptest! {
    /// Whatever happens: an address is held only after an ack for it, is gone when its lease is
    /// over (unless it is to be kept), what is said by effects is what the machine holds, a machine
    /// with a carrier always waits for something, and it never sends more than one message at a
    /// time, nor any without a carrier.
    #[test]
    fn invariants(seed: u64, keeps: bool, moves in prop::collection::vec(moves(), 1..200)) {
        let mut machine = Machine::new(seed, None, keeps);
        let mut now_ns = 0_u64;
        let mut carrier = false;
        let mut last: Option<Request> = None;
        let mut configured: Option<Held<Lease4>> = None;
        for one in moves {
            let id = last.as_ref().map_or(0, |request| request.id);
            let (event, may_bind) = match one {
                Move::Deadline => {
                    now_ns = machine.deadline_ns().unwrap_or(now_ns).max(now_ns);
                    (Event::Tick, false)
                }
                Move::Seconds(seconds) => {
                    now_ns += u64::from(seconds) * S;
                    (Event::Tick, false)
                }
                Move::Offer(n) => (Event::Reply(Reply::Offer(id, Box::new(lease(n)))), false),
                Move::Ack(n) => (Event::Reply(Reply::Ack(id, Box::new(lease(n)))), last.is_some()),
                Move::Nak => (Event::Reply(Reply::Nak(id, String::new())), false),
                Move::Stray(n) => {
                    (Event::Reply(Reply::Ack(id.wrapping_add(1), Box::new(lease(n)))), false)
                }
                Move::Carrier(is) => {
                    carrier = is;
                    (Event::Carrier(is), false)
                }
            };
            let is_tick = event == Event::Tick;
            let effects = machine.step(now_ns, event);
            for effect in &effects {
                match effect {
                    Effect::Send(request, to) => {
                        prop_assert!(carrier);
                        prop_assert_eq!(to.is_some(), machine.phase() == Phase::Renewing);
                        last = Some(request.clone());
                    }
                    Effect::Hold(held) => {
                        let known = configured.as_ref() == Some(held);
                        prop_assert!(may_bind || known, "{:?}", held);
                        configured = Some(held.clone());
                    }
                    Effect::Drop => prop_assert!(configured.take().is_some()),
                    Effect::Say(text) => prop_assert!(!text.is_empty()),
                }
            }
            prop_assert!(sent(&effects).len() <= 1);
            prop_assert_eq!(machine.held(), configured.as_ref());
            if carrier {
                prop_assert!(machine.deadline_ns().is_some());
            }
            if is_tick && !keeps && let Some(held) = &configured {
                // Bound and renewing end by their own times, which come first: time that jumps over
                // several of them takes as many ticks.
                while machine.deadline_ns().is_some_and(|deadline_ns| deadline_ns <= now_ns) {
                    for effect in machine.step(now_ns, Event::Tick) {
                        if let Effect::Send(request, _) = effect {
                            last = Some(request);
                        }
                    }
                    if machine.held().is_none() {
                        break;
                    }
                }
                let over_ns = after(held.since_ns, 3600);
                prop_assert!(machine.held().is_none() || now_ns < over_ns);
                configured = machine.held().cloned();
            }
        }
    }
}
