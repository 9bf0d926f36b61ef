//! An agent that can die between any two things it does, over a [`Host`] and its [`Disk`].

use crate::check;
use crate::choice::Choice;
use crate::host::{Disk, Host, Nature, SECOND, host};
use rollout::ports::Verb;
use rollout::{
    Admission, Answer, Effect, Event, Facts, Failure, Fault, HookKind, Machine, Now, Outcome, Plan,
    Policy, ProbeResult, Record, Request, State, Ticket,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What can happen to a host at any moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// `kill -9` of the agent; verbs that it sent may be carried out or not.
    Agent { verbs_land: bool },
    /// `kill -9` of the supervisor: every verb under way is carried out, its answer is lost, and it
    /// is carried out again.
    Supervisor,
    /// The power cut.
    Power,
}

/// A change to the machine's effects, as a wrong machine would have given them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tamper {
    None,
    /// Nothing is written.
    SkipPersist,
    /// A state is written after what follows from it.
    PersistLate,
    /// A root is not made.
    SkipRoot(rollout::RootRole),
    /// The target's root stays.
    SkipUnroot,
    /// The old side stays.
    SkipRetire,
    /// The candidate stays.
    SkipAbandon,
    /// The link does not move.
    SkipCommit,
    /// The migration is not run.
    SkipMigrate,
    /// The version is not asked.
    BlindGate,
    /// Users are not moved before a verb.
    SkipMoves,
    /// Users leave one port before they may come to the other.
    LeaveFirst,
}

/// An effect with a ticket, begun; and what came of it, when something did.
#[derive(Clone, Debug)]
struct Op {
    ticket: Ticket,
    effect: Effect,
    event: Option<Event>,
}

/// A migration that runs, and whose it is.
#[derive(Clone, Debug)]
pub struct Task {
    pub swap: String,
}

#[derive(Clone, Debug)]
pub struct World {
    pub choice: Choice,
    pub now_ns: u64,
    boot: u32,
    pub disk: Disk,
    pub host: Host,
    pub seed: Option<String>,
    pub policy: Policy,
    pub machine: Machine,
    batch: VecDeque<Effect>,
    batch_at: usize,
    ops: Vec<Op>,
    temporary_roots: BTreeSet<String>,
    pub tasks: Vec<Task>,
    /// Ends of migrations by path: with success, with failure.
    pub migrations: BTreeMap<String, (u32, u32)>,
    pub outcomes: BTreeMap<String, Outcome>,
    pub admissions: BTreeMap<u64, Admission>,
    seen_view: Option<rollout::View>,
    /// Moments at which a crash could have been, so far.
    pub points: usize,
    /// Probes in the state since this moment.
    probes: (Option<u64>, u32),
    /// The swap on disk, read back.
    pub written: Option<State>,
    /// At which of them there is one.
    pub crashes: VecDeque<(usize, Crash)>,
    pub crashed: usize,
    pub rebooted: bool,
    pub tamper: Tamper,
    /// Faults of the host are possible: one in so many times; 0 for never.
    pub faults: usize,
    pub persists_broke: bool,
    /// So many results are decided freely, whatever the natures say.
    pub free: Option<usize>,
    /// Requests with `--force`, so far.
    pub forced: u32,
    /// Swaps with `--test`, and whether somebody confirmed them.
    pub tests: BTreeMap<String, bool>,
    pub is_verbose: bool,
    pub log: Vec<String>,
}

/// The moment of a crash was reached.
struct Down;

