//! Everything around the members: the ledger and the network to it, hosts and their swaps, EC2,
//! people.

use crate::random::Random;
use rollout::fleet::limits::LOOK_IDLE_MS;
use rollout::fleet::{
    Barred, Effect, Event, Facts, Gone, Group, Local, LocalSwap, Member, Pause, Portion, RollCall,
    Rollout, SYSTEM, Status, Stop, Track, Version,
};
use rollout::{Cas, Now, Token};
use std::collections::{BTreeMap, BTreeSet};

const APP: &str = "web";

/// What a host runs: an app, and the system below it.
const APPS: [&str; 2] = [APP, SYSTEM];

/// The system of the image that new hosts are made of. Whatever has `sys` in its name is one.
const IMAGE: &str = "good-sys-image";

fn app_of(path: &str) -> &'static str {
    if path.contains("sys") { SYSTEM } else { APP }
}

/// Why a host that is in the way of itself refuses.
pub const CANNOT: &str = "its balancer does not obey; mend it";
const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// When the answer to a request that got lost is given up.
const TIMEOUT: u64 = 3 * SECOND;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    None,
    All,
    /// The ledger writes without comparing.
    BlindLedger,
}

/// What happens at a moment.
#[derive(Clone, Debug)]
enum Happening {
    Tell(usize, u64, Event),
    /// A request arrives at the ledger; the answer takes so long, or never comes.
    Look(usize, u64, Option<u64>),
    Write(usize, u64, Option<u64>, Token, Box<Group>),
    Say(usize, Status),
    /// The swap of this id takes its next step.
    Swap(usize, String),
    /// What that swap brought falls sick after its commit.
    Relapse(usize, String),
    Ask(usize, u64, String),
    AgentBack(usize),
    Die(usize),
    Person,
    Misfortune,
}

/// A swap on a host.
#[derive(Clone, Debug)]
struct Swap {
    id: String,
    path: String,
    fence: u64,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Begun,
    /// The candidate is asked for its health; of the system: the host reboots, or is on trial.
    Out,
    Switched,
    /// Of the system: it is committed, and the host's apps are not back yet.
    Settles,
    Ended(Stop),
}

struct Host {
    name: String,
    lives: bool,
    /// It was told to end.
    leaves: bool,
    /// Something of its own is in the way of every swap.
    cannot: bool,
    /// Swaps that it began.
    begun: u64,
    /// The agent's process and how often it was started: answers to an earlier one are not heard.
    member: Option<Member>,
    life: u64,
    apps: BTreeMap<&'static str, Own>,
    roll: RollCall,
    cut_off_until: u64,
    /// It reboots: no agent runs.
    down_until: u64,
    /// Its clock runs so many thousandths of the true one.
    rate: u64,
}

/// An app on a host, or its system.
#[derive(Default)]
struct Own {
    path: Option<String>,
    /// Where a way back goes.
    previous: Option<String>,
    barred: Vec<Barred>,
    swap: Option<Swap>,
}

impl Own {
    fn local(&self, app: &str) -> Local {
        let swap = match &self.swap {
            None => LocalSwap::None,
            Some(Swap { id, stage: Stage::Ended(stop), .. }) => {
                LocalSwap::Ended { id: id.clone(), stop: stop.clone() }
            }
            Some(Swap { id, stage: Stage::Settles, .. }) => LocalSwap::Settles { id: id.clone() },
            Some(Swap { id, stage, .. }) => {
                let switched = match app {
                    SYSTEM => *stage != Stage::Begun,
                    _ => *stage == Stage::Switched,
                };
                LocalSwap::Running { id: id.clone(), switched }
            }
        };
        Local {
            app: app.to_owned(),
            path: self.path.clone(),
            swap,
            barred: self.barred.clone(),
            says: String::new(),
        }
    }

    fn is_swapping(&self) -> bool {
        let goes_on = |swap: &Swap| !matches!(swap.stage, Stage::Ended(_) | Stage::Settles);
        self.swap.as_ref().is_some_and(goes_on)
    }
}

impl Host {
    /// The app that the swap of this id is of.
    fn app_of_swap(&self, id: &str) -> Option<&'static str> {
        let of_it = |own: &Own| own.swap.as_ref().is_some_and(|swap| swap.id == id);
        self.apps.iter().find(|(_, own)| of_it(own)).map(|(app, _)| *app)
    }

    fn own(&mut self, app: &str) -> &mut Own {
        self.apps.get_mut(app).expect("an app")
    }
}

