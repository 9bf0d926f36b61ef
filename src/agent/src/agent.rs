//! All apps of the host, and the answers of `io.rollinit.Agent`.

use crate::app::{App, Tools};
use crate::boards::single;
use crate::closures;
use crate::convert;
use crate::ids;
use crate::system::{self, System};
use control::agent::board::Reader;
use control::agent::server::{Answer, Backend, Caller, SwapRequest};
use control::agent::{
    Error, Generation, GenerationList, NoticeList, Progress, SYSTEM, Step, StepState, SwapList,
    SwapSummary,
};
use rollout::{Admission, Record, Release, Request, RequestKind, Summary};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use store::path::StorePath;

/// The agent.
#[derive(Debug)]
pub struct Agent {
    tools: Rc<Tools>,
    system: Rc<System>,
    apps: RefCell<BTreeMap<String, Rc<App>>>,
}

impl Agent {
    /// With what the journal holds: every swap that was under way goes on.
    pub async fn start(tools: Rc<Tools>, system: Rc<System>, records: Vec<Record>) -> Self {
        let agent = Self { tools, system, apps: RefCell::default() };
        // Without a supervisor nothing can be decided; it is waited for.
        let mut views: BTreeMap<String, control::types::App> =
            match agent.tools.supervisor.apps().await {
                Ok(apps) => apps.into_iter().map(|app| (app.name.clone(), app)).collect(),
                Err(error) => {
                    tracing::error!("the supervisor does not tell of its apps: {error}");
                    BTreeMap::new()
                }
            };
        for record in records {
            let view = views.remove(&record.app);
            if view.is_none() {
                tracing::warn!("{}: has swaps on record and is no app of this host", record.app);
            }
            agent.add(record, view.as_ref()).await;
        }
        for (name, app) in views {
            let record = Record::empty(&name, &agent.tools.boot);
            agent.add(record, Some(&app)).await;
        }
        agent
    }

    async fn add(&self, record: Record, view: Option<&control::types::App>) -> Rc<App> {
        let name = record.app.clone();
        let app = App::start(&self.tools, record, view.map(convert::view)).await;
        self.apps.borrow_mut().insert(name, Rc::clone(&app));
        app
    }

    /// An app as the supervisor has it now.
    async fn defined(&self, name: &str) -> Result<control::types::App, Error> {
        let apps = self.tools.supervisor.apps().await;
        let apps = apps.map_err(|error| Error::Failed {
            name: name.to_owned(),
            reason: format!("the supervisor does not tell of its apps: {error}"),
        })?;
        let names: Vec<String> = apps.iter().map(|app| app.name.clone()).collect();
        let found = apps.into_iter().find(|app| app.name == name);
        found.ok_or_else(|| Error::no_such_app(name, names.iter().map(String::as_str)))
    }

    /// An app of this host, or one that was and has swaps on record.
    fn known(&self, name: &str) -> Result<Rc<App>, Error> {
        let apps = self.apps.borrow();
        let found = apps.get(name).cloned();
        found.ok_or_else(|| Error::no_such_app(name, apps.keys().map(String::as_str)))
    }

    fn all(&self) -> Vec<Rc<App>> {
        self.apps.borrow().values().cloned().collect()
    }

    /// Begins a swap of the system itself.
    async fn begin_system(&self, asked: system::Asked) -> Result<Reader, Error> {
        let id = ids::fresh(|id| self.is_taken(id)).map_err(|error| Error::Failed {
            name: SYSTEM.to_owned(),
            reason: error.to_string(),
        })?;
        self.system.begin(id, asked).await
    }

    /// Begins a swap of any kind.
    async fn begin(&self, name: &str, asked: Asked) -> Result<Reader, Error> {
        let failed = |reason: String| Error::Failed { name: name.to_owned(), reason };
        let id = ids::fresh(|id| self.is_taken(id)).map_err(|error| failed(error.to_string()))?;
        let (app, target, admission) = self.ask(name, asked, id).await?;
        match admission {
            Admission::Began(id) | Admission::Waits(id) | Admission::Joins(id) => {
                Ok(self.tools.boards.reader(&id))
            }
            Admission::Over(outcome) => Ok(self.over(&app, target, &outcome)),
            Admission::Done => Err(failed("it was answered without a word".to_owned())),
        }
    }

