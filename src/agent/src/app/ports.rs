//! The strategy `ports` at the load balancers: what [`rollout::ports`] says comes before each verb.
//!
//! Whose port is whose is asked of the supervisor each time. A version that no balancer sends to is
//! left alone.

use super::work::{failed, post};
use super::{App, Tools};
use crate::balancers::Say;
use crate::convert;
use control::agent::{Level, Step};
use rollout::Failure;
use rollout::ports::{Move, Sides, Verb};
use std::cell::RefCell;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Until a side that does not run yet is looked at again, and a balancer that did not obey.
const AGAIN: Duration = Duration::from_secs(1);

/// The longest pause between two such tries.
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// What a way back waits for its balancers at most. They look after themselves by their own health
/// checks; a version that has to go is not kept for one that does not answer.
const BACK_MAX: Duration = Duration::from_secs(120);

/// The sides of an app that binds its own ports, if any balancer sends to it; and the time for
/// what a side that leaves has in flight, in milliseconds.
async fn sides(tools: &Tools, app: &App) -> Result<Option<(Sides, u64)>, Failure> {
    if !tools.balancers.fronts(&app.name) {
        return Ok(None);
    }
    let all = tools.supervisor.apps().await.map_err(|error| failed(&error))?;
    let Some(app) = all.into_iter().find(|one| one.name == app.name) else { return Ok(None) };
    let [zero, one] = app.policy.ports[..] else { return Ok(None) };
    let (serving, other) = if app.serving.side == 0 { (zero, one) } else { (one, zero) };
    let (is_live, swap) = (app.serving.pid.is_some(), convert::view(&app).swap);
    Ok(Some((Sides { serving, is_live, other, swap }, app.policy.drain_ms)))
}

/// Before `verb`: users are moved.
pub async fn before(tools: &Tools, app: &App, swap: &str, verb: Verb) -> Result<(), Failure> {
    let Some((sides, drain_ms)) = sides(tools, app).await? else { return Ok(()) };
    let step = match verb {
        Verb::Prepare => Step::Start,
        Verb::Admit => Step::Switch,
        Verb::Retire => Step::Drain,
        Verb::Abandon => Step::Rollback,
    };
    let say = |words: &str| post(tools, app, step, words);
    let mut first = Ok(());
    for order in sides.before(verb, swap) {
        let moved = tell(tools, app, order, drain_ms, &say).await;
        if moved.is_err() && verb != Verb::Abandon {
            return moved;
        }
        first = first.and(moved);
    }
    first
}

/// Before the candidate is stopped. No balancer keeps a version that has to go: what cannot be had
/// of it is told, and [`settle`] goes on trying.
pub async fn before_abandon(tools: &Tools, app: &App, swap: &str) {
    let error = match timeout(BACK_MAX, before(tools, app, swap, Verb::Abandon)).await {
        Ok(Ok(())) => return,
        Ok(Err(failure)) => failure.reason,
        Err(_) => format!("its balancers do not obey within {} s", BACK_MAX.as_secs()),
    };
    tracing::error!("{}: {error}; the candidate goes all the same", app.name);
}

async fn tell(
    tools: &Tools,
    app: &App,
    order: Move,
    drain_ms: u64,
    say: Say<'_>,
) -> Result<(), Failure> {
    match order {
        Move::Join(port) => tools.balancers.join(tools, &app.name, port, say).await,
        Move::Leave { port, waits } => {
            let within_ms = if waits { drain_ms } else { 0 };
            tools.balancers.leave(tools, &app.name, port, within_ms, say).await
        }
        Move::LeaveAllBut(ports) => {
            tools.balancers.leave_all_but(tools, &app.name, ports, say).await
        }
    }
}

/// Between swaps: whoever serves is in, the other side is not. So it is made after a boot, which
/// begins with side 0 whatever the balancers were told before, and after a swap in which one of
/// them was away. `false` if it is for others to see to.
pub async fn settle(tools: &Tools, app: &App) -> bool {
    let mut pause = AGAIN;
    loop {
        let failure = match settle_once(tools, app).await {
            Ok(is_ours) => {
                tools.standing.clear(&subject(app));
                return is_ours;
            }
            Err(failure) => failure,
        };
        let text = format!("not as it should be at its balancers: {}", failure.reason);
        let cure = failure.cure.first().map(String::as_str);
        tools.standing.set(&tools.console, &subject(app), Level::Error, &text, cure);
        sleep(pause).await;
        pause = (pause * 2).min(AGAIN_MAX);
    }
}

async fn settle_once(tools: &Tools, app: &App) -> Result<bool, Failure> {
    if sides(tools, app).await?.is_none() {
        return Ok(false);
    }
    let orders = loop {
        until_at_rest(tools, app).await;
        let Some((sides, _)) = sides(tools, app).await? else { return Ok(false) };
        // Not any more: a reload that gives other ports also has the app start anew.
        if let Some(orders) = sides.at_rest() {
            break orders;
        }
    };
    for order in orders {
        tell(tools, app, order, 0, &|_| {}).await?;
    }
    Ok(true)
}

/// Waits until one side runs and the supervisor has no swap left.
async fn until_at_rest(tools: &Tools, app: &App) {
    let (sender, mut rests) = tokio::sync::watch::channel(false);
    let tell = async |now: control::types::App| {
        let _ = sender.send(now.swap.is_none() && now.serving.pid.is_some());
    };
    tokio::select! {
        () = tools.supervisor.watch(&app.name, tell) => {}
        _ = rests.wait_for(|rests| *rests) => {}
    }
}

/// Tells when, without a swap, another port serves: a reload gave the app other ones, or took it
/// away and put it back, whereupon it begins with its first. For as long as it is polled.
pub async fn follow(tools: &Tools, app: &App, changed: impl AsyncFn()) {
    let known: RefCell<Option<Serving>> = RefCell::new(None);
    let tell = async |now: control::types::App| {
        if now.swap.is_some() {
            // Whoever swaps looks after it then.
            known.take();
            return;
        }
        let now = Serving { ports: now.policy.ports, side: now.serving.side };
        if known.replace(Some(now.clone())).is_some_and(|before| before != now) {
            changed().await;
        }
    };
    loop {
        tools.supervisor.watch(&app.name, &tell).await;
        tools.supervisor.until_defined(&app.name).await;
    }
}

/// Which port serves between swaps.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Serving {
    ports: Vec<u16>,
    side: u32,
}

fn subject(app: &App) -> String {
    format!("{} and its balancers", app.name)
}
