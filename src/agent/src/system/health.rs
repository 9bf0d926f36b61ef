//! Whether the host has come up: what a boot on trial is asked for.
//!
//! *Boot*: what activates the system is done. *Network*: `network-online` is up, where there is
//! such a service. *Control*: the supervisor answers, which is how all of this is asked. And what
//! `bless-when` names. Services of the host's own beyond that have their own gates and ways back:
//! a database that is away must not take the kernel back.

use control::types::{ServiceState, ServiceStatus};

/// Services that activate the system (docs/activate.md).
const ACTIVATES: &str = "activate-";

/// The service that is up when the host has an address (docs/network.md).
const NETWORK: &str = "network-online";

/// What is still waited for; nothing if the host has come up.
#[must_use]
pub fn waits_for(services: &[ServiceStatus], bless_when: &[String]) -> Option<String> {
    let missing = bless_when.iter().find(|name| services.iter().all(|one| one.name != **name));
    if let Some(missing) = missing {
        return Some(format!("{missing}, which bless-when names and nobody defines"));
    }
    let is_asked = |name: &str| {
        name.starts_with(ACTIVATES) || name == NETWORK || bless_when.iter().any(|one| one == name)
    };
    let down = services.iter().find(|service| is_asked(&service.name) && !is_up(service.state));
    down.map(|service| {
        let why = service.last_end.as_ref().map(|end| format!(": {}", end.text));
        let why = why.or_else(|| service.problems.first().map(|problem| format!(": {problem}")));
        format!("{}, which is {}{}", service.name, service.state.word(), why.unwrap_or_default())
    })
}

const fn is_up(state: ServiceState) -> bool {
    matches!(state, ServiceState::Running | ServiceState::Done)
}
