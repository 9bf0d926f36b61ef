//! Effects with a ticket: each begun as a task of its own, each answered once.

use super::{App, Begun, Input, Task, Tools, around, ended};
use crate::closures::{Brought, Closures, Planned};
use crate::convert;
use crate::desired;
use crate::limits::FETCH_REPORT_MS;
use crate::prober::{self, Door};
use crate::supervisor::Run;
use control::agent::{Progress, Step, StepState};
use control::types;
use rollout::{
    Answer, Effect, Failure, Fault, Health, HealthKind, HookKind, ProbeResult, ProbeTarget, Ticket,
};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::fetch::Cancel;
use tokio::time::MissedTickBehavior;

impl Task {
    /// Begins an effect with a ticket. The others were carried out before.
    pub(super) fn begin(&mut self, effect: Effect) {
        match effect {
            Effect::Plan { ticket, path } => self.plan(ticket, path),
            Effect::Fetch { ticket, path, migration } => self.fetch(ticket, path, migration),
            Effect::Migrate { ticket, swap, program, closure, lease_ms } => {
                let task = types::Task::Migrate;
                let run = Run { swap, task, program, closure, lease_ms };
                self.spawn(ticket, async move |tools, app| {
                    around::migrate(&tools, &app, &run).await
                });
            }
            Effect::Hook { ticket, swap, hook, program, closure, lease_ms } => {
                let task = match hook {
                    HookKind::AfterSwitch => types::Task::AfterSwitch,
                    HookKind::OnRollback => types::Task::OnRollback,
                };
                let run = Run { swap, task, program, closure, lease_ms };
                self.spawn(ticket, async move |tools, app| around::task(&tools, &app, &run).await);
            }
            Effect::Prepare { ticket, swap, closure } => {
                self.spawn(ticket, async move |tools, app| {
                    around::prepare(&tools, &app, &swap, &closure).await
                });
            }
            Effect::Admit { ticket, swap } => {
                self.spawn(ticket, async move |tools, app| around::admit(&tools, &app, &swap).await)
            }
            Effect::Retire { ticket, swap } => self
                .spawn(ticket, async move |tools, app| around::retire(&tools, &app, &swap).await),
            Effect::Abandon { ticket, swap } => self
                .spawn(ticket, async move |tools, app| around::abandon(&tools, &app, &swap).await),
            Effect::Probe { ticket, target, health } => {
                self.spawn(ticket, async move |tools, _| {
                    Ok(Answer::Probed(probe(&tools, target, &health).await))
                });
            }
            Effect::Commit { ticket, path } => self.spawn(ticket, async move |tools, app| {
                let generation = tools.closures.commit(&app.name, &path).await?;
                Ok(Answer::Committed { generation })
            }),
            Effect::Persist { .. }
            | Effect::Root { .. }
            | Effect::Unroot { .. }
            | Effect::Report(_)
            | Effect::Answer { .. }
            | Effect::Cancel { .. } => {}
        }
    }

    /// Runs `work` as a task that answers for its ticket.
    fn spawn(
        &mut self,
        ticket: Ticket,
        work: impl AsyncFnOnce(Rc<Tools>, Rc<App>) -> Result<Answer, Failure> + 'static,
    ) {
        let (tools, app) = (Rc::clone(&self.tools), Rc::clone(&self.app));
        let task = tokio::task::spawn_local(async move {
            let answer = work(tools, Rc::clone(&app)).await;
            // The app's task lives as long as the agent.
            let _ = app.inbox.send(Input::event(ended(ticket, answer))).await;
        });
        self.begun.insert(ticket, Begun::Task(task.abort_handle()));
    }

    fn plan(&mut self, ticket: Ticket, path: String) {
        let (tools, app) = (Rc::clone(&self.tools), Rc::clone(&self.app));
        let task = tokio::task::spawn_local(async move {
            let planned = match tools.closures.plan(&path).await {
                Ok(planned) => desired::planned(&tools, &app.name, planned).await,
                Err(failure) => Err(failure),
            };
            let _ = app.inbox.send(Input::Planned(ticket, planned)).await;
        });
        self.begun.insert(ticket, Begun::Task(task.abort_handle()));
    }

    fn fetch(&mut self, ticket: Ticket, path: String, migration: Option<String>) {
        let (tools, app) = (Rc::clone(&self.tools), Rc::clone(&self.app));
        let (planned, cancel) = (self.planned.take(), Cancel::new());
        self.begun.insert(ticket, Begun::Fetch(cancel.clone()));
        tokio::task::spawn_local(async move {
            let migration = migration.map(|program| rollout::policy::expand(&program, &path));
            let brought = fetch(&tools, &app, &path, planned, migration.as_deref(), &cancel).await;
            let brought = match brought {
                Ok(brought) => desired::brought(&tools, &app.name, &path, brought).await,
                Err(failure) => Err(failure),
            };
            let _ = app.inbox.send(Input::Brought(ticket, brought)).await;
        });
    }
}

