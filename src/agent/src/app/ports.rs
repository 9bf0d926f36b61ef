//! The strategy `ports` at the load balancers: two versions are two targets of one host, and users
//! are moved from one to the other there.
//!
//! ```text
//!  prepare   the side that rests leaves: nobody is sent to a version behind its gate
//!  admit     the candidate joins, and is well for each balancer · the old side gets nothing new
//!  retire    what the old side has in flight ends · then it is stopped
//!  abandon   the old side joins · what the candidate has in flight ends · then it is stopped
//!  at rest   the side that serves is in, the other one is not
//! ```
//!
//! Whose port is whose is asked of the supervisor each time, so that an agent which was killed in
//! the middle goes on from what is true. A version that no balancer sends to is left alone.

use super::work::{failed, post};
use super::{App, Tools};
use control::agent::{Level, Step};
use control::types::{AppRun, AppSwap, SwapPhase};
use rollout::Failure;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Until a side that does not run yet is looked at again, and a balancer that did not obey.
const AGAIN: Duration = Duration::from_secs(1);

/// The longest pause between two such tries.
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// What a way back waits for its balancers at most. They look after themselves by their own health
/// checks; a version that has to go is not kept for one that does not answer.
const BACK_MAX: Duration = Duration::from_secs(120);

/// Nobody waits: what is in flight goes on.
const AT_ONCE_MS: u64 = 0;

/// Who binds which port.
struct Sides {
    /// The side that serves, or did before a swap.
    serving: u16,
    /// Whether a process is there.
    is_live: bool,
    /// The candidate's, or that of the side that rests.
    other: u16,
    /// The swap that the supervisor knows of.
    swap: Option<AppSwap>,
    /// Time for what a side that leaves has in flight, in milliseconds.
    drain_ms: u64,
}

impl Sides {
    fn is_of(&self, swap: &str) -> bool {
        self.swap.as_ref().is_some_and(|known| known.id == swap)
    }
}

/// The sides of an app that binds its own ports, if any balancer sends to it.
async fn sides(tools: &Tools, app: &App) -> Result<Option<Sides>, Failure> {
    if !tools.balancers.fronts(&app.name) {
        return Ok(None);
    }
    let all = tools.supervisor.apps().await.map_err(|error| failed(&error))?;
    let Some(app) = all.into_iter().find(|one| one.name == app.name) else { return Ok(None) };
    let [zero, one] = app.policy.ports[..] else { return Ok(None) };
    let AppRun { side, pid, .. } = app.serving;
    let (serving, other) = if side == 0 { (zero, one) } else { (one, zero) };
    let (drain_ms, swap) = (app.policy.drain_ms, app.swap);
    Ok(Some(Sides { serving, is_live: pid.is_some(), other, swap, drain_ms }))
}

/// Before the candidate starts.
pub async fn before_prepare(tools: &Tools, app: &App) -> Result<(), Failure> {
    let Some(sides) = sides(tools, app).await? else { return Ok(()) };
    let say = |words: &str| post(tools, app, Step::Start, words);
    tools.balancers.leave(tools, &app.name, sides.other, AT_ONCE_MS, &say).await
}

/// Before the supervisor is told of the switch: users are moved.
pub async fn before_admit(tools: &Tools, app: &App, swap: &str) -> Result<(), Failure> {
    let Some(sides) = sides(tools, app).await?.filter(|sides| sides.is_of(swap)) else {
        return Ok(());
    };
    let say = |words: &str| post(tools, app, Step::Switch, words);
    tools.balancers.join(tools, &app.name, sides.other, &say).await?;
    tools.balancers.leave(tools, &app.name, sides.serving, AT_ONCE_MS, &say).await
}

/// Before the old side is stopped: nothing of it is in flight.
pub async fn before_retire(tools: &Tools, app: &App, swap: &str) -> Result<(), Failure> {
    let Some(sides) = sides(tools, app).await? else { return Ok(()) };
    let old = if sides.is_of(swap) { sides.serving } else { sides.other };
    let say = |words: &str| post(tools, app, Step::Drain, words);
    tools.balancers.leave(tools, &app.name, old, sides.drain_ms, &say).await
}

/// Before the candidate is stopped: users are moved back. No balancer keeps a version that has to
/// go: what cannot be had of it is told, and [`settle`] goes on trying.
pub async fn before_abandon(tools: &Tools, app: &App, swap: &str) {
    let error = match timeout(BACK_MAX, move_back(tools, app, swap)).await {
        Ok(Ok(())) => return,
        Ok(Err(failure)) => failure.reason,
        Err(_) => format!("its balancers do not obey within {} s", BACK_MAX.as_secs()),
    };
    tracing::error!("{}: {error}; the candidate goes all the same", app.name);
}

async fn move_back(tools: &Tools, app: &App, swap: &str) -> Result<(), Failure> {
    let Some(sides) = sides(tools, app).await?.filter(|sides| sides.is_of(swap)) else {
        return Ok(());
    };
    if sides.swap.is_some_and(|swap| swap.phase == SwapPhase::Retiring) {
        // The old side goes already; the supervisor will say so.
        return Ok(());
    }
    let say = |words: &str| post(tools, app, Step::Rollback, words);
    let joined = match sides.is_live {
        true => tools.balancers.join(tools, &app.name, sides.serving, &say).await,
        false => Ok(()),
    };
    tools.balancers.leave(tools, &app.name, sides.other, sides.drain_ms, &say).await?;
    joined
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
    until_at_rest(tools, app).await;
    let Some(sides) = sides(tools, app).await? else { return Ok(false) };
    tools.balancers.join(tools, &app.name, sides.serving, &|_| {}).await?;
    tools.balancers.leave(tools, &app.name, sides.other, AT_ONCE_MS, &|_| {}).await?;
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

fn subject(app: &App) -> String {
    format!("{} and its balancers", app.name)
}
