//! One app: the machine that decides about its swaps, and the task that carries out what it says.
//!
//! The task is the only one who steps the machine. Everything that happens (an answer, a request,
//! a change the supervisor tells of) comes to it through one bounded channel; what the machine
//! wants is carried out in order, as [`rollout::effect`] asks for. What takes its time runs as a
//! task of its own and answers through the same channel, so a slow fetch holds up no confirmation.

use crate::balancers::Balancers;
use crate::boards::Boards;
use crate::closures::{self, Closures, Held, Planned};
use crate::console::Console;
use crate::convert;
use crate::desired::Releases;
use crate::ec2::Ec2;
use crate::events::Events;
use crate::fleet::Fleet;
use crate::journal::Journal;
use crate::prober::Prober;
use crate::sharing::Sharing;
use crate::standing::Standing;
use crate::supervisor::Supervisor;
use rollout::{
    Admission, Effect, Event, Facts, Failure, Machine, Now, Record, Release, Request, SwapPhase,
    Ticket, View,
};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime};
use store::fetch::Cancel;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Inputs that wait for one app's task. Whoever has one more waits too: nothing is lost.
const INPUTS_MAX: usize = 64;

/// Until a profile that could not be read is read again, in milliseconds.
const PROFILE_AGAIN_MS: u64 = 1_000;

/// What the agent works with; the same for all apps.
#[derive(Debug)]
pub struct Tools {
    /// The store.
    pub closures: Closures,
    /// The swap journal.
    pub journal: Journal,
    /// Probes.
    pub prober: Prober,
    /// The supervisor.
    pub supervisor: Supervisor,
    /// What is said of swaps.
    pub boards: Boards,
    /// Where outcomes are said aloud.
    pub console: Console,
    /// What holds, for `rollinit status`.
    pub standing: Standing,
    /// Where it is told what happens here.
    pub events: Events,
    /// Closures among the hosts of a group.
    pub sharing: Rc<Sharing>,
    /// The instance that this host is; nothing on any other machine.
    pub ec2: Option<Ec2>,
    /// The load balancers that send to this host.
    pub balancers: Balancers,
    /// The fleet that this host is in: set at the start, or once user-data said so.
    pub fleet: OnceCell<Rc<Fleet>>,
    /// Rung whenever something of an app has changed, for the fleet's task.
    pub moved: Notify,
    /// What is known of the releases of this host's apps.
    pub releases: Releases,
    /// This boot.
    pub boot: String,
}

impl Tools {
    /// The fleet that this host is in, if it is in one.
    #[must_use]
    pub fn fleet(&self) -> Option<Rc<Fleet>> {
        self.fleet.get().cloned()
    }
}

/// One app, as the rest of the agent sees it.
#[derive(Debug)]
pub struct App {
    /// Its name.
    pub name: String,
    machine: RefCell<Machine>,
    inbox: mpsc::Sender<Input>,
    /// The newest that the supervisor said.
    view: RefCell<Option<View>>,
    /// The generation that the next commit makes.
    next_generation: Cell<Option<u64>>,
    /// The swap that is none: a dry run.
    dry: RefCell<Option<String>>,
    /// When the gate of the swap under way opened; `CLOCK_MONOTONIC` nanoseconds. 0: before this
    /// agent began.
    gated_ns: Cell<u64>,
}

/// What comes to an app's task.
#[derive(Debug)]
enum Input {
    Event(Box<Event>),
    /// A request, and how the app stands.
    Request(Box<(Request, View)>, oneshot::Sender<Admission>),
    Confirm(oneshot::Sender<Admission>),
    Cancel(String, oneshot::Sender<Admission>),
    Brought(Ticket, Result<closures::Brought, Failure>),
    /// The definition gives the app other ports.
    OtherPorts,
    Planned(Ticket, Result<Planned, Failure>),
}

impl Input {
    fn event(event: Event) -> Self {
        Self::Event(Box::new(event))
    }
}

/// The task of one app.
pub(crate) struct Task {
    app: Rc<App>,
    tools: Rc<Tools>,
    inbox: mpsc::Receiver<Input>,
    begun: BTreeMap<Ticket, Begun>,
    /// Requests without an answer yet, by their number.
    waiting: BTreeMap<u64, oneshot::Sender<Admission>>,
    requests: u64,
    watch: Option<AbortHandle>,
    /// Brings the host back into its balancers.
    settling: Option<AbortHandle>,
    /// That was begun since the last swap.
    is_settled: bool,
    planned: Option<Planned>,
    held: Option<Held>,
}

/// An effect with a ticket that was begun.
enum Begun {
    /// May be dropped wherever it is.
    Task(AbortHandle),
    /// Ends by itself, and cleans up, once it is asked to.
    Fetch(Cancel),
}

/// Now.
#[must_use]
pub fn now() -> Now {
    let wall_ms = closures::wall_ms(SystemTime::now()).unwrap_or(0);
    Now { clock_ns: sys::clock::boottime_ns(), wall_ms }
}

