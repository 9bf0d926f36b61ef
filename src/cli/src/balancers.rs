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
    loop {
        match leave(agent).await {
            Ok(()) => return Ok(Code::Done),
            // Its successor knows what was taken out already.
            Err(CallError::Connect { .. } | CallError::Broken { .. }) => sleep(AGAIN).await,
            Err(error) => return Err(error.into()),
        }
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