impl World {
    pub fn new(
        policy: Policy,
        seed: Option<&str>,
        natures: BTreeMap<String, Nature>,
        choice: Choice,
    ) -> Self {
        let seed = seed.map(str::to_owned);
        let mut disk = Disk::default();
        disk.store.extend(seed.clone());
        let host = Host::boot(seed.clone(), policy.strategy, natures, SECOND);
        let facts = Facts { boot: "boot-1".to_owned(), view: Some(host.view()), profile: None };
        let now = Now { clock_ns: SECOND, wall_ms: 1 };
        let (machine, effects) = Machine::resume(Record::empty("web", "boot-1"), now, facts);
        let mut world = Self {
            choice,
            now_ns: SECOND,
            boot: 1,
            disk,
            host,
            seed,
            policy,
            machine,
            batch: VecDeque::new(),
            batch_at: 0,
            ops: Vec::new(),
            temporary_roots: BTreeSet::new(),
            tasks: Vec::new(),
            migrations: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            admissions: BTreeMap::new(),
            seen_view: None,
            points: 0,
            probes: (None, 0),
            written: None,
            crashes: VecDeque::new(),
            crashed: 0,
            rebooted: false,
            tamper: Tamper::None,
            faults: 0,
            persists_broke: false,
            free: None,
            forced: 0,
            tests: BTreeMap::new(),
            is_verbose: false,
            log: Vec::new(),
        };
        world.take(effects);
        world.settle_users();
        world
    }

    fn now(&self) -> Now {
        Now { clock_ns: self.now_ns, wall_ms: self.now_ns / 1_000_000 }
    }

    /// Takes down what happens, when somebody will read it.
    pub fn note(&mut self, text: impl FnOnce() -> String) {
        if self.is_verbose {
            self.log.push(format!("{:>8} ms  {}", self.now_ns / 1_000_000, text()));
        }
    }

    fn take(&mut self, mut effects: Vec<Effect>) {
        assert!(self.batch.is_empty(), "an event in the middle of a batch");
        if self.tamper == Tamper::PersistLate {
            for index in 1..effects.len() {
                if matches!(effects[index - 1], Effect::Persist { .. }) {
                    effects.swap(index - 1, index);
                }
            }
        }
        (self.batch, self.batch_at) = (effects.into(), 0);
    }

    /// Tells the machine.
    pub fn tell(&mut self, event: Event) {
        self.note(|| format!("event  {}", short(&event)));
        let effects = self.machine.step(self.now(), event);
        self.take(effects);
        if let Some(wake_ns) = self.machine.wake_ns() {
            assert!(wake_ns > self.now_ns, "a deadline that is over must have been acted on");
        }
    }

    pub fn request(&mut self, request: Request) {
        self.finish_batch();
        self.note(|| format!("request {} {:?}", request.id, request.kind));
        self.forced += u32::from(request.force);
        if request.test_within_ms.is_some() {
            self.tests.insert(request.id.clone(), false);
        }
        self.tell(Event::Request(request));
    }

    pub fn cancel(&mut self, number: u64) {
        self.finish_batch();
        self.tell(Event::Cancel { number, reason: "somebody wants it".to_owned() });
    }

    /// Carries out what is left of the batch, crashes included.
    pub fn finish_batch(&mut self) {
        while !self.batch.is_empty() {
            self.turn();
        }
    }

    /// Runs until nothing moves any more.
    pub fn rest(&mut self) {
        for _ in 0..20_000 {
            if !self.turn() {
                // Whoever is between two runs comes up again.
                for _ in 0..20 {
                    self.now_ns += SECOND / 4;
                    self.host.turn(self.now_ns);
                }
                self.settle_users();
                return;
            }
        }
        panic!("it does not come to rest");
    }

    /// One thing happens; whether there was one.
    pub fn turn(&mut self) -> bool {
        self.host.turn(self.now_ns);
        self.settle_users();
        let moved = self.try_turn();
        check::always(self);
        match moved {
            Ok(moved) => moved,
            Err(Down) => {
                let (_, crash) = self.crashes.pop_front().expect("a crash is due");
                self.crash(crash);
                true
            }
        }
    }

    fn point(&mut self, effect: &Effect) -> Result<(), Down> {
        // One probe is like another: a death at the first two of a state will do.
        let state = self.machine.record().swap.as_ref().map(|swap| swap.since_ns);
        let is_probe = matches!(effect, Effect::Probe { .. });
        if !is_probe || self.probes.0 != state {
            self.probes = (state, 0);
        }
        self.probes.1 += u32::from(is_probe);
        if self.probes.1 > 8 {
            return Ok(());
        }
        self.points += 1;
        match self.crashes.front().copied() {
            Some((at, Crash::Supervisor)) if at < self.points => {
                self.crashes.pop_front();
                self.crash(Crash::Supervisor);
                Ok(())
            }
            Some((at, _)) if at < self.points => Err(Down),
            _ => Ok(()),
        }
    }

