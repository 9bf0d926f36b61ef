//! Effects with a ticket: each begun as a task of its own, each answered once.

use super::toplevel::Toplevel;
use super::{ACTIVATE_PATIENCE, Input, System, Task, ended};
use crate::app::{Tools, fetching};
use crate::desired;
use crate::fleet::{Before, fence};
use control::agent::SYSTEM;
use control::types::{Reload, ShutdownKind};
use rollout::system::{Answer, Effect, State, Swap};
use rollout::{Failure, Fault, Ticket};
use std::process::Stdio;
use std::rc::Rc;
use store::fetch::Cancel;
use tokio::process::Command;

/// Lines of a failed activation that its reason shows.
const LINES_MAX: usize = 4;

impl Task {
    /// Begins an effect with a ticket. The others were carried out before.
    pub(super) fn begin(&mut self, effect: Effect) {
        let ground = self.system.ground.clone();
        match effect {
            Effect::Plan { ticket, path } => {
                let system = Rc::clone(&self.system);
                tokio::task::spawn_local(async move {
                    let planned = match system.tools.closures.plan(&path).await {
                        Ok(planned) => desired::planned(&system.tools, SYSTEM, planned).await,
                        Err(failure) => Err(failure),
                    };
                    let _ = system.inbox.send(Input::Planned(ticket, planned)).await;
                });
            }
            Effect::Fetch { ticket, path } => {
                let (system, planned) = (Rc::clone(&self.system), self.planned.take());
                tokio::task::spawn_local(async move {
                    let post = |progress: &store::fetch::Progress, elapsed_ms| {
                        system.post_fetched(progress, elapsed_ms);
                    };
                    let cancel = Cancel::new();
                    let closures = &system.tools.closures;
                    let brought = fetching(closures, &path, planned, None, &cancel, post).await;
                    let brought = match brought {
                        Ok(brought) => {
                            desired::brought(&system.tools, SYSTEM, &path, brought).await
                        }
                        Err(failure) => Err(failure),
                    };
                    let _ = system.inbox.send(Input::Brought(ticket, brought)).await;
                });
            }
            Effect::Inspect { ticket, path, kept } => {
                self.on_disk(ticket, move || Ok(Answer::Inspected(ground.inspect(&path, &kept)?)))
            }
            Effect::Write { ticket, path, kept } => self.on_disk(ticket, move || {
                let (generation, text) = ground.write(&path, &kept)?;
                Ok(Answer::Written { generation, text })
            }),
            Effect::Bless { ticket, entry } => {
                self.on_disk(ticket, move || Ok(Answer::Text(ground.bless(&entry)?)));
            }
            Effect::Commit { ticket, path, generation } => self.on_disk(ticket, move || {
                Ok(Answer::Committed { generation: ground.commit(&path, generation)? })
            }),
            Effect::Discard { ticket, generation } => self.on_disk(ticket, move || {
                ground.discard(generation)?;
                Ok(Answer::Done)
            }),
            Effect::Activate { ticket, path } => {
                self.spawn(ticket, async move |system| system.activate(&path).await);
            }
            Effect::Reboot { ticket } => {
                self.spawn(ticket, async move |system| system.reboot().await);
            }
            Effect::Persist { .. }
            | Effect::Root { .. }
            | Effect::Unroot
            | Effect::Report(_)
            | Effect::Answer { .. }
            | Effect::Notice(_) => {}
        }
    }

    /// Runs `work` as a task that answers for its ticket.
    fn spawn(
        &mut self,
        ticket: Ticket,
        work: impl AsyncFnOnce(Rc<System>) -> Result<Answer, Failure> + 'static,
    ) {
        let system = Rc::clone(&self.system);
        tokio::task::spawn_local(async move {
            let answer = work(Rc::clone(&system)).await;
            // The task lives as long as the agent.
            let _ = system.inbox.send(Input::Event(Box::new(ended(ticket, answer)))).await;
        });
    }

    /// The same for work that may wait for disks.
    fn on_disk(
        &mut self,
        ticket: Ticket,
        work: impl FnOnce() -> Result<Answer, Failure> + Send + 'static,
    ) {
        self.spawn(ticket, async move |_| match tokio::task::spawn_blocking(work).await {
            Ok(answer) => answer,
            Err(error) => {
                let reason = format!("a thread for the boot partition: {error}");
                Err(Failure { fault: Fault::Host, reason, cure: Vec::new() })
            }
        });
    }
}

