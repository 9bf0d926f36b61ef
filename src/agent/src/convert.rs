//! The same things in the words of two rooms: what travels (`control`) and what decides
//! (`rollout`).

use crate::prober::{self, Answer};
use control::types::{self, App, AppPolicy, AppRun, ServiceState};
use rollout::{
    Health, HealthKind, HostSwap, Policy, ProbeResult, Release, Retire, Run, RunState, Strategy,
    SwapPhase, View,
};

/// An app as it stands.
#[must_use]
pub fn view(app: &App) -> View {
    View {
        serving: run(&app.serving),
        candidate: app.candidate.as_ref().map(run),
        swap: app
            .swap
            .as_ref()
            .map(|swap| HostSwap { id: swap.id.clone(), phase: phase(swap.phase) }),
    }
}

fn run(run: &AppRun) -> Run {
    Run {
        closure: run.closure.clone(),
        port: run.port,
        state: state(run.state),
        incarnation: run.incarnation,
        pid: run.pid.unwrap_or(0),
        ready: run.ready,
        reason: run.reason.clone().unwrap_or_default(),
    }
}

fn state(state: ServiceState) -> RunState {
    match state {
        ServiceState::Waiting | ServiceState::Blocked | ServiceState::Backoff => RunState::Waiting,
        ServiceState::Starting => RunState::Starting,
        ServiceState::Running => RunState::Up,
        ServiceState::Stopping | ServiceState::Stopped | ServiceState::Done => RunState::Down,
        ServiceState::Failed | ServiceState::Broken => RunState::Failed,
    }
}

fn phase(phase: types::SwapPhase) -> SwapPhase {
    match phase {
        types::SwapPhase::Preparing => SwapPhase::Preparing,
        types::SwapPhase::Prepared => SwapPhase::Prepared,
        types::SwapPhase::Admitted => SwapPhase::Admitted,
        types::SwapPhase::Retiring => SwapPhase::Retiring,
        types::SwapPhase::Abandoning => SwapPhase::Abandoning,
    }
}

/// An app's policy.
#[must_use]
pub fn policy(policy: &AppPolicy) -> Policy {
    Policy {
        strategy: match policy.strategy {
            types::Strategy::Overlap => Strategy::Overlap,
            types::Strategy::Restart => Strategy::Restart,
            types::Strategy::Ports => Strategy::Ports,
        },
        health: health(&policy.health),
        drain_ms: policy.drain_ms,
        bake_ms: policy.bake_ms,
        watch_ms: policy.watch_ms,
        retire: match policy.retire {
            types::RetireWhen::AfterBake => Retire::AfterBake,
            types::RetireWhen::AtSwitch => Retire::AtSwitch,
        },
        migrate: policy.migrate.clone(),
        migrate_lease_ms: policy.migrate_lease_ms,
        after_switch: policy.after_switch.clone(),
        on_rollback: policy.on_rollback.clone(),
    }
}

fn health(health: &types::AppHealth) -> Health {
    let address = || health.address.clone().unwrap_or_default();
    Health {
        kind: match health.kind {
            types::HealthKind::Http => HealthKind::Http {
                address: address(),
                path: health.path.clone().unwrap_or_else(|| "/".to_owned()),
            },
            types::HealthKind::Tcp => HealthKind::Tcp { address: address() },
            types::HealthKind::Notify => HealthKind::Notify,
            types::HealthKind::Up => HealthKind::Up,
        },
        every_ms: health.every_ms,
        passes: health.passes,
        timeout_ms: health.timeout_ms,
        deadline_ms: health.deadline_ms,
    }
}

/// What a probe's answer means to the gate.
#[must_use]
pub fn probed(answer: prober::Answer) -> ProbeResult {
    match answer {
        Answer::Good(_) => ProbeResult::Pass,
        Answer::Refused => ProbeResult::Refused,
        Answer::Silent(_) => ProbeResult::Timeout,
        Answer::Bad(text) => ProbeResult::Sick(text),
    }
}

/// A release for people and programs outside.
#[must_use]
pub fn release(release: &Release) -> control::agent::Release {
    control::agent::Release::of_path(&release.path, release.generation)
}

/// A step of a swap.
#[must_use]
pub fn step(step: rollout::Step) -> control::agent::Step {
    use control::agent::Step;
    match step {
        rollout::Step::Plan => Step::Plan,
        rollout::Step::Fetch => Step::Fetch,
        rollout::Step::Migrate => Step::Migrate,
        rollout::Step::Start => Step::Start,
        rollout::Step::Gate => Step::Gate,
        rollout::Step::Switch => Step::Switch,
        rollout::Step::Hook => Step::Hook,
        rollout::Step::Bake => Step::Bake,
        rollout::Step::Drain => Step::Drain,
        rollout::Step::Commit => Step::Commit,
        rollout::Step::Watch => Step::Watch,
        rollout::Step::Rollback => Step::Rollback,
        rollout::Step::Write => Step::Write,
        rollout::Step::Activate => Step::Activate,
        rollout::Step::Reboot => Step::Reboot,
        rollout::Step::Bless => Step::Bless,
    }
}

/// How a step stands.
#[must_use]
pub fn step_state(state: rollout::StepState) -> control::agent::StepState {
    use control::agent::StepState;
    match state {
        rollout::StepState::Running => StepState::Running,
        rollout::StepState::Ok => StepState::Ok,
        rollout::StepState::Skip => StepState::Skip,
        rollout::StepState::Failed => StepState::Failed,
    }
}

/// Whether a swap of the system may reboot the host.
#[must_use]
pub fn reboot(reboot: control::agent::Reboot) -> rollout::system::Reboot {
    match reboot {
        control::agent::Reboot::Auto => rollout::system::Reboot::Auto,
        control::agent::Reboot::Always => rollout::system::Reboot::Always,
        control::agent::Reboot::Never => rollout::system::Reboot::Never,
    }
}

/// How a swap ended; `serving` is what serves now.
#[must_use]
pub fn outcome(
    outcome: &rollout::Outcome,
    serving: Option<control::agent::Release>,
) -> control::agent::Outcome {
    use control::agent::OutcomeKind;
    control::agent::Outcome {
        kind: match outcome.kind {
            rollout::OutcomeKind::Committed => OutcomeKind::Committed,
            rollout::OutcomeKind::RolledBack => OutcomeKind::RolledBack,
            rollout::OutcomeKind::FailedBack => OutcomeKind::FailedBack,
            rollout::OutcomeKind::Refused => OutcomeKind::Refused,
            rollout::OutcomeKind::NothingToDo => OutcomeKind::NothingToDo,
            rollout::OutcomeKind::Superseded => OutcomeKind::Superseded,
            rollout::OutcomeKind::Rebooting => OutcomeKind::Rebooting,
        },
        serving,
        failed_at: outcome.failed_at.map(step),
        reason: outcome.reason.clone(),
        details: outcome.details.clone(),
        cures: outcome.cure.clone(),
    }
}
