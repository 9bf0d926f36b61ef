//! A group of hosts, a ledger that loses and delays, people who change their minds, machines that
//! die: the real [`Member`]s of all hosts against a model of everything around them.
//!
//! What is proven at every moment: never more hosts out than the group allows; a release that fails
//! reaches no more hosts than that. And when the trouble is over: no rollout goes on, nobody holds a
//! slot, and every living host runs what was blessed, or what a rollout that ended badly left on it.
//!
//! A failure prints its seed. `FLEET_SEED=N` replays one, `FLEET_RUNS=N` makes more or fewer.

#[path = "fleet/random.rs"]
mod random;
#[path = "fleet/world.rs"]
mod world;

use random::Random;
use rollout::fleet::limits::SILENT_MS;
use rollout::fleet::{AppWord, Group, How, Portion, SYSTEM};
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{CANNOT, Trouble, World};

/// Lives in a run of CI: together they are more than a million events.
const RUNS: u64 = 250;

/// Events that these lives must have had, so that the claim above stays true.
const EVENTS_MIN: u64 = 1_000_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// One life: a random group, random trouble, then peace. Returns how many events it had.
fn live(seed: u64) -> u64 {
    let mut random = Random::new(seed);
    let hosts = 1 + random.below(7);
    let allowed = match random.below(3) {
        0 => Portion::Hosts(1),
        1 => Portion::Hosts(2),
        _ => Portion::Percent(40),
    };
    let mut world = World::new(random, hosts, allowed, Trouble::All);
    world.run(1_200);
    world.make_peace();
    world.run(3_600);
    world.check_rest();
    world.events()
}