pub struct World {
    random: Random,
    trouble: Trouble,
    now: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    sequence: u64,
    ledger: Option<(Group, u64)>,
    statuses: BTreeMap<String, Status>,
    hosts: Vec<Host>,
    allowed: Portion,
    /// How long a reboot takes at most, in seconds.
    reboot_s: u64,
    /// Swaps that took a host out, by path.
    swaps: BTreeMap<String, u64>,
    /// Hosts that a bad release of one rollout reached.
    reached: BTreeMap<String, BTreeSet<usize>>,
    most_out: usize,
    events: u64,
    releases: u64,
}

impl World {
    pub fn new(random: Random, hosts: u64, allowed: Portion, trouble: Trouble) -> Self {
        let mut group = Group::new();
        group.max_unavailable = allowed;
        for (app, path) in APPS.into_iter().zip(["good-0", "good-sys-0"]) {
            let blessed = Some(Version { path: path.to_owned(), serial: 0 });
            group.apps.insert(app.to_owned(), Track { blessed, ..Track::default() });
        }
        let mut world = Self {
            random,
            trouble,
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            ledger: Some((group, 1)),
            statuses: BTreeMap::new(),
            hosts: Vec::new(),
            allowed,
            reboot_s: 50,
            swaps: BTreeMap::new(),
            reached: BTreeMap::new(),
            most_out: 0,
            events: 0,
            releases: 0,
        };
        for _ in 0..hosts {
            let host = world.add_host();
            world.hosts[host].own(APP).path = Some("good-0".to_owned());
            world.hosts[host].own(SYSTEM).path = Some("good-sys-0".to_owned());
        }
        if trouble == Trouble::All {
            world.reboot_s = 110;
            world.after(10 * SECOND, Happening::Person);
            world.after(5 * SECOND, Happening::Misfortune);
        }
        world
    }

    pub fn events(&self) -> u64 {
        self.events
    }

    pub fn most_out(&self) -> usize {
        self.most_out
    }

    pub fn swaps(&self, path: &str) -> u64 {
        self.swaps.get(path).copied().unwrap_or(0)
    }

    pub fn paths(&self) -> Vec<Option<String>> {
        self.hosts.iter().map(|host| host.apps[APP].path.clone()).collect()
    }

    /// What system each host has.
    pub fn systems(&self) -> Vec<Option<String>> {
        self.hosts.iter().map(|host| host.apps[SYSTEM].path.clone()).collect()
    }

    /// How long a reboot may take from now on.
    pub fn reboots_take(&mut self, seconds: u64) {
        self.reboot_s = seconds;
    }

    /// Whether a host reboots just now.
    pub fn reboots(&self) -> bool {
        self.hosts.iter().any(|host| host.down_until > self.now)
    }

    pub fn group(&self) -> &Group {
        &self.ledger.as_ref().expect("a record").0
    }

    pub fn track(&self) -> &Track {
        &self.group().apps[APP]
    }

    pub fn track_of(&self, app: &str) -> &Track {
        &self.group().apps[app]
    }

    /// Hosts that are out: in the middle of a swap under a slot, dead ones among them until they
    /// are buried.
    pub fn out(&self) -> usize {
        let is_out = |host: &&Host| {
            host.apps.values().filter_map(|own| own.swap.as_ref()).any(|swap| {
                let held = self.group().holds(&host.name, swap.fence);
                swap.fence != 0
                    && match swap.stage {
                        Stage::Out | Stage::Switched => host.lives || held,
                        Stage::Settles => held,
                        Stage::Begun | Stage::Ended(_) => false,
                    }
            })
        };
        self.hosts.iter().filter(is_out).count()
    }

