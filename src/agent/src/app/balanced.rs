//! What a swap does at the load balancers in front of its app.
//!
//! Drained before the old version stops, back once the new one is let in, or the old one again: so
//! with the strategy `restart`, or with any where `around = "always"`. The strategy `ports` has its
//! own way ([`crate::balancers`] `join` and `leave`): its two versions are two targets.

use super::work::{post, probe};
use super::{App, Tools};
use crate::config::balancer::Around;
use crate::convert;
use control::agent::{Level, Step};
use rollout::{Failure, Health, Policy, ProbeResult, ProbeTarget, RunState, Strategy};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Until a version that is not well yet is asked again, and a balancer that did not take it.
const AGAIN: Duration = Duration::from_secs(1);

/// The longest pause between two tries to bring a host back.
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// Before the candidate is started.
pub async fn before_prepare(tools: &Tools, app: &App) -> Result<(), Failure> {
    let Some((policy, is_first)) = policy(app) else { return Ok(()) };
    let around = match policy.strategy {
        Strategy::Ports => return Ok(()),
        Strategy::Restart => Around::Restart,
        Strategy::Overlap => Around::Always,
    };
    if is_first {
        // Nothing serves that could be cut off.
        return Ok(());
    }
    let say = |words: &str| post(tools, app, Step::Start, words);
    tools.balancers.drain(tools, &app.name, around, &say).await
}

/// After the candidate was let in: its gate is behind it.
pub async fn after_admit(tools: &Tools, app: &App) -> Result<(), Failure> {
    if policy(app).is_none_or(|(policy, _)| policy.strategy == Strategy::Ports) {
        return Ok(());
    }
    let say = |words: &str| post(tools, app, Step::Switch, words);
    tools.balancers.back(tools, &app.name, &say).await
}

/// After the old version is alone again. Only if it is well; whether it is, the swap finds out for
/// itself, and [`settle`] goes on trying.
pub async fn after_abandon(tools: &Tools, app: &App) {
    let Some((policy, _)) = policy(app) else { return };
    if policy.strategy == Strategy::Ports || !tools.balancers.is_out(&app.name) {
        return;
    }
    let deadline = Instant::now() + Duration::from_millis(policy.health.deadline_ms);
    while !is_well(tools, &policy.health).await {
        if Instant::now() >= deadline {
            return;
        }
        sleep(AGAIN).await;
    }
    let say = |words: &str| post(tools, app, Step::Rollback, words);
    if let Err(failure) = tools.balancers.back(tools, &app.name, &say).await {
        tracing::error!("{}: {}; it is tried on", app.name, failure.reason);
    }
}

/// The policy of the swap under way, and whether nothing served before it.
fn policy(app: &App) -> Option<(Policy, bool)> {
    app.look(|machine| {
        let swap = machine.record().swap.as_ref()?;
        Some((swap.policy.clone(), swap.from.is_none()))
    })
}

/// Brings the host back where a swap, or the last boot, left it out: once the app is well.
pub async fn settle(tools: Rc<Tools>, app: Rc<App>) {
    let (mut pause, mut since) = (AGAIN, Instant::now());
    loop {
        if !tools.balancers.is_out(&app.name) {
            return;
        }
        if let Some(health) = health_of_living(&tools, &app).await
            && is_well(&tools, &health).await
        {
            let Err(failure) = tools.balancers.back(&tools, &app.name, &|_| {}).await else {
                tracing::info!("{}: back in its balancers", app.name);
                tools.standing.clear(&subject(&app));
                return;
            };
            let text = format!("out of its balancers, and does not come back: {}", failure.reason);
            let cure = failure.cure.first().map(String::as_str);
            tools.standing.set(&tools.console, &subject(&app), Level::Error, &text, cure);
            pause = (pause * 2).min(AGAIN_MAX);
            sleep(pause).await;
            since = Instant::now();
            continue;
        }
        if since.elapsed() >= AGAIN_MAX {
            // No matter of a moment any more.
            let text = "out of its balancers until it is well";
            let cure = format!("see `rollinit logs {}`", app.name);
            let (standing, subject) = (&tools.standing, subject(&app));
            standing.set(&tools.console, &subject, Level::Warning, text, Some(&cure));
        }
        sleep(AGAIN).await;
    }
}

fn subject(app: &App) -> String {
    format!("{} and its balancers", app.name)
}

/// How the app is asked, while a program of it runs; nothing for the strategy `ports`, whose
/// serving side joins by itself.
async fn health_of_living(tools: &Tools, app: &App) -> Option<Health> {
    let all = tools.supervisor.apps().await.ok()?;
    let defined = all.into_iter().find(|one| one.name == app.name)?;
    let policy = convert::policy(&defined.policy);
    let is_up = convert::view(&defined).serving.state == RunState::Up;
    (is_up && policy.strategy != Strategy::Ports).then_some(policy.health)
}

/// Whether whoever serves is well, asked as a user would and as often in a row as its gate asks.
pub async fn is_well(tools: &Tools, health: &Health) -> bool {
    for _ in 0..health.passes.max(1) {
        if probe(tools, ProbeTarget::Serving, health).await != ProbeResult::Pass {
            return false;
        }
    }
    true
}
