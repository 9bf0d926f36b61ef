//! A host as an agent sees it: a supervisor with two sides, a store with roots and a collector,
//! a profile. What a power cut leaves is in [`Disk`]; all the rest is gone with it.

use rollout::ports::{Move, Sides};
use rollout::{
    Failure, Fault, HealthKind, HostSwap, ProbeResult, ProbeTarget, RootRole, Run, RunState,
    Strategy, SwapPhase, View,
};
use std::collections::{BTreeMap, BTreeSet};

pub const SECOND: u64 = 1_000_000_000;

/// What the sides bind with the strategy `ports`.
pub const PORTS: [u16; 2] = [4000, 4001];

/// How a program behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Well,
    NeverStarts,
    /// Runs and accepts nothing.
    Deaf,
    /// Answers 503.
    Sick,
    /// Ends half a second after each start.
    Loops,
    /// Answers 503 from then on, in milliseconds since its start.
    SickAfter(u64),
    /// Its first run ends then.
    DiesOnce(u64),
    /// Well the first time, answers 503 whenever it is started again.
    NeverAgain,
}

/// All that is special about a closure.
#[derive(Clone, Copy, Debug)]
pub struct Nature {
    pub life: Life,
    /// Whether it has a migration, and whether that works.
    pub migration: Option<bool>,
    pub hook_works: bool,
}

/// What survives a power cut.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub record: Option<Vec<u8>>,
    pub roots: BTreeMap<RootRole, String>,
    pub generations: Vec<String>,
    pub store: BTreeSet<String>,
}

impl Disk {
    /// What the profile link points to: the newest generation, or the definition's seed.
    pub fn profile(&self) -> Option<&String> {
        self.generations.last()
    }
}

#[derive(Clone, Debug, Default)]
pub struct Side {
    pub closure: Option<String>,
    pub incarnation: u64,
    pub is_wanted: bool,
    pub is_live: bool,
    gave_up: bool,
    deaths: u32,
    since_ns: u64,
    back_ns: u64,
}

/// A balancer, as far as it matters: an agent's orders, and whether one of them failed.
#[derive(Clone, Debug, Default)]
pub struct Front {
    pub is_in: [bool; 2],
    /// Since the last rest.
    pub has_failed: bool,
}

#[derive(Clone, Debug)]
pub struct Host {
    pub sides: [Side; 2],
    pub serving: usize,
    pub swap: Option<HostSwap>,
    /// Where a `restart` came from.
    before: Option<String>,
    ended: Option<String>,
    pub strategy: Strategy,
    pub natures: BTreeMap<String, Nature>,
    /// Whom the balancer sends to, with the strategy `ports`.
    pub front: Front,
    /// Starts of each closure over the life of the simulation.
    starts: BTreeMap<String, u32>,
}

impl Host {
    /// A boot: one side serves what the profile link or the seed says.
    pub fn boot(
        closure: Option<String>,
        strategy: Strategy,
        natures: BTreeMap<String, Nature>,
        now_ns: u64,
    ) -> Self {
        let mut host = Self {
            sides: [Side::default(), Side::default()],
            serving: 0,
            swap: None,
            before: None,
            ended: None,
            strategy,
            natures,
            front: Front::default(),
            starts: BTreeMap::new(),
        };
        if let Some(closure) = closure {
            host.start(0, closure, now_ns);
        }
        host
    }

    pub fn life(&self, closure: &str) -> Life {
        let life = self.natures.get(closure).map_or(Life::Well, |nature| nature.life);
        match life {
            Life::NeverAgain if self.starts.get(closure).is_some_and(|count| *count > 1) => {
                Life::Sick
            }
            Life::NeverAgain => Life::Well,
            life => life,
        }
    }

    fn start(&mut self, side: usize, closure: String, now_ns: u64) {
        *self.starts.entry(closure.clone()).or_default() += 1;
        let starts = self.life(&closure) != Life::NeverStarts;
        let incarnation = self.sides[side].incarnation + 1;
        self.sides[side] = Side {
            closure: Some(closure),
            incarnation,
            is_wanted: true,
            is_live: starts,
            gave_up: !starts,
            deaths: 0,
            since_ns: now_ns,
            back_ns: 0,
        };
    }

