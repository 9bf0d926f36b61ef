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
#[path = "simulation/world.rs"]
mod world;

use choice::Choice;
use host::{Life, Nature};
use rollout::{
    Health, HealthKind, OutcomeKind, Policy, Release, Request, RequestKind, Retire, RootRole,
    Strategy,
};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Crash, Tamper, World};

const V1: &str = "/nix/store/1111-web-1";
const V2: &str = "/nix/store/2222-web-2";

/// One swap from V1 to V2.
#[derive(Clone, Debug)]
struct Scenario {
    strategy: Strategy,
    retire: Retire,
    kind: HealthKind,
    first: Life,
    second: Life,
    migration: Option<bool>,
    hook_works: bool,
    has_previous: bool,
}

fn nature(life: Life) -> Nature {
    Nature { life, migration: None, hook_works: true }
}

fn policy(scenario: &Scenario) -> Policy {
    Policy {
        strategy: scenario.strategy,
        health: Health {
            kind: scenario.kind.clone(),
            every_ms: 1_000,
            passes: 2,
            timeout_ms: 500,
            deadline_ms: 6_000,
        },
        drain_ms: 2_000,
        bake_ms: 3_000,
        watch_ms: 20_000,
        retire: scenario.retire,
        migrate: Some("${closure}/bin/migrate".to_owned()),
        migrate_lease_ms: 9_000,
        after_switch: vec!["${closure}/bin/smoke".to_owned()],
        on_rollback: vec!["${closure}/bin/tell".to_owned()],
    }
}

impl Scenario {
    fn world(&self, choice: Choice) -> World {
        let second =
            Nature { life: self.second, migration: self.migration, hook_works: self.hook_works };
        let natures =
            BTreeMap::from([(V1.to_owned(), nature(self.first)), (V2.to_owned(), second)]);
        World::new(policy(self), self.has_previous.then_some(V1), natures, choice)
    }

    fn request(&self, world: &World) -> Request {
        request(world, 1, "7H2K", RequestKind::Swap { target: Release::new(V2) })
    }

    /// The outcome that it must have when nothing crashes.
    fn expected(&self) -> OutcomeKind {
        let is_last_alone = self.retire == Retire::AtSwitch && self.strategy == Strategy::Overlap;
        let must_return = self.strategy == Strategy::Restart || is_last_alone;
        let never_again = self.first == Life::NeverAgain;
        let is_gated_out = match self.second {
            Life::NeverStarts | Life::Loops => true,
            Life::Deaf | Life::Sick => self.kind.is_probed(),
            _ => false,
        };
        let back = |must_return: bool| match (must_return && never_again, self.has_previous) {
            (true, true) => OutcomeKind::FailedBack,
            _ => OutcomeKind::RolledBack,
        };
        if self.migration == Some(false) {
            OutcomeKind::RolledBack
        } else if is_gated_out {
            back(self.strategy == Strategy::Restart)
        } else if !self.hook_works || self.falls_sick_in_bake() {
            match (is_last_alone, self.has_previous) {
                (true, false) => OutcomeKind::FailedBack,
                _ => back(must_return),
            }
        } else if !self.has_previous && matches!(self.second, Life::SickAfter(9_000)) {
            // Found by the watch window, with nowhere to go.
            OutcomeKind::FailedBack
        } else {
            OutcomeKind::Committed
        }
    }

    fn falls_sick_in_bake(&self) -> bool {
        match self.second {
            Life::SickAfter(ms) => ms == 1_500 && self.kind.is_probed(),
            Life::DiesOnce(ms) => ms == 2_500,
            _ => false,
        }
    }
}

fn request(world: &World, number: u64, id: &str, kind: RequestKind) -> Request {
    Request {
        number,
        id: id.to_owned(),
        kind,
        policy: world.policy.clone(),
        profile: world.disk.profile().map(|path| Release::new(path.clone())),
        test_within_ms: None,
        dry_run: false,
        force: false,
    }
}

fn http() -> HealthKind {
    HealthKind::Http { address: "[::]:443".to_owned(), path: "/up".to_owned() }
}

fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    let ways = [
        (Strategy::Overlap, Retire::AfterBake),
        (Strategy::Overlap, Retire::AtSwitch),
        (Strategy::Restart, Retire::AfterBake),
    ];
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
    for (strategy, retire) in ways {
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

#[test]
fn a_crash_before_and_after_every_effect() {
    for scenario in scenarios() {
        let points = run(&scenario, &[]).points;
        for at in 0..points {
            for crash in CRASHES {
                let world = run(&scenario, &[(at, crash)]);
                assert_eq!(world.crashed, 1);
            }
        }
    }
}