impl App {
    /// The app of `record`, whose swap goes on where the record says. Starts its task.
    pub async fn start(tools: &Rc<Tools>, record: Record, view: Option<View>) -> Rc<Self> {
        let name = record.app.clone();
        let profile = profile(tools, &name).await.map(|release| release.path);
        let facts = Facts { boot: tools.boot.clone(), view: view.clone(), profile };
        let (machine, effects) = Machine::resume(record, now(), facts);
        let (sender, inbox) = mpsc::channel(INPUTS_MAX);
        let app = Rc::new(Self {
            name,
            machine: RefCell::new(machine),
            inbox: sender,
            view: RefCell::new(view),
            next_generation: Cell::new(None),
            dry: RefCell::new(None),
            gated_ns: Cell::new(0),
        });
        app.look_ahead(tools).await;
        settle::follow(tools, &app);
        let task = Task {
            app: Rc::clone(&app),
            tools: Rc::clone(tools),
            inbox,
            begun: BTreeMap::new(),
            waiting: BTreeMap::new(),
            requests: 0,
            watch: None,
            settling: None,
            is_settled: false,
            planned: None,
            held: None,
        };
        tokio::task::spawn_local(task.run(effects));
        app
    }

    /// Finds out which generation the next commit makes.
    async fn look_ahead(&self, tools: &Tools) {
        let generations = tools.closures.generations(&self.name).await;
        self.next_generation.set(generations.ok().map(|(_, next)| next));
    }

    /// Looks at what is remembered and under way.
    pub fn look<T>(&self, at: impl FnOnce(&Machine) -> T) -> T {
        at(&self.machine.borrow())
    }

    /// How far the supervisor is with this swap, by what it last said.
    #[must_use]
    pub fn phase(&self, swap: &str) -> Option<SwapPhase> {
        let view = self.view.borrow();
        let known = view.as_ref()?.swap.as_ref().filter(|known| known.id == swap);
        known.map(|known| known.phase)
    }

    /// When the gate of the swap under way opened, in nanoseconds of `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn gated_ns(&self) -> u64 {
        self.gated_ns.get()
    }

    /// Asks for a swap; `None` if the app's task is gone, which only a fault of ours explains.
    pub async fn request(&self, request: Request, view: View) -> Option<Admission> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Input::Request(Box::new((request, view)), reply)).await.ok()?;
        answer.await.ok()
    }

    /// Turns the swap under way back, if that can be had without harm.
    pub async fn cancel(&self, reason: String) -> Option<Admission> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Input::Cancel(reason, reply)).await.ok()?;
        answer.await.ok()
    }

    /// Confirms the swap under way.
    pub async fn confirm(&self) -> Option<Admission> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Input::Confirm(reply)).await.ok()?;
        answer.await.ok()
    }
}

impl Task {
    /// For the life of the agent.
    async fn run(mut self, effects: Vec<Effect>) {
        self.carry_out(effects).await;
        self.tend();
        loop {
            let wake_ns = self.app.machine.borrow().wake_ns();
            let input = tokio::select! {
                // An answer that is there comes before the time that it came too late for.
                biased;
                input = self.inbox.recv() => input,
                () = until(wake_ns) => Some(Input::event(Event::Tick)),
            };
            // The app holds a sender, and this task holds the app.
            let Some(input) = input else { return };
            self.take(input).await;
            self.tend();
            self.tools.moved.notify_one();
        }
    }

    async fn take(&mut self, input: Input) {
        match input {
            Input::Event(event) => self.event(*event).await,
            Input::Request(request, reply) => {
                let (mut request, view) = *request;
                request.number = self.number(reply);
                *self.app.dry.borrow_mut() = request.dry_run.then(|| request.id.clone());
                self.app.look_ahead(&self.tools).await;
                self.event(Event::View(view)).await;
                self.event(Event::Request(request)).await;
            }
            Input::Confirm(reply) => {
                let number = self.number(reply);
                self.event(Event::Confirm { number }).await;
            }
            Input::Cancel(reason, reply) => {
                let number = self.number(reply);
                self.event(Event::Cancel { number, reason }).await;
            }
            Input::OtherPorts => self.unsettle(),
            // What comes of an effect that was taken back in the meantime is let go of at once.
            Input::Planned(ticket, _) | Input::Brought(ticket, _)
                if !self.begun.contains_key(&ticket) => {}
            Input::Planned(ticket, planned) => {
                let answer = planned.map(|planned| {
                    let text = planned.text();
                    self.planned = Some(planned);
                    rollout::Answer::Planned(rollout::Plan { text })
                });
                self.event(ended(ticket, answer)).await;
            }
            Input::Brought(ticket, brought) => {
                let answer = brought.map(|brought| {
                    self.held = Some(brought.held);
                    let (has_migration, text) = (brought.has_migration, brought.text);
                    rollout::Answer::Fetched { has_migration, text }
                });
                self.event(ended(ticket, answer)).await;
            }
        }
    }

    /// The number of a request, under which its answer will be found.
    fn number(&mut self, reply: oneshot::Sender<Admission>) -> u64 {
        self.requests += 1;
        self.waiting.insert(self.requests, reply);
        self.requests
    }