/// Fetches, and says how far it is.
async fn fetch(
    tools: &Tools,
    app: &App,
    path: &str,
    planned: Option<Planned>,
    migration: Option<&str>,
    cancel: &Cancel,
) -> Result<Brought, Failure> {
    let post = |progress: &store::fetch::Progress, elapsed_ms| {
        post_fetched(tools, app, progress, elapsed_ms);
    };
    fetching(&tools.closures, path, planned, migration, cancel, post).await
}

/// Fetches, and hands out now and then how far it is.
pub async fn fetching(
    closures: &Closures,
    path: &str,
    planned: Option<Planned>,
    migration: Option<&str>,
    cancel: &Cancel,
    post: impl Fn(&store::fetch::Progress, u64),
) -> Result<Brought, Failure> {
    let newest: Arc<Mutex<Option<store::fetch::Progress>>> = Arc::default();
    let tell = Arc::clone(&newest);
    let report = move |progress| {
        *tell.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
    };
    let fetch = closures.fetch(path, planned, migration, report, cancel);
    let mut fetch = std::pin::pin!(fetch);
    let began = tokio::time::Instant::now();
    let mut look = tokio::time::interval(Duration::from_millis(FETCH_REPORT_MS));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            done = &mut fetch => return done,
            _ = look.tick() => {
                let progress = newest.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(progress) = progress {
                    let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                    post(&progress, elapsed_ms);
                }
            }
        }
    }
}

/// Puts what goes on in a step on the board of the swap under way.
pub(super) fn post(tools: &Tools, app: &App, step: Step, text: &str) {
    let Some(swap) = app.look(rollout::Machine::current) else { return };
    let mut to = convert::release(&swap.to);
    to.generation = to.generation.or(app.next_generation.get());
    tools.boards.post(Progress {
        swap: swap.id,
        app: app.name.clone(),
        from: swap.from.as_ref().map(convert::release),
        to,
        step,
        state: StepState::Running,
        text: text.to_owned(),
        elapsed_ms: 0,
        bytes_done: None,
        bytes_total: None,
        paths_done: None,
        paths_total: None,
        outcome: None,
    });
}

/// Puts the counters of a fetch on the board of the swap that it belongs to.
fn post_fetched(tools: &Tools, app: &App, progress: &store::fetch::Progress, elapsed_ms: u64) {
    let Some(swap) = app.look(rollout::Machine::current) else { return };
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let mut to = convert::release(&swap.to);
    to.generation = to.generation.or(app.next_generation.get());
    tools.boards.post(Progress {
        swap: swap.id,
        app: app.name.clone(),
        from: swap.from.as_ref().map(convert::release),
        to,
        step: Step::Fetch,
        state: StepState::Running,
        text: progress.waiting.clone().unwrap_or_default(),
        elapsed_ms,
        bytes_done: Some(progress.downloaded_bytes),
        bytes_total: (progress.download_bytes > 0).then_some(progress.download_bytes),
        paths_done: Some(count(progress.paths_done)),
        paths_total: Some(count(progress.paths_total)),
        outcome: None,
    });
}

/// One question to a version.
pub(super) async fn probe(tools: &Tools, target: ProbeTarget, health: &Health) -> ProbeResult {
    let door = match target {
        ProbeTarget::Candidate => Door::Gate,
        ProbeTarget::Serving => Door::Users,
    };
    let (HealthKind::Http { address, .. } | HealthKind::Tcp { address }) = &health.kind else {
        // Nobody has to ask these: the supervisor tells of them.
        return ProbeResult::Pass;
    };
    let Ok(address) = address.parse::<SocketAddr>() else {
        return ProbeResult::Sick(format!("its health check has no address: {address:?}"));
    };
    let (address, timeout) = (prober::target(address), Duration::from_millis(health.timeout_ms));
    let answer = match &health.kind {
        HealthKind::Http { path, .. } => tools.prober.http(door, address, path, timeout).await,
        _ => tools.prober.tcp(door, address, timeout).await,
    };
    convert::probed(answer)
}

/// A no of the supervisor. Only a program that cannot be started is the release's own fault.
pub(super) fn failed(error: &control::Error) -> Failure {
    let fault = match error {
        control::Error::StartFailed { .. } => Fault::Release,
        _ => Fault::Host,
    };
    let cure = match error {
        control::Error::NotPermitted { .. } => {
            vec!["the agent's definition needs control = \"admin\"".to_owned()]
        }
        _ => Vec::new(),
    };
    Failure { fault, reason: error.to_string(), cure }
}
