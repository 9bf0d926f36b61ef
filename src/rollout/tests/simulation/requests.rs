//! What people can ask for, each in one small story on the simulated host.

use crate::choice::Choice;
use crate::host::{Life, Nature};
use crate::setup::{Scenario, V1, V2, good_swap, request};
use crate::world::{Crash, World};
use rollout::{
    Admission, Facts, Machine, Now, Outcome, OutcomeKind, Record, Release, Request, RequestKind,
    Retire, RootRole, State, Step, Strategy,
};
use std::collections::VecDeque;

const V3: &str = "/nix/store/3333-web-3";

fn scenario() -> Scenario {
    good_swap(Strategy::Overlap, Retire::AfterBake)
}

fn world(scenario: &Scenario) -> World {
    let mut world = scenario.world(Choice::First);
    let third = Nature { life: Life::Well, migration: None, hook_works: true };
    world.host.natures.insert(V3.to_owned(), third);
    world
}

fn swap(world: &World, id: &str, path: &str) -> Request {
    let number = id.bytes().map(u64::from).sum();
    request(world, number, id, RequestKind::Swap { target: Release::new(path) })
}

fn rollback(world: &World, id: &str) -> Request {
    let number = id.bytes().map(u64::from).sum();
    request(world, number, id, RequestKind::Rollback { target: None })
}

/// Asks, and says what the answer was.
fn ask(world: &mut World, request: Request) -> Admission {
    let number = request.number;
    world.request(request);
    world.finish_batch();
    world.admissions[&number].clone()
}

/// Runs until the swap is in such a state.
fn until(world: &mut World, what: &str, is_there: impl Fn(State) -> bool) {
    for _ in 0..10_000 {
        if world.machine.record().swap.as_ref().is_some_and(|swap| is_there(swap.state)) {
            return world.finish_batch();
        }
        assert!(world.turn(), "it is never {what}");
    }
    panic!("it is never {what}");
}

/// To the end; all properties hold.
fn rest(world: &mut World) {
    world.rest();
    crate::check::at_rest(world);
}

fn kind(world: &World, id: &str) -> OutcomeKind {
    world.outcomes[id].kind
}