    fn try_turn(&mut self) -> Result<bool, Down> {
        if let Some(effect) = self.batch.pop_front() {
            self.point(&effect)?;
            let result = self.carry_out(effect.clone());
            self.batch_at += 1;
            self.point(&effect)?;
            if let Err(reason) = result {
                self.batch.clear();
                let index = self.batch_at - 1;
                self.tell(Event::Broke { index, reason });
            }
            return Ok(true);
        }
        let view = self.host.view();
        let view_is_new = self.seen_view.as_ref() != Some(&view);
        let ops = self.ops.len();
        let moves = ops + usize::from(view_is_new);
        // Time may pass before anything else happens, but never in the ordinary course.
        let is_random = matches!(self.choice, Choice::Random(_));
        let patience = usize::from(moves == 0 || is_random);
        let which = if is_random { self.choice.pick(moves + patience) } else { 0 };
        if which < ops {
            self.advance_op(which)?;
        } else if which < moves {
            self.seen_view = Some(view.clone());
            self.tell(Event::View(view));
        } else {
            return Ok(self.pass_time());
        }
        Ok(true)
    }

    fn advance_op(&mut self, which: usize) -> Result<(), Down> {
        if let Some(event) = self.ops[which].event.clone() {
            let op = self.ops.remove(which);
            self.point(&op.effect)?;
            self.tell(event);
            return Ok(());
        }
        let op = self.ops[which].clone();
        self.point(&op.effect)?;
        let event = self.perform(op.ticket, &op.effect);
        self.ops[which].event = Some(event);
        self.point(&op.effect)
    }

    fn pass_time(&mut self) -> bool {
        let wake_ns = self.machine.wake_ns();
        let next = wake_ns.into_iter().chain(self.host.next_ns()).min();
        if wake_ns.is_none() && self.ops.is_empty() {
            return false;
        }
        let Some(next_ns) = next else { return true };
        // A question is answered in its time; everything else may take as long as it likes.
        if self.ops.iter().any(|op| matches!(op.effect, Effect::Probe { .. })) {
            self.now_ns = next_ns.min(self.now_ns + SECOND / 5).max(self.now_ns);
        } else {
            let late_ns = if self.choice.once_in(20) { 3 * SECOND } else { 0 };
            self.now_ns = self.now_ns.max(next_ns) + late_ns;
        }
        self.host.turn(self.now_ns);
        if self.choice.once_in(10) {
            self.collect();
        }
        if wake_ns.is_some_and(|at_ns| at_ns <= self.now_ns) {
            let effects = self.machine.step(self.now(), Event::Tick);
            self.take(effects);
        }
        true
    }

    /// `nix-collect-garbage -d`.
    pub fn collect(&mut self) {
        let newest = self.disk.profile().cloned();
        self.disk.generations =
            self.disk.generations.split_off(self.disk.generations.len().saturating_sub(1));
        let kept: BTreeSet<String> = (self.disk.roots.values().cloned())
            .chain(newest)
            .chain(self.seed.clone())
            .chain(self.temporary_roots.iter().cloned())
            .collect();
        self.disk.store.retain(|path| kept.contains(path));
    }

