//! The machine's lives in a world that loses answers, forgets orders and kills agents; each replays
//! from its seed (`ROLLINIT_SEED`).
//!
//! What holds in every life:
//! - a place that serves is taken only while its group has enough other healthy ones, by the newest
//!   look, unless there is haste;
//! - whoever is told "out" gets no new request any more, and none is in flight unless the time for
//!   that is over, and the balancer's own delay is over;
//! - a place that somebody else took out is never given back;
//! - whoever is told "in" serves in every place that served before;
//! - it ends, whatever happens.

mod random;

use balancer::machine::{
    Ask, Effect, Event, Failed, FailedKind, Goal, Machine, Order, Outcome, Rules, Seen, Stand,
    Taken, Trouble,
};
use random::Random;
use std::time::Duration;

/// Lives of one run: some ten thousand orders and a hundred thousand events.
const LIVES: u64 = 4_000;

/// Steps of one errand. Patience is minutes and a look is at most seconds apart, so more means that
/// it never ends.
const STEPS_MAX: u32 = 20_000;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
struct Place {
    name: String,
    stand: Stand,
    /// Somebody else took it out.
    is_foreign: bool,
    in_flight: u64,
    others_healthy: usize,
    /// Until when the balancer still sends after an order to take it out.
    sends_until: Duration,
    /// When the last order to take it out was carried out.
    taken_at: Duration,
    /// When it will be found well.
    well_at: Duration,
}

/// How an errand is in haste.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Haste {
    None,
    /// The host goes down, and comes back.
    Boot,
    /// It goes for good, as far as it knows.
    End,
}

