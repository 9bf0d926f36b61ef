//! The system of this host: the machine that decides about its swaps (`rollout::system`), and the
//! task that carries out what it says. As [`crate::app`], with the boot partition, the running
//! system and the host's reboot in the places of an app's sides.
//!
//! It is looked after on a host of rollinit's own alone, never from an agent that is tried out in a
//! folder.

mod ground;
mod health;
mod journal;
mod slots;
mod toplevel;
mod words;
mod work;

use crate::app::{Tools, now};
use crate::closures::{self, Held, Planned};
use crate::{config, ids};
use control::agent::board::Reader;
use control::agent::{Error, SYSTEM};
use ground::Ground;
use journal::Journal;
use rollout::system::{Answer, Effect, Event, Inspected, Machine, Request};
use rollout::{Admission, Failure, Fault, Release, RootRole, Ticket};
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use store::path::StorePath;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

pub use rollout::system::Reboot;

/// Inputs that wait for the task. Whoever has one more waits too: nothing is lost.
const INPUTS_MAX: usize = 64;

/// The system, as the rest of the agent sees it.
#[derive(Debug)]
pub struct System {
    tools: Rc<Tools>,
    ground: Ground,
    machine: RefCell<Machine>,
    inbox: mpsc::Sender<Input>,
    /// The swap that is none: a dry run.
    dry: RefCell<Option<String>>,
    /// What its balancers wait for, before the host reboots.
    waits_for: RefCell<Option<String>>,
    is_host: bool,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The toplevel.
    pub path: String,
    /// It is a way back.
    pub is_rollback: bool,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Also a path that failed before.
    pub force: bool,
    /// Whether the host may be rebooted for it.
    pub reboot: Reboot,
}

/// What comes to the task.
#[derive(Debug)]
enum Input {
    Event(Box<Event>),
    Request(Box<Request>, oneshot::Sender<Admission>),
    Cancel(String, oneshot::Sender<Admission>),
    Planned(Ticket, Result<Planned, Failure>),
    Brought(Ticket, Result<closures::Brought, Failure>),
}

/// The task.
struct Task {
    system: Rc<System>,
    journal: Journal,
    inbox: mpsc::Receiver<Input>,
    /// Requests without an answer yet, by their number.
    waiting: Vec<(u64, oneshot::Sender<Admission>)>,
    requests: u64,
    watch: Option<AbortHandle>,
    planned: Option<Planned>,
    held: Option<Held>,
}

impl System {
    /// With what the record holds: a swap that was under way goes on, in this boot or after it.
    pub async fn start(
        tools: &Rc<Tools>,
        root: &Path,
        run: &Path,
        state: &Path,
        settings: config::system::System,
    ) -> Rc<Self> {
        let is_host = root == Path::new("/");
        let ground = Ground::new(root, run, settings);
        let journal = Journal::new(state);
        let record = match journal.load() {
            Ok((record, said)) => {
                said.iter().for_each(|said| tracing::error!("{said}"));
                record
            }
            Err(error) => {
                tracing::error!("the record of the system's swaps: {error}");
                rollout::system::Record::default()
            }
        };
        let id = ids::fresh(|id| record.history.iter().any(|past| past.id == id));
        let id = id.unwrap_or_else(|_| "boot".to_owned());
        let facts = if is_host {
            let (asked, boot) = (ground.clone(), tools.boot.clone());
            let facts = tokio::task::spawn_blocking(move || asked.facts(&boot, &id)).await;
            let (facts, said) = facts.unwrap_or_default();
            said.iter().for_each(|said| tracing::error!("{said}"));
            facts
        } else {
            rollout::system::Facts::default()
        };
        let (machine, effects) = Machine::resume(record, now(), facts);
        let (sender, inbox) = mpsc::channel(INPUTS_MAX);
        let system = Rc::new(Self {
            tools: Rc::clone(tools),
            ground,
            machine: RefCell::new(machine),
            inbox: sender,
            dry: RefCell::new(None),
            waits_for: RefCell::new(None),
            is_host,
        });
        if is_host {
            let task = Task {
                system: Rc::clone(&system),
                journal,
                inbox,
                waiting: Vec::new(),
                requests: 0,
                watch: None,
                planned: None,
                held: None,
            };
            tokio::task::spawn_local(task.run(effects));
        }
        system
    }

