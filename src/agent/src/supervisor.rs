//! The way to the supervisor: calls that are repeated until there is an answer.
//!
//! All verbs of a swap bear repetition (they carry the swap's id), and PID 1 keeps the socket and
//! restarts who listens on it. So a supervisor that dies in the middle of a call costs a pause, and
//! nobody here has to know of it.

use crate::limits::{AWAY_SAID_MS, RECONNECT_MAX_MS, RECONNECT_MIN_MS};
use control::client::{CallError, Client, TaskRequest};
use control::types::{App, Credential, ServiceStatus, Task, TaskEnd};
use std::cell::Cell;
use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Asks the supervisor.
#[derive(Clone, Debug)]
pub struct Supervisor {
    socket: PathBuf,
}

/// A task of an app, to be run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Which swap it belongs to.
    pub swap: String,
    /// Which task.
    pub task: Task,
    /// Program and arguments.
    pub program: Vec<String>,
    /// Whose closure it is.
    pub closure: String,
    /// The lease in milliseconds; renewed here for as long as somebody waits.
    pub lease_ms: u64,
}

/// Renewals within one lease: two may be late or lost.
const RENEWALS: u64 = 3;

/// Pauses between tries: they double from the shortest to the longest.
struct Patience {
    pause_ms: u64,
    since: Instant,
    is_said: bool,
}

impl Patience {
    fn new() -> Self {
        Self { pause_ms: RECONNECT_MIN_MS, since: Instant::now(), is_said: false }
    }

    /// Rests after a try that got no answer.
    async fn rest(&mut self, error: &str) {
        let away = self.since.elapsed();
        if !self.is_said && away >= Duration::from_millis(AWAY_SAID_MS) {
            self.is_said = true;
            tracing::warn!("no answer from the supervisor: {error}; it is asked again and again");
        }
        sleep(Duration::from_millis(self.pause_ms)).await;
        self.pause_ms = (self.pause_ms * 2).min(RECONNECT_MAX_MS);
    }
}

impl Supervisor {
    /// The one that listens there.
    #[must_use]
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Calls until there is an answer. A host that goes down answers nothing: this process ends
    /// with it.
    ///
    /// # Errors
    /// What the supervisor itself said no with.
    pub async fn ask<T>(
        &self,
        call: impl AsyncFn(&mut Client) -> Result<T, CallError>,
    ) -> Result<T, control::Error> {
        let mut patience = Patience::new();
        loop {
            let error = match self.once(&call).await {
                Ok(answer) => return Ok(answer),
                Err(CallError::Answered(error @ control::Error::ShuttingDown { .. })) => {
                    error.to_string()
                }
                Err(CallError::Answered(error)) => return Err(error),
                Err(error) => error.to_string(),
            };
            patience.rest(&error).await;
        }
    }

    async fn once<T>(
        &self,
        call: &impl AsyncFn(&mut Client) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let mut client = Client::connect(&self.socket).await?;
        call(&mut client).await
    }

    /// All apps of the host.
    ///
    /// # Errors
    /// As [`Supervisor::ask`].
    pub async fn apps(&self) -> Result<Vec<App>, control::Error> {
        self.ask(async |client| client.apps().await).await.map(|list| list.apps)
    }

    /// Tells of an app, now and at each change, for as long as it is polled. Returns when the host
    /// has no such app any more.
    pub async fn watch(&self, app: &str, mut tell: impl AsyncFnMut(App)) {
        let mut patience = Patience::new();
        loop {
            match self.watch_once(app, &mut tell, &mut patience).await {
                Ok(()) => patience.rest("it ended the watch").await,
                Err(CallError::Answered(error @ control::Error::NoSuchApp { .. })) => {
                    tracing::warn!("{app} is not watched any more: {error}");
                    return;
                }
                Err(error) => patience.rest(&error.to_string()).await,
            }
        }
    }

    async fn watch_once(
        &self,
        app: &str,
        tell: &mut impl AsyncFnMut(App),
        patience: &mut Patience,
    ) -> Result<(), CallError> {
        let mut client = Client::connect(&self.socket).await?;
        let mut replies = client.watch_app(app, true).await?;
        while let Some(reply) = replies.next().await? {
            *patience = Patience::new();
            tell(reply.app).await;
        }
        Ok(())
    }

    /// Tells how all services are, now and after each event, for as long as it is polled.
    pub async fn watch_services(&self, mut tell: impl AsyncFnMut(Vec<ServiceStatus>)) {
        let never: Infallible = self
            .until(async |client| {
                tell(client.status(None).await?.services).await;
                Ok(None)
            })
            .await;
        match never {}
    }

    /// Waits until the host has an app of this name.
    pub async fn until_defined(&self, app: &str) {
        self.until(async |client| {
            let all = client.apps().await?.apps;
            Ok(all.iter().any(|one| one.name == app).then_some(()))
        })
        .await;
    }

    /// Waits until nobody but this process is still on the way down: who is up then waits for it.
    pub async fn until_alone(&self) {
        self.until(async |client| {
            let status = client.status(None).await?;
            let is_alone = !crate::notices::is_anybody_stopping(&status, std::process::id());
            Ok(is_alone.then_some(()))
        })
        .await;
    }