    fn after(&mut self, delay: u64, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), happening);
    }

    pub fn add_host(&mut self) -> usize {
        let index = self.hosts.len();
        let rate = self.random.between(900, 1100);
        self.hosts.push(Host {
            name: format!("i-{index}"),
            lives: true,
            leaves: false,
            cannot: false,
            begun: 0,
            member: None,
            life: 0,
            apps: APPS.into_iter().map(|app| (app, Own::default())).collect(),
            roll: RollCall::default(),
            cut_off_until: 0,
            down_until: 0,
            rate,
        });
        self.hosts[index].own(SYSTEM).path = Some(IMAGE.to_owned());
        let delay = self.random.between(1, 500) * MS;
        self.after(delay, Happening::AgentBack(index));
        index
    }

    pub fn run(&mut self, seconds: u64) {
        let until = self.now + seconds * SECOND;
        while self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= until) {
            self.turn();
        }
        self.now = until;
    }

    pub fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        let give_up = self.now + 3_600 * SECOND;
        while !done(self) {
            assert!(self.now < give_up, "never");
            self.turn();
        }
    }

    fn turn(&mut self) {
        let ((at, _), happening) = self.queue.pop_first().expect("members wake for ever");
        self.now = at;
        self.events += 1;
        self.happen(happening);
        let members = self.hosts.iter().filter(|host| host.lives).count().max(1);
        // Shares are of the group as the taker saw it, which may have been larger.
        let allowed = self.allowed.of(members.max(self.hosts.len()));
        let out = self.out();
        self.most_out = self.most_out.max(out);
        assert!(out <= allowed, "{out} hosts are out at {}, {allowed} may be", self.now / MS);
        for (path, hosts) in &self.reached {
            // Whose end was announced proved nothing about the release: the next one tries it.
            let proven = |host: &&usize| self.hosts[**host].lives || !self.hosts[**host].leaves;
            let count = hosts.iter().filter(proven).count();
            assert!(count <= allowed, "{path} reached {hosts:?} {}", self.show());
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Tell(host, life, event) => {
                if self.hosts[host].life == life {
                    self.tell(host, event);
                }
            }
            Happening::Look(host, life, answer) => {
                let group = self.ledger.clone().map(|(group, n)| (group, Token(n.to_string())));
                let now = self.clock(host);
                let statuses = self.statuses.values().cloned().collect();
                let own = &mut self.hosts[host];
                let members = own.roll.call(now, &own.name, statuses);
                let event = Event::Looked { group, members };
                if let Some(delay) = answer {
                    self.after(delay, Happening::Tell(host, life, event));
                }
            }
            Happening::Write(host, life, answer, expected, group) => {
                let cas = self.cas(&expected, *group);
                if let Some(delay) = answer {
                    self.after(delay, Happening::Tell(host, life, Event::Wrote(cas)));
                }
            }
            Happening::Say(host, status) => {
                if self.is_cut_off(host) {
                    // It is not said again; the next word comes with the next beat.
                    return;
                }
                let newer = |known: &Status| known.beat > status.beat;
                if !self.statuses.get(&status.host).is_some_and(newer) {
                    self.statuses.insert(status.host.clone(), status);
                }
            }
            Happening::Swap(host, id) => self.advance(host, &id),
            Happening::Relapse(host, id) => self.relapse(host, &id),
            Happening::Ask(host, life, whom) => {
                let lives = self.hosts.iter().any(|host| host.name == whom && host.lives);
                // EC2 knows some living ones not, for a moment.
                let gone = match (lives, self.random.below(3)) {
                    (true, 0) if self.trouble == Trouble::All => Gone::Unknown,
                    (true, _) => Gone::No,
                    (false, 0) => Gone::Unknown,
                    (false, _) => Gone::Terminated,
                };
                if gone == Gone::Terminated {
                    self.hosts[host].roll.terminated(&whom);
                }
                let event = Event::Gone { host: whom, gone };
                self.after(50 * MS, Happening::Tell(host, life, event));
            }
            Happening::AgentBack(host) => self.start_agent(host),
            Happening::Die(host) => self.die(host),
            Happening::Person if self.trouble == Trouble::None => {}
            Happening::Person => self.person(),
            Happening::Misfortune if self.trouble == Trouble::None => {}
            Happening::Misfortune => self.misfortune(),
        }
    }

    fn cas(&mut self, expected: &Token, group: Group) -> Cas {
        let (current, version) = self.ledger.as_mut().expect("a record");
        if self.trouble != Trouble::BlindLedger && version.to_string() != expected.0 {
            return Cas::Lost;
        }
        // What travels is bytes.
        *current = Group::read(&group.write().expect("bytes")).expect("a record");
        *version += 1;
        Cas::Applied(Token(version.to_string()))
    }

    /// The ledger is away for everybody.
    pub fn take_ledger_away(&mut self, seconds: u64) {
        let until = self.now + seconds * SECOND;
        for host in &mut self.hosts {
            host.cut_off_until = until;
        }
    }

    fn is_cut_off(&self, host: usize) -> bool {
        self.hosts[host].cut_off_until > self.now
    }

    fn clock(&self, host: usize) -> Now {
        let clock_ns = self.now / 1_000 * self.hosts[host].rate;
        // The wall clock is somewhere else in two centuries at each look: it decides nothing.
        let wall_ms = (self.now ^ (self.now >> 13)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
        Now { clock_ns, wall_ms }
    }

    fn start_agent(&mut self, host: usize) {
        if !self.hosts[host].lives || self.hosts[host].member.is_some() {
            return;
        }
        let down_ns = self.hosts[host].down_until.saturating_sub(self.now);
        if down_ns > 0 {
            return self.after(down_ns, Happening::AgentBack(host));
        }
        let facts = Facts {
            host: self.hosts[host].name.clone(),
            apps: APPS.map(str::to_owned).to_vec(),
            idle_ms: LOOK_IDLE_MS,
        };
        let now = self.clock(host);
        self.hosts[host].member = Some(Member::new(facts, now));
        self.hosts[host].roll = RollCall::default();
        self.hosts[host].life += 1;
        self.tell_local(host);
    }

    fn tell_local(&mut self, host: usize) {
        for app in APPS {
            let local = self.hosts[host].apps[app].local(app);
            self.tell(host, Event::Local(local));
        }
    }

    fn tell(&mut self, host: usize, event: Event) {
        let now = self.clock(host);
        let Some(member) = &mut self.hosts[host].member else { return };
        let effects = member.step(now, event);
        let wake_ns = member.wake_ns();
        let life = self.hosts[host].life;
        for effect in effects {
            self.carry_out(host, life, effect);
        }
        if wake_ns != u64::MAX {
            let rate = self.hosts[host].rate;
            let delay = wake_ns.saturating_sub(now.clock_ns) / rate * 1_000 + MS;
            self.after(delay, Happening::Tell(host, life, Event::Tick));
        }
    }

    /// The way to the ledger: how long there and back, if at all.
    fn journey(&mut self, host: usize) -> (Option<u64>, Option<u64>) {
        if self.is_cut_off(host) {
            return (None, None);
        }
        let (there, back) = (self.random.between(1, 80) * MS, self.random.between(1, 80) * MS);
        if self.trouble != Trouble::All {
            return (Some(there), Some(back));
        }
        match self.random.below(30) {
            0 => (None, None),
            1 => (Some(there), None),
            // It arrives when nobody waits for it any more.
            2 => (Some(TIMEOUT + there), None),
            _ => (Some(there), Some(back)),
        }
    }

    fn carry_out(&mut self, host: usize, life: u64, effect: Effect) {
        match effect {
            Effect::Look => {
                let (there, back) = self.journey(host);
                if let Some(there) = there {
                    self.after(there, Happening::Look(host, life, back));
                }
                if there.is_none() || back.is_none() {
                    let event = Event::LookFailed("no answer".to_owned());
                    self.after(TIMEOUT, Happening::Tell(host, life, event));
                }
            }
            Effect::Write { expected, group } => {
                let (there, back) = self.journey(host);
                if let Some(there) = there {
                    self.after(there, Happening::Write(host, life, back, expected, group));
                }
                if there.is_none() || back.is_none() {
                    let cas = Cas::Unknown("no answer".to_owned());
                    self.after(TIMEOUT, Happening::Tell(host, life, Event::Wrote(cas)));
                }
            }
            Effect::Say(status) => self.after(30 * MS, Happening::Say(host, status)),
            Effect::Prefetch { app, path } => {
                let fails = self.trouble == Trouble::All && self.random.chance(5);
                let result = if fails { Err("disk full".to_owned()) } else { Ok(()) };
                let delay = self.random.between(100, 5_000) * MS;
                let event = Event::Prefetched { app, path, result };
                self.after(delay, Happening::Tell(host, life, event));
            }
            Effect::Swap { path, id, fence, .. } => self.begin(host, path, id, fence),
            Effect::Cancel { id, .. } => self.cancel(host, &id),
            Effect::Ask { host: whom } => {
                self.after(50 * MS, Happening::Ask(host, life, whom));
            }
        }
    }

    fn begin(&mut self, host: usize, path: String, id: String, fence: u64) {
        if self.hosts[host].app_of_swap(&id).is_some() {
            return;
        }
        let is_busy = self.hosts[host].apps.values().any(Own::is_swapping);
        assert!(!is_busy, "a second swap at once on {host}: {id} to {path}: {}", self.show());
        self.hosts[host].begun += 1;
        let app = app_of(&path);
        let swap = Swap { id: id.clone(), path, fence, stage: Stage::Begun };
        self.hosts[host].own(app).swap = Some(swap);
        let delay = self.random.between(10, 3_000) * MS;
        self.after(delay, Happening::Swap(host, id));
        self.after(MS, Happening::Tell(host, self.hosts[host].life, Event::Tick));
        self.tell_soon(host, app);
    }

    /// What the supervisor and the swap machine say reaches the member a little later.
    fn tell_soon(&mut self, host: usize, app: &str) {
        let own = &self.hosts[host];
        let (life, event) = (own.life, Event::Local(own.apps[app].local(app)));
        self.after(MS, Happening::Tell(host, life, event));
    }

    fn set_stage(&mut self, host: usize, app: &'static str, stage: Stage) {
        let own = self.hosts[host].own(app);
        let Some(swap) = &mut own.swap else { return };
        let is_committed = matches!(stage, Stage::Ended(Stop::Committed) | Stage::Settles);
        if is_committed && swap.stage != Stage::Settles {
            own.previous = own.path.replace(swap.path.clone());
            own.barred.retain(|barred| barred.path != swap.path);
        }
        if let Stage::Ended(Stop::Failed(reason)) = &stage {
            let (path, swap, reason) = (swap.path.clone(), swap.id.clone(), reason.clone());
            own.barred.push(Barred { path, swap, reason });
        }
        let is_weak = stage == Stage::Ended(Stop::Committed) && swap.path.starts_with("weak");
        let id = swap.id.clone();
        swap.stage = stage;
        self.tell_soon(host, app);
        if is_weak {
            let delay = self.random.between(1, 30) * SECOND;
            self.after(delay, Happening::Relapse(host, id));
        }
    }

    /// The watch window of a swap: back to what served before, and the path is barred here.
    fn relapse(&mut self, host: usize, id: &str) {
        let lives = self.hosts[host].lives;
        let Some(app) = self.hosts[host].app_of_swap(id).filter(|_| lives) else { return };
        let own = self.hosts[host].own(app);
        let (Some(swap), Some(previous)) = (own.swap.as_mut(), own.previous.take()) else { return };
        own.path = Some(previous);
        let reason = "it fell sick after its commit".to_owned();
        let (path, barred) = (swap.path.clone(), reason.clone());
        own.barred.push(Barred { path, swap: id.to_owned(), reason: barred });
        // The swap of the slot is told to have failed, whatever came after it.
        swap.stage = Stage::Ended(Stop::Failed(reason));
        self.tell_soon(host, app);
    }

    fn advance(&mut self, host: usize, id: &str) {
        let lives = self.hosts[host].lives;
        let Some(app) = self.hosts[host].app_of_swap(id).filter(|_| lives) else { return };
        let Some(swap) = self.hosts[host].own(app).swap.clone() else { return };
        let bad = swap.path.starts_with("bad");
        let stage = match swap.stage {
            Stage::Ended(_) => return,
            Stage::Begun if self.hosts[host].cannot => {
                Stage::Ended(Stop::Refused(CANNOT.to_owned()))
            }
            Stage::Begun if self.trouble == Trouble::All && self.random.chance(8) => {
                Stage::Ended(Stop::Refused("its disk is full".to_owned()))
            }
            // The fence is asked for once more before the first step that cannot be undone.
            Stage::Begun if swap.fence != 0 && self.is_cut_off(host) => {
                return self.after(SECOND, Happening::Swap(host, swap.id));
            }
            Stage::Begun
                if swap.fence != 0 && !self.group().holds(&self.hosts[host].name, swap.fence) =>
            {
                Stage::Ended(Stop::Refused("its slot is gone".to_owned()))
            }
            Stage::Begun => {
                *self.swaps.entry(swap.path.clone()).or_default() += u64::from(swap.fence != 0);
                if bad && swap.fence != 0 {
                    let rollout =
                        format!("{} {}", swap.path, id.rsplit_once('-').map_or("", |p| p.0));
                    self.reached.entry(rollout).or_default().insert(host);
                }
                Stage::Out
            }
            Stage::Out if bad => Stage::Ended(Stop::Failed("it does not answer".to_owned())),
            Stage::Out if app == SYSTEM => Stage::Settles,
            Stage::Out => Stage::Switched,
            Stage::Switched | Stage::Settles => Stage::Ended(Stop::Committed),
        };
        let reboots = app == SYSTEM && stage == Stage::Out;
        let goes_on = !matches!(stage, Stage::Ended(_));
        self.set_stage(host, app, stage);
        let down = if reboots { self.reboot(host, bad) } else { 0 };
        if goes_on {
            // Some bake so long that the others ask whether they still exist.
            let slow = self.trouble == Trouble::All && self.random.chance(10) && !reboots;
            let most = if slow { 200_000 } else { 12_000 };
            let delay = self.random.between(500, most) * MS;
            self.after(down + delay, Happening::Swap(host, swap.id));
        }
    }

    /// The agent goes with the host and comes back with it, once more if it fell back.
    fn reboot(&mut self, host: usize, falls_back: bool) -> u64 {
        let times = if falls_back { 2 } else { 1 };
        let down = self.random.between(self.reboot_s / 3, self.reboot_s) * times * SECOND;
        self.hosts[host].down_until = self.now + down;
        self.hosts[host].member = None;
        self.hosts[host].life += 1;
        self.after(down, Happening::AgentBack(host));
        down
    }

    fn cancel(&mut self, host: usize, id: &str) {
        let Some(app) = self.hosts[host].app_of_swap(id) else { return };
        let stage = self.hosts[host].own(app).swap.as_ref().map(|swap| swap.stage.clone());
        // Nobody calls back a host that reboots.
        if stage == Some(Stage::Begun) || (stage == Some(Stage::Out) && app != SYSTEM) {
            self.set_stage(host, app, Stage::Ended(Stop::Refused("called back".to_owned())));
        }
    }

    fn die(&mut self, host: usize) {
        self.hosts[host].lives = false;
        self.hosts[host].member = None;
        self.hosts[host].life += 1;
    }

    /// From now on every swap of this host is refused by something of its own, or is not any more.
    pub fn hinder(&mut self, host: usize, cannot: bool) {
        self.hosts[host].cannot = cannot;
    }

    /// Swaps that this host began so far.
    pub fn begun(&self, host: usize) -> u64 {
        self.hosts[host].begun
    }

    /// What this host says of its app.
    pub fn said(&self, host: usize) -> &rollout::fleet::AppStatus {
        &self.statuses[&self.hosts[host].name].apps[APP]
    }

    pub fn kill_a_holder(&mut self, announced: bool) {
        let name = self.group().holders[0].host.clone();
        let host = self.hosts.iter().position(|host| host.name == name).expect("a host");
        if announced {
            self.tell(host, Event::Leaving("spot".to_owned()));
            self.after(2 * SECOND, Happening::Die(host));
        } else {
            self.die(host);
        }
    }

    /// A person changes the record: as good a writer as any host, with all the patience it takes.
    fn change<R>(&mut self, change: impl FnOnce(&mut Group) -> R) -> R {
        let (group, version) = self.ledger.as_mut().expect("a record");
        *version += 1;
        change(group)
    }

    pub fn roll(&mut self, path: &str, forced: bool) -> bool {
        self.releases += 1;
        let rollout = Rollout {
            id: format!("r{}", self.releases),
            to: Version { path: path.to_owned(), serial: 0 },
            by: "alice".to_owned(),
            began_ms: self.now / MS,
            paused: None,
            forced,
        };
        let supersede = self.random.chance(50);
        self.change(|group| group.start(app_of(path), rollout, supersede)).is_ok()
    }

    pub fn pause(&mut self) {
        self.pause_of(APP);
    }

    fn pause_of(&mut self, app: &str) {
        let pause = Pause { by: "bob".to_owned(), why: "lunch".to_owned() };
        let _ = self.change(|group| group.pause(app, Some(pause)));
    }

    /// Nothing is paused any more.
    pub fn resume(&mut self) {
        for app in APPS {
            let _ = self.change(|group| group.pause(app, None));
        }
    }

    pub fn abort(&mut self) {
        self.abort_of(APP);
    }

    pub fn abort_of(&mut self, app: &str) {
        let now_ms = self.now / MS;
        let _ = self.change(|group| group.abort(app, "second thoughts", now_ms));
    }

    fn person(&mut self) {
        let app = APPS[usize::from(self.random.chance(30))];
        match self.random.below(11) {
            0..=4 => {
                let number = self.random.below(4);
                let bad = self.random.chance(35);
                let weak = self.random.chance(15);
                let kind = if bad {
                    "bad"
                } else if weak {
                    "weak"
                } else {
                    "good"
                };
                // A system does not fall sick: it is blessed, or left.
                let path = match self.random.chance(25) {
                    true if kind != "weak" => format!("{kind}-sys-{number}"),
                    _ => format!("{kind}-{number}"),
                };
                let forced = self.random.chance(20);
                self.roll(&path, forced);
            }
            5 => self.pause_of(app),
            6 | 7 => self.resume(),
            8 => self.abort_of(app),
            9 => self.release_the_dead(),
            _ => {
                self.add_host();
            }
        }
        let delay = self.random.between(1, 90) * SECOND;
        self.after(delay, Happening::Person);
    }

    /// `rollinit locks release` of what dead hosts hold, before EC2 is asked.
    fn release_the_dead(&mut self) {
        let dead: Vec<String> =
            self.hosts.iter().filter(|host| !host.lives).map(|host| host.name.clone()).collect();
        for host in dead {
            let Some(slot) = self.group().holder(&host).cloned() else { continue };
            let release = |group: &mut Group| group.release(&slot, true, "a person saw it burn", 0);
            self.change(release).expect("it is held");
        }
    }

    fn misfortune(&mut self) {
        let count = self.hosts.len() as u64;
        let host = usize::try_from(self.random.below(count)).expect("an index");
        let staying = |host: &&Host| host.lives && !host.leaves;
        let staying = self.hosts.iter().filter(staying).count();
        let may_die = staying > 1 && self.hosts[host].lives && !self.hosts[host].leaves;
        match self.random.below(8) {
            0..=2 => {
                self.hosts[host].member = None;
                self.hosts[host].life += 1;
                let delay = self.random.between(1, 8_000) * MS;
                self.after(delay, Happening::AgentBack(host));
            }
            3..=5 => {
                self.hosts[host].cut_off_until = self.now + self.random.between(1, 60) * SECOND;
            }
            6 if may_die => self.die(host),
            7 if may_die => {
                self.hosts[host].leaves = true;
                self.tell(host, Event::Leaving("spot".to_owned()));
                let delay = self.random.between(1, 120) * SECOND;
                self.after(delay, Happening::Die(host));
            }
            _ => {}
        }
        let delay = self.random.between(1, 40) * SECOND;
        self.after(delay, Happening::Misfortune);
    }

    /// From now on everything works, and people let go on what was begun.
    pub fn make_peace(&mut self) {
        self.trouble = Trouble::None;
        self.reboot_s = self.reboot_s.min(60);
        self.resume();
    }

    pub fn check_rest(&self) {
        assert!(self.group().holders.is_empty(), "slots are held: {}", self.show());
        for app in APPS {
            self.check_rest_of(app);
        }
    }

    fn check_rest_of(&self, app: &str) {
        let track = self.track_of(app);
        let shown = || self.show();
        let living: Vec<&Host> = self.hosts.iter().filter(|host| host.lives).collect();
        let bad = |path: &str| path.starts_with("bad");
        if let Some(rollout) = &track.rollout {
            panic!("rollout {} of {app} goes on: {}", rollout.id, shown());
        }
        let blessed = track.blessed.as_ref().expect("something is blessed").path.as_str();
        assert!(!bad(blessed), "{}", shown());
        let left = track.last.as_ref().map(|last| last.to.path.as_str());
        for host in living {
            let own = &host.apps[app];
            let path = own.path.as_deref();
            assert!(
                path == Some(blessed)
                    || (path.is_some() && path == left)
                    || own.barred.iter().any(|barred| barred.path == blessed),
                "{} runs {path:?}, with {blessed} blessed: {}",
                host.name,
                shown()
            );
            assert!(!path.is_some_and(bad), "{}", host.name);
        }
    }
}

impl World {
    /// All that is so, for whoever reads a failure.
    pub fn show(&self) -> String {
        let mut text = format!("{:#?}\n", self.group());
        for host in &self.hosts {
            text.push_str(&format!(
                "{} lives={} status={:?}\n",
                host.name,
                host.lives,
                self.statuses.get(&host.name).map(|status| &status.apps),
            ));
            for (app, own) in &host.apps {
                let Own { path, barred, swap, .. } = own;
                text.push_str(&format!("  {app} path={path:?} swap={swap:?} barred={barred:?}\n"));
            }
        }
        text
    }
}
