//! Desired state: where the release of an app is told, followed; what it says, done.
//!
//! One task an app drives a [`release::Follower`]. It decides; here its looks go to the web, to S3,
//! to a file or the ledger, what it wants kept is on the disk before it goes on, and what it wants
//! becomes a rollout of the group, or a swap where there is no fleet.
//!
//! [`Releases`] is what the rest of the agent asks: whether a closure that a swap goes to is the
//! one that persons signed, to the last byte.

use crate::agent::Agent;
use crate::app::Tools;
use crate::config::desired::Desired;
use std::collections::BTreeMap;
use std::rc::Rc;

mod apply;
mod check;
mod keep;
mod source;
mod task;

pub use check::{Releases, brought, planned};
pub use keep::Kept;
pub use source::Source;
pub use task::{Host, run};

/// Follows the releases of all these apps. `is_fleet_due`: what this host lacks to be in a fleet,
/// user-data will say.
pub fn begin(
    agent: &Rc<Agent>,
    tools: &Rc<Tools>,
    is_fleet_due: bool,
    apps: BTreeMap<String, Desired>,
) {
    let (agent, tools) = (Rc::clone(agent), Rc::clone(tools));
    let host = Rc::new(Host { agent, tools, is_fleet_due, group: None });
    for (app, desired) in apps {
        tokio::task::spawn_local(run(Rc::clone(&host), app, desired));
    }
}

/// The subject of an app's release in `rollinit status`.
#[must_use]
pub fn subject(app: &str) -> String {
    format!("release {app}")
}
