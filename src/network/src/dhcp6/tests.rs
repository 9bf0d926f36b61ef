//! The machine by hand, step for step as RFC 8415 tells it.

use super::*;
use message::Reply;
use std::net::Ipv6Addr;

const S: u64 = NS_PER_S;

fn lease(last: u16) -> Lease6 {
    Lease6 {
        address: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last),
        server: vec![0, 3, 0, 1, 2],
        name_servers: Vec::new(),
        search: Vec::new(),
        lease_s: Some(400),
        renew_s: 140,
        rebind_s: 320,
    }
}

fn only(effects: &[Effect]) -> Request {
    let mut sent = effects.iter().filter_map(|effect| match effect {
        Effect::Send(request) => Some(request.clone()),
        _ => None,
    });
    let first = sent.next().unwrap_or_else(|| panic!("nothing is sent: {effects:?}"));
    assert_eq!(sent.next(), None);
    first
}

fn tick_at_deadline(machine: &mut Machine) -> (u64, Vec<Effect>) {
    let at_ns = machine.deadline_ns().expect("it waits for something");
    (at_ns, machine.step(at_ns, Event::Tick))
}

fn bound(machine: &mut Machine) -> Vec<Effect> {
    let solicit = only(&machine.step(0, Event::Managed(true)));
    assert_eq!((solicit.kind, solicit.server, solicit.address), (Kind::Solicit, None, None));
    assert!(solicit.id < 1 << 24);
    let advertise = Reply::Advertise(solicit.id, Box::new(lease(7)));
    let request = only(&machine.step(0, Event::Reply(advertise)));
    assert_eq!((request.kind, request.server), (Kind::Request, Some(lease(7).server)));
    assert_eq!(request.address, Some(lease(7).address));
    machine.step(0, Event::Reply(Reply::Lend(request.id, Box::new(lease(7)))))
}

#[test]
fn a_lease_is_taken_renewed_rebound_and_over() {
    let mut machine = Machine::new(1, None, false);
    assert_eq!((machine.phase(), machine.deadline_ns()), (Phase::Idle, None));
    let effects = bound(&mut machine);
    assert!(effects.contains(&Effect::Hold(Held { lease: lease(7), since_ns: 0 })));
    let (at_ns, effects) = tick_at_deadline(&mut machine);
    let renew = only(&effects);
    assert_eq!((at_ns, renew.kind), (140 * S, Kind::Renew));
    assert_eq!((renew.server, renew.address), (Some(lease(7).server), Some(lease(7).address)));
    while machine.phase() == Phase::Renewing {
        tick_at_deadline(&mut machine);
    }
    assert_eq!(machine.phase(), Phase::Rebinding);
    let mut over_ns = None;
    while over_ns.is_none() {
        let (at_ns, effects) = tick_at_deadline(&mut machine);
        over_ns = effects.contains(&Effect::Drop).then_some(at_ns);
    }
    assert_eq!((over_ns, machine.phase()), (Some(400 * S), Phase::Soliciting));
}

#[test]
fn a_lease_of_before_is_confirmed_by_anybody() {
    let held = Held { lease: lease(7), since_ns: 0 };
    let mut machine = Machine::new(2, Some(held.clone()), false);
    let effects = machine.step(10 * S, Event::Managed(true));
    assert_eq!(effects[0], Effect::Hold(held.clone()));
    assert_eq!(only(&effects).kind, Kind::Rebind);
    // The address is not of this network.
    let refuse = Reply::Refuse(only(&effects).id, "NotOnLink".to_owned());
    let effects = machine.step(11 * S, Event::Reply(refuse));
    assert!(effects.contains(&Effect::Drop));
    let (_, effects) = tick_at_deadline(&mut machine);
    assert_eq!(only(&effects).kind, Kind::Solicit);
    // A router that is silent again takes nothing away before its time.
    let mut machine = Machine::new(3, Some(held), false);
    machine.step(10 * S, Event::Managed(true));
    assert_eq!(machine.step(11 * S, Event::Managed(false)), []);
    let (at_ns, effects) = tick_at_deadline(&mut machine);
    assert_eq!((at_ns, effects.last()), (400 * S, Some(&Effect::Drop)));
}

#[test]
fn who_has_no_address_for_us_is_asked_again_slowly() {
    let mut machine = Machine::new(4, None, false);
    let mut effects = machine.step(0, Event::Managed(true));
    let (mut now_ns, mut solicits) = (0, 0);
    while now_ns < 3600 * S {
        for effect in &effects {
            let Effect::Send(request) = effect else { continue };
            solicits += 1;
            let refuse = Reply::Refuse(request.id, "NoAddrsAvail".to_owned());
            machine.step(now_ns, Event::Reply(refuse));
        }
        (now_ns, effects) = tick_at_deadline(&mut machine);
    }
    assert!((20..60).contains(&solicits), "{solicits} in an hour");
}

#[test]
fn strangers_and_late_answers_change_nothing() {
    let mut machine = Machine::new(5, None, false);
    bound(&mut machine);
    let before = machine.held().cloned();
    for reply in [
        Reply::Advertise(machine.id, Box::new(lease(8))),
        Reply::Lend(machine.id, Box::new(lease(8))),
        Reply::Refuse(machine.id, String::new()),
    ] {
        assert_eq!(machine.step(S, Event::Reply(reply)), []);
    }
    tick_at_deadline(&mut machine);
    let stray = Reply::Lend(machine.id + 1, Box::new(lease(8)));
    assert_eq!(machine.step(141 * S, Event::Reply(stray)), []);
    assert_eq!(machine.held(), before.as_ref());
}
