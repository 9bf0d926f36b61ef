//! `rollinit hold-balancers`: the service that keeps a host's end waiting until nobody's request is
//! cut off by it.
//!
//! It is ordered after the agent and after the apps, so in a shutdown it is told to stop before any
//! of them. It does nothing until then, and nothing at all when it alone is stopped.

use crate::exit::{Code, Failure};
use control::agent::client::{CallError, Client as Agent};
use control::client::Client;
use std::path::Path;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

/// The agent's service.
const AGENT: &str = "rollinit-agent";

/// Until a daemon that is being replaced is asked again. The service's stop timeout bounds it all.
const AGAIN: Duration = Duration::from_millis(200);

/// How often a supervisor that does not answer is asked whether the host goes down: it is back in
/// milliseconds, and this process is not there for anything else.
const TRIES: u32 = 25;

/// Waits to be stopped, and then for the balancers.
pub async fn hold(supervisor: &Path, agent: &Path) -> Result<Code, Failure> {
    let failed = |error| Failure::local("cannot listen for SIGTERM", &error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    terminate.recv().await;
    if !host_goes_down(supervisor).await? {
        return Ok(Code::Done);
    }
    tokio::select! {
        left = left(agent) => left.map(|()| Code::Done),
        () = agent_is_gone(supervisor) => Err(Failure {
            code: Code::Failed,
            kind: "went_away",
            message: format!("{AGENT} ended, and nothing is started any more: this host is not out \
                              of its balancers"),
            cures: vec!["Their own health checks find it out.".to_owned()],
        }),
    }
}

/// Until the host is out.
async fn left(agent: &Path) -> Result<(), Failure> {
    loop {
        match leave(agent).await {
            Ok(()) => return Ok(()),
            // A successor knows what was taken out already.
            Err(CallError::Connect { .. } | CallError::Broken { .. }) => sleep(AGAIN).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Until nobody will answer: in a shutdown no service is started again, and the socket of one that
/// ended takes callers all the same. A host is not held up for that.
async fn agent_is_gone(supervisor: &Path) {
    let ask = async || Client::connect(supervisor).await?.status(None).await;
    loop {
        // Without an answer nothing is known.
        if let Ok(status) = ask().await
            && let Some(service) = status.services.iter().find(|service| service.name == AGENT)
            && service.pid.is_none()
        {
            return;
        }
        sleep(AGAIN).await;
    }
}

async fn leave(agent: &Path) -> Result<(), CallError> {
    Agent::connect(agent).await?.leave_balancers().await
}

async fn host_goes_down(supervisor: &Path) -> Result<bool, Failure> {
    let ask = async || Client::connect(supervisor).await?.status(None).await;
    let mut tries = 1;
    loop {
        match ask().await {
            Ok(status) => return Ok(status.host.shutdown.is_some()),
            Err(error) if tries == TRIES => return Err(error.into()),
            Err(_) => sleep(AGAIN).await,
        }
        tries += 1;
    }
}