    fn stop(&mut self, side: usize) {
        let side = &mut self.sides[side];
        (side.is_wanted, side.is_live) = (false, false);
    }

    /// Programs end and are started again.
    pub fn turn(&mut self, now_ns: u64) {
        for index in 0..2 {
            let Some(closure) = self.sides[index].closure.clone() else { continue };
            let life = self.life(&closure);
            let side = &mut self.sides[index];
            if !side.is_wanted || side.gave_up {
                continue;
            }
            if side.is_live && dies_ns(life, side).is_some_and(|at_ns| at_ns <= now_ns) {
                side.is_live = false;
                side.deaths += 1;
                side.gave_up = side.deaths >= 5;
                side.back_ns = now_ns + SECOND / 2;
            } else if !side.is_live && side.back_ns <= now_ns {
                side.is_live = true;
                side.incarnation += 1;
                side.since_ns = now_ns;
            }
        }
    }

    /// When something happens by itself.
    pub fn next_ns(&self) -> Option<u64> {
        let next = |side: &Side| {
            let life = self.life(side.closure.as_deref()?);
            match (side.is_wanted && !side.gave_up, side.is_live) {
                (true, true) => dies_ns(life, side),
                (true, false) => Some(side.back_ns),
                (false, _) => None,
            }
        };
        self.sides.iter().filter_map(next).min()
    }

    pub fn view(&self) -> View {
        let run = |index: usize| {
            let port = (self.strategy == Strategy::Ports).then(|| PORTS[index]);
            Run { port, ..run(&self.sides[index]) }
        };
        let shows_candidate = self.swap.is_some() && self.strategy.has_two_sides();
        View {
            serving: run(self.serving),
            candidate: shows_candidate.then(|| run(1 - self.serving)),
            swap: self.swap.clone(),
        }
    }

    /// A boot: what the balancer was told it still knows.
    pub fn keep_front(&mut self, before: &Self) {
        self.front = before.front.clone();
    }

    pub fn ports(&self) -> Option<Sides> {
        (self.strategy == Strategy::Ports).then(|| Sides {
            serving: PORTS[self.serving],
            is_live: self.sides[self.serving].is_live,
            other: PORTS[1 - self.serving],
            swap: self.swap.clone(),
        })
    }

    /// The balancer obeys. While somebody runs whom users could be sent to, there is one.
    pub fn obey(&mut self, order: Move) {
        let index = |port: u16| usize::from(port != PORTS[0]);
        match order {
            Move::Join(port) => self.front.is_in[index(port)] = true,
            // The definition stays as it is.
            Move::LeaveAllBut(ports) => assert_eq!(ports.map(index).iter().sum::<usize>(), 1),
            Move::Leave { port, .. } => {
                let (own, other) = (index(port), 1 - index(port));
                let lives = self.sides[own].is_live && self.front.is_in[own];
                let is_alone = lives && self.sides[other].is_live && !self.front.is_in[other];
                assert!(!is_alone || self.front.has_failed, "users are left with nobody");
                self.front.is_in[own] = false;
            }
        }
    }

    pub fn live(&self) -> impl Iterator<Item = &String> {
        self.sides.iter().filter(|side| side.is_live).filter_map(|side| side.closure.as_ref())
    }

    fn candidate(&self) -> usize {
        match self.strategy {
            Strategy::Overlap | Strategy::Ports => 1 - self.serving,
            Strategy::Restart => self.serving,
        }
    }

    pub fn prepare(&mut self, id: &str, closure: &str, now_ns: u64) -> Result<(), Failure> {
        if let Some(swap) = &self.swap {
            return if swap.id == id { Ok(()) } else { Err(host("another swap is under way")) };
        }
        self.swap = Some(HostSwap { id: id.to_owned(), phase: SwapPhase::Prepared });
        self.before = self.sides[self.serving].closure.clone();
        let side = self.candidate();
        assert!(!self.front.is_in[side], "users are sent to a version behind its gate");
        self.start(side, closure.to_owned(), now_ns);
        if self.sides[side].is_live {
            Ok(())
        } else {
            Err(Failure {
                fault: Fault::Release,
                reason: "exec: no such file".to_owned(),
                cure: vec![],
            })
        }
    }

