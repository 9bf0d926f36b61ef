//! Every way that a swap can go: the machine against a model of a host, with deaths of the agent,
//! of the supervisor and of the power before and after every single effect.
//!
//! What is proven at every moment: nothing lives without a root of ours, never two migrations at
//! once, every effect is explained by what is on disk, no version gets users before it passed its
//! gate ([`check`]). And at rest: the new version is committed, linked and well, or the previous
//! one serves and is well, or `failed back` was said and is true; one incarnation, no root left,
//! every committed path migrated, no failed migration run again.
//!
//! A failure prints its seed or its scenario, and what happened. `ROLLOUT_SEED=N` replays a seed,
//! `ROLLOUT_RUNS=N` makes more or fewer of them.

#[path = "simulation/check.rs"]
mod check;
#[path = "simulation/choice.rs"]
mod choice;
#[path = "simulation/host.rs"]
mod host;
#[path = "simulation/requests.rs"]
mod requests;
#[path = "simulation/setup.rs"]
mod setup;
#[path = "simulation/world.rs"]
mod world;

use choice::Choice;
use host::{Life, Nature};
use rollout::{HealthKind, Release, RequestKind, Retire, RootRole, Strategy};
use setup::{Scenario, V1, good_swap, http, nature, policy, request};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Crash, Tamper, World};

fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    let lives = [
        Life::Well,
        Life::NeverStarts,
        Life::Deaf,
        Life::Sick,
        Life::Loops,
        Life::SickAfter(1_500),
        Life::SickAfter(9_000),
        Life::DiesOnce(2_500),
    ];
    for (strategy, retire) in WAYS {
        for kind in [http(), HealthKind::Notify, HealthKind::Up] {
            for first in [Life::Well, Life::NeverAgain] {
                for second in lives {
                    let is_seen_by_probes = first == Life::NeverAgain
                        || matches!(second, Life::Deaf | Life::Sick | Life::SickAfter(_));
                    if is_seen_by_probes && !kind.is_probed() {
                        continue;
                    }
                    let base = Scenario {
                        strategy,
                        retire,
                        kind: kind.clone(),
                        first,
                        second,
                        migration: Some(true),
                        hook_works: true,
                        has_previous: true,
                    };
                    let is_http = kind.is_probed();
                    all.push(base.clone());
                    if is_http && second == Life::Well {
                        all.push(Scenario { migration: Some(false), ..base.clone() });
                        all.push(Scenario { hook_works: false, ..base.clone() });
                    }
                    if is_http && first == Life::Well {
                        all.push(Scenario { has_previous: false, migration: None, ..base });
                    }
                }
            }
        }
    }
    all
}

const CRASHES: [Crash; 4] = [
    Crash::Agent { verbs_land: false },
    Crash::Agent { verbs_land: true },
    Crash::Supervisor,
    Crash::Power,
];

/// One swap with crashes at these points; the world at rest.
fn run(scenario: &Scenario, crashes: &[(usize, Crash)]) -> World {
    guarded(
        &format!("{scenario:?} {crashes:?}"),
        || scenario.world(Choice::First),
        |world| {
            swap_once(scenario, world, crashes);
        },
    )
}

fn swap_once(scenario: &Scenario, world: &mut World, crashes: &[(usize, Crash)]) {
    world.crashes = crashes.iter().copied().collect::<VecDeque<_>>();
    let request = scenario.request(world);
    world.request(request);
    world.rest();
    check::at_rest(world);
}

/// Runs; a failure is run again to tell what happened.
fn guarded(what: &str, new: impl Fn() -> World, body: impl Fn(&mut World)) -> World {
    let mut world = new();
    if catch_unwind(AssertUnwindSafe(|| body(&mut world))).is_ok() {
        return world;
    }
    let mut world = new();
    world.is_verbose = true;
    let again = catch_unwind(AssertUnwindSafe(|| body(&mut world)));
    let log = world.log.join("\n");
    panic!("{what}\n{log}\nfails again: {}", again.is_err());
}

#[test]
fn every_scenario_ends_as_it_should() {
    for scenario in scenarios() {
        let world = run(&scenario, &[]);
        let outcome = &world.outcomes["7H2K"];
        assert_eq!(outcome.kind, scenario.expected(), "{scenario:#?}\n{}", world.log.join("\n"));
    }
}

