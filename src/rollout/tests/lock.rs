//! Hosts that want to migrate, and a ledger that loses and delays: the real [`Lock`]s.
//!
//! What is proven at every moment: never two migrations at once, though clocks differ in speed,
//! answers are lost, hosts are cut off and agents die. At the end: every host was told the same,
//! and what failed was not run again. `LOCK_SEED=N` replays a failure, `LOCK_RUNS=N` makes more.

#[path = "fleet/random.rs"]
mod random;

use random::Random;
use rollout::fleet::{Lock, LockEffect, LockEvent, Migrations, Verdict, Wish};
use rollout::{Cas, Now, Token};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
const LEASE_MS: u64 = 6_000;
const TIMEOUT: u64 = 1_500 * MS;
const RUNS: u64 = 2_000;

#[derive(Clone, Debug)]
enum Happening {
    Tell(usize, u64, LockEvent),
    Look(usize, u64, Option<u64>),
    Write(usize, u64, Option<u64>, Option<Token>, Box<Migrations>),
    Ends(usize, u64),
    Deadline(usize),
    AgentBack(usize),
    Misfortune,
}

/// A migration's process: it lives until it ends by itself, or PID 1 ends it.
#[derive(Clone, Debug)]
struct Process {
    number: u64,
    /// By the host's own clock.
    until_ns: u64,
}

struct Host {
    lives: bool,
    lock: Option<Lock>,
    life: u64,
    process: Option<Process>,
    verdict: Option<Verdict>,
    cut_off_until: u64,
    rate: u64,
}

struct World {
    random: Random,
    now: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    sequence: u64,
    record: Option<(Migrations, u64)>,
    hosts: Vec<Host>,
    troubled: bool,
    fails: bool,
    /// What the wall clocks say.
    wall: fn(u64) -> u64,
    processes: u64,
    finished: u64,
    revoked: u64,
}

impl World {
    fn new(mut random: Random, hosts: usize, wild: bool) -> Self {
        let fails = random.chance(30);
        let mut world = Self {
            random,
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            record: None,
            hosts: Vec::new(),
            troubled: true,
            fails,
            wall: jumping,
            processes: 0,
            finished: 0,
            revoked: 0,
        };
        for index in 0..hosts {
            let rate = if wild && index % 2 == 0 { 400 } else { world.random.between(900, 1100) };
            world.hosts.push(Host {
                lives: true,
                lock: None,
                life: 0,
                process: None,
                verdict: None,
                cut_off_until: 0,
                rate,
            });
            let delay = world.random.between(1, 4_000) * MS;
            world.after(delay, Happening::AgentBack(index));
        }
        world.after(SECOND, Happening::Misfortune);
        world
    }