    pub fn admit(&mut self, id: &str) -> Result<(), Failure> {
        let swap = self.swap.as_mut().filter(|swap| swap.id == id);
        let swap = swap.ok_or(host("no such swap"))?;
        swap.phase = SwapPhase::Admitted;
        Ok(())
    }

    pub fn retire(&mut self, id: &str) -> Result<(), Failure> {
        match &self.swap {
            Some(swap) if swap.id == id && swap.phase == SwapPhase::Admitted => {}
            None if self.ended.as_deref() == Some(id) => return Ok(()),
            _ => return Err(host("nothing to retire")),
        }
        if self.strategy.has_two_sides() {
            assert!(!self.front.is_in[self.serving], "it is stopped with its users");
            self.stop(self.serving);
            self.serving = 1 - self.serving;
        }
        (self.swap, self.ended) = (None, Some(id.to_owned()));
        Ok(())
    }

    pub fn abandon(&mut self, id: &str, now_ns: u64) -> Result<(), Failure> {
        if self.swap.as_ref().is_none_or(|swap| swap.id != id) {
            return Ok(());
        }
        let side = self.candidate();
        self.stop(side);
        self.swap = None;
        if self.strategy == Strategy::Restart {
            let Some(before) = self.before.take() else {
                self.sides[side].closure = None;
                return Ok(());
            };
            self.start(side, before, now_ns);
            if !self.sides[side].is_live {
                let reason = "exec: no such file".to_owned();
                return Err(Failure { fault: Fault::Release, reason, cure: vec![] });
            }
        }
        Ok(())
    }

    /// Whoever listens where the question goes answers it, whoever was meant.
    pub fn probe(&self, target: ProbeTarget, kind: &HealthKind, now_ns: u64) -> ProbeResult {
        let is_candidate = target == ProbeTarget::Candidate && self.swap.is_some();
        let meant = if is_candidate { self.candidate() } else { self.serving };
        let asked = match (self.strategy, kind) {
            (Strategy::Ports, HealthKind::Http { address, .. } | HealthKind::Tcp { address }) => {
                let of = |port: &u16| *address == format!("127.0.0.1:{port}");
                PORTS.iter().position(of).expect("a port of one side")
            }
            _ => meant,
        };
        self.answer(&self.sides[asked], now_ns)
    }

    /// What users of the serving side get.
    pub fn is_well(&self, now_ns: u64) -> bool {
        self.answer(&self.sides[self.serving], now_ns) == ProbeResult::Pass
    }

    fn answer(&self, side: &Side, now_ns: u64) -> ProbeResult {
        let Some(closure) = side.closure.as_deref().filter(|_| side.is_live) else {
            return ProbeResult::Refused;
        };
        match self.life(closure) {
            Life::Deaf => ProbeResult::Refused,
            Life::Sick => ProbeResult::Sick("503".to_owned()),
            Life::SickAfter(ms) if now_ns >= side.since_ns + ms * 1_000_000 => {
                ProbeResult::Sick("503".to_owned())
            }
            _ => ProbeResult::Pass,
        }
    }
}

fn dies_ns(life: Life, side: &Side) -> Option<u64> {
    match life {
        Life::Loops => Some(side.since_ns + SECOND / 2),
        Life::DiesOnce(ms) if side.deaths == 0 => Some(side.since_ns + ms * 1_000_000),
        _ => None,
    }
}

pub fn host(reason: &str) -> Failure {
    Failure { fault: Fault::Host, reason: reason.to_owned(), cure: Vec::new() }
}

/// One side, but for its port.
fn run(side: &Side) -> Run {
    Run {
        closure: side.closure.clone(),
        port: None,
        state: match (side.is_wanted, side.is_live, side.gave_up) {
            (false, ..) => RunState::Down,
            (true, true, _) => RunState::Up,
            (true, false, true) => RunState::Failed,
            (true, false, false) => RunState::Waiting,
        },
        incarnation: side.incarnation,
        pid: 0,
        ready: side.is_live,
        reason: String::new(),
    }
}
