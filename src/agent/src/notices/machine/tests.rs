//! Notices, one by one and in any order.

use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn machine() -> Machine {
    Machine::new(Notices::default())
}

fn spot(action: SpotAction, left_s: u64) -> Reading {
    let spot = Some(Spot { action, left: SECOND * u32::try_from(left_s).expect("small") });
    Reading { spot, ..Reading::default() }
}

fn group(state: LifecycleState) -> Reading {
    Reading { group: Some(state), ..Reading::default() }
}

fn hook(name: &str, patience_s: u64) -> Hook {
    let patience = Duration::from_secs(patience_s);
    Hook { group: "web".to_owned(), name: name.to_owned(), patience }
}

/// The shutdowns among the effects.
fn shutdowns(effects: &[Effect]) -> Vec<(ShutdownKind, Option<u64>)> {
    let read = |effect: &Effect| match effect {
        Effect::Shutdown { kind, within } => Some((*kind, within.map(|within| within.as_secs()))),
        _ => None,
    };
    effects.iter().filter_map(read).collect()
}

fn told(effects: &[Effect]) -> Vec<&'static str> {
    let read = |effect: &Effect| match effect {
        Effect::Tell { subject, .. } => Some(subject.word()),
        _ => None,
    };
    effects.iter().filter_map(read).collect()
}

/// What is read at every look is told and obeyed once.
#[test]
fn a_spot_interruption_is_a_power_off_in_time() {
    let mut machine = machine();
    let effects = machine.step(SECOND, Event::Read(spot(SpotAction::Terminate, 119)));
    assert_eq!(told(&effects), ["spot"]);
    assert_eq!(shutdowns(&effects), [(ShutdownKind::Poweroff, Some(104))]);
    for second in 2..10 {
        let again = spot(SpotAction::Terminate, 120 - second);
        let now = SECOND * u32::try_from(second).expect("small");
        assert_eq!(machine.step(now, Event::Read(again)), []);
    }
    assert_eq!(machine.leaves_by(), Some(SECOND * 105));
    assert!(machine.owed().is_empty());
}

/// A power-off from within might end for good what shall only be stopped.
#[test]
fn a_spot_instance_that_is_stopped_halts_and_one_that_hibernates_goes_on() {
    let effects = machine().step(SECOND, Event::Read(spot(SpotAction::Stop, 60)));
    assert_eq!(shutdowns(&effects), [(ShutdownKind::Halt, Some(45))]);
    let effects = machine().step(SECOND, Event::Read(spot(SpotAction::Hibernate, 60)));
    assert_eq!((told(&effects), shutdowns(&effects)), (vec!["spot"], vec![]));
    let late = machine().step(SECOND, Event::Read(spot(SpotAction::Terminate, 3)));
    assert_eq!(shutdowns(&late), [(ShutdownKind::Poweroff, Some(WITHIN_MIN.as_secs()))]);
}

#[test]
fn what_is_only_to_be_told_is_told_and_taken_back() {
    let mut machine = Machine::new(Notices { spot: Answer::Tell, ..Notices::default() });
    let reading = Reading { rebalance: true, ..spot(SpotAction::Terminate, 100) };
    let effects = machine.step(SECOND, Event::Read(reading));
    assert_eq!((told(&effects), shutdowns(&effects)), (vec!["spot", "rebalance"], vec![]));
    let effects = machine.step(SECOND * 2, Event::Read(Reading::default()));
    assert_eq!(effects, [Effect::Clear(Subject::Spot), Effect::Clear(Subject::Rebalance)]);
    assert_eq!(machine.step(SECOND * 3, Event::Read(Reading::default())), []);
}

#[test]
fn a_scale_in_has_the_time_of_its_most_impatient_hook() {
    let mut machine = machine();
    assert_eq!(machine.step(SECOND, Event::Read(group(LifecycleState::InService))), []);
    let effects = machine.step(SECOND, Event::Read(group(LifecycleState::Terminated)));
    assert_eq!(told(&effects), ["scale-in"]);
    assert_eq!(effects.last(), Some(&Effect::FindHooks));
    assert_eq!(machine.step(SECOND, Event::Read(group(LifecycleState::Terminated))), []);
    let hooks = vec![hook("drain", 300), hook("logs", 90)];
    let effects = machine.step(SECOND * 2, Event::Hooks(Ok(hooks.clone())));
    let heartbeats = hooks.iter().cloned().map(Effect::Heartbeat);
    assert!(effects.iter().take(2).cloned().eq(heartbeats), "{effects:?}");
    assert_eq!(shutdowns(&effects), [(ShutdownKind::Poweroff, Some(75))]);
    assert_eq!(machine.owed(), hooks);
    // An interruption on top of it makes it faster.
    let effects = machine.step(SECOND * 3, Event::Read(spot(SpotAction::Terminate, 40)));
    assert_eq!(shutdowns(&effects), [(ShutdownKind::Poweroff, Some(25))]);
}