struct World {
    random: Random,
    now: Duration,
    places: Vec<Place>,
    /// What is on disk.
    kept: Vec<Taken>,
    rules: Rules,
    /// Things that go wrong, of a thousand.
    faults: u64,
    /// The others in the newest look.
    seen: Vec<Seen>,
    shuts: bool,
    /// Somebody was told that the host will be missing, and does not replace it.
    is_excused: bool,
    events: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let shuts = random.one_of(2);
        let faults = [0, 20, 200][usize::try_from(random.below(3)).expect("small")];
        let places = (0..1 + random.below(3)).map(|number| Place {
            name: format!("group{number} host"),
            stand: Stand::Serving,
            is_foreign: false,
            in_flight: random.below(4),
            others_healthy: 2,
            sends_until: Duration::ZERO,
            taken_at: Duration::ZERO,
            well_at: Duration::ZERO,
        });
        let mut places: Vec<Place> = places.collect();
        if random.one_of(4) {
            places[0].stand = if shuts { Stand::Shut } else { Stand::Absent };
            places[0].is_foreign = true;
            places[0].in_flight = 0;
        }
        let rules = Rules {
            floor: if shuts { Duration::ZERO } else { 15 * SECOND },
            drain_max: 30 * SECOND,
            join_max: 600 * SECOND,
            settle: SECOND * u32::try_from(random.below(6)).expect("small"),
            min_healthy: usize::try_from(random.below(3)).expect("small"),
            patience: 300 * SECOND,
            poll: if shuts { SECOND / 10 } else { 2 * SECOND },
            shuts,
            excuses: !shuts && random.one_of(2),
        };
        let (now, kept, seen) = (SECOND, Vec::new(), Vec::new());
        let is_excused = false;
        Self { random, now, places, kept, rules, faults, seen, shuts, is_excused, events: 0 }
    }

    fn has_fault(&mut self) -> bool {
        self.random.below(1_000) < self.faults
    }

    /// Time goes on, and so does everything else.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        let (now, faults) = (self.now, self.faults);
        for place in &mut self.places {
            if place.stand.is_in() || now < place.sends_until {
                place.in_flight = (place.in_flight + self.random.below(2)).min(5);
            }
            if place.in_flight > 0 && self.random.one_of(2) {
                place.in_flight -= 1;
            }
            if place.stand == Stand::Joining && now >= place.well_at {
                place.stand = Stand::Serving;
            }
            // HAProxy is restarted, and forgets what it was told.
            if self.shuts && !place.is_foreign && self.random.below(20_000) < faults {
                place.stand = Stand::Serving;
            }
            if self.random.below(1_000) < faults {
                place.others_healthy = usize::try_from(self.random.below(4)).expect("small");
            }
            // The delay of a target group is over.
            if !self.shuts && place.stand == Stand::Draining && place.taken_at + 30 * SECOND <= now
            {
                place.stand = Stand::Absent;
            }
        }
    }

    fn look(&mut self) -> Event {
        if self.has_fault() {
            return Event::Looked(Err(Trouble::Passing("nobody answers".to_owned())));
        }
        let seen = self.places.iter().map(|place| Seen {
            place: place.name.clone(),
            stand: place.stand.clone(),
            in_flight: Some(place.in_flight),
            others_healthy: place.others_healthy,
        });
        self.seen = seen.collect();
        Event::Looked(Ok(self.seen.clone()))
    }

    /// Carries an order out, perhaps; says so, perhaps.
    fn tell(&mut self, order: &Order, in_haste: bool) -> Event {
        let is_lost = self.has_fault();
        let is_done = !is_lost || self.random.one_of(2);
        if is_done {
            self.obey(order, in_haste);
        }
        Event::Told(if is_lost {
            Err(Trouble::Passing("the answer was lost".to_owned()))
        } else {
            Ok(())
        })
    }

    fn obey(&mut self, order: &Order, in_haste: bool) {
        match order {
            Order::Excuse => self.is_excused = true,
            Order::Recall => {
                let is_sent_to =
                    |place: &Place| place.stand.is_in() && self.now < place.sends_until;
                assert!(!in_haste || !self.places.iter().any(is_sent_to), "replaced, and not out");
                self.is_excused = false;
            }
            _ => {}
        }
        let (Order::Take(name) | Order::Shut(name) | Order::Give(name)) = order else { return };
        let seen = self.seen.iter().find(|one| one.place == *name).expect("it was looked at");
        let place = self.places.iter_mut().find(|place| place.name == *name).expect("a place");
        assert!(!place.is_foreign, "{order:?} to a place that somebody else took out");
        match order {
            Order::Take(_) => {
                let is_spared = seen.others_healthy >= self.rules.min_healthy;
                assert!(
                    is_spared || in_haste || seen.stand != Stand::Serving,
                    "taken with {} others",
                    seen.others_healthy
                );
                assert!(self.kept.iter().any(|taken| taken.place == *name), "not written down");
                if place.stand.is_in() {
                    place.stand = Stand::Draining;
                    let lag = self.rules.floor.as_secs();
                    let lag = if lag == 0 { 0 } else { self.random.below(lag) };
                    place.sends_until = self.now + Duration::from_secs(lag);
                    place.taken_at = self.now;
                }
            }
            Order::Shut(_) => {
                assert!(self.shuts, "nothing is to be shut here");
                place.stand = Stand::Shut;
            }
            _ => {
                if !place.stand.is_in() {
                    place.stand = if self.shuts { Stand::Serving } else { Stand::Joining };
                    place.well_at = self.now + Duration::from_secs(self.random.below(40));
                }
            }
        }
    }

    /// One errand to its end; `None` if the agent died in the middle.
    fn errand(&mut self, goal: Goal, haste: Haste) -> Option<Result<(), Failed>> {
        let (in_haste, for_good) = (haste != Haste::None, haste == Haste::End);
        let ask = Ask { goal, in_haste, for_good, waits: true, taken: self.kept.clone() };
        let began = self.now;
        let excuses = self.rules.excuses && (!in_haste || for_good);
        let rules = Rules { excuses, ..self.rules.clone() };
        let (mut machine, mut effects) = Machine::begin(ask, rules);
        for _ in 0..STEPS_MAX {
            let mut event = None;
            for effect in effects {
                if self.random.below(5_000) < self.faults {
                    return None;
                }
                match effect {
                    Effect::Keep(taken) => self.kept = taken,
                    Effect::Look => event = Some(self.look()),
                    Effect::Tell(order) => event = Some(self.tell(&order, in_haste)),
                    Effect::Say { words, .. } => assert!(!words.is_empty()),
                    Effect::End(Outcome::Done(_)) => return Some(Ok(())),
                    Effect::End(Outcome::Failed(failed)) => return Some(Err(failed)),
                }
            }
            let event = event.unwrap_or_else(|| {
                let wake = machine.wake().expect("it waits for an answer or for a time");
                assert!(wake > self.now - began, "it wakes in the past");
                self.pass(wake - (self.now - began));
                Event::Tick
            });
            let latency = Duration::from_millis(self.random.below(50));
            self.pass(latency);
            self.events += 1;
            effects = machine.step(self.now - began, event);
        }
        panic!("{goal:?} does not end");
    }

    /// The same again, by an agent that is started anew, until one lives to see the end.
    fn until_over(&mut self, goal: Goal, haste: Haste) -> Result<(), Failed> {
        loop {
            if let Some(ended) = self.errand(goal, haste) {
                return ended;
            }
        }
    }

    fn check_out(&self) {
        for place in self.places.iter().filter(|place| !place.is_foreign) {
            // What HAProxy forgot in the very last moment nobody can have seen.
            let is_forgotten = self.shuts && self.faults > 0;
            assert!(!place.stand.is_in() || is_forgotten, "{place:?} is out and is not");
            assert!(is_forgotten || self.now >= place.sends_until, "{place:?} is still sent to");
            let bound = place.taken_at + self.rules.drain_max;
            let is_late = self.now >= bound || place.stand == Stand::Absent;
            assert!(place.in_flight == 0 || is_late || is_forgotten, "{place:?} was cut off");
        }
    }
}