    /// Asks an app for a swap under this id: the app, where it goes, and what it said.
    async fn ask(
        &self,
        name: &str,
        asked: Asked,
        id: String,
    ) -> Result<(Rc<App>, Option<Release>, Admission), Error> {
        let defined = self.defined(name).await?;
        let app = match self.known(name) {
            Ok(app) => app,
            Err(_) => {
                let record = Record::empty(name, &self.tools.boot);
                self.add(record, Some(&defined)).await
            }
        };
        let failed = |reason: String| Error::Failed { name: name.to_owned(), reason };
        let profile = self.tools.closures.profile(name).await;
        let profile = profile.map_err(|error| failed(error.reason))?;
        let (target, kind) = self.target(&app, &asked.kind).await?;
        let request = Request {
            // Given by the app's task.
            number: 0,
            id,
            kind,
            policy: convert::policy(&defined.policy),
            profile,
            test_within_ms: asked.test_within_ms,
            dry_run: asked.dry_run,
            force: asked.force,
        };
        let admission = app.request(request, convert::view(&defined)).await;
        let admission = admission.ok_or_else(|| {
            failed("the task of this app is gone: report this with the agent's log".to_owned())
        })?;
        Ok((app, target, admission))
    }

    /// The board of a request that was over before it became a swap.
    fn over(&self, app: &App, target: Option<Release>, outcome: &rollout::Outcome) -> Reader {
        let from = app.look(|machine| machine.record().book.running.clone()).map(Release::new);
        let to = target.or_else(|| from.clone()).unwrap_or_else(|| Release::new(""));
        let serving = app.serving(outcome, from.as_ref(), &to);
        let is_refused = outcome.kind == rollout::OutcomeKind::Refused;
        single(Progress {
            swap: String::new(),
            app: app.name.clone(),
            from: from.as_ref().map(convert::release),
            to: convert::release(&to),
            step: outcome.failed_at.map_or(Step::Plan, convert::step),
            state: if is_refused { StepState::Failed } else { StepState::Skip },
            text: outcome.reason.clone().unwrap_or_default(),
            elapsed_ms: 0,
            bytes_done: None,
            bytes_total: None,
            paths_done: None,
            paths_total: None,
            outcome: Some(convert::outcome(outcome, serving)),
        })
    }

    /// Where a request goes, if that is known by now, and the request for the machine.
    async fn target(
        &self,
        app: &App,
        kind: &Kind,
    ) -> Result<(Option<Release>, RequestKind), Error> {
        match kind {
            Kind::Swap(path) => {
                let parsed = StorePath::parse(path.as_bytes());
                let path = parsed.map(|path| path.to_string()).map_err(|error| Error::Refused {
                    name: app.name.clone(),
                    reason: format!("{path:?}: {error}; give the path that `nix-build` printed"),
                })?;
                let (generations, _) = self.read_generations(&app.name).await?;
                let known = generations.iter().rev().find(|known| known.path.to_string() == path);
                let target = known.map_or_else(|| Release::new(path), closures::release);
                Ok((Some(target.clone()), RequestKind::Swap { target }))
            }
            Kind::Rollback(None) => {
                let previous = app.look(|machine| machine.record().book.previous.clone());
                Ok((previous, RequestKind::Rollback { target: None }))
            }
            Kind::Rollback(Some(number)) => {
                let (generations, _) = self.read_generations(&app.name).await?;
                let found = generations.iter().find(|known| known.number == *number);
                let found = found.ok_or_else(|| Error::NoSuchGeneration {
                    app: app.name.clone(),
                    generation: Some(*number),
                })?;
                let target = Some(closures::release(found));
                Ok((target.clone(), RequestKind::Rollback { target }))
            }
        }
    }

    async fn read_generations(
        &self,
        app: &str,
    ) -> Result<(Vec<store::profile::Generation>, u64), Error> {
        let read = self.tools.closures.generations(app).await;
        read.map_err(|error| Error::Failed { name: app.to_owned(), reason: error.reason })
    }

    /// Whether a swap of this id is remembered anywhere.
    fn is_taken(&self, id: &str) -> bool {
        let of_swap = |known: &str| known == id;
        self.all().iter().any(|app| {
            app.look(|machine| {
                let record = machine.record();
                let waiting = [&record.swap, &record.next].into_iter().flatten();
                record.book.history.iter().any(|summary| of_swap(&summary.id))
                    || record.book.failed.iter().any(|failed| of_swap(&failed.swap))
                    || waiting.into_iter().any(|swap| of_swap(&swap.id))
            })
        }) || self.system.knows(id)
            || self.tools.boards.find(id).is_some()
    }
}

/// Where a request goes, as it was asked for.
enum Kind {
    Swap(String),
    Rollback(Option<u64>),
}

struct Asked {
    kind: Kind,
    test_within_ms: Option<u64>,
    dry_run: bool,
    force: bool,
}

mod answers;
mod fleet;
mod wish;

pub use answers::last_word;