    /// Looks at what is remembered and under way.
    pub fn look<T>(&self, at: impl FnOnce(&Machine) -> T) -> T {
        at(&self.machine.borrow())
    }

    /// Whether a swap of this id is remembered.
    #[must_use]
    pub fn knows(&self, id: &str) -> bool {
        self.look(|machine| {
            let record = machine.record();
            record.history.iter().any(|past| past.id == id)
                || record.swap.as_ref().is_some_and(|swap| swap.id == id)
        })
    }

    /// Begins a swap under this id, unless it is over at once or joins another one.
    ///
    /// # Errors
    /// It makes no sense on this host.
    pub async fn begin(&self, id: String, asked: Asked) -> Result<Reader, Error> {
        let (to, admission) = self.ask(id, asked).await?;
        match admission {
            Admission::Began(id) | Admission::Waits(id) | Admission::Joins(id) => {
                Ok(self.tools.boards.reader(&id))
            }
            Admission::Over(outcome) => Ok(self.over(&to, &outcome)),
            Admission::Done => Err(gone()),
        }
    }

    /// Asks for a swap under this id: where it goes, and what comes of that.
    ///
    /// # Errors
    /// It makes no sense on this host.
    pub async fn ask(&self, id: String, asked: Asked) -> Result<(Release, Admission), Error> {
        let refused = |reason: String| Error::Refused { name: SYSTEM.to_owned(), reason };
        if !self.is_host {
            return Err(refused(
                "this agent looks after no host, so it swaps no system".to_owned(),
            ));
        }
        let parsed = StorePath::parse(asked.path.as_bytes());
        let path = parsed.map(|path| path.to_string()).map_err(|error| {
            refused(format!(
                "{:?}: {error}; give the toplevel that `nix-build` printed",
                asked.path
            ))
        })?;
        let to = Release::new(path);
        let request = Request {
            number: 0,
            id,
            to: to.clone(),
            is_rollback: asked.is_rollback,
            reboot: asked.reboot,
            dry_run: asked.dry_run,
            force: asked.force,
        };
        let (reply, answer) = oneshot::channel();
        let sent = self.inbox.send(Input::Request(Box::new(request), reply)).await;
        sent.map_err(|_| gone())?;
        Ok((to, answer.await.map_err(|_| gone())?))
    }

    /// Takes the swap under way back, as long as the host is what it was.
    ///
    /// # Errors
    /// A fault of ours.
    pub async fn cancel(&self, reason: String) -> Result<Admission, Error> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Input::Cancel(reason, reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }

    /// What its balancers wait for, before the host reboots.
    #[must_use]
    pub fn waits_for(&self) -> Option<String> {
        self.waits_for.borrow().clone()
    }

    /// Whether this host has a system that can be swapped at all: it is no folder that an agent is
    /// tried out in.
    #[must_use]
    pub fn is_host(&self) -> bool {
        self.is_host
    }

    /// Whether this host can become the system at `path`, which is here.
    ///
    /// # Errors
    /// It cannot: it is no system, there is no room, or no loader that counts its tries.
    pub async fn can_become(&self, path: &str) -> Result<(), Failure> {
        let (ground, path) = (self.ground.clone(), path.to_owned());
        let inspect = tokio::task::spawn_blocking(move || ground.inspect(&path, &[]));
        let inspected = inspect.await.unwrap_or_else(|error| {
            let reason = format!("a thread for the boot partition: {error}");
            Err(Failure { fault: Fault::Host, reason, cure: Vec::new() })
        })?;
        able(inspected)
    }