    /// An effect of the batch: one without a ticket is over afterwards, another one begun.
    fn carry_out(&mut self, effect: Effect) -> Result<(), String> {
        self.note(|| format!("effect {}", short(&effect)));
        let breaks = self.faults > 0 && self.choice.once_in(self.faults);
        check::explained(self, &effect);
        match effect {
            Effect::Persist { .. } | Effect::Root { .. } | Effect::Unroot { .. } if breaks => {
                self.persists_broke = true;
                self.note(|| "broke".to_owned());
                return Err("ENOSPC".to_owned());
            }
            Effect::Persist { bytes } => {
                if self.tamper != Tamper::SkipPersist {
                    let record = Record::decode(&bytes).expect("it is whole");
                    self.written = record.swap.map(|swap| swap.state);
                    self.disk.record = Some(bytes);
                }
            }
            Effect::Root { role, path } => {
                if self.tamper != Tamper::SkipRoot(role) {
                    self.disk.roots.insert(role, path.clone());
                }
                self.temporary_roots.remove(&path);
            }
            Effect::Unroot { role } => {
                if self.tamper != Tamper::SkipUnroot {
                    self.disk.roots.remove(&role);
                }
            }
            Effect::Report(report) => {
                if let Some(outcome) = report.outcome {
                    self.outcomes.insert(report.swap, outcome);
                }
            }
            Effect::Answer { number, admission } => {
                self.admissions.insert(number, admission);
            }
            Effect::Cancel { ticket } => self.ops.retain(|op| op.ticket != ticket),
            effect => {
                if let Effect::Migrate { swap, .. } = &effect {
                    self.start_migration(swap);
                }
                let ticket = effect.ticket().expect("all others have one");
                self.ops.push(Op { ticket, effect, event: None });
            }
        }
        Ok(())
    }

    fn start_migration(&mut self, swap: &str) {
        if self.tasks.iter().any(|task| task.swap == swap) {
            return;
        }
        assert!(self.tasks.is_empty(), "two migrations at once");
        self.tasks.push(Task { swap: swap.to_owned() });
    }

    /// What an effect with a ticket does, and what comes of it.
    fn perform(&mut self, ticket: Ticket, effect: &Effect) -> Event {
        self.note(|| format!("done   {}", short(effect)));
        let breaks = self.faults > 0 && self.choice.once_in(self.faults);
        if let Some(event) = self.decide(ticket, effect) {
            return event;
        }
        let result = match effect {
            Effect::Probe { .. } if self.tamper == Tamper::BlindGate => {
                Ok(Answer::Probed(ProbeResult::Pass))
            }
            Effect::Probe { .. } if breaks => Ok(Answer::Probed(ProbeResult::Timeout)),
            Effect::Probe { target, health, .. } => {
                Ok(Answer::Probed(self.host.probe(*target, &health.kind, self.now_ns)))
            }
            Effect::Migrate { swap, closure, .. } => Ok(self.end_migration(swap, closure, breaks)),
            _ if breaks => Err(host("EIO")),
            Effect::Plan { .. } => Ok(Answer::Planned(Plan::default())),
            Effect::Fetch { path, .. } => {
                self.disk.store.insert(path.clone());
                self.temporary_roots.insert(path.clone());
                let nature = self.host.natures.get(path);
                let has_migration = nature.is_some_and(|nature| nature.migration.is_some());
                Ok(Answer::Fetched { has_migration, text: String::new() })
            }
            Effect::Hook { hook, closure, .. } => {
                let works = self.host.natures.get(closure).is_none_or(|nature| nature.hook_works);
                let works = works || *hook == HookKind::OnRollback;
                Ok(ended(Some(i32::from(!works)), false))
            }
            effect if is_verb(effect) && !self.move_users(effect) => Err(host("no balancer")),
            Effect::Prepare { swap, closure, .. } => {
                assert!(self.disk.store.contains(closure), "{closure} was collected");
                self.host.prepare(swap, closure, self.now_ns).map(|()| self.app())
            }
            Effect::Admit { swap, .. } => {
                check::admissible(self);
                self.host.admit(swap).map(|()| self.app())
            }
            Effect::Retire { .. } if self.tamper == Tamper::SkipRetire => Ok(self.app()),
            Effect::Retire { swap, .. } => self.host.retire(swap).map(|()| self.app()),
            Effect::Abandon { .. } if self.tamper == Tamper::SkipAbandon => Ok(self.app()),
            Effect::Abandon { swap, .. } => {
                self.host.abandon(swap, self.now_ns).map(|()| self.app())
            }
            Effect::Commit { path, .. } => Ok(Answer::Committed { generation: self.commit(path) }),
            other => panic!("{other:?} has no ticket"),
        };
        match result {
            Ok(answer) => Event::Done { ticket, answer },
            Err(failure) => Event::Failed { ticket, failure },
        }
    }

