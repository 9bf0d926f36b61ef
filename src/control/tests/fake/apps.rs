//! Cardboard apps: one that serves, one in the middle of a swap, one that never had a closure.

use super::NOW_NS;
use control::types::{
    App, AppHealth, AppPolicy, AppRun, AppSwap, HealthKind, RetireWhen, ServiceState, Strategy,
    SwapPhase,
};

/// Store paths with hashes of the real length.
pub const OLD: &str = "/nix/store/1b9p07z77phvv2hf6gm9f28syp39f1ag-storefront-1.9.2";
/// What it is swapped for.
pub const NEW: &str = "/nix/store/9q1cxfb5m7zlqnydpxg6kxcajx5cwz0w-storefront-1.9.3";

fn run(side: u32, closure: Option<&str>, state: ServiceState) -> AppRun {
    AppRun {
        side,
        port: None,
        closure: closure.map(str::to_owned),
        state,
        incarnation: 3,
        pid: Some(1234),
        ready: state == ServiceState::Running,
        restarts: 2,
        since_ns: NOW_NS - 3_000_000_000_000,
        reason: None,
    }
}

fn policy() -> AppPolicy {
    AppPolicy {
        strategy: Strategy::Overlap,
        ports: Vec::new(),
        health: AppHealth {
            kind: HealthKind::Http,
            address: Some("127.0.0.1:80".into()),
            path: Some("/up".into()),
            every_ms: 1000,
            passes: 3,
            timeout_ms: 2000,
            deadline_ms: 60_000,
        },
        drain_ms: 30_000,
        bake_ms: 20_000,
        watch_ms: 60_000,
        retire: RetireWhen::AfterBake,
        migrate: Some("${closure}/bin/migrate".into()),
        migrate_lease_ms: 60_000,
        after_switch: vec!["${closure}/bin/smoke".into()],
        on_rollback: Vec::new(),
    }
}

/// The app `web`, with no swap under way.
pub fn quiet() -> App {
    App {
        name: "web".into(),
        serving: run(0, Some(OLD), ServiceState::Running),
        candidate: None,
        swap: None,
        policy: policy(),
    }
}

/// The app `web` in the phase `phase` of swap `swap`.
pub fn swapping(swap: &str, phase: SwapPhase) -> App {
    let candidate = AppRun {
        incarnation: 1,
        pid: Some(2214),
        restarts: 0,
        since_ns: NOW_NS - 4_000_000_000,
        ..run(1, Some(NEW), ServiceState::Starting)
    };
    let swap = AppSwap { id: swap.into(), phase, closure: NEW.into() };
    App { candidate: Some(candidate), swap: Some(swap), ..quiet() }
}

/// The app `jobs`, whose strategy is restart and which waits for its first closure.
pub fn empty() -> App {
    App {
        name: "jobs".into(),
        serving: AppRun {
            incarnation: 0,
            pid: None,
            restarts: 0,
            reason: Some("it has no closure yet: `rollinit swap jobs PATH`".into()),
            ..run(0, None, ServiceState::Waiting)
        },
        policy: AppPolicy { strategy: Strategy::Restart, ..policy() },
        ..quiet()
    }
}

/// The apps of the cardboard host.
pub fn apps() -> Vec<App> {
    vec![empty(), swapping("7H2K", SwapPhase::Prepared)]
}
