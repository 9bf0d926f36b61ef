//! The answers of `io.rollinit.Agent`, one method each.

use super::{
    Admission, Agent, Answer, App, Asked, Backend, Caller, Error, Generation, GenerationList, Kind,
    NoticeList, Progress, Rc, Reader, SYSTEM, Step, StepState, Summary, SwapList, SwapRequest,
    SwapSummary, closures, convert, single, system,
};
use rollout::limits::CONFIRM_MS_DEFAULT;

impl Backend for Agent {
    fn swap<'a>(&'a self, caller: &'a Caller, request: SwapRequest) -> Answer<'a, Reader> {
        let (uid, pid) = (caller.peer.uid, caller.peer.pid);
        tracing::info!("{} to {} asked for by uid {uid}, pid {pid}", request.app, request.path);
        let checked = match request.dry_run {
            true => Ok(()),
            false => self.check_by_hand(&request.app, &request.path, request.force),
        };
        if let Err(error) = checked {
            return Box::pin(std::future::ready(Err(error)));
        }
        if request.app == SYSTEM {
            let asked = system::Asked {
                path: request.path,
                is_rollback: false,
                dry_run: request.dry_run,
                force: request.force,
                reboot: convert::reboot(request.reboot),
            };
            return Box::pin(self.begin_system(asked));
        }
        let within_ms = request.confirm_within_ms.unwrap_or(CONFIRM_MS_DEFAULT);
        let asked = Asked {
            kind: Kind::Swap(request.path),
            test_within_ms: request.test.then_some(within_ms),
            dry_run: request.dry_run,
            force: request.force,
        };
        Box::pin(async move { self.begin(&request.app, asked).await })
    }

    fn rollback<'a>(
        &'a self,
        caller: &'a Caller,
        app: &'a str,
        generation: Option<u64>,
    ) -> Answer<'a, Reader> {
        let (uid, pid) = (caller.peer.uid, caller.peer.pid);
        tracing::info!("rollback of {app} asked for by uid {uid}, pid {pid}");
        if let Err(error) = self.check_rollback_by_hand(app) {
            return Box::pin(std::future::ready(Err(error)));
        }
        if app == SYSTEM {
            return Box::pin(self.roll_system_back(generation));
        }
        let kind = Kind::Rollback(generation);
        let asked = Asked { kind, test_within_ms: None, dry_run: false, force: false };
        Box::pin(self.begin(app, asked))
    }

    fn follow<'a>(&'a self, swap: &'a str) -> Answer<'a, Reader> {
        let found = self.tools.boards.find(swap).or_else(|| {
            let (app, summary) = self.past(swap)?;
            Some(single(last_word_of(&app, &summary)))
        });
        let found = found.or_else(|| Some(single(self.system.past(swap)?)));
        let found = found.or_else(|| {
            // One that goes on after a restart of the agent and has said nothing yet.
            self.is_taken(swap).then(|| self.tools.boards.reader(swap))
        });
        let answer = found.ok_or_else(|| Error::NoSuchSwap { swap: swap.to_owned() });
        Box::pin(std::future::ready(answer))
    }

    fn confirm<'a>(&'a self, caller: &'a Caller, app: &'a str) -> Answer<'a, ()> {
        Box::pin(self.confirmed(caller, app))
    }

    fn generations<'a>(&'a self, app: &'a str) -> Answer<'a, GenerationList> {
        if app == SYSTEM {
            return Box::pin(self.list_system_generations());
        }
        Box::pin(self.list_generations(app))
    }

    fn swaps<'a>(&'a self, app: Option<&'a str>) -> Answer<'a, SwapList> {
        Box::pin(std::future::ready(self.list_swaps(app)))
    }

    fn standing(&self) -> NoticeList {
        self.tools.standing.list()
    }

    fn leave_balancers(&self) -> Answer<'_, ()> {
        Box::pin(async {
            self.tools.balancers.leave_host(&self.tools).await.map_err(|failure| Error::Failed {
                name: "balancers".to_owned(),
                reason: failure.reason,
            })
        })
    }

    fn now_ns(&self) -> u64 {
        sys::clock::monotonic_ns()
    }

    fn say(&self, message: &str) {
        tracing::warn!("{message}");
    }
}

impl Agent {
    async fn roll_system_back(&self, generation: Option<u64>) -> Result<Reader, Error> {
        let path = self.system.target(generation).await?;
        let reboot = system::Reboot::Auto;
        let asked = system::Asked { path, is_rollback: true, dry_run: false, force: false, reboot };
        self.begin_system(asked).await
    }

    async fn list_system_generations(&self) -> Result<GenerationList, Error> {
        let (known, _) = self.read_generations(SYSTEM).await?;
        let current = self.tools.closures.profile(SYSTEM).await;
        let current = current
            .map_err(|error| Error::Failed { name: SYSTEM.to_owned(), reason: error.reason })?
            .and_then(|release| release.generation);
        Ok(GenerationList { generations: self.system.generations(&known, current) })
    }

    async fn confirmed(&self, caller: &Caller, name: &str) -> Result<(), Error> {
        let app = self.known(name)?;
        let (uid, pid) = (caller.peer.uid, caller.peer.pid);
        tracing::info!("{name} confirmed by uid {uid}, pid {pid}");
        let refused = |reason: String| Error::Refused { name: name.to_owned(), reason };
        if caller.connected_ns < app.gated_ns() {
            return Err(refused(format!(
                "{name}: this connection is older than the gate, so it shows nothing; confirm over \
                 a new one"
            )));
        }
        match app.confirm().await {
            Some(Admission::Done) => Ok(()),
            Some(Admission::Over(outcome)) => {
                let reason = outcome.reason;
                Err(refused(reason.unwrap_or_else(|| format!("{name}: nothing to confirm"))))
            }
            _ => Err(refused(format!("{name}: nothing waits to be confirmed"))),
        }
    }