    /// Strategy `ports`: what the agent does at the balancer before a verb. In a host with faults it
    /// fails now and then in the middle; a way back goes on without it. Whether the verb follows.
    fn move_users(&mut self, effect: &Effect) -> bool {
        let (verb, swap) = match effect {
            Effect::Prepare { swap, .. } => (Verb::Prepare, swap),
            Effect::Admit { swap, .. } => (Verb::Admit, swap),
            Effect::Retire { swap, .. } => (Verb::Retire, swap),
            Effect::Abandon { swap, .. } => (Verb::Abandon, swap),
            other => panic!("{other:?} is no verb"),
        };
        let Some(sides) = self.host.ports() else { return true };
        let mut orders = sides.before(verb, swap);
        match self.tamper {
            Tamper::SkipMoves => return true,
            Tamper::LeaveFirst => orders.reverse(),
            _ => {}
        }
        for order in orders {
            if verb == Verb::Admit {
                check::admissible(self);
            }
            if self.faults > 0 && self.choice.once_in(self.faults) {
                self.host.front.has_failed = true;
                if verb != Verb::Abandon {
                    return false;
                }
            } else {
                self.host.obey(order);
            }
        }
        true
    }

    /// An agent that dies in the middle of that.
    fn move_some_users(&mut self, effect: &Effect) {
        let (Effect::Admit { swap, .. }, Some(sides)) = (effect, self.host.ports()) else { return };
        let orders = sides.before(Verb::Admit, swap);
        let count = self.choice.pick(orders.len() + 1);
        orders.into_iter().take(count).for_each(|order| self.host.obey(order));
    }

    /// Between swaps the agent has the balancer as it shall be.
    pub fn settle_users(&mut self) {
        let is_busy = self.machine.current().is_some() || !self.ops.is_empty();
        let sides = self.host.ports().filter(|_| !is_busy);
        if let Some(orders) = sides.and_then(|sides| sides.at_rest()) {
            self.host.front.has_failed = false;
            orders.into_iter().for_each(|order| self.host.obey(order));
        }
    }

    /// A bad result, if that is freely decided.
    fn decide(&mut self, ticket: Ticket, effect: &Effect) -> Option<Event> {
        let left = self.free.filter(|left| *left > 0)?;
        let bad: Vec<Result<Answer, Failure>> = match effect {
            Effect::Probe { .. } => {
                let sick = ProbeResult::Sick("500".to_owned());
                vec![Ok(Answer::Probed(ProbeResult::Refused)), Ok(Answer::Probed(sick))]
            }
            Effect::Migrate { .. } => {
                vec![Ok(ended(Some(1), false)), Ok(ended(None, true))]
            }
            Effect::Hook { .. } => vec![Ok(ended(Some(1), false))],
            Effect::Prepare { .. } => {
                let release = Failure { fault: Fault::Release, ..host("exec: no such file") };
                vec![Err(host("EAGAIN")), Err(release)]
            }
            _ => vec![Err(host("EIO"))],
        };
        self.free = Some(left - 1);
        let which = self.choice.pick(bad.len() + 1);
        let result = bad.into_iter().nth(which.checked_sub(1)?)?;
        if let Effect::Migrate { swap, .. } = effect {
            self.tasks.retain(|task| task.swap != *swap);
        }
        self.note(|| format!("bad    {result:?}"));
        Some(match result {
            Ok(answer) => Event::Done { ticket, answer },
            Err(failure) => Event::Failed { ticket, failure },
        })
    }

    /// `rollinit confirm`.
    pub fn confirm(&mut self, number: u64) {
        self.finish_batch();
        let id = self.machine.record().swap.as_ref().map(|swap| swap.id.clone());
        self.tell(Event::Confirm { number });
        self.finish_batch();
        if let (Some(id), Some(Admission::Done)) = (id, self.admissions.get(&number)) {
            self.tests.insert(id, true);
        }
    }