    /// The path of a generation, or of the previous one.
    ///
    /// # Errors
    /// There is none.
    pub async fn target(&self, generation: Option<u64>) -> Result<String, Error> {
        let missing = || Error::NoSuchGeneration { app: SYSTEM.to_owned(), generation };
        let Some(number) = generation else {
            let previous = self.look(|machine| machine.record().previous.clone());
            return previous.map(|release| release.path).ok_or_else(missing);
        };
        let generations = self.tools.closures.generations(SYSTEM).await;
        let (generations, _) = generations
            .map_err(|error| Error::Failed { name: SYSTEM.to_owned(), reason: error.reason })?;
        let found = generations.iter().find(|known| known.number == number);
        found.map(|generation| generation.path.to_string()).ok_or_else(missing)
    }
}

impl Task {
    /// For the life of the agent.
    async fn run(mut self, effects: Vec<Effect>) {
        self.carry_out(effects).await;
        self.tend();
        loop {
            let wake_ns = self.system.look(Machine::wake_ns);
            let input = tokio::select! {
                // An answer that is there comes before the time that it came too late for.
                biased;
                input = self.inbox.recv() => input,
                () = crate::app::until(wake_ns) => Some(Input::Event(Box::new(Event::Tick))),
            };
            let Some(input) = input else { return };
            self.take(input).await;
            self.tend();
            self.system.tools.moved.notify_one();
        }
    }

    async fn take(&mut self, input: Input) {
        match input {
            Input::Event(event) => self.event(*event).await,
            Input::Request(mut request, reply) => {
                self.requests += 1;
                request.number = self.requests;
                self.waiting.push((request.number, reply));
                if request.dry_run {
                    *self.system.dry.borrow_mut() = Some(request.id.clone());
                }
                self.event(Event::Request(*request)).await;
            }
            Input::Cancel(reason, reply) => {
                self.requests += 1;
                self.waiting.push((self.requests, reply));
                self.event(Event::Cancel { number: self.requests, reason }).await;
            }
            // What comes of a swap that was called back in the meantime is let go of at once.
            Input::Planned(ticket, _) | Input::Brought(ticket, _)
                if !self.system.look(|machine| machine.awaits(ticket)) => {}
            Input::Planned(ticket, planned) => {
                let answer = planned.map(|planned| {
                    let (text, is_here) = (planned.text(), planned.missing() == 0);
                    self.planned = Some(planned);
                    Answer::Planned { text, is_here }
                });
                self.event(ended(ticket, answer)).await;
            }
            Input::Brought(ticket, brought) => {
                let answer = brought.map(|brought| {
                    self.held = Some(brought.held);
                    Answer::Fetched(brought.text)
                });
                self.event(ended(ticket, answer)).await;
            }
        }
    }

    async fn event(&mut self, event: Event) {
        let effects = self.system.machine.borrow_mut().step(now(), event);
        self.carry_out(effects).await;
    }