#[test]
fn a_scale_in_without_hooks_or_without_an_answer_goes_at_once() {
    for found in [Ok(vec![]), Err("autoscaling:DescribeLifecycleHooks: not allowed".to_owned())] {
        let mut machine = machine();
        machine.step(SECOND, Event::Read(group(LifecycleState::Terminated)));
        let is_error = found.is_err();
        let effects = machine.step(SECOND, Event::Hooks(found));
        assert_eq!(shutdowns(&effects), [(ShutdownKind::Poweroff, None)]);
        assert_eq!(told(&effects).len(), usize::from(is_error), "{effects:?}");
        assert!(machine.owed().is_empty());
        // Whoever asks a second time is not heard a second time.
        assert_eq!(machine.step(SECOND, Event::Hooks(Ok(vec![hook("x", 60)]))), []);
    }
    let patient = vec![hook("drain", 48 * 3_600)];
    let mut machine = machine();
    machine.step(SECOND, Event::Read(group(LifecycleState::Terminated)));
    let effects = machine.step(SECOND, Event::Hooks(Ok(patient)));
    assert_eq!(shutdowns(&effects), [(ShutdownKind::Poweroff, Some(WITHIN_MAX.as_secs()))]);
}

/// A metadata service that is away for a while is nothing, for longer is told, once.
#[test]
fn an_absent_metadata_service_is_told_and_survived() {
    let mut machine = machine();
    let away = || Event::Away("connection refused".to_owned());
    assert_eq!(machine.step(SECOND, away()), []);
    assert_eq!(machine.step(SECOND * 60, away()), []);
    assert_eq!(told(&machine.step(SECOND * 61, away())), ["metadata"]);
    assert_eq!(machine.step(SECOND * 62, away()), []);
    let back = machine.step(SECOND * 63, Event::Read(Reading::default()));
    assert_eq!(back, [Effect::Clear(Subject::Metadata)]);
    assert_eq!(machine.step(SECOND * 64, away()), []);
}

fn any_event() -> impl Strategy<Value = Event> {
    let action = prop_oneof![
        Just(SpotAction::Terminate),
        Just(SpotAction::Stop),
        Just(SpotAction::Hibernate)
    ];
    let spot = proptest::option::weighted(0.2, (action, 0_u64..130)).prop_map(|spot| {
        spot.map(|(action, left_s)| Spot { action, left: Duration::from_secs(left_s) })
    });
    let group = proptest::option::of(prop_oneof![
        4 => Just(LifecycleState::InService),
        1 => Just(LifecycleState::Terminated),
        1 => Just(LifecycleState::Standby),
    ]);
    let reading = (spot, any::<bool>(), group).prop_map(|(spot, rebalance, group)| Reading {
        spot,
        rebalance,
        group,
    });
    let hooks = proptest::collection::vec(0_u64..4_000, 0..3).prop_map(|patiences| {
        patiences.into_iter().map(|patience| hook("h", patience)).collect::<Vec<_>>()
    });
    prop_oneof![
        6 => reading.prop_map(Event::Read),
        2 => Just(Event::Away("away".to_owned())),
        2 => hooks.prop_map(|hooks| Event::Hooks(Ok(hooks))),
        1 => Just(Event::Hooks(Err("denied".to_owned()))),
    ]
}

fn any_answer() -> impl Strategy<Value = Answer> {
    prop_oneof![Just(Answer::PowerOff), Just(Answer::Tell)]
}

proptest! {
    /// In whatever order notices come: a host goes ever sooner and never later, in time that is
    /// bounded; a hook is owed only by who goes; with all answers `tell` it stays.
    #[test]
    fn leaving_is_one_way_and_in_time(
        answers in (any_answer(), any_answer(), any_answer()),
        events in proptest::collection::vec((0_u64..20, any_event()), 1..60),
    ) {
        let (spot, rebalance, scale_in) = answers;
        let policy = Notices { spot, rebalance, scale_in, poll: SECOND };
        let stays = [spot, rebalance, scale_in].iter().all(|answer| *answer == Answer::Tell);
        let mut machine = Machine::new(policy);
        let mut now = Duration::ZERO;
        let mut by: Option<Duration> = None;
        for (pause_s, event) in events {
            now += Duration::from_secs(pause_s);
            let deadline = match &event {
                Event::Read(Reading { spot: Some(spot), .. })
                    if spot.action != SpotAction::Hibernate && policy.spot == Answer::PowerOff =>
                        Some(now + spot.left.max(WITHIN_MIN + RESERVE) - RESERVE + SECOND),
                _ => None,
            };
            let effects = machine.step(now, event);
            let asked = shutdowns(&effects);
            prop_assert!(!stays || (asked.is_empty() && machine.leaves_by().is_none()));
            for (_, within) in &asked {
                let within = Duration::from_secs(within.unwrap_or(60));
                prop_assert!((WITHIN_MIN..=WITHIN_MAX).contains(&within));
            }
            prop_assert!(by.is_none_or(|before| machine.leaves_by().is_some_and(|b| b <= before)));
            by = machine.leaves_by();
            // Services are down before EC2 acts, with PID 1's share left.
            if let Some(deadline) = deadline {
                prop_assert!(by.is_some_and(|by| by <= deadline), "{by:?} > {deadline:?}");
            }
            prop_assert!(machine.owed().is_empty() || by.is_some());
        }
    }
}