    fn app(&self) -> Answer {
        Answer::App(self.host.view())
    }

    fn end_migration(&mut self, swap: &str, path: &str, breaks: bool) -> Answer {
        self.tasks.retain(|task| task.swap != swap);
        if breaks {
            return ended(None, true);
        }
        let works = self.host.natures.get(path).and_then(|nature| nature.migration) == Some(true);
        if self.tamper != Tamper::SkipMigrate {
            let ends = self.migrations.entry(path.to_owned()).or_default();
            *(if works { &mut ends.0 } else { &mut ends.1 }) += 1;
        }
        ended(Some(i32::from(!works)), false)
    }

    fn commit(&mut self, path: &str) -> u64 {
        let is_there = self.disk.profile().is_some_and(|current| current == path);
        if !is_there && self.tamper != Tamper::SkipCommit {
            self.disk.generations.push(path.to_owned());
        }
        self.disk.generations.len() as u64
    }

    fn crash(&mut self, crash: Crash) {
        self.note(|| format!("CRASH  {crash:?}"));
        self.crashed += 1;
        if crash == Crash::Supervisor {
            for index in 0..self.ops.len() {
                let op = self.ops[index].clone();
                if is_verb(&op.effect) {
                    let _lost = self.perform(op.ticket, &op.effect);
                    self.ops[index].event = None;
                }
            }
            self.seen_view = None;
            return;
        }
        for op in self.ops.clone() {
            if op.event.is_none() {
                self.move_some_users(&op.effect);
            }
        }
        if (crash == Crash::Agent { verbs_land: true }) {
            for op in self.ops.clone() {
                if op.event.is_none() && is_verb(&op.effect) {
                    let _lost = self.perform(op.ticket, &op.effect);
                }
            }
        }
        self.ops.clear();
        self.batch.clear();
        self.temporary_roots.clear();
        if crash == Crash::Power {
            self.power_cut();
        } else if !self.tasks.is_empty() && self.choice.once_in(2) {
            self.note(|| "the lease of the migration runs out".to_owned());
            self.tasks.clear();
        }
        self.start_agent();
    }

    fn power_cut(&mut self) {
        self.boot += 1;
        self.rebooted = true;
        self.now_ns = SECOND;
        self.tasks.clear();
        let natures = self.host.natures.clone();
        let boots = self.disk.profile().or(self.seed.as_ref()).cloned();
        let host = Host::boot(boots, self.host.strategy, natures, self.now_ns);
        let before = std::mem::replace(&mut self.host, host);
        self.host.keep_front(&before);
    }

    fn start_agent(&mut self) {
        let boot = format!("boot-{}", self.boot);
        let record = match &self.disk.record {
            Some(bytes) => Record::decode(bytes).expect("the record is whole"),
            None => Record::empty("web", &boot),
        };
        let view = self.host.view();
        self.seen_view = Some(view.clone());
        let profile = self.disk.profile().cloned();
        let facts = Facts { boot, view: Some(view), profile };
        let (machine, effects) = Machine::resume(record, self.now(), facts);
        self.machine = machine;
        self.take(effects);
    }

    pub fn has_two_sides(&self) -> bool {
        self.policy.strategy.has_two_sides()
    }
}

fn ended(exit: Option<i32>, lease_ended: bool) -> Answer {
    Answer::Ended { exit, signal: exit.is_none().then_some(9), lease_ended }
}

fn is_verb(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Prepare { .. }
            | Effect::Admit { .. }
            | Effect::Retire { .. }
            | Effect::Abandon { .. }
    )
}

fn short(what: &impl std::fmt::Debug) -> String {
    let text = format!("{what:?}");
    let is_long = |word: &str| text.contains(word);
    if is_long("bytes: [") {
        return "Persist".to_owned();
    }
    let text = match text.split_once("health: Health") {
        Some((before, _)) => before.to_owned(),
        None => text,
    };
    text.replace("/nix/store/", "").chars().take(260).collect()
}