    fn after(&mut self, delay: u64, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), happening);
    }

    fn run(&mut self, seconds: u64) {
        let until = self.now + seconds * SECOND;
        while self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= until) {
            let ((at, _), happening) = self.queue.pop_first().expect("just seen");
            self.now = at;
            self.happen(happening);
            let running = self.hosts.iter().filter(|host| host.process.is_some()).count();
            assert!(running <= 1, "{running} migrations at {} ms", self.now / MS);
        }
        self.now = until;
    }

    fn now_of(&self, host: usize) -> Now {
        Now { clock_ns: self.clock_ns(host), wall_ms: (self.wall)(self.now + host as u64) }
    }

    fn clock_ns(&self, host: usize) -> u64 {
        self.now / 1_000 * self.hosts[host].rate
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Tell(host, life, event) if self.hosts[host].life == life => {
                self.tell(host, event);
            }
            Happening::Tell(..) => {}
            Happening::Look(host, life, answer) => {
                let record =
                    self.record.clone().map(|(record, number)| (record, Token(number.to_string())));
                if let Some(delay) = answer {
                    self.after(delay, Happening::Tell(host, life, LockEvent::Looked(record)));
                }
            }
            Happening::Write(host, life, answer, expected, next) => {
                let current = self.record.as_ref().map(|(_, number)| Token(number.to_string()));
                let cas = if current == expected {
                    let number = self.record.as_ref().map_or(1, |(_, number)| number + 1);
                    self.record = Some((*next, number));
                    Cas::Applied(Token(number.to_string()))
                } else {
                    Cas::Lost
                };
                if let Some(delay) = answer {
                    self.after(delay, Happening::Tell(host, life, LockEvent::Wrote(cas)));
                }
            }
            Happening::Ends(host, number) => self.process_ends(host, number),
            Happening::Deadline(host) => {
                let clock_ns = self.clock_ns(host);
                if self.hosts[host].process.as_ref().is_some_and(|run| run.until_ns <= clock_ns) {
                    self.hosts[host].process = None;
                    self.tell_soon(host, LockEvent::Interrupted);
                }
            }
            Happening::AgentBack(host) => self.start(host),
            Happening::Misfortune => self.misfortune(),
        }
    }

    fn tell_soon(&mut self, host: usize, event: LockEvent) {
        let life = self.hosts[host].life;
        self.after(MS, Happening::Tell(host, life, event));
    }

    fn process_ends(&mut self, host: usize, number: u64) {
        if self.hosts[host].process.as_ref().is_none_or(|run| run.number != number) {
            return;
        }
        self.hosts[host].process = None;
        self.finished += 1;
        let result = if self.fails { Err("no such column".to_owned()) } else { Ok(()) };
        self.tell_soon(host, LockEvent::Ended(result));
    }

    fn start(&mut self, host: usize) {
        if !self.hosts[host].lives || self.hosts[host].lock.is_some() {
            return;
        }
        let wish = Wish {
            host: format!("i-{host}"),
            swap: format!("swap-{host}"),
            path: "release".to_owned(),
            lease_ms: LEASE_MS,
            force: false,
        };
        let now = self.now_of(host);
        self.hosts[host].lock = Some(Lock::new(wish, now));
        self.hosts[host].life += 1;
        self.tell(host, LockEvent::Tick);
    }

    fn tell(&mut self, host: usize, event: LockEvent) {
        let now = self.now_of(host);
        let Some(lock) = &mut self.hosts[host].lock else { return };
        let effects = lock.step(now, event);
        let wake_ns = lock.wake_ns();
        let life = self.hosts[host].life;
        for effect in effects {
            self.carry_out(host, life, effect);
        }
        if wake_ns != u64::MAX {
            let delay = wake_ns.saturating_sub(now.clock_ns) / self.hosts[host].rate * 1_000 + MS;
            self.after(delay, Happening::Tell(host, life, LockEvent::Tick));
        }
    }

    fn journey(&mut self, host: usize) -> (Option<u64>, Option<u64>) {
        let (there, back) = (self.random.between(1, 90) * MS, self.random.between(1, 90) * MS);
        if self.hosts[host].cut_off_until > self.now {
            return (None, None);
        }
        match self.random.below(if self.troubled { 16 } else { u64::MAX }) {
            0 => (None, None),
            1 => (Some(there), None),
            2 => (Some(TIMEOUT + there), None),
            _ => (Some(there), Some(back)),
        }
    }

    fn carry_out(&mut self, host: usize, life: u64, effect: LockEffect) {
        match effect {
            LockEffect::Look => {
                let (there, back) = self.journey(host);
                if let Some(there) = there {
                    self.after(there, Happening::Look(host, life, back));
                }
                if there.is_none() || back.is_none() {
                    let event = LockEvent::LookFailed("no answer".to_owned());
                    self.after(TIMEOUT, Happening::Tell(host, life, event));
                }
            }
            LockEffect::Write { expected, record } => {
                let (there, back) = self.journey(host);
                if let Some(there) = there {
                    self.after(there, Happening::Write(host, life, back, expected, record));
                }
                if there.is_none() || back.is_none() {
                    let event = LockEvent::Wrote(Cas::Unknown("no answer".to_owned()));
                    self.after(TIMEOUT, Happening::Tell(host, life, event));
                }
            }
            LockEffect::Run { until_ns, .. } => self.run_process(host, until_ns),
            LockEffect::Renew { until_ns } => {
                if let Some(run) = &mut self.hosts[host].process {
                    run.until_ns = until_ns;
                }
                self.at_clock(host, until_ns);
            }
            LockEffect::Stop | LockEffect::Waits(_) => {}
            LockEffect::Over(verdict) => self.hosts[host].verdict = Some(verdict),
        }
    }

    fn run_process(&mut self, host: usize, until_ns: u64) {
        match &mut self.hosts[host].process {
            Some(run) => run.until_ns = until_ns,
            None => {
                self.processes += 1;
                let number = self.processes;
                self.hosts[host].process = Some(Process { number, until_ns });
                let delay = self.random.between(100, 25_000) * MS;
                self.after(delay, Happening::Ends(host, number));
            }
        }
        self.at_clock(host, until_ns);
    }

    /// PID 1's timer.
    fn at_clock(&mut self, host: usize, until_ns: u64) {
        let rate = self.hosts[host].rate;
        let delay = until_ns.saturating_sub(self.clock_ns(host)) / rate * 1_000 + 1_000;
        self.after(delay, Happening::Deadline(host));
    }

    fn misfortune(&mut self) {
        if !self.troubled {
            return;
        }
        let host = usize::try_from(self.random.below(self.hosts.len() as u64)).expect("an index");
        let living = self.hosts.iter().filter(|host| host.lives).count();
        match self.random.below(7) {
            0 | 1 => {
                // The agent dies; the process goes on until PID 1's deadline.
                self.hosts[host].lock = None;
                self.hosts[host].life += 1;
                let delay = self.random.between(1, 9_000) * MS;
                self.after(delay, Happening::AgentBack(host));
            }
            2 if living > 1 => {
                self.hosts[host].lives = false;
                self.hosts[host].lock = None;
                self.hosts[host].process = None;
                self.hosts[host].life += 1;
            }
            // Somebody takes the lock away by hand, from a holder that may well live.
            3 => {
                if let Some((record, number)) = &mut self.record
                    && record.revoke("web", "alice", 0).is_ok()
                {
                    *number += 1;
                    self.revoked += 1;
                }
            }
            _ => {
                let span = self.random.between(1, 20) * SECOND;
                self.hosts[host].cut_off_until = self.now + span;
            }
        }
        let delay = self.random.between(500, 12_000) * MS;
        self.after(delay, Happening::Misfortune);
    }

    fn check_rest(&self) {
        let record = &self.record.as_ref().expect("a record").0;
        assert!(record.holder.is_none(), "{record:?}");
        let outcome = record.outcome("release").expect("an outcome");
        assert_eq!(outcome.failed.is_some(), self.fails);
        // An end that nobody heard of (the agent or the host died) is made up for by another run.
        assert!(self.finished >= 1);
        for host in self.hosts.iter().filter(|host| host.lives) {
            let verdict = host.verdict.as_ref().expect("a verdict");
            assert_eq!(matches!(verdict, Verdict::Failed { .. }), self.fails, "{verdict:?}");
        }
    }
}

