//! The client half of the supervisor's interface: typed calls over one connection.
//!
//! A connection carries one call at a time: whoever watches an app while it runs a task takes a
//! connection for each.

mod wire;

use crate::types::{
    AppList, AppView, Changed, CredentialList, CredentialProblem, CredentialsPut, EventBatch,
    LogBatch, NewCredential, ProcessList, Reload, ShutdownKind, Status, Task, TaskEnd, Timeline,
};
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

use wire::Nothing;
pub(crate) use wire::Wire;
pub use wire::{CallError, Interface, Replies};

/// The supervisor's interface.
#[derive(Debug)]
pub struct OfSupervisor;

impl Interface for OfSupervisor {
    const NAME: &'static str = crate::INTERFACE;
    const SERVER: &'static str = "supervisor";
    type Error = crate::Error;
}

/// A connection to the supervisor.
#[derive(Debug)]
pub struct Client {
    wire: Wire<OfSupervisor>,
}

#[derive(Debug, Serialize)]
struct Named<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct LogRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    lines: u32,
    follow: bool,
}

#[derive(Debug, Serialize)]
struct ShutdownRequest {
    kind: ShutdownKind,
    within_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct ReloadRequest {
    dry_run: bool,
}

#[derive(Debug, Serialize)]
struct SwapStep<'a> {
    app: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    closure: Option<&'a str>,
    swap: &'a str,
}

/// The parameters of `RunTask`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TaskRequest<'a> {
    /// The app.
    pub app: &'a str,
    /// The swap that the task belongs to.
    pub swap: &'a str,
    /// Which of the app's tasks it is.
    pub task: Task,
    /// Program and arguments, with `${closure}` where the store path goes.
    pub program: &'a [String],
    /// The store path.
    pub closure: &'a str,
    /// It is killed so long after its start unless that is put off; milliseconds, 0: never.
    pub lease_ms: u64,
    /// When it is killed at the latest, and not begun any more; `CLOCK_MONOTONIC` nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ns: Option<u64>,
    /// What it finds as `ROLLINIT_FENCE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fence: Option<u64>,
}

/// The parameters of `PutCredentials`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Delivery<'a> {
    /// The service or app.
    pub owner: &'a str,
    /// Those that can be had.
    pub credentials: &'a [NewCredential],
    /// Why others cannot.
    pub problems: &'a [CredentialProblem],
}

#[derive(Debug, Serialize)]
struct Renewal<'a> {
    app: &'a str,
    swap: &'a str,
    task: Task,
    lease_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    until_ns: Option<u64>,
}

impl Client {
    /// Connects to the supervisor's socket.
    ///
    /// # Errors
    /// [`CallError::Connect`] with what the kernel said.
    pub async fn connect(socket: &Path) -> Result<Client, CallError> {
        Ok(Client { wire: Wire::connect(socket).await? })
    }

    /// `GetStatus`: the host, and one service or all.
    ///
    /// # Errors
    /// Every call: [`CallError::Answered`] if the supervisor says no, else what broke.
    pub async fn status(&mut self, name: Option<&str>) -> Result<Status, CallError> {
        self.wire.call("GetStatus", Named { name }).await
    }