    /// Looks, now and after each event, until there is an answer.
    async fn until<T>(
        &self,
        mut look: impl AsyncFnMut(&mut Client) -> Result<Option<T>, CallError>,
    ) -> T {
        let mut patience = Patience::new();
        loop {
            let error = match self.until_once(&mut look, &mut patience).await {
                Ok(Some(answer)) => return answer,
                Ok(None) => "it ended the feed of events".to_owned(),
                Err(error) => error.to_string(),
            };
            patience.rest(&error).await;
        }
    }

    /// `None` if the supervisor ended the feed before.
    async fn until_once<T>(
        &self,
        look: &mut impl AsyncFnMut(&mut Client) -> Result<Option<T>, CallError>,
        patience: &mut Patience,
    ) -> Result<Option<T>, CallError> {
        // The feed comes first, so that nothing happens between it and a look.
        let mut feed = Client::connect(&self.socket).await?;
        let mut client = Client::connect(&self.socket).await?;
        let mut events = feed.events(true).await?;
        loop {
            if let Some(answer) = look(&mut client).await? {
                return Ok(Some(answer));
            }
            *patience = Patience::new();
            if events.next().await?.is_none() {
                return Ok(None);
            }
        }
    }

    /// Tells which credentials there are to be, now and at each change, for as long as it is
    /// polled.
    pub async fn watch_credentials(&self, mut tell: impl FnMut(Vec<Credential>)) {
        let mut patience = Patience::new();
        loop {
            let error = match self.watch_credentials_once(&mut tell, &mut patience).await {
                Ok(()) => "it ended the watch".to_owned(),
                Err(error) => error.to_string(),
            };
            patience.rest(&error).await;
        }
    }

    async fn watch_credentials_once(
        &self,
        tell: &mut impl FnMut(Vec<Credential>),
        patience: &mut Patience,
    ) -> Result<(), CallError> {
        let mut client = Client::connect(&self.socket).await?;
        let mut replies = client.watch_credentials(true).await?;
        while let Some(reply) = replies.next().await? {
            *patience = Patience::new();
            tell(reply.credentials);
        }
        Ok(())
    }

    /// Runs a task to its end, and renews its lease meanwhile. Dropping this stops the renewals:
    /// PID 1 then kills the task when its lease is over.
    ///
    /// # Errors
    /// As [`Supervisor::ask`].
    pub async fn run(&self, app: &str, run: &Run) -> Result<TaskEnd, control::Error> {
        let request = TaskRequest {
            app,
            swap: &run.swap,
            task: run.task,
            program: &run.program,
            closure: &run.closure,
            lease_ms: run.lease_ms,
            until_ns: None,
            fence: None,
        };
        let end = self.ask(async |client| client.run_task(request).await);
        tokio::select! {
            end = end => end,
            never = self.renew(app, run) => match never {},
        }
    }

    /// Runs a task to its end under a lock: it finds `fence`, and is ended at `until_ns` of
    /// `CLOCK_MONOTONIC`, which whoever holds the lock puts off, and tells by
    /// [`Self::renew_until`].
    ///
    /// # Errors
    /// As [`Supervisor::ask`]; also when it could not be begun in time.
    pub async fn run_under(
        &self,
        app: &str,
        run: &Run,
        fence: u64,
        until_ns: &Cell<u64>,
    ) -> Result<TaskEnd, control::Error> {
        self.ask(async |client| {
            let request = TaskRequest {
                app,
                swap: &run.swap,
                task: run.task,
                program: &run.program,
                closure: &run.closure,
                lease_ms: run.lease_ms,
                // Read for each try: a repeated one shortens nothing.
                until_ns: Some(until_ns.get()),
                fence: Some(fence),
            };
            client.run_task(request).await
        })
        .await
    }

    /// Puts the end of a task's run off, or brings it forward. Tried until there is an answer.
    pub async fn renew_until(&self, app: &str, run: &Run, until_ns: u64) {
        let Run { swap, task, lease_ms, .. } = run;
        let renewed = self
            .ask(async |client| {
                client.renew_task(app, swap, *task, *lease_ms, Some(until_ns)).await
            })
            .await;
        // Over in this moment, or not begun yet: the answer of the run itself will tell.
        if let Err(error) = renewed {
            tracing::info!("{app}: the lease of {} is not renewed: {error}", task.word());
        }
    }

    async fn renew(&self, app: &str, run: &Run) -> Infallible {
        if run.lease_ms == 0 {
            std::future::pending::<()>().await;
        }
        loop {
            sleep(Duration::from_millis(run.lease_ms / RENEWALS)).await;
            let renewed = self
                .ask(async |client| {
                    client.renew_task(app, &run.swap, run.task, run.lease_ms, None).await
                })
                .await;
            // Over in this moment, or not begun yet: the answer of the run itself will tell.
            if let Err(error) = renewed {
                tracing::info!("{app}: the lease of {} is not renewed: {error}", run.task.word());
            }
        }
    }
}

#[cfg(test)]
mod tests;