#[test]
fn random_lives() {
    if let Some(seed) = number("FLEET_SEED") {
        live(seed);
        return;
    }
    let runs = number("FLEET_RUNS").unwrap_or(RUNS);
    let mut events = 0;
    for seed in 0..runs {
        match catch_unwind(AssertUnwindSafe(|| live(seed))) {
            Ok(count) => events += count,
            Err(panic) => {
                eprintln!("FLEET_SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(runs < RUNS || events >= EVENTS_MIN, "only {events} events");
}

/// Nothing goes wrong: ten hosts, two at a time, and every host ran the release once.
#[test]
fn a_good_release_goes_over_ten_hosts() {
    let mut world = World::new(Random::new(1), 10, Portion::Hosts(2), Trouble::None);
    world.roll("good-1", false);
    world.run(600);
    let track = world.track();
    assert_eq!(track.blessed.as_ref().map(|version| version.path.as_str()), Some("good-1"));
    assert!(matches!(track.last.as_ref().map(|last| &last.how), Some(How::Blessed)));
    assert_eq!(world.swaps("good-1"), 10);
    assert_eq!(world.most_out(), 2, "two go at once");
}

/// A bad release reaches exactly as many hosts as may be out, and the others keep serving.
#[test]
fn a_bad_release_stops_at_the_first_hosts() {
    for allowed in [1, 2, 3] {
        let mut world = World::new(Random::new(2), 9, Portion::Hosts(allowed), Trouble::None);
        world.roll("bad-1", false);
        world.run(600);
        let track = world.track();
        assert!(track.rollout.is_none());
        assert!(matches!(track.last.as_ref().map(|last| &last.how), Some(How::Failed(_))));
        assert_eq!(world.swaps("bad-1"), u64::from(allowed));
        assert!(world.paths().iter().all(|path| path.as_deref() == Some("good-0")));
        // Again: refused, since it failed. With force it fails again, on so many hosts again.
        assert!(!world.roll("bad-1", false));
        assert!(world.roll("bad-1", true));
        world.run(1_200);
        assert_eq!(world.swaps("bad-1"), 2 * u64::from(allowed));
    }
}

/// A host whose own trouble lasts holds up nobody else: all others get the release, though it tries
/// first and may be out alone. It says why, fails no release, and tries again and again, later each
/// time; once it can the rollout ends by itself. Another rollout it takes up at once.
#[test]
fn a_host_that_cannot_holds_up_no_other() {
    for seed in 0..8 {
        let mut world = World::new(Random::new(seed), 5, Portion::Hosts(1), Trouble::None);
        world.hinder(0, true);
        world.roll("good-1", false);
        world.run(300);
        let paths = world.paths();
        assert_eq!(paths[0].as_deref(), Some("good-0"));
        assert!(paths[1..].iter().all(|path| path.as_deref() == Some("good-1")), "{paths:?}");
        world.run(3_300);
        assert!(world.track().rollout.is_some(), "it is not over: {}", world.show());
        assert!((5..=8).contains(&world.begun(0)), "{} tries in an hour", world.begun(0));
        world.run_until(|world| world.said(0).word == AppWord::Refused);
        assert_eq!(world.said(0).text, CANNOT);
        world.abort();
        world.roll("good-1", false);
        let before = world.begun(0);
        world.run(40);
        assert_eq!(world.begun(0), before + 1, "a new rollout begins anew");
        world.hinder(0, false);
        world.run(900);
        let last = world.track().last.clone().expect("it ended");
        assert_eq!((last.how, world.paths()[0].as_deref()), (How::Blessed, Some("good-1")));
    }
}

/// A host that dies in the middle keeps its slot: nobody else begins, until EC2 says that it is
/// gone. That is a failure of the release. One whose end was announced is none.
#[test]
fn a_dead_holder_stops_the_group_until_it_is_buried() {
    for announced in [false, true] {
        let mut world = World::new(Random::new(3), 4, Portion::Hosts(1), Trouble::None);
        world.roll("good-1", false);
        world.run_until(|world| world.out() == 1);
        world.kill_a_holder(announced);
        world.run(50);
        assert_eq!(world.swaps("good-1"), 1, "its slot has no expiry");
        world.run(900);
        let last = world.track().last.clone().expect("it ended");
        if announced {
            assert_eq!((last.how, world.swaps("good-1")), (How::Blessed, 4));
        } else {
            assert!(matches!(last.how, How::Failed(_)), "{last:?}");
            assert_eq!(world.swaps("good-1"), 1);
        }
    }
}

/// Also when all others run the release already: it is not blessed over a host's dead body.
#[test]
fn the_last_host_dies_in_the_middle() {
    let mut world = World::new(Random::new(5), 2, Portion::Hosts(1), Trouble::None);
    world.roll("good-1", false);
    world.run_until(|world| world.out() == 1 && world.swaps("good-1") == 2);
    world.kill_a_holder(false);
    world.run(900);
    let last = world.track().last.clone().expect("it ended");
    assert!(matches!(last.how, How::Failed(_)), "{last:?}");
}

/// A release that falls sick after its commit ends its rollout too, although the slot was given back:
/// not all hosts get it, and the first goes back to what it ran.
#[test]
fn a_release_that_falls_sick_later_ends_its_rollout() {
    let mut world = World::new(Random::new(7), 9, Portion::Hosts(1), Trouble::None);
    world.roll("weak-1", false);
    world.run(900);
    let last = world.track().last.clone().expect("it ended");
    assert!(matches!(&last.how, How::Failed(why) if why.contains("sick")), "{last:?}");
    assert!(world.swaps("weak-1") < 9);
    assert!(world.group().holders.is_empty());
}

/// A rollout that is ended calls back who is on the way, as long as no user is on the new release.
#[test]
fn an_aborted_rollout_turns_back_who_can() {
    let mut world = World::new(Random::new(6), 3, Portion::Hosts(1), Trouble::None);
    world.roll("good-1", false);
    world.run_until(|world| world.out() == 1);
    world.abort();
    world.run(120);
    assert_eq!(world.out(), 0);
    assert!(world.paths().iter().all(|path| path.as_deref() == Some("good-0")));
    assert!(world.group().holders.is_empty());
}

/// A ledger that was away for longer than anybody may be silent: whoever reaches it first does not
/// take itself for the whole group, and nothing is blessed before all run it.
#[test]
fn a_ledger_that_was_away_makes_nobody_silent() {
    let blessed = |world: &World| world.track().blessed.clone().map(|version| version.path);
    for seed in 1..=8 {
        let mut world = World::new(Random::new(seed), 4, Portion::Hosts(1), Trouble::None);
        world.roll("good-1", false);
        let has_one = |world: &World| world.paths().contains(&Some("good-1".to_owned()));
        world.run_until(|world| has_one(world) && world.group().holders.is_empty());
        world.take_ledger_away(3 * SILENT_MS / 1_000);
        world.run_until(|world| blessed(world).as_deref() == Some("good-1"));
        assert!(world.paths().iter().all(|path| path.as_deref() == Some("good-1")), "{seed}");
        assert_eq!(world.most_out(), 1);
    }
}

/// A new host installs what is blessed, not what is on its way, and takes no slot for it.
#[test]
fn a_new_host_installs_what_is_blessed() {
    let mut world = World::new(Random::new(4), 3, Portion::Hosts(1), Trouble::None);
    world.roll("good-1", false);
    world.run_until(|world| world.out() == 1);
    world.pause();
    let new = world.add_host();
    world.run_until(|world| world.systems()[new].as_deref() == Some("good-sys-0"));
    assert_eq!(world.paths()[new], None, "its system comes first, and reboots it");
    world.run(120);
    assert_eq!(world.paths()[new].as_deref(), Some("good-0"));
    assert_eq!((world.swaps("good-0"), world.swaps("good-sys-0")), (0, 0), "without a slot");
    world.resume();
    world.run(600);
    assert_eq!(world.track().blessed.as_ref().map(|version| version.path.as_str()), Some("good-1"));
    assert_eq!(world.paths()[new].as_deref(), Some("good-1"), "then it takes its turn");
}

/// The hosts' own system goes over them like an app: one after the other, each over a reboot that
/// takes so long that the others take it for silent. Its slot waits for it: nobody declares it dead,
/// nobody else begins, and an app's rollout that comes in between shares the slots.
#[test]
fn a_system_goes_over_hosts_that_reboot() {
    let mut world = World::new(Random::new(11), 4, Portion::Hosts(1), Trouble::None);
    world.reboots_take(3 * SILENT_MS / 1_000);
    world.roll("good-sys-1", false);
    world.run_until(World::reboots);
    world.roll("good-1", false);
    world.run(SILENT_MS / 1_000);
    assert!(world.reboots() && world.group().holders.len() == 1, "its slot waits for it");
    assert_eq!(world.swaps("good-1") + world.swaps("good-sys-1"), 1, "and nobody else is out");
    world.reboots_take(60);
    world.run(3_000);
    for (app, path) in [("web", "good-1"), (SYSTEM, "good-sys-1")] {
        let track = world.track_of(app);
        assert_eq!(track.blessed.as_ref().map(|version| version.path.as_str()), Some(path));
        assert_eq!(world.swaps(path), 4, "each host once");
    }
    assert_eq!(world.most_out(), 1);
}

/// A bad system reaches as many hosts as may be out, which fall back; and nobody is rebooted for it
/// again without force.
#[test]
fn a_bad_system_stops_at_the_first_hosts() {
    for allowed in [1, 2] {
        let mut world = World::new(Random::new(12), 6, Portion::Hosts(allowed), Trouble::None);
        world.roll("bad-sys-1", false);
        world.run(900);
        let last = world.track_of(SYSTEM).last.clone().expect("it ended");
        assert!(matches!(last.how, How::Failed(_)), "{last:?}");
        assert_eq!(world.swaps("bad-sys-1"), u64::from(allowed));
        assert!(world.systems().iter().all(|path| path.as_deref() == Some("good-sys-0")));
        assert!(!world.roll("bad-sys-1", false));
    }
}

/// A host that reboots when its rollout is ended goes on, and keeps what it then runs; those after
/// it stay.
#[test]
fn an_aborted_system_turns_back_nobody_who_reboots() {
    let mut world = World::new(Random::new(13), 3, Portion::Hosts(1), Trouble::None);
    world.roll("good-sys-1", false);
    world.run_until(World::reboots);
    world.abort_of(SYSTEM);
    world.run(600);
    let new = world.systems().iter().filter(|path| path.as_deref() == Some("good-sys-1")).count();
    assert_eq!((new, world.swaps("good-sys-1"), world.group().holders.len()), (1, 1, 0));
}

/// The check above must be able to fail: with a ledger that does not compare, too many are out.
#[test]
fn a_ledger_that_does_not_compare_is_noticed() {
    let noticed = (0..40).any(|seed| {
        let run = || {
            let allowed = Portion::Hosts(1);
            let mut world = World::new(Random::new(seed), 6, allowed, Trouble::BlindLedger);
            world.roll("good-1", false);
            world.run(600);
        };
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let failed = catch_unwind(AssertUnwindSafe(run)).is_err();
        std::panic::set_hook(hook);
        failed
    });
    assert!(noticed, "a simulation that notices nothing proves nothing");
}

/// What is on the ledger reads back, with what a newer writer put there; damage is an error.
#[test]
fn records_read_back_and_keep_what_is_foreign() {
    let text = r#"{"format":1,"max_unavailable":"25%","fences":7,"colour":"red","apps":{"web":
        {"blessed":{"path":"/nix/store/a","serial":3,"by":"x"},"mood":1}},"holders":[]}"#;
    let group = Group::read(text.as_bytes()).expect("a record");
    assert_eq!(group.max_unavailable, Portion::Percent(25));
    let again = String::from_utf8(group.write().expect("bytes")).expect("text");
    assert!(again.contains(r#""colour":"red""#) && again.contains(r#""mood":1"#), "{again}");
    assert_eq!(Group::read(again.as_bytes()).expect("again"), group);
    assert!(Group::read(br#"{"format":2}"#).is_err(), "of a newer rollinit");
    for cut in 0..text.len() {
        assert!(Group::read(&text.as_bytes()[..cut]).is_err(), "{cut}");
    }
}