/// A wall clock that is somewhere else in two centuries at each look, forth and back.
const fn jumping(now: u64) -> u64 {
    (now ^ (now >> 13)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20
}

/// Returns how often somebody took the lock away by hand.
fn live(seed: u64, wild: bool) -> u64 {
    let [.., revoked] = live_by(seed, wild, jumping);
    revoked
}

/// How it went, in numbers that differ as soon as anything does.
fn live_by(seed: u64, wild: bool, wall: fn(u64) -> u64) -> [u64; 5] {
    let mut random = Random::new(seed);
    let hosts = usize::try_from(random.between(1, 6)).expect("few");
    let mut world = World::new(random, hosts + usize::from(wild), wild);
    world.wall = wall;
    world.run(90);
    world.troubled = false;
    world.run(300);
    world.check_rest();
    let fence = world.record.as_ref().map_or(0, |(record, _)| record.fence);
    [world.sequence, world.processes, world.finished, fence, world.revoked]
}

/// The wall clock is written down and decides nothing: whatever it says, all goes the same way.
#[test]
fn the_wall_clock_decides_nothing() {
    for seed in 0..100 {
        let right = live_by(seed, false, |now| 1_795_255_200_000 + now / MS);
        assert_eq!(live_by(seed, false, jumping), right, "LOCK_SEED={seed}");
    }
}

#[test]
fn random_lives() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    if let Some(seed) = number("LOCK_SEED") {
        live(seed, false);
        return;
    }
    let runs = number("LOCK_RUNS").unwrap_or(RUNS);
    let mut revoked = 0;
    for seed in 0..runs {
        match catch_unwind(AssertUnwindSafe(|| live(seed, false))) {
            Ok(times) => revoked += times,
            Err(panic) => {
                eprintln!("LOCK_SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(revoked >= runs / 2, "taken away by hand only {revoked} times");
}

/// The check must be able to fail: clocks that differ by more than the lock allows for are noticed.
#[test]
fn clocks_that_differ_too_much_are_noticed() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let noticed = (0..300).any(|seed| {
        let panic = catch_unwind(AssertUnwindSafe(|| live(seed, true))).err();
        let said = panic.and_then(|panic| panic.downcast::<String>().ok());
        said.is_some_and(|said| said.contains("migrations at"))
    });
    std::panic::set_hook(hook);
    assert!(noticed, "a simulation that notices nothing proves nothing");
}

/// Who was suspended in the middle of a migration ends it before anybody is asked, once; and does
/// not go on with it if another has the lock meanwhile.
#[test]
fn who_was_suspended_stops_first() {
    let at = |seconds: u64| Now { clock_ns: seconds * SECOND, wall_ms: 0 };
    let token = |text: &str| Token(text.to_owned());
    let wish = Wish {
        host: "a".to_owned(),
        swap: "r1-1".to_owned(),
        path: "/nix/store/new".to_owned(),
        lease_ms: LEASE_MS,
        force: false,
    };
    let mut lock = Lock::new(wish, at(1));
    assert_eq!(lock.step(at(1), LockEvent::Tick), [LockEffect::Look]);
    let effects = lock.step(at(1), LockEvent::Looked(None));
    let [LockEffect::Write { record, .. }] = &effects[..] else { panic!("{effects:?}") };
    let mut record = (**record).clone();
    let effects = lock.step(at(1), LockEvent::Wrote(Cas::Applied(token("1"))));
    assert!(matches!(&effects[..], [LockEffect::Run { fence: 1, .. }]), "{effects:?}");
    let effects = lock.step(at(3_600), LockEvent::Tick);
    assert!(matches!(&effects[..], [LockEffect::Stop, LockEffect::Write { .. }]), "{effects:?}");
    assert!(lock.step(at(3_601), LockEvent::Tick).is_empty(), "said once");
    assert_eq!(lock.step(at(3_601), LockEvent::Wrote(Cas::Lost)), [LockEffect::Look]);
    record.holder.as_mut().expect("held").host = "b".to_owned();
    let effects = lock.step(at(3_601), LockEvent::Looked(Some((record, token("7")))));
    assert!(matches!(&effects[..], [LockEffect::Stop, LockEffect::Waits(_)]), "{effects:?}");
}
