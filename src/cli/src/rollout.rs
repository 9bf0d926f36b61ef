//! `rollinit rollout` and `locks`: a group of hosts, by way of the ledger and nothing else.
//!
//! Whatever is done is a change of the group's record, made by compare-and-swap; the hosts see it
//! at their next look. So it is the same from one of the hosts, a laptop or a CI job.

mod arguments;
mod change;
mod locks;
mod paint;
mod paths;
pub mod place;
mod probe;
mod start;
mod table;
mod verbs;
mod view;
mod watch;

pub use arguments::{Locks, Verb};

use crate::exit::{Code, Failure};
use crate::screen::Screen;
use arguments::LocksVerb;
use place::{Desk, Fleet};
use std::path::Path;

/// Does it. `agent_socket` leads to what this host's agent says that it belongs to.
pub async fn run(verb: &Verb, agent_socket: &Path, screen: &mut Screen) -> Result<Code, Failure> {
    match verb {
        Verb::Start { app, path, how, place } => {
            let fleet = Fleet::open(place, agent_socket)?;
            start::run(&fleet, app, path, how, screen).await
        }
        Verb::Status { app, watch, place } => {
            let fleet = Fleet::open(place, agent_socket)?;
            watch::status(&fleet, app.as_deref(), *watch, screen).await
        }
        Verb::Pause { app, reason, place } => {
            let fleet = Fleet::open(place, agent_socket)?;
            verbs::pause(&fleet, app, Some(&reason.why), screen).await
        }
        Verb::Resume { app, place } => {
            verbs::pause(&Fleet::open(place, agent_socket)?, app, None, screen).await
        }
        Verb::Abort { app, reason, place } => {
            verbs::abort(&Fleet::open(place, agent_socket)?, app, &reason.why, screen).await
        }
        Verb::Promote { from, to, app, how, ledger } => {
            let desk = Desk::open(ledger.as_deref(), agent_socket)?;
            start::promote(desk, from, to, app.as_deref(), how, screen).await
        }
        Verb::Forget { app, place } => {
            verbs::forget(&Fleet::open(place, agent_socket)?, app, screen).await
        }
    }
}

/// Shows the locks of a group, or takes some away.
pub async fn locks(
    arguments: &Locks,
    agent_socket: &Path,
    screen: &mut Screen,
) -> Result<Code, Failure> {
    match &arguments.verb {
        None => locks::show(&Fleet::open(&arguments.place, agent_socket)?, screen).await,
        Some(LocksVerb::Probe { ledger }) => {
            probe::run(&Desk::open(ledger.as_deref(), agent_socket)?, screen).await
        }
        Some(LocksVerb::Release { names, no_fault, reason, place }) => {
            let fleet = Fleet::open(place, agent_socket)?;
            locks::release(&fleet, names, !no_fault, &reason.why, screen).await
        }
    }
}