impl System {
    /// Boots the host anew, once it is out of its balancers.
    ///
    /// ```text
    ///  fence · balancers: this host leaves · fence · supervisor
    /// ```
    ///
    /// A boot that is to be left asks nobody's leave.
    async fn reboot(&self) -> Result<Answer, Failure> {
        let Tools { supervisor, balancers, .. } = &*self.tools;
        match self.going() {
            None => balancers.spare_host(&self.tools, &|_| {}).await?,
            Some(swap) => {
                if let Err(failure) = self.leave(&swap).await {
                    balancers.return_host(&self.tools).await;
                    // Whoever says no, this host stays what it is.
                    return Err(Failure { fault: Fault::Fence, ..failure });
                }
            }
        }
        let asked = async |client: &mut control::client::Client| {
            client.shutdown(ShutdownKind::Reboot).await
        };
        supervisor.ask(asked).await.map_err(|error| {
            balancers.stay();
            refused(&error)
        })?;
        Ok(Answer::Done)
    }

    /// Lets the host leave its balancers for a swap's reboot.
    async fn leave(&self, swap: &str) -> Result<(), Failure> {
        fence(&self.tools, SYSTEM, swap, Before::Users).await?;
        let say = |words: &str| {
            self.waits_for.replace(Some(words.to_owned()));
            self.tools.moved.notify_one();
        };
        let left = self.tools.balancers.spare_host(&self.tools, &say).await;
        self.waits_for.take();
        left?;
        // That may have taken long.
        fence(&self.tools, SYSTEM, swap, Before::Users).await
    }

    /// The swap that is about to change this host; none if that is being taken back.
    fn going(&self) -> Option<String> {
        let goes_on = |swap: &&Swap| {
            swap.back.is_none() && matches!(swap.state, State::Rebooting | State::Activating)
        };
        self.look(|machine| {
            machine.record().swap.as_ref().filter(goes_on).map(|swap| swap.id.clone())
        })
    }

    /// Lets the running host become the system at `path`: /etc, accounts, settings, and then its
    /// services, by difference.
    ///
    /// The one program that this process starts itself: what it does is a part of the swap, and has
    /// to be over, well or not, before the next part begins.
    async fn activate(&self, path: &str) -> Result<Answer, Failure> {
        if let Some(swap) = self.going() {
            let may = fence(&self.tools, SYSTEM, &swap, Before::Users).await;
            may.map_err(|failure| Failure { fault: Fault::Fence, ..failure })?;
        }
        let program = Toplevel::activate(path);
        let failed = |fault, reason: String| {
            let reason = format!("{}: {reason}", program.display());
            Failure { fault, reason, cure: Vec::new() }
        };
        let mut command = Command::new(&program);
        command.args(["switch", "--toplevel", path]).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let ended = tokio::time::timeout(ACTIVATE_PATIENCE, command.output()).await;
        let ended = ended.map_err(|_| {
            let seconds = ACTIVATE_PATIENCE.as_secs();
            failed(Fault::Release, format!("not done within {seconds} s, and killed"))
        })?;
        let ended = ended.map_err(|error| failed(Fault::Release, error.to_string()))?;
        let said = String::from_utf8_lossy(&ended.stderr);
        for line in said.lines() {
            tracing::info!("rollinit-activate: {line}");
        }
        if !ended.status.success() {
            let lines: Vec<&str> = said.lines().take(LINES_MAX).collect();
            let reason = format!("{}: {}", ended.status, lines.join("; "));
            return Err(failed(Fault::Release, reason));
        }
        let supervisor = &self.tools.supervisor;
        let reload = supervisor.ask(async |client| client.reload(false).await).await;
        changed(&reload.map_err(|error| refused(&error))?)
    }
}

/// What became of the services, in a line.
fn changed(reload: &Reload) -> Result<Answer, Failure> {
    if !reload.refused.is_empty() {
        let names = reload.refused.join(", ");
        let problem = reload.problems.first();
        let why = problem.map(|problem| format!(": {}", problem.message)).unwrap_or_default();
        let reason = format!("definitions that cannot be used: {names}{why}");
        let cure = vec!["rollinit check DIR shows what is wrong with them".to_owned()];
        return Err(Failure { fault: Fault::Release, reason, cure });
    }
    let anew = reload.changed.iter().filter(|change| change.restart).count();
    let (added, removed) = (reload.added.len(), reload.removed.len());
    let counts = [(added, "added"), (anew, "started anew"), (removed, "removed")];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let words: Vec<String> = counts.map(|(count, word)| format!("{count} {word}")).collect();
    let text = if words.is_empty() {
        "/etc and accounts; no service changes".to_owned()
    } else {
        format!("/etc and accounts; services: {}", words.join(", "))
    };
    Ok(Answer::Text(text))
}

/// A no of the supervisor.
fn refused(error: &control::Error) -> Failure {
    Failure { fault: Fault::Host, reason: error.to_string(), cure: Vec::new() }
}