    /// Carries effects out in order. If one fails, those after it are dropped, and the machine
    /// says what to do instead.
    async fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut batch = effects;
        loop {
            let Some((index, reason)) = self.batch(batch).await else { return };
            tracing::error!("{SYSTEM}: {reason}");
            let broke = Event::Broke { index, reason };
            batch = self.system.machine.borrow_mut().step(now(), broke);
        }
    }

    /// Carries out one batch; which of its effects failed, and why.
    async fn batch(&mut self, batch: Vec<Effect>) -> Option<(usize, String)> {
        for (index, effect) in batch.into_iter().enumerate() {
            if let Err(reason) = self.one(effect).await {
                return Some((index, reason));
            }
        }
        None
    }

    async fn one(&mut self, effect: Effect) -> Result<(), String> {
        let tools = Rc::clone(&self.system.tools);
        match effect {
            Effect::Persist { bytes } => {
                let journal = self.journal.clone();
                let written = tokio::task::spawn_blocking(move || journal.persist(&bytes)).await;
                let written = written.map_err(|error| error.to_string())?;
                written.map_err(|error| format!("the system's record: {error}"))
            }
            Effect::Root { path } => {
                let rooted = tools.closures.root(SYSTEM, RootRole::Target, &path).await;
                rooted.map_err(|error| error.reason)?;
                // A lasting root holds it now.
                self.held = None;
                Ok(())
            }
            Effect::Unroot => {
                let dropped = tools.closures.unroot(SYSTEM, RootRole::Target).await;
                dropped.map_err(|error| error.reason)
            }
            Effect::Report(report) => {
                self.system.report(&report);
                Ok(())
            }
            Effect::Answer { number, admission } => {
                if let Some(at) = self.waiting.iter().position(|(known, _)| *known == number) {
                    let (_, reply) = self.waiting.swap_remove(at);
                    // Who asked may be gone; the swap goes on.
                    let _ = reply.send(admission);
                }
                Ok(())
            }
            Effect::Notice(notice) => {
                self.system.notice(notice);
                Ok(())
            }
            ticketed => {
                self.begin(ticketed);
                Ok(())
            }
        }
    }

    /// Asks how the host is while it is on trial; lets go of closures when there is no swap.
    fn tend(&mut self) {
        let (is_on_trial, is_busy) =
            self.system.look(|machine| (machine.is_on_trial(), machine.record().swap.is_some()));
        match (is_on_trial, self.watch.take()) {
            (true, Some(watch)) => self.watch = Some(watch),
            (true, None) => {
                let system = Rc::clone(&self.system);
                let watch = tokio::task::spawn_local(async move { system.watch().await });
                self.watch = Some(watch.abort_handle());
            }
            (false, Some(watch)) => watch.abort(),
            (false, None) => {}
        }
        if !is_busy {
            (self.planned, self.held) = (None, None);
        }
    }
}

impl System {
    /// Tells the machine how the host is, at each event of its services, for as long as it is
    /// polled.
    async fn watch(&self) {
        let tell = async |services: Vec<control::types::ServiceStatus>| {
            let waits_for = health::waits_for(&services, self.ground.bless_when());
            // The task lives as long as the agent.
            let _ = self.inbox.send(Input::Event(Box::new(Event::Health(waits_for)))).await;
        };
        self.tools.supervisor.watch_services(tell).await;
    }
}

/// Whether a host can become what was looked at.
fn able(inspected: Inspected) -> Result<(), Failure> {
    let Inspected { needs_reboot: Some(why), no_slots: Some(no_slots), .. } = inspected else {
        return Ok(());
    };
    let reason = format!("it takes a reboot ({why}), and {no_slots}");
    Err(Failure { fault: Fault::Host, reason, cure: Vec::new() })
}

/// The system's task does not answer.
fn gone() -> Error {
    Error::Failed {
        name: SYSTEM.to_owned(),
        reason: "the task of the system is gone: report this with the agent's log".to_owned(),
    }
}

/// The end of an effect with a ticket.
fn ended(ticket: Ticket, answer: Result<Answer, Failure>) -> Event {
    match answer {
        Ok(answer) => Event::Done { ticket, answer },
        Err(failure) => Event::Failed { ticket, failure },
    }
}

/// How long `rollinit-activate switch` may take: it waits for nothing but disks.
const ACTIVATE_PATIENCE: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    /// A host without a loader that counts can do without a reboot, and says so if it cannot.
    #[test]
    fn who_can_become_what() {
        let why = || Some("another kernel".to_owned());
        let no_slots = || Some("this host was not started by systemd-boot".to_owned());
        for (needs_reboot, no_slots, can) in [
            (None, None, true),
            (why(), None, true),
            (None, no_slots(), true),
            (why(), no_slots(), false),
        ] {
            let text = String::new();
            let able = able(Inspected { needs_reboot, no_slots, text });
            assert_eq!(able.is_ok(), can, "{able:?}");
            if let Err(failure) = able {
                assert!(failure.reason.contains("(another kernel), and this host was not"));
            }
        }
    }
}