    async fn list_generations(&self, name: &str) -> Result<GenerationList, Error> {
        let app = match self.known(name) {
            Ok(app) => app,
            Err(error) => return Err(error),
        };
        let (generations, _) = self.read_generations(name).await?;
        let current = self.tools.closures.profile(name).await;
        let current = current
            .map_err(|error| Error::Failed { name: name.to_owned(), reason: error.reason })?
            .and_then(|release| release.generation);
        let generations = app.look(|machine| {
            let book = &machine.record().book;
            let previous = book.previous.as_ref();
            let one = |generation: &store::profile::Generation| {
                let release = convert::release(&closures::release(generation));
                let failed = book.failed.iter().find(|failed| failed.path == release.path);
                Generation {
                    number: generation.number,
                    since_ms: closures::made_ms(generation),
                    current: Some(generation.number) == current,
                    previous: previous
                        .is_some_and(|previous| previous.generation == Some(generation.number)),
                    failed: failed.map(|failed| failed.reason.clone()),
                    name: release.name,
                    path: release.path,
                }
            };
            generations.iter().map(one).collect()
        });
        Ok(GenerationList { generations })
    }

    fn list_swaps(&self, name: Option<&str>) -> Result<SwapList, Error> {
        let apps = match name {
            Some(SYSTEM) => Vec::new(),
            Some(name) => vec![self.known(name)?],
            None => self.all(),
        };
        let of_system = match name {
            None | Some(SYSTEM) => self.system.summaries(),
            Some(_) => Vec::new(),
        };
        let mut swaps: Vec<SwapSummary> = apps
            .iter()
            .flat_map(|app| {
                let (history, current) =
                    app.look(|machine| (machine.record().book.history.clone(), machine.current()));
                let summaries = history.into_iter().chain(current);
                summaries.map(|summary| self.summary(app, &summary)).collect::<Vec<_>>()
            })
            .chain(of_system)
            .collect();
        swaps.sort_by_key(|swap| std::cmp::Reverse(swap.started_ms));
        Ok(SwapList { swaps })
    }

    fn summary(&self, app: &App, summary: &Summary) -> SwapSummary {
        let newest = self.tools.boards.newest(&summary.id);
        let last = newest.unwrap_or_else(|| last_word_of(app, summary));
        let is_over = summary.ended_ms > 0;
        SwapSummary {
            swap: summary.id.clone(),
            app: app.name.clone(),
            from: summary.from.as_ref().map(convert::release),
            to: convert::release(&summary.to),
            started_ms: summary.began_ms,
            ended_ms: is_over.then_some(summary.ended_ms),
            step: last.step,
            text: last.text,
            confirm_by_ms: confirm_by_ms(app, &summary.id),
            outcome: summary.outcome.as_ref().map(|outcome| {
                let serving = app.serving(outcome, summary.from.as_ref(), &summary.to);
                convert::outcome(outcome, serving)
            }),
        }
    }

    /// A swap whose outcome is known, by its id: one of the past, or one in its watch window.
    fn past(&self, swap: &str) -> Option<(Rc<App>, Summary)> {
        self.all().into_iter().find_map(|app| {
            let found = app.look(|machine| {
                let history = &machine.record().book.history;
                let current = machine.current();
                let told = history.iter().rev().chain(current.iter());
                let mut told = told.filter(|summary| summary.outcome.is_some());
                told.find(|summary| summary.id == swap).cloned()
            });
            found.map(|summary| (app, summary))
        })
    }
}

/// When a test has to be confirmed, in milliseconds since 1970.
fn confirm_by_ms(app: &App, id: &str) -> Option<u64> {
    let now = crate::app::now();
    app.look(|machine| {
        let swap = machine.record().swap.as_ref().filter(|swap| swap.id == id)?;
        let test = swap.test.filter(|test| !test.confirmed && test.deadline_ns > 0)?;
        let left_ms = test.deadline_ns.saturating_sub(now.clock_ns) / 1_000_000;
        Some(now.wall_ms.saturating_add(left_ms))
    })
}

/// The one line that is left of a swap whose board is gone.
fn last_word_of(app: &App, summary: &Summary) -> Progress {
    let serving =
        |outcome: &rollout::Outcome| app.serving(outcome, summary.from.as_ref(), &summary.to);
    last_word(&app.name, summary, serving)
}

/// The same, of an app or of the system.
pub fn last_word(
    name: &str,
    summary: &Summary,
    serving: impl Fn(&rollout::Outcome) -> Option<control::agent::Release>,
) -> Progress {
    let outcome = summary.outcome.as_ref();
    let failed_at = outcome.and_then(|outcome| outcome.failed_at);
    Progress {
        swap: summary.id.clone(),
        app: name.to_owned(),
        from: summary.from.as_ref().map(convert::release),
        to: convert::release(&summary.to),
        step: failed_at.map_or(Step::Commit, convert::step),
        state: if failed_at.is_some() { StepState::Failed } else { StepState::Ok },
        text: outcome.and_then(|outcome| outcome.reason.clone()).unwrap_or_default(),
        elapsed_ms: summary.ended_ms.saturating_sub(summary.began_ms),
        bytes_done: None,
        bytes_total: None,
        paths_done: None,
        paths_total: None,
        outcome: outcome.map(|outcome| convert::outcome(outcome, serving(outcome))),
    }
}