/// Before and after every effect, and before and after each is done, somebody dies.
fn crash_everywhere(strategy: Strategy, retire: Retire) {
    let mut runs = 0;
    for scenario in scenarios() {
        if (scenario.strategy, scenario.retire) != (strategy, retire) {
            continue;
        }
        let points = run(&scenario, &[]).points;
        for at in 0..points {
            for crash in CRASHES {
                let world = run(&scenario, &[(at, crash)]);
                assert_eq!(world.crashed, 1);
                runs += 1;
            }
        }
    }
    println!("{runs} crashes");
}

#[test]
fn a_crash_at_every_effect_of_an_overlap() {
    crash_everywhere(Strategy::Overlap, Retire::AfterBake);
}

#[test]
fn a_crash_at_every_effect_of_an_overlap_that_retires_at_the_switch() {
    crash_everywhere(Strategy::Overlap, Retire::AtSwitch);
}

#[test]
fn a_crash_at_every_effect_of_a_restart() {
    crash_everywhere(Strategy::Restart, Retire::AfterBake);
}

#[test]
fn a_crash_at_every_effect_with_two_ports() {
    crash_everywhere(Strategy::Ports, Retire::AfterBake);
}

/// Two deaths, the second one on the way that the first one made.
#[test]
fn two_crashes_in_one_swap() {
    for (index, scenario) in scenarios().into_iter().enumerate() {
        let points = run(&scenario, &[]).points;
        // Every pair would be millions: a grid, shifted from scenario to scenario.
        for first in (index % 7..points).step_by(7) {
            for second in (first + index % 5 + 1..first + 60).step_by(5) {
                let kind = |at: usize| CRASHES[(at + index) % CRASHES.len()];
                run(&scenario, &[(first, kind(first)), (second, kind(second + first / 7))]);
            }
        }
    }
}

fn every_order(
    strategy: Strategy,
    retire: Retire,
    decisions: usize,
    crashes: &[(usize, Crash)],
) -> usize {
    let scenario = good_swap(strategy, retire);
    let mut next = Some(Choice::script());
    let mut runs = 0;
    while let Some(choice) = next {
        let new = || {
            let mut world = scenario.world(choice.clone());
            world.free = Some(decisions);
            world.policy.health.passes = 1;
            world.policy.health.deadline_ms = 2_000;
            (world.policy.bake_ms, world.policy.watch_ms) = (1_000, 2_000);
            world
        };
        let what = format!("{scenario:?} {choice:?} {crashes:?}");
        let world = guarded(&what, new, |world| swap_once(&scenario, world, crashes));
        next = world.choice.next();
        runs += 1;
    }
    runs
}

const WAYS: [(Strategy, Retire); 5] = [
    (Strategy::Overlap, Retire::AfterBake),
    (Strategy::Overlap, Retire::AtSwitch),
    (Strategy::Restart, Retire::AfterBake),
    (Strategy::Ports, Retire::AfterBake),
    (Strategy::Ports, Retire::AtSwitch),
];

#[test]
fn every_order_of_results() {
    for (strategy, retire) in WAYS {
        let runs = every_order(strategy, retire, 12, &[]);
        println!("{strategy:?} {retire:?}: {runs} orders");
    }
}