fn over(admission: Admission) -> Outcome {
    match admission {
        Admission::Over(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

fn serving(world: &World) -> &str {
    world.host.sides[world.host.serving].closure.as_deref().expect("a closure")
}

#[test]
fn a_dry_run_writes_and_fetches_nothing() {
    let mut world = world(&scenario());
    let request = Request { dry_run: true, ..swap(&world, "DRY0", V2) };
    assert_eq!(ask(&mut world, request), Admission::Began("DRY0".to_owned()));
    world.rest();
    assert_eq!(kind(&world, "DRY0"), OutcomeKind::NothingToDo);
    assert_eq!(world.disk.record, None);
    assert!(!world.disk.store.contains(V2) && world.disk.roots.is_empty());
}

#[test]
fn what_serves_already_is_not_swapped() {
    let mut world = world(&scenario());
    let first = swap(&world, "S1", V2);
    ask(&mut world, first);
    rest(&mut world);
    let written = world.disk.record.clone();
    let second = swap(&world, "S2", V2);
    assert_eq!(over(ask(&mut world, second)).kind, OutcomeKind::NothingToDo);
    rest(&mut world);
    assert_eq!(world.disk.record, written);
}

#[test]
fn a_path_that_failed_needs_force() {
    let mut world = world(&Scenario { second: Life::Sick, ..scenario() });
    let first = swap(&world, "S1", V2);
    ask(&mut world, first);
    rest(&mut world);
    assert_eq!(kind(&world, "S1"), OutcomeKind::RolledBack);
    let outcome = &world.outcomes["S1"];
    assert_eq!(outcome.reason.as_deref(), Some("GET /up -> 503"));
    assert_eq!(outcome.details, ["6 tries in 6s; users never reached it"]);

    let again = swap(&world, "S2", V2);
    let refused = over(ask(&mut world, again));
    assert_eq!((refused.kind, refused.failed_at), (OutcomeKind::Refused, Some(Step::Gate)));
    assert_eq!(refused.cure, [format!("rollinit swap web {V2} --force")]);

    world.host.natures.get_mut(V2).expect("known").life = Life::Well;
    let forced = Request { force: true, ..swap(&world, "S3", V2) };
    ask(&mut world, forced);
    rest(&mut world);
    assert_eq!(kind(&world, "S3"), OutcomeKind::Committed);
    assert!(world.machine.record().book.failed.is_empty(), "a success clears its name");
}

#[test]
fn a_failed_migration_touches_no_process_and_bars_the_path() {
    let mut world = world(&Scenario { migration: Some(false), ..scenario() });
    let incarnation = world.host.sides[0].incarnation;
    let request = swap(&world, "S1", V2);
    ask(&mut world, request);
    rest(&mut world);
    assert_eq!(world.outcomes["S1"].failed_at, Some(Step::Migrate));
    assert_eq!(world.host.sides[0].incarnation, incarnation);
    assert_eq!(world.host.sides[1].incarnation, 0, "no candidate was started");
    let again = swap(&world, "S2", V2);
    assert_eq!(over(ask(&mut world, again)).kind, OutcomeKind::Refused);
    assert_eq!(world.migrations[V2], (0, 1));
}

fn test_run(world: &mut World) {
    let request = Request { test_within_ms: Some(10_000), ..swap(world, "TEST", V3) };
    assert_eq!(ask(world, request), Admission::Began("TEST".to_owned()));
    until(world, "baking", |state| matches!(state, State::Baking { .. }));
}

#[test]
fn a_test_that_is_confirmed_is_committed() {
    let mut world = world(&scenario());
    test_run(&mut world);
    world.confirm(9);
    assert_eq!(world.admissions[&9], Admission::Done);
    rest(&mut world);
    assert_eq!((kind(&world, "TEST"), serving(&world)), (OutcomeKind::Committed, V3));
}

#[test]
fn a_test_that_nobody_confirms_is_undone() {
    let mut world = world(&scenario());
    test_run(&mut world);
    rest(&mut world);
    assert_eq!((kind(&world, "TEST"), serving(&world)), (OutcomeKind::RolledBack, V1));
    assert!(world.machine.record().book.failed.is_empty(), "nobody is to blame");
}

/// The deadline is on disk: an agent that was away for longer undoes it first.
#[test]
fn a_test_is_undone_by_an_agent_that_was_dead_at_its_deadline() {
    let mut world = world(&scenario());
    test_run(&mut world);
    world.now_ns += 60 * crate::host::SECOND;
    world.crashes = VecDeque::from([(world.points, Crash::Agent { verbs_land: false })]);
    rest(&mut world);
    assert_eq!((kind(&world, "TEST"), serving(&world)), (OutcomeKind::RolledBack, V1));
}

#[test]
fn a_test_is_undone_by_a_reboot() {
    let mut world = world(&scenario());
    test_run(&mut world);
    world.crashes = VecDeque::from([(world.points, Crash::Power)]);
    rest(&mut world);
    assert_eq!((kind(&world, "TEST"), serving(&world)), (OutcomeKind::RolledBack, V1));
}

#[test]
fn a_test_never_migrates() {
    let mut world = world(&scenario());
    let request = Request { test_within_ms: Some(10_000), ..swap(&world, "TEST", V2) };
    ask(&mut world, request);
    rest(&mut world);
    let outcome = &world.outcomes["TEST"];
    assert_eq!((outcome.kind, outcome.failed_at), (OutcomeKind::Refused, Some(Step::Migrate)));
    assert!(world.migrations.is_empty());
}

#[test]
fn a_confirmation_that_nobody_waits_for_is_refused() {
    let mut world = world(&scenario());
    world.confirm(9);
    assert_eq!(over(world.admissions[&9].clone()).kind, OutcomeKind::Refused);
}

#[test]
fn a_second_swap_takes_the_place_of_one_that_users_have_not_seen() {
    let mut world = world(&scenario());
    let first = swap(&world, "S1", V2);
    ask(&mut world, first);
    until(&mut world, "started", |state| matches!(state, State::Started { .. }));
    let second = swap(&world, "S2", V3);
    assert_eq!(ask(&mut world, second), Admission::Waits("S2".to_owned()));
    rest(&mut world);
    assert_eq!(kind(&world, "S1"), OutcomeKind::Superseded);
    assert_eq!((kind(&world, "S2"), serving(&world)), (OutcomeKind::Committed, V3));
}

#[test]
fn a_second_swap_waits_for_one_that_users_have_seen() {
    let mut world = world(&scenario());
    let first = swap(&world, "S1", V2);
    ask(&mut world, first);
    until(&mut world, "baking", |state| matches!(state, State::Baking { .. }));
    let second = swap(&world, "S2", V3);
    assert_eq!(ask(&mut world, second), Admission::Waits("S2".to_owned()));
    // A death in between loses neither.
    world.crashes = VecDeque::from([(world.points, Crash::Agent { verbs_land: false })]);
    rest(&mut world);
    assert_eq!(kind(&world, "S1"), OutcomeKind::Committed);
    assert_eq!((kind(&world, "S2"), serving(&world)), (OutcomeKind::Committed, V3));
}

#[test]
fn the_same_swap_twice_is_one() {
    let mut world = world(&scenario());
    let first = swap(&world, "S1", V2);
    ask(&mut world, first);
    until(&mut world, "started", |state| matches!(state, State::Started { .. }));
    let second = swap(&world, "S2", V2);
    assert_eq!(ask(&mut world, second), Admission::Joins("S1".to_owned()));
    rest(&mut world);
    assert_eq!(world.machine.record().book.history.len(), 1);
}

#[test]
fn a_rollback_goes_to_the_recorded_previous_and_never_migrates() {
    let mut world = world(&scenario());
    for (id, path) in [("S1", V2), ("S2", V3)] {
        let request = swap(&world, id, path);
        ask(&mut world, request);
        rest(&mut world);
    }
    world.collect();
    let migrations = world.migrations.clone();
    let back = rollback(&world, "S3");
    ask(&mut world, back);
    rest(&mut world);
    assert_eq!((kind(&world, "S3"), serving(&world)), (OutcomeKind::Committed, V2));
    assert_eq!(world.migrations, migrations);
    assert_eq!(world.disk.roots.get(&RootRole::Previous), None);
    let again = rollback(&world, "S4");
    let refused = over(ask(&mut world, again));
    assert_eq!(refused.kind, OutcomeKind::Refused);
    assert_eq!(refused.cure[1], "rollinit rollback web --generation N");
}

#[test]
fn a_rollback_in_the_middle_of_a_swap_undoes_it() {
    let mut world = world(&scenario());
    let first = swap(&world, "S1", V2);
    ask(&mut world, first);
    until(&mut world, "baking", |state| matches!(state, State::Baking { .. }));
    let back = rollback(&world, "S2");
    assert_eq!(ask(&mut world, back), Admission::Joins("S1".to_owned()));
    rest(&mut world);
    assert_eq!((kind(&world, "S1"), serving(&world)), (OutcomeKind::RolledBack, V1));
    assert!(world.machine.record().book.failed.is_empty());
}

#[test]
fn a_version_that_falls_sick_after_its_commit_is_rolled_back() {
    let mut world = world(&Scenario { second: Life::SickAfter(9_000), ..scenario() });
    let request = swap(&world, "S1", V2);
    ask(&mut world, request);
    rest(&mut world);
    assert_eq!(kind(&world, "S1"), OutcomeKind::Committed);
    assert_eq!(kind(&world, "S1-back"), OutcomeKind::Committed);
    assert_eq!(serving(&world), V1);
    assert_eq!(world.disk.profile().map(String::as_str), Some(V1));
    let failed = &world.machine.record().book.failed;
    assert_eq!((failed[0].path.as_str(), failed[0].step), (V2, Step::Watch));
}

#[test]
fn a_fault_of_the_host_is_refused_and_bars_nobody() {
    let mut world = world(&scenario());
    // The second decision is the fetch; all others are good.
    world.choice = Choice::Script { taken: vec![(0, 2), (1, 2)], at: 0 };
    world.free = Some(2);
    let request = swap(&world, "S1", V2);
    ask(&mut world, request);
    rest(&mut world);
    let outcome = &world.outcomes["S1"];
    assert_eq!((outcome.kind, outcome.failed_at), (OutcomeKind::Refused, Some(Step::Fetch)));
    assert!(world.machine.record().book.failed.is_empty());
    let again = swap(&world, "S2", V2);
    ask(&mut world, again);
    rest(&mut world);
    assert_eq!(kind(&world, "S2"), OutcomeKind::Committed);
}

#[test]
fn an_app_that_is_no_longer_defined_ends_its_swap() {
    let mut world = world(&scenario());
    let request = swap(&world, "S1", V2);
    ask(&mut world, request);
    let record = Record::decode(world.disk.record.as_deref().expect("written")).expect("whole");
    let facts = Facts { boot: "boot-2".to_owned(), view: None, profile: None };
    let (mut machine, _) = Machine::resume(record, Now { clock_ns: 1, wall_ms: 1 }, facts);
    assert_eq!(machine.record().swap, None);
    let request = rollout::Event::Request(swap(&world, "S2", V2));
    let effects = machine.step(Now { clock_ns: 2, wall_ms: 2 }, request);
    assert!(
        matches!(&effects[..], [rollout::Effect::Answer { admission: Admission::Over(outcome), .. }]
            if outcome.kind == OutcomeKind::Refused),
        "{effects:?}"
    );
}

/// A first version that fails leaves nothing behind, and nothing to say sorry for.
#[test]
fn the_first_version_of_all_can_fail_too() {
    let mut world = world(&Scenario { second: Life::Deaf, has_previous: false, ..scenario() });
    let request = swap(&world, "S1", V2);
    ask(&mut world, request);
    rest(&mut world);
    assert_eq!(kind(&world, "S1"), OutcomeKind::RolledBack);
    assert_eq!(world.host.live().count(), 0);
    assert!(world.disk.roots.is_empty());
}
