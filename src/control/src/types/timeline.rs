//! Reply of `Timeline`.

use serde::{Deserialize, Serialize};
use zlink::introspect::{CustomType, Type};

/// Reply of `Timeline`: how each service and app first came up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct Timeline {
    /// When the reply was made; CLOCK_MONOTONIC nanoseconds.
    pub now_ns: u64,
    /// When rollinit-init started; CLOCK_MONOTONIC nanoseconds, which begin with the kernel.
    pub init_ns: u64,
    /// The services and apps, by name.
    pub services: Vec<FirstWay>,
}

/// How a service, or the side of an app that serves, first came up. What came later (restarts,
/// swaps) is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct FirstWay {
    /// Its name.
    pub name: String,
    /// How far it is.
    pub state: WayState,
    /// Those that it starts after.
    pub after: Vec<String>,
    /// Since when it was to come up; CLOCK_MONOTONIC nanoseconds.
    pub waiting_ns: u64,
    /// When it no longer waited for another: its first run was asked for.
    pub starting_ns: Option<u64>,
    /// When its program first ran.
    pub started_ns: Option<u64>,
    /// When it was first ready; with kind oneshot, when it had done its work.
    pub ready_ns: Option<u64>,
}

/// How far the first way up is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, CustomType)]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum WayState {
    /// It was ready.
    Ready,
    /// It waits or starts.
    Coming,
    /// It was tried and has not been ready so far, or it was stopped before.
    Failed,
}