    /// `ListProcesses`.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn processes(&mut self) -> Result<ProcessList, CallError> {
        self.wire.call("ListProcesses", Nothing {}).await
    }

    /// `Timeline`.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn timeline(&mut self) -> Result<Timeline, CallError> {
        self.wire.call("Timeline", Nothing {}).await
    }

    /// `Start`: returns when the service is ready.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn start(&mut self, name: &str) -> Result<Changed, CallError> {
        self.wire.call("Start", Named { name: Some(name) }).await
    }

    /// `Stop`: returns when the service is down.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn stop(&mut self, name: &str) -> Result<Changed, CallError> {
        self.wire.call("Stop", Named { name: Some(name) }).await
    }

    /// `Restart`: returns when the service is ready again.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn restart(&mut self, name: &str) -> Result<Changed, CallError> {
        self.wire.call("Restart", Named { name: Some(name) }).await
    }

    /// `Reload`: returns when it is decided what changes, or with `dry_run` what would.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn reload(&mut self, dry_run: bool) -> Result<Reload, CallError> {
        self.wire.call("Reload", ReloadRequest { dry_run }).await
    }

    /// `Shutdown`: returns when it is under way.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn shutdown(&mut self, kind: ShutdownKind) -> Result<(), CallError> {
        self.wire.order("Shutdown", ShutdownRequest { kind, within_ms: None }).await
    }

    /// `Shutdown`, with the time that services have to stop.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn shutdown_within(
        &mut self,
        kind: ShutdownKind,
        within: Duration,
    ) -> Result<(), CallError> {
        let within_ms = Some(u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
        self.wire.order("Shutdown", ShutdownRequest { kind, within_ms }).await
    }

    /// `GetLogs`: the replies come from the returned [`Replies`].
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn logs(
        &mut self,
        name: Option<&str>,
        lines: u32,
        follow: bool,
    ) -> Result<Replies<'_, LogBatch, OfSupervisor>, CallError> {
        self.wire.stream("GetLogs", LogRequest { name, lines, follow }, true).await
    }

    /// `WatchEvents`: what happened, and with `follow` what happens.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn events(
        &mut self,
        follow: bool,
    ) -> Result<Replies<'_, EventBatch, OfSupervisor>, CallError> {
        self.wire.stream("WatchEvents", Nothing {}, follow).await
    }

    /// `Apps`.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn apps(&mut self) -> Result<AppList, CallError> {
        self.wire.call("Apps", Nothing {}).await
    }

    /// `WatchApp`: the app as it is, and with `follow` each time it has changed.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn watch_app(
        &mut self,
        name: &str,
        follow: bool,
    ) -> Result<Replies<'_, AppView, OfSupervisor>, CallError> {
        self.wire.stream("WatchApp", Named { name: Some(name) }, follow).await
    }

    /// `Prepare`: returns when the candidate's program runs.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn prepare(
        &mut self,
        app: &str,
        closure: &str,
        swap: &str,
    ) -> Result<AppView, CallError> {
        self.wire.call("Prepare", SwapStep { app, closure: Some(closure), swap }).await
    }

    /// `Admit`: returns when new connections go to the candidate.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn admit(&mut self, app: &str, swap: &str) -> Result<AppView, CallError> {
        self.wire.call("Admit", SwapStep { app, closure: None, swap }).await
    }

    /// `Retire`: returns when the candidate serves alone.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn retire(&mut self, app: &str, swap: &str) -> Result<AppView, CallError> {
        self.wire.call("Retire", SwapStep { app, closure: None, swap }).await
    }

    /// `Abandon`: returns when the previous side serves alone.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn abandon(&mut self, app: &str, swap: &str) -> Result<AppView, CallError> {
        self.wire.call("Abandon", SwapStep { app, closure: None, swap }).await
    }

    /// `RunTask`: returns when it has ended.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn run_task(&mut self, request: TaskRequest<'_>) -> Result<TaskEnd, CallError> {
        self.wire.call("RunTask", request).await
    }

    /// `RenewTask`: the task is killed `lease_ms` from now, and at `until_ns` of `CLOCK_MONOTONIC`
    /// at the latest, unless that is put off again.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn renew_task(
        &mut self,
        app: &str,
        swap: &str,
        task: Task,
        lease_ms: u64,
        until_ns: Option<u64>,
    ) -> Result<(), CallError> {
        self.wire.order("RenewTask", Renewal { app, swap, task, lease_ms, until_ns }).await
    }

    /// `WatchCredentials`: those that are to be there, and with `follow` each time that has
    /// changed.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn watch_credentials(
        &mut self,
        follow: bool,
    ) -> Result<Replies<'_, CredentialList, OfSupervisor>, CallError> {
        self.wire.stream("WatchCredentials", Nothing {}, follow).await
    }

    /// `PutCredentials`: returns when they are there.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn put_credentials(
        &mut self,
        delivery: Delivery<'_>,
    ) -> Result<CredentialsPut, CallError> {
        self.wire.call("PutCredentials", delivery).await
    }
}