    async fn event(&mut self, event: Event) {
        match &event {
            Event::View(view) | Event::Done { answer: rollout::Answer::App(view), .. } => {
                *self.app.view.borrow_mut() = Some(view.clone());
            }
            _ => {}
        }
        if let Event::Done { ticket, .. } | Event::Failed { ticket, .. } = &event {
            self.begun.remove(ticket);
        }
        let is_commit =
            matches!(&event, Event::Done { answer: rollout::Answer::Committed { .. }, .. });
        if is_commit {
            self.app.look_ahead(&self.tools).await;
        }
        let effects = self.app.machine.borrow_mut().step(now(), event);
        self.carry_out(effects).await;
    }

    /// Carries effects out in order. If one fails, those after it are dropped, and the machine
    /// says what to do instead.
    async fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut batch = effects;
        loop {
            let Some((index, reason)) = self.batch(batch).await else { return };
            tracing::error!("{}: {reason}", self.app.name);
            let broke = Event::Broke { index, reason };
            batch = self.app.machine.borrow_mut().step(now(), broke);
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
        let (tools, name) = (Rc::clone(&self.tools), self.app.name.clone());
        match effect {
            Effect::Persist { bytes } => {
                let journal = tools.journal.clone();
                let written =
                    tokio::task::spawn_blocking(move || journal.persist(&name, &bytes)).await;
                let said = match written {
                    Ok(written) => written.map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                };
                said.map_err(|error| format!("the swap journal: {error}"))
            }
            Effect::Root { role, path } => {
                let rooted = tools.closures.root(&name, role, &path).await;
                rooted.map_err(|error| error.reason)?;
                // A lasting root holds it now.
                if role == rollout::RootRole::Target {
                    self.held = None;
                }
                Ok(())
            }
            Effect::Unroot { role } => {
                let dropped = tools.closures.unroot(&name, role).await;
                dropped.map_err(|error| error.reason)
            }
            Effect::Report(report) => {
                self.report(&report);
                Ok(())
            }
            Effect::Answer { number, admission } => {
                if let Some(reply) = self.waiting.remove(&number) {
                    // Who asked may be gone; the swap goes on.
                    let _ = reply.send(admission);
                }
                Ok(())
            }
            Effect::Cancel { ticket } => {
                match self.begun.remove(&ticket) {
                    Some(Begun::Fetch(cancel)) => cancel.cancel(),
                    Some(Begun::Task(task)) => task.abort(),
                    None => {}
                }
                Ok(())
            }
            ticketed => {
                self.begin(ticketed);
                Ok(())
            }
        }
    }

    /// Watches the app while there is a swap; lets go of closures when there is none.
    fn tend(&mut self) {
        let is_busy = self.app.look(|machine| machine.current().is_some());
        self.settle(is_busy);
        match (is_busy, self.watch.take()) {
            (true, Some(watch)) => self.watch = Some(watch),
            (true, None) => {
                let (tools, app) = (Rc::clone(&self.tools), Rc::clone(&self.app));
                let task = tokio::task::spawn_local(async move {
                    let tell = async |now: control::types::App| {
                        let event = Event::View(convert::view(&now));
                        // The app's task lives as long as the agent.
                        let _ = app.inbox.send(Input::event(event)).await;
                    };
                    tools.supervisor.watch(&app.name, tell).await;
                });
                self.watch = Some(task.abort_handle());
            }
            (false, watch) => {
                if let Some(watch) = watch {
                    watch.abort();
                }
                self.planned = None;
                self.held = None;
            }
        }
    }
}

/// What the profile link points to. A link that cannot be read is no link that is not there: what
/// comes of a swap hangs on it, so it is read again until it can be.
async fn profile(tools: &Tools, name: &str) -> Option<Release> {
    let mut is_said = false;
    loop {
        match tools.closures.profile(name).await {
            Ok(profile) => return profile,
            Err(error) if !is_said => {
                tracing::error!("{name} waits for its profile: {}", error.reason);
                is_said = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(PROFILE_AGAIN_MS)).await;
    }
}

/// The end of an effect with a ticket.
fn ended(ticket: Ticket, answer: Result<rollout::Answer, Failure>) -> Event {
    match answer {
        Ok(answer) => Event::Done { ticket, answer },
        Err(failure) => Event::Failed { ticket, failure },
    }
}

/// Returns at that time of `CLOCK_BOOTTIME`, or never.
pub async fn until(wake_ns: Option<u64>) {
    let Some(wake_ns) = wake_ns else { return std::future::pending().await };
    let left = wake_ns.saturating_sub(sys::clock::boottime_ns());
    // Rounded up: a timer that fires a moment early would turn the loop once for nothing.
    let left = Duration::from_nanos(left) + Duration::from_micros(1);
    match Instant::now().checked_add(left) {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

mod around;
mod balanced;
mod ports;
mod settle;
mod words;
mod work;

pub use balanced::is_well;
pub use work::fetching;