fn live(seed: u64) -> u64 {
    let mut world = World::new(seed);
    for _ in 0..1 + world.random.below(3) {
        let haste = if world.random.one_of(4) { Haste::Boot } else { Haste::None };
        match world.until_over(Goal::Out, haste) {
            Ok(()) => {
                world.check_out();
                let knows = world.rules.excuses && haste == Haste::None && !world.kept.is_empty();
                assert!(world.is_excused || !knows, "nobody knows that it is missing");
                if world.random.one_of(4) && world.until_over(Goal::Out, Haste::End).is_ok() {
                    world.check_out();
                    assert!(!world.is_excused, "it ends, and nobody would replace it");
                }
            }
            Err(failed) => assert!(
                failed.kind != FailedKind::Unwell && !failed.reason.is_empty(),
                "{failed:?} on the way out"
            ),
        }
        // Faults end at last, so nothing is left behind.
        let faults = world.faults;
        if world.until_over(Goal::In, Haste::None).is_err() {
            world.faults = 0;
            world.until_over(Goal::In, Haste::None).expect("without faults it comes back");
        }
        world.faults = faults;
        assert!(world.kept.is_empty(), "it is back, and the record says that it is not");
        assert!(!world.is_excused, "it is back, and the group does not know");
        for place in &world.places {
            let is_well = place.stand == Stand::Serving;
            assert!(is_well != place.is_foreign, "after coming back: {place:?}");
        }
    }
    world.events
}

#[test]
fn lives_with_faults() {
    if let Some(seed) = std::env::var("ROLLINIT_SEED").ok().and_then(|text| text.parse().ok()) {
        live(seed);
        return;
    }
    let mut events = 0;
    for seed in 0..LIVES {
        let lived = std::panic::catch_unwind(|| live(seed));
        events += lived.unwrap_or_else(|_| panic!("replay it with ROLLINIT_SEED={seed}"));
    }
    assert!(events > 100_000, "only {events} events: these lives test little");
}

/// A fleet whose others are all sick: a host that serves waits and is refused in the end, and one
/// that is sick itself does not wait.
#[test]
fn a_host_that_is_needed_stays() {
    let mut world = World::new(1);
    (world.faults, world.rules.min_healthy) = (0, 1);
    for place in &mut world.places {
        (place.is_foreign, place.stand, place.others_healthy) = (false, Stand::Serving, 0);
    }
    let failed = world.until_over(Goal::Out, Haste::None).expect_err("nobody else is well");
    assert_eq!(failed.kind, FailedKind::Needed);
    assert!(failed.reason.contains("0 other healthy of the 1"), "{}", failed.reason);
    assert!(world.places.iter().all(|place| place.stand == Stand::Serving));
    assert!(world.kept.is_empty(), "nothing was taken");
    for place in &mut world.places {
        place.stand = Stand::Sick("503".to_owned());
    }
    world.until_over(Goal::Out, Haste::None).expect("it takes nothing away");
    world.until_over(Goal::In, Haste::None).expect("and is not waited for");
}

/// A place that is found unwell where it was well before fails the way back with the balancer's own
/// words, in time.
#[test]
fn a_version_that_the_balancer_finds_unwell() {
    let mut world = World::new(2);
    world.faults = 0;
    let (name, was_well) = (world.places[0].name.clone(), true);
    world.places.truncate(1);
    world.places[0].is_foreign = false;
    world.places[0].stand = Stand::Sick("Target.ResponseCodeMismatch: 503".to_owned());
    world.kept = vec![Taken { place: name, was_well }];
    let failed = world.until_over(Goal::In, Haste::None).expect_err("it is sick");
    assert_eq!(failed.kind, FailedKind::Unwell);
    assert!(failed.reason.contains("ResponseCodeMismatch"), "{}", failed.reason);
    assert!(!world.kept.is_empty(), "it is not back");
}

/// Users are not moved to a port that the balancer has no place for; leaving one is no trouble.
#[test]
fn nobody_joins_where_there_is_no_place() {
    let mut world = World::new(4);
    world.faults = 0;
    world.places.clear();
    let failed = world.until_over(Goal::Join, Haste::None).expect_err("there is none");
    assert_eq!(failed.kind, FailedKind::Away);
    assert!(failed.reason.contains("at that port"), "{}", failed.reason);
    world.until_over(Goal::Leave, Haste::None).expect("it is not there");
}

/// A record that cannot be written takes nobody out.
#[test]
fn nothing_is_taken_that_is_not_written_down() {
    let rules = World::new(3).rules;
    let (in_haste, for_good, waits) = (true, false, true);
    let ask = Ask { goal: Goal::Out, in_haste, for_good, waits, taken: Vec::new() };
    let (mut machine, _) = Machine::begin(ask, rules);
    let seen = Seen {
        place: "web/n1".to_owned(),
        stand: Stand::Serving,
        in_flight: Some(0),
        others_healthy: 2,
    };
    let effects = machine.step(SECOND, Event::Looked(Ok(vec![seen])));
    assert!(matches!(effects[0], Effect::Keep(_)), "the record comes first: {effects:?}");
    let effects = machine.step(SECOND, Event::Broke("disk full".to_owned()));
    let [Effect::End(Outcome::Failed(failed))] = effects.as_slice() else {
        panic!("{effects:?}");
    };
    assert!(failed.reason.contains("disk full"));
}
