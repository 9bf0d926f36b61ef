//! What stands around the supervisor's verbs in a swap, in the order in which it is done.
//!
//! ```text
//!  migrate   fence · migration lock ∋ run
//!  prepare   fence · [balancer: this host leaves, or the port that rests] · supervisor
//!  admit     fence · [ports: users move] · supervisor · [balancer: it comes back]
//!  retire    fence · [ports: the old one's requests end] · supervisor
//!  abandon   [ports: users move back] · supervisor · [balancer: it comes back]
//! ```
//!
//! Each line is repeated from its begin after a death of the agent, so all that stands in it bears
//! repetition. The fence is that of the fleet: whether this host may still do that. A way back is
//! asked of nobody.

use super::work::{failed, post};
use super::{App, Tools, balanced, ports};
use crate::convert;
use crate::fleet::{Before, End, fence};
use crate::supervisor::Run;
use control::agent::Step;
use control::client::{CallError, Client};
use control::types::AppView;
use rollout::ports::Verb;
use rollout::{Answer, Failure, Fault, SwapPhase};

/// The migration of a swap.
pub async fn migrate(tools: &Tools, app: &App, run: &Run) -> Result<Answer, Failure> {
    fence(tools, &app.name, &run.swap, Before::Users).await?;
    let Some(fleet) = tools.fleet() else { return task(tools, app, run).await };
    let force = app.look(|machine| machine.record().swap.as_ref().is_some_and(|swap| swap.force));
    let say = |words: &str| post(tools, app, Step::Migrate, words);
    match fleet.migrate(&tools.supervisor, &app.name, run, force, say).await {
        End::Migrated => {}
        End::Done(host) => say(&format!("done by {host}")),
        End::CalledBack(failure) => return Err(failure),
        End::Failed { host, reason } => {
            let reason = format!("{reason} (on {host})");
            return Err(Failure { fault: Fault::Release, reason, cure: Vec::new() });
        }
    }
    Ok(Answer::Ended { exit: Some(0), signal: None, lease_ended: false })
}

/// A program of the app beside it.
pub async fn task(tools: &Tools, app: &App, run: &Run) -> Result<Answer, Failure> {
    let end = tools.supervisor.run(&app.name, run).await.map_err(|error| failed(&error))?;
    let (exit, signal, lease_ended) = (end.exit, end.signal, end.lease_ended);
    Ok(Answer::Ended { exit, signal, lease_ended })
}

/// The candidate starts; with the strategy `restart` the old version ends here.
pub async fn prepare(
    tools: &Tools,
    app: &App,
    swap: &str,
    closure: &str,
) -> Result<Answer, Failure> {
    fence(tools, &app.name, swap, Before::Users).await?;
    balanced::before_prepare(tools, app).await?;
    ports::before(tools, app, swap, Verb::Prepare).await?;
    verb(tools, async |client| client.prepare(&app.name, closure, swap).await).await
}

/// The switch.
pub async fn admit(tools: &Tools, app: &App, swap: &str) -> Result<Answer, Failure> {
    fence(tools, &app.name, swap, Before::Users).await?;
    ports::before(tools, app, swap, Verb::Admit).await?;
    let admitted = verb(tools, async |client| client.admit(&app.name, swap).await).await?;
    balanced::after_admit(tools, app).await?;
    Ok(admitted)
}

/// The old version goes, and with it the way back.
pub async fn retire(tools: &Tools, app: &App, swap: &str) -> Result<Answer, Failure> {
    // One that was told to go before this agent was started is gone.
    if app.phase(swap) != Some(SwapPhase::Retiring) {
        fence(tools, &app.name, swap, Before::NoReturn).await?;
    }
    ports::before(tools, app, swap, Verb::Retire).await?;
    verb(tools, async |client| client.retire(&app.name, swap).await).await
}

/// The way back.
pub async fn abandon(tools: &Tools, app: &App, swap: &str) -> Result<Answer, Failure> {
    ports::before_abandon(tools, app, swap).await;
    let abandoned = verb(tools, async |client| client.abandon(&app.name, swap).await).await?;
    balanced::after_abandon(tools, app).await;
    Ok(abandoned)
}

/// A verb of the supervisor that answers with the app.
async fn verb(
    tools: &Tools,
    ask: impl AsyncFn(&mut Client) -> Result<AppView, CallError>,
) -> Result<Answer, Failure> {
    let answer = tools.supervisor.ask(ask).await;
    answer.map(|view| Answer::App(convert::view(&view.app))).map_err(|error| failed(&error))
}
