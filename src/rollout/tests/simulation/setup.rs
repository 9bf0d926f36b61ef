//! One app, its closures, and one swap of it.

use crate::choice::Choice;
use crate::host::{Life, Nature};
use crate::world::World;
use rollout::{
    Health, HealthKind, OutcomeKind, Policy, Release, Request, RequestKind, Retire, Strategy,
};
use std::collections::BTreeMap;

pub const V1: &str = "/nix/store/1111-web-1";
pub const V2: &str = "/nix/store/2222-web-2";

/// One swap from V1 to V2.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub strategy: Strategy,
    pub retire: Retire,
    pub kind: HealthKind,
    pub first: Life,
    pub second: Life,
    pub migration: Option<bool>,
    pub hook_works: bool,
    pub has_previous: bool,
}

pub fn nature(life: Life) -> Nature {
    Nature { life, migration: None, hook_works: true }
}

pub fn policy(scenario: &Scenario) -> Policy {
    Policy {
        strategy: scenario.strategy,
        health: Health {
            kind: address(scenario.strategy, scenario.kind.clone()),
            every_ms: 1_000,
            passes: 2,
            timeout_ms: 500,
            deadline_ms: 6_000,
        },
        drain_ms: 2_000,
        bake_ms: 3_000,
        watch_ms: 12_000,
        retire: scenario.retire,
        migrate: Some("${closure}/bin/migrate".to_owned()),
        migrate_lease_ms: 9_000,
        after_switch: vec!["${closure}/bin/smoke".to_owned()],
        on_rollback: vec!["${closure}/bin/tell".to_owned()],
    }
}

impl Scenario {
    pub fn world(&self, choice: Choice) -> World {
        let second =
            Nature { life: self.second, migration: self.migration, hook_works: self.hook_works };
        let natures =
            BTreeMap::from([(V1.to_owned(), nature(self.first)), (V2.to_owned(), second)]);
        World::new(policy(self), self.has_previous.then_some(V1), natures, choice)
    }

    pub fn request(&self, world: &World) -> Request {
        request(world, 1, "7H2K", RequestKind::Swap { target: Release::new(V2) })
    }

    /// The outcome that it must have when nothing crashes.
    pub fn expected(&self) -> OutcomeKind {
        let is_last_alone = self.retire == Retire::AtSwitch && self.strategy.has_two_sides();
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

pub fn request(world: &World, number: u64, id: &str, kind: RequestKind) -> Request {
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

pub fn http() -> HealthKind {
    HealthKind::Http { address: "[::]:443".to_owned(), path: "/up".to_owned() }
}

/// Where an app of this strategy is asked, as its definition says it.
fn address(strategy: Strategy, mut kind: HealthKind) -> HealthKind {
    if let (Strategy::Ports, HealthKind::Http { address, .. }) = (strategy, &mut kind) {
        *address = "127.0.0.1:${port}".to_owned();
    }
    kind
}

/// A swap of one good version to another.
pub fn good_swap(strategy: Strategy, retire: Retire) -> Scenario {
    Scenario {
        strategy,
        retire,
        kind: http(),
        first: Life::Well,
        second: Life::Well,
        migration: Some(true),
        hook_works: true,
        has_previous: true,
    }
}