#[test]
fn every_order_of_results_with_a_crash() {
    for (strategy, retire) in WAYS {
        let mut runs = 0;
        for at in 0..120 {
            runs += every_order(strategy, retire, 5, &[(at, CRASHES[at % CRASHES.len()])]);
        }
        println!("{strategy:?} {retire:?}: {runs} orders with a crash");
    }
}

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A random host, on which somebody wants something every now and then.
fn random_world(seed: u64) -> World {
    let mut choice = Choice::Random(seed);
    let strategy = [Strategy::Overlap, Strategy::Restart, Strategy::Ports][choice.pick(3)];
    let retire = [Retire::AfterBake, Retire::AtSwitch][choice.pick(2)];
    let mut scenario = good_swap(strategy, retire);
    scenario.has_previous = choice.pick(5) > 0;
    let mut natures = BTreeMap::from([(V1.to_owned(), nature(Life::Well))]);
    for index in 0..PATHS {
        let lives = [
            Life::Well,
            Life::Well,
            Life::Well,
            Life::NeverStarts,
            Life::Deaf,
            Life::Sick,
            Life::Loops,
            Life::SickAfter(1_500),
            Life::SickAfter(9_000),
            Life::DiesOnce(2_500),
        ];
        let life = lives[choice.pick(lives.len())];
        let migration = [None, Some(true), Some(true), Some(false)][choice.pick(4)];
        let hook_works = choice.pick(8) > 0;
        natures.insert(path(index), Nature { life, migration, hook_works });
    }
    let mut policy = policy(&scenario);
    if choice.pick(3) == 0 {
        policy.bake_ms = 0;
    }
    let faults = [0, 0, 12, 40][choice.pick(4)];
    let mut at = 0;
    let mut crashes = VecDeque::new();
    for _ in 0..choice.pick(5) {
        at += 1 + choice.pick(150);
        crashes.push_back((at, CRASHES[choice.pick(CRASHES.len())]));
    }
    let seed_path = scenario.has_previous.then_some(V1);
    let mut world = World::new(policy, seed_path, natures, choice);
    (world.faults, world.crashes) = (faults, crashes);
    world
}

const PATHS: usize = 5;

fn path(index: usize) -> String {
    format!("/nix/store/{index}{index}{index}{index}-web-{}", index + 2)
}

fn random_life(world: &mut World) {
    for number in 1..=2 + world.choice.pick(8) as u64 {
        let id = format!("S{number}");
        match world.choice.pick(8) {
            0 => {
                let target = (world.choice.pick(3) == 0).then(|| Release::new(V1));
                let wanted = request(world, number, &id, RequestKind::Rollback { target });
                // Rolling back to what was collected is refused by the fetch; here it is there.
                world.request(wanted);
            }
            1 => world.cancel(number),
            2 => world.confirm(number),
            _ => {
                let target = Release::new(path(world.choice.pick(PATHS)));
                let mut wanted = request(world, number, &id, RequestKind::Swap { target });
                wanted.force = world.choice.pick(4) == 0;
                wanted.dry_run = world.choice.pick(8) == 0;
                wanted.test_within_ms = (world.choice.pick(4) == 0).then_some(4_000);
                world.request(wanted);
            }
        }
        for _ in 0..world.choice.pick(250) {
            if !world.turn() {
                break;
            }
        }
    }
    world.rest();
    check::at_rest(world);
}

#[test]
fn random_lives() {
    let seeds = match setting("ROLLOUT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("ROLLOUT_RUNS").unwrap_or(5_000),
    };
    for seed in seeds {
        guarded(&format!("ROLLOUT_SEED={seed}"), || random_world(seed), random_life);
    }
}

/// A machine that is wrong in this way; whether any run of the simulation notices.
fn is_noticed(tamper: Tamper) -> bool {
    let is_wrong = |scenario: &Scenario| {
        let mut world = scenario.world(Choice::First);
        world.tamper = tamper;
        catch_unwind(AssertUnwindSafe(|| swap_once(scenario, &mut world, &[]))).is_err()
    };
    scenarios().iter().filter(|scenario| scenario.kind.is_probed()).any(is_wrong)
}

/// The simulation is worth something only if it fails for machines that are wrong.
#[test]
fn wrong_machines_are_noticed() {
    let tampers = [
        Tamper::SkipPersist,
        Tamper::PersistLate,
        Tamper::SkipRoot(RootRole::Running),
        Tamper::SkipRoot(RootRole::Target),
        Tamper::SkipRoot(RootRole::Previous),
        Tamper::SkipUnroot,
        Tamper::SkipRetire,
        Tamper::SkipAbandon,
        Tamper::SkipCommit,
        Tamper::SkipMigrate,
        Tamper::BlindGate,
        Tamper::SkipMoves,
        Tamper::LeaveFirst,
    ];
    let missed: Vec<Tamper> = tampers.into_iter().filter(|tamper| !is_noticed(*tamper)).collect();
    assert!(missed.is_empty(), "not noticed: {missed:?}");
}
