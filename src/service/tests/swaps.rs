//! Swaps, one rule a test: events in, effects out. `swap_simulation.rs` proves that the rules hold
//! together; here each is pinned by an example that can be read.

#[path = "swaps/host.rs"]
mod host;

use host::{Host, already, done, error, prepare, run, spawn, stops};
use service::event::PowerKind;
use service::view::SwapPhase;
use service::{Cause, CommandError, Effect, Event, Place, Program, Side, State, SwapVerb, Task};
use service::{TaskEnd, Verb};

const WEB: &str = "[app]\nclosure = '/s/v1'\nlisten.http = '[::]:80'\n";
const JOB: &str = "[app]\nclosure = '/s/v1'\nswap.drain = '7s'\n";

const ZERO_ALONE: (Side, Program) = (Side::Zero, Program::Alone);
const GATE: (Side, Program) = (Side::Zero, Program::Gate);
const SWITCH: (Side, Program) = (Side::Zero, Program::Switch);
const ONE_ALONE: (Side, Program) = (Side::One, Program::Alone);

/// The whole way of an overlap, each verb with what it does and when it is answered.
#[test]
fn an_overlap() {
    let mut host = Host::up("web", WEB);
    assert_eq!(host.groups, [ZERO_ALONE]);
    assert_eq!(host.swap(1, "web", "7H2K", prepare("/s/v2")), [spawn("web.1", 1)]);
    assert_eq!(host.groups.last(), Some(&GATE), "the gate is there before the candidate");
    assert_eq!(host.machine.definition("web.1").unwrap().exec, ["/s/v2/bin/serve"]);
    assert_eq!(host.machine.definition("web.0").unwrap().exec, ["/s/v1/bin/serve"]);
    assert_eq!(host.phase(), Some(SwapPhase::Preparing));
    assert_eq!(host.started("web.1", 1), [done(1)]);
    assert_eq!(host.phase(), Some(SwapPhase::Prepared));
    assert_eq!(host.swap(2, "web", "7H2K", SwapVerb::Admit), [done(2)]);
    assert_eq!(host.groups.last(), Some(&SWITCH));
    assert_eq!(host.swap(3, "web", "7H2K", SwapVerb::Retire), []);
    assert_eq!(host.awaited, [(Side::Zero, 4)]);
    let effects = host.queue_empty();
    assert_eq!(stops(&effects), [("web.0", 30_000_000_000)], "with the drain as its time");
    assert_eq!(host.groups.last(), Some(&SWITCH));
    assert_eq!(host.ended("web.0", 1, 0, Cause::Asked), [done(3)]);
    assert_eq!(host.groups.last(), Some(&ONE_ALONE));
    assert_eq!(host.closures(), (Some("/s/v2".to_owned()), None));
    assert_eq!((host.phase(), host.app().serving.side), (None, Side::One));
    assert_eq!(host.view("web").pid, Some(7));
    // The next one goes the other way.
    assert_eq!(host.swap(4, "web", "8J3M", prepare("/s/v3")), [spawn("web.0", 2)]);
    assert_eq!(host.groups.last(), Some(&(Side::One, Program::Gate)));
}

/// Said again, a verb that was carried out is answered at once and does nothing.
#[test]
fn verbs_are_idempotent() {
    let mut host = Host::up("web", WEB);
    host.swap(1, "web", "A", prepare("/s/v2"));
    host.swap(2, "web", "A", prepare("/s/v2"));
    assert_eq!(host.started("web.1", 1), [done(1), done(2)]);
    assert_eq!(host.swap(3, "web", "A", prepare("/s/v2")), [already(3)]);
    host.swap(4, "web", "A", SwapVerb::Admit);
    assert_eq!(host.swap(5, "web", "A", SwapVerb::Admit), [done(5)]);
    assert_eq!(host.swap(6, "web", "A", prepare("/s/v2")), [already(6)]);
    host.swap(7, "web", "A", SwapVerb::Retire);
    assert_eq!(host.swap(8, "web", "A", SwapVerb::Admit), [already(8)]);
    assert_eq!(host.swap(9, "web", "A", SwapVerb::Retire), []);
    host.queue_empty();
    assert_eq!(host.ended("web.0", 1, 0, Cause::Asked), [done(7), done(9)]);
    assert_eq!(host.swap(10, "web", "A", SwapVerb::Retire), [already(10)]);
    assert_eq!(host.swap(11, "web", "B", SwapVerb::Abandon), [already(11)]);
    let effects = host.swap(12, "web", "A", SwapVerb::Abandon);
    let text = error(&effects).to_string();
    assert_eq!(
        text,
        "web does not abandon in swap A: it is over, and its candidate serves; swap back"
    );
    let effects = host.swap(13, "web", "A", prepare("/s/v2"));
    assert!(matches!(error(&effects), CommandError::NoSwap { .. }), "{effects:?}");
}

/// What cannot be done is refused with the cure, and changes nothing.
#[test]
fn refusals() {
    let mut host = Host::up("web", WEB);
    let cases = [
        ("web", "A", SwapVerb::Admit, "no swap A of web is under way: prepare it first"),
        ("web", "A", SwapVerb::Retire, "no swap A of web is under way: prepare it first"),
        ("web", "a b", SwapVerb::Admit, "web: \"a b\" is no id of a swap: give letters, digits"),
        ("web", "A", prepare("v2"), "web: \"v2\" is no store path; give a path such as"),
        ("web", "A", prepare("/s/../x"), "web: \"/s/../x\" is no store path; give a path such as"),
        ("wep", "A", SwapVerb::Admit, "no service is named \"wep\"; did you mean \"web\"?"),
        ("web.0", "A", SwapVerb::Admit, "no service is named \"web.0\""),
    ];
    for (app, swap, verb, expected) in cases {
        let effects = host.swap(1, app, swap, verb);
        assert!(error(&effects).to_string().starts_with(expected), "{}", error(&effects));
    }
    host.swap(1, "web", "A", prepare("/s/v2"));
    let cases = [
        ("B", prepare("/s/v3"), "swap A of web is under way; follow it, or have it taken back"),
        ("B", SwapVerb::Abandon, "swap A of web is under way; follow it, or have it taken back"),
        ("A", prepare("/s/v3"), "web: swap A is of another closure; give this one a new id"),
        ("A", SwapVerb::Admit, "web does not admit in swap A: its program does not run yet"),
        ("A", SwapVerb::Retire, "web does not retire in swap A: users are not on its candidate"),
    ];
    for (swap, verb, expected) in cases {
        let effects = host.swap(2, "web", swap, verb);
        assert!(error(&effects).to_string().starts_with(expected), "{}", error(&effects));
    }
    assert_eq!(host.phase(), Some(SwapPhase::Preparing));
}

/// Taken back before users were on it: the candidate goes, the group is one again.
#[test]
fn abandon_before_admit() {
    let mut host = Host::up("web", WEB);
    host.swap(1, "web", "A", prepare("/s/v2"));
    host.started("web.1", 1);
    let effects = host.swap(2, "web", "A", SwapVerb::Abandon);
    assert_eq!(stops(&effects), [("web.1", 30_000_000_000)]);
    assert_eq!(host.groups.last(), Some(&GATE));
    assert_eq!(host.ended("web.1", 1, 15, Cause::Asked), [done(2)]);
    assert_eq!(host.groups.last(), Some(&ZERO_ALONE));
    assert_eq!(host.closures(), (Some("/s/v1".to_owned()), None));
}

/// Taken back from the bake: users go back first, the candidate's queue empties, then it stops.
/// One that never empties is stopped after its drain.
#[test]
fn abandon_after_admit() {
    for empties in [true, false] {
        let mut host = Host::up("web", WEB);
        host.swap(1, "web", "A", prepare("/s/v2"));
        host.started("web.1", 1);
        host.swap(2, "web", "A", SwapVerb::Admit);
        assert_eq!(host.swap(3, "web", "A", SwapVerb::Abandon), []);
        assert_eq!(host.groups.last(), Some(&GATE));
        assert_eq!(host.awaited.last().map(|(side, _)| *side), Some(Side::One));
        let effects = if empties { host.queue_empty() } else { host.wait(30_000) };
        assert_eq!(stops(&effects).len(), 1, "{effects:?}");
        assert_eq!(host.ended("web.1", 1, 15, Cause::Asked), [done(3)]);
        assert_eq!(host.groups.last(), Some(&ZERO_ALONE));
    }
}

/// Until the old side was told to stop, there is a way back from `retire` too; then no more.
#[test]
fn abandon_while_retiring() {
    let mut host = Host::up("web", WEB);
    host.swap(1, "web", "A", prepare("/s/v2"));
    host.started("web.1", 1);
    host.swap(2, "web", "A", SwapVerb::Admit);
    host.swap(3, "web", "A", SwapVerb::Retire);
    let effects = host.swap(4, "web", "A", SwapVerb::Abandon);
    let text = error(&effects).to_string();
    assert_eq!(text, "web does not retire in swap A: it is being taken back");
    let stopped = host.queue_empty();
    assert_eq!(stops(&stopped)[0].0, "web.1");
    assert_eq!(host.ended("web.1", 1, 15, Cause::Asked), [done(4)]);

    host.swap(5, "web", "B", prepare("/s/v2"));
    host.started("web.1", 2);
    host.swap(6, "web", "B", SwapVerb::Admit);
    host.swap(7, "web", "B", SwapVerb::Retire);
    host.queue_empty();
    let effects = host.swap(8, "web", "B", SwapVerb::Abandon);
    assert!(matches!(error(&effects), CommandError::WrongPhase { .. }), "{effects:?}");
}

/// A candidate that does not start is told at once, goes on trying by its policy, and is asked for
/// again by the same verb. One that crashes after it ran shows its restarts.
#[test]
fn a_candidate_that_fails() {
    let mut host = Host::up("web", WEB);
    host.swap(1, "web", "A", prepare("/s/v2"));
    let (key, step) = ("web.1".to_owned(), "exec".to_owned());
    let effects = host.step(Event::SpawnFailed { key, incarnation: 1, step, errno: 2 });
    let text = error(&effects).to_string();
    assert!(text.contains("/s/v2/bin/serve there and executable?"), "{text}");
    assert_eq!(host.phase(), Some(SwapPhase::Preparing));
    assert_eq!(host.swap(2, "web", "A", prepare("/s/v2")), [spawn("web.1", 2)]);
    assert_eq!(host.started("web.1", 2), [done(2)]);
    assert_eq!(host.ended("web.1", 2, 256, Cause::Own), []);
    assert_eq!(host.phase(), Some(SwapPhase::Prepared));
    let gates = host.groups.len();
    assert_eq!(host.wait(100), [spawn("web.1", 3)]);
    assert_eq!(host.groups[gates..], [GATE], "the gate is looked after before each spawn");
    let run = host.app().candidate.unwrap();
    assert_eq!((run.view.restarts, run.view.state), (1, State::Starting));
}

/// Sockets that cannot be steered: no candidate, an error, another try in a second.
#[test]
fn no_gate_no_candidate() {
    let mut host = Host::up("web", WEB);
    host.refuses = true;
    let effects = host.swap(1, "web", "A", prepare("/s/v2"));
    let text = error(&effects).to_string();
    assert!(text.contains("its sockets cannot be steered: no such call"), "{text}");
    assert_eq!(host.wait(1000), []);
    host.refuses = false;
    assert_eq!(host.wait(1000), [spawn("web.1", 1)]);
}

/// Sockets that cannot be steered, later: nobody is stopped whose users were not moved, and no swap
/// is over before its candidate listens alone. Each verb hears of it; the machine goes on trying.
#[test]
fn no_switch_no_stop() {
    let mut host = Host::up("web", WEB);
    host.swap(1, "web", "A", prepare("/s/v2"));
    host.started("web.1", 1);
    host.refuses = true;
    let effects = host.swap(2, "web", "A", SwapVerb::Admit);
    assert!(error(&effects).to_string().contains("cannot be steered"), "{effects:?}");
    let effects = host.swap(3, "web", "A", SwapVerb::Retire);
    assert!(error(&effects).to_string().contains("cannot be steered"), "{effects:?}");
    assert_eq!((host.wait(60_000), host.awaited.len()), (vec![], 0));
    host.refuses = false;
    assert_eq!(stops(&host.wait(1000)), [("web.0", 91_000_000_000)], "its time is long over");
    host.refuses = true;
    let effects = host.ended("web.0", 1, 0, Cause::Asked);
    assert_eq!((effects, host.phase()), (vec![], Some(SwapPhase::Retiring)));
    host.refuses = false;
    host.wait(1000);
    assert_eq!((host.groups.last(), host.phase()), (Some(&ONE_ALONE), None));
}

/// A serving side that crashes in a swap restarts by its policy, and its group is looked after at
/// its end and before its start. What it has meanwhile is not lost: the old side serves.
#[test]
fn the_serving_side_crashes() {
    let mut host = Host::up("web", WEB);
    host.swap(1, "web", "A", prepare("/s/v2"));
    host.started("web.1", 1);
    let before = host.groups.len();
    host.ended("web.0", 1, 256, Cause::Own);
    assert_eq!(host.groups[before..], [GATE]);
    assert_eq!(host.wait(100), [spawn("web.0", 2)]);
    assert_eq!(host.groups[before..], [GATE, GATE]);
    // A side that has no leader has nobody who takes users out of its queue: it is not awaited.
    host.swap(2, "web", "A", SwapVerb::Admit);
    host.ended("web.0", 2, 256, Cause::Own);
    assert_eq!(host.swap(3, "web", "A", SwapVerb::Retire), [done(3)]);
    assert_eq!((host.awaited.len(), host.groups.last()), (0, Some(&ONE_ALONE)));
}

/// Strategy restart: the closure changes, the run ends with its drain, the new one starts on the
/// same side; taking it back does the same again.
#[test]
fn a_restart() {
    let mut host = Host::up("job", JOB);
    assert_eq!(host.groups, []);
    let effects = host.swap(1, "job", "A", prepare("/s/v2"));
    assert_eq!(stops(&effects), [("job.0", 7_000_000_000)]);
    assert_eq!(host.closures(), (Some("/s/v2".to_owned()), None));
    assert_eq!(host.ended("job.0", 1, 15, Cause::Asked), [spawn("job.0", 2)]);
    assert_eq!(host.machine.definition("job.0").unwrap().exec, ["/s/v2/bin/serve"]);
    assert_eq!(host.started("job.0", 2), [done(1)]);
    assert_eq!(host.swap(2, "job", "A", SwapVerb::Admit), [done(2)]);
    assert_eq!(stops(&host.swap(3, "job", "A", SwapVerb::Abandon)).len(), 1);
    assert_eq!(host.app().swap.unwrap().closure, "/s/v2");
    assert_eq!(host.ended("job.0", 2, 15, Cause::Asked), [spawn("job.0", 3)]);
    assert_eq!(host.started("job.0", 3), [done(3)]);
    assert_eq!((host.closures(), host.phase()), ((Some("/s/v1".to_owned()), None), None));

    host.swap(4, "job", "B", prepare("/s/v3"));
    host.ended("job.0", 3, 15, Cause::Asked);
    host.started("job.0", 4);
    host.swap(5, "job", "B", SwapVerb::Admit);
    assert_eq!(host.swap(6, "job", "B", SwapVerb::Retire), [done(6)]);
    assert_eq!(host.closures(), (Some("/s/v3".to_owned()), None));
}

/// Strategy ports: both sides run, each on its own port; nothing is steered and no queue is waited
/// for, since whoever is in front moves the users. Tasks are told the port of the side that users
/// are on.
#[test]
fn two_ports() {
    let text = "[app]\nclosure = '/s/v1'\nports = [4000, 4001]\nswap.drain = '7s'";
    let mut host = Host::up("web", text);
    let port = |host: &Host, key: &str| {
        let definition = host.machine.definition(key).expect("something to run");
        definition.environment["PORT"].clone()
    };
    assert_eq!(port(&host, "web.0"), "4000");
    assert_eq!(host.swap(1, "web", "A", prepare("/s/v2")), [spawn("web.1", 1)]);
    assert_eq!(port(&host, "web.1"), "4001");
    assert_eq!(host.started("web.1", 1), [done(1)]);
    let ports = (host.app().serving.port, host.app().candidate.and_then(|run| run.port));
    assert_eq!(ports, (Some(4000), Some(4001)));
    let task = |host: &mut Host, id| {
        let program = vec!["/bin/smoke".to_owned()];
        let (app, swap, closure) = ("web".to_owned(), "A".to_owned(), "/s/v2".to_owned());
        let (task, lease_ms) = (Task::AfterSwitch, 60_000);
        host.step(Event::RunTask {
            id,
            app,
            swap,
            task,
            program,
            closure,
            lease_ms,
            until_ns: None,
            fence: None,
        })
    };
    assert_eq!(host.swap(2, "web", "A", SwapVerb::Admit), [done(2)]);
    task(&mut host, 3);
    assert_eq!(port(&host, "web.after-switch"), "4001");
    // Taken back and tried again: the same port, as soon as it is free.
    assert_eq!(
        stops(&host.swap(4, "web", "A", SwapVerb::Abandon)),
        [("web.1", 7_000_000_000), ("web.after-switch", 10_000_000_000)]
    );
    host.ended("web.after-switch", 1, 15, Cause::Asked);
    assert_eq!(host.ended("web.1", 1, 15, Cause::Asked), [done(4)]);
    assert_eq!(host.swap(5, "web", "B", prepare("/s/v3")), [spawn("web.1", 2)]);
    host.started("web.1", 2);
    host.swap(6, "web", "B", SwapVerb::Admit);
    let effects = host.swap(7, "web", "B", SwapVerb::Retire);
    assert_eq!(stops(&effects), [("web.0", 7_000_000_000)]);
    let (mut next, effects) = host.die(vec![run("web.0", 1), run("web.1", 2)]);
    // PID 1, as it is asked here, knows of no stop: it is told again, and nothing starts.
    assert_eq!(stops(&effects), [("web.0", 7_000_000_000)]);
    assert_eq!(effects.len(), 1);
    next.ended("web.0", 1, 0, Cause::Asked);
    assert_eq!(next.closures(), (Some("/s/v3".to_owned()), None));
    assert_eq!(next.app().serving.port, Some(4001));
    assert_eq!(next.swap(8, "web", "C", prepare("/s/v4")), [spawn("web.0", 2)]);
    assert_eq!(port(&next, "web.0"), "4000");
    assert_eq!((host.groups.len(), next.groups.len(), next.awaited.len()), (0, 0, 0));
}

/// At boot the profile counts before the seed; with neither the app waits and says so, until a
/// swap gives it something.
#[test]
fn what_a_boot_starts() {
    let (host, _) = Host::boot(&[("web", WEB)], &[("web", "/s/profile")]);
    assert_eq!(host.closures().0.as_deref(), Some("/s/profile"));
    assert_eq!(host.told, ["web.0#1 is started"], "a side that rests is no news");
    let files = [("web", "[app]\nlisten.http = '[::]:80'")];
    let (mut host, effects) = Host::boot(&files, &[]);
    assert_eq!(effects, []);
    let view = host.view("web");
    assert_eq!(view.state, State::Waiting);
    let expected = "web has nothing to run yet: `rollinit swap web PATH` gives it a closure";
    assert_eq!(view.problems, [expected]);
    assert_eq!(host.told, [format!("web.0 cannot start: {expected}")]);
    assert_eq!(host.swap(1, "web", "A", prepare("/s/v1")), [spawn("web.1", 1)]);
    host.started("web.1", 1);
    // Taken back, nobody listens for nobody.
    host.swap(2, "web", "A", SwapVerb::Abandon);
    assert_eq!(host.ended("web.1", 1, 15, Cause::Asked), [done(2)]);
    assert_eq!(host.groups.last(), Some(&(Side::Zero, Program::Nobody)));

    let (mut host, _) = Host::boot(&[("job", "[app]")], &[]);
    assert_eq!(host.swap(1, "job", "A", prepare("/s/v1")), [spawn("job.0", 1)]);
    assert_eq!(host.started("job.0", 1), [done(1)]);
    host.swap(2, "job", "A", SwapVerb::Abandon);
    assert_eq!(host.ended("job.0", 1, 15, Cause::Asked), [done(2)]);
    assert_eq!((host.closures(), host.view("job").state), ((None, None), State::Waiting));
}

/// Another supervisor in the middle: it starts nothing and stops nothing, steers as it was, and
/// goes on. What the profile points to by then is not asked.
#[test]
fn a_supervisor_dies_in_a_swap() {
    let mut host = Host::up("web", WEB);
    host.swap(1, "web", "A", prepare("/s/v2"));
    host.started("web.1", 1);
    host.swap(2, "web", "A", SwapVerb::Admit);
    let (mut next, effects) = host.die(vec![run("web.0", 1), run("web.1", 1)]);
    assert_eq!((effects, &next.groups[..]), (vec![], &[SWITCH][..]));
    assert_eq!(next.app(), host.app());
    next.swap(3, "web", "A", SwapVerb::Retire);
    let (mut last, effects) = next.die(vec![run("web.0", 1), run("web.1", 1)]);
    assert_eq!(effects, []);
    assert_eq!(stops(&last.queue_empty()).len(), 1);
    assert_eq!(last.phase(), Some(SwapPhase::Retiring));
    last.ended("web.0", 1, 0, Cause::Asked);
    assert_eq!(last.closures(), (Some("/s/v2".to_owned()), None));
}

/// A supervisor dies when a spawn is remembered and PID 1 has not heard of it. The side that serves
/// is asked for again, but only after its group: a socket that its tenant shut would stand behind
/// the candidate's, with users on a side that passed no gate. A candidate waits for its group.
#[test]
fn a_lost_spawn_of_a_side_comes_after_its_group() {
    let mut host = Host::up("web", WEB);
    host.swap(1, "web", "A", prepare("/s/v2"));
    let (mut next, effects) = host.die(vec![run("web.0", 1)]);
    assert_eq!((effects, &next.groups[..]), (vec![spawn("web.1", 2)], &[GATE][..]));
    next.started("web.1", 2);
    next.ended("web.0", 1, 256, Cause::Own);
    assert_eq!(next.wait(100), [spawn("web.0", 2)]);
    let effects = next.taken_over(vec![run("web.1", 2)]);
    let acts = effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Group { .. } | Effect::Spawn { .. }));
    let acts: Vec<_> = acts.collect();
    let [Effect::Group { first: Side::Zero, program: Program::Gate, .. }, again] = acts[..] else {
        panic!("{acts:?}")
    };
    assert_eq!(*again, spawn("web.0", 2));
}

/// The app among services: it is required by name and shown once; a stop stops both sides, what
/// requires it first; a start brings both back; a swap of a stopped app is refused.
#[test]
fn an_app_among_services() {
    let proxy = "[service]\nexec = ['/bin/proxy']\nrequires = ['web']";
    let (mut host, effects) = Host::boot(&[("web", WEB), ("proxy", proxy)], &[]);
    assert_eq!(effects, [spawn("web.0", 1)]);
    assert_eq!(host.started("web.0", 1), [spawn("proxy", 1)]);
    host.started("proxy", 1);
    host.swap(1, "web", "A", prepare("/s/v2"));
    host.started("web.1", 1);
    let names: Vec<String> = host.machine.views().into_iter().map(|view| view.name).collect();
    assert_eq!(names, ["proxy", "web"]);
    let stop = Event::Command { id: 2, verb: Verb::Stop, key: "web".to_owned() };
    let effects = host.step(stop);
    assert_eq!(stops(&effects)[0].0, "proxy");
    let effects = host.ended("proxy", 1, 15, Cause::Asked);
    let keys: Vec<&str> = stops(&effects).iter().map(|(key, _)| *key).collect();
    assert_eq!(keys, ["web.0", "web.1"]);
    assert_eq!(host.ended("web.0", 1, 15, Cause::Asked), []);
    assert_eq!(host.ended("web.1", 1, 15, Cause::Asked), [done(2)]);
    assert_eq!(host.swap(3, "web", "A", SwapVerb::Abandon), [done(3)]);
    let effects = host.swap(4, "web", "B", prepare("/s/v2"));
    let text = error(&effects).to_string();
    assert_eq!(text, "web: it is stopped by hand; `rollinit start web` it first");
    let start = Event::Command { id: 5, verb: Verb::Start, key: "web".to_owned() };
    assert_eq!(host.step(start), [spawn("web.0", 2)]);
    let side = Event::Command { id: 6, verb: Verb::Stop, key: "web.0".to_owned() };
    assert!(matches!(error(&host.step(side)), CommandError::Unknown { .. }));
}

/// A power-off in a swap stops both sides and then the machine; nothing of the swap goes on.
#[test]
fn a_power_off_in_a_swap() {
    let mut host = Host::up("web", WEB);
    host.swap(1, "web", "A", prepare("/s/v2"));
    host.started("web.1", 1);
    let effects = host.step(Event::Power { kind: PowerKind::Reboot, within_ms: None });
    assert_eq!(stops(&effects).len(), 2);
    let effects = host.swap(2, "web", "A", SwapVerb::Admit);
    assert!(matches!(error(&effects), CommandError::ShuttingDown { .. }));
    host.ended("web.0", 1, 15, Cause::Asked);
    let effects = host.ended("web.1", 1, 15, Cause::Asked);
    assert_eq!(effects, [Effect::Shutdown { kind: PowerKind::Reboot }]);
}

/// A lease with an end is never longer than that, however late the order comes: it begins nothing
/// after it, ends what runs, and still hears how a run ended. The run finds its fence.
#[test]
fn a_task_whose_lease_has_an_end() {
    let mut host = Host::up("web", WEB);
    let now_ns = host.now.0;
    let run = |id, until_ns| Event::RunTask {
        id,
        app: "web".to_owned(),
        swap: "A".to_owned(),
        task: Task::Migrate,
        program: vec!["${closure}/bin/migrate".to_owned()],
        closure: "/s/v2".to_owned(),
        lease_ms: 60_000,
        until_ns: Some(until_ns),
        fence: Some(7),
    };
    let lease = |deadline_ns| Effect::Deadline {
        key: "web.migrate".to_owned(),
        incarnation: 1,
        deadline_ns,
    };
    let effects = host.step(run(1, now_ns));
    let [Effect::TaskReply { result: Err(error), .. }] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert!(error.to_string().contains("over when the order came"), "{error}");
    let until_ns = now_ns + 5_000_000_000;
    assert_eq!(host.step(run(2, until_ns)), [spawn("web.migrate", 1), lease(until_ns)]);
    let definition = host.machine.definition("web.migrate").expect("it runs");
    assert_eq!(definition.environment.get("ROLLINIT_FENCE").map(String::as_str), Some("7"));
    host.started("web.migrate", 1);
    let (app, swap, task) = ("web".to_owned(), "A".to_owned(), Task::Migrate);
    let until_ns = Some(now_ns);
    let renew = Event::RenewTask { id: 3, app, swap, task, lease_ms: 60_000, until_ns };
    assert_eq!(host.step(renew), [lease(now_ns), done(3)], "it ends at once");
    host.ended("web.migrate", 1, 256, Cause::Own);
    let end = TaskEnd { exit: Some(1), signal: None, lease_ended: false };
    assert_eq!(host.step(run(4, now_ns)), [Effect::TaskReply { id: 4, result: Ok(end) }]);
}

/// A task runs once for a swap under a lease that PID 1 holds; who asks again joins it, hears its
/// end, or, if its lease ended it, has it run again. It ends with its swap.
#[test]
fn tasks() {
    let mut host = Host::up("web", WEB);
    let lease = |incarnation, seconds: u64| Effect::Deadline {
        key: "web.migrate".to_owned(),
        incarnation,
        deadline_ns: seconds * 1_000_000_000,
    };
    let end = |id, exit, signal, lease_ended| Effect::TaskReply {
        id,
        result: Ok(TaskEnd { exit, signal, lease_ended }),
    };
    assert_eq!(host.task(1, "A", 60_000), [spawn("web.migrate", 1), lease(1, 60)]);
    assert_eq!(host.machine.definition("web.migrate").unwrap().exec, ["/s/v2/bin/migrate"]);
    let place = Place::Task { app: "web", task: Task::Migrate };
    assert_eq!(host.machine.place("web.migrate"), place);
    host.started("web.migrate", 1);
    assert_eq!(host.task(2, "A", 70_000), [lease(1, 70)]);
    let effects = host.task(3, "B", 60_000);
    let [Effect::TaskReply { result: Err(error), .. }] = &effects[..] else { panic!() };
    assert_eq!(*error, CommandError::SwapUnderWay { app: "web".into(), swap: "A".into() });
    let (app, swap, task) = ("web".to_owned(), "A".to_owned(), Task::Migrate);
    let renew = Event::RenewTask { id: 4, app, swap, task, lease_ms: 80_000, until_ns: None };
    assert_eq!(host.step(renew), [lease(1, 80), done(4)]);

    let (mut host, effects) = host.die(vec![run("web.0", 1), run("web.migrate", 1)]);
    assert_eq!(effects, [lease(1, 80)], "the next supervisor says it again");
    assert_eq!(host.task(5, "A", 80_000), [lease(1, 80)]);
    let effects = host.ended("web.migrate", 1, 9, Cause::Deadline);
    assert_eq!(effects, [end(5, None, Some(9), true)]);
    assert_eq!(host.task(6, "A", 60_000), [spawn("web.migrate", 2), lease(2, 60)]);
    host.started("web.migrate", 2);
    assert_eq!(host.ended("web.migrate", 2, 256, Cause::Own), [end(6, Some(1), None, false)]);
    assert_eq!(host.task(7, "A", 60_000), [end(7, Some(1), None, false)]);
    assert_eq!(host.task(8, "B", 60_000), [spawn("web.migrate", 3), lease(3, 60)]);
    host.started("web.migrate", 3);
    let effects = host.swap(9, "web", "B", SwapVerb::Abandon);
    assert_eq!(stops(&effects)[0].0, "web.migrate");
    assert_eq!(host.ended("web.migrate", 3, 15, Cause::Asked), [end(8, None, Some(15), false)]);
}

/// A definition that broke, as only another release of the parser could have it: what runs goes on
/// running. One that is gone takes its sides with it, and all words about them.
#[test]
fn a_definition_that_is_broken_or_gone() {
    let mut host = Host::up("web", WEB);
    host.swap(1, "web", "A", prepare("/s/v2"));
    host.started("web.1", 1);
    let runs = || vec![run("web.0", 1), run("web.1", 1)];
    host.files[0].2 = "[app]\ncolour = 'blue'".to_owned();
    let (mut broken, effects) = host.die(runs());
    assert_eq!((effects, broken.app().swap), (vec![], host.app().swap));
    assert_eq!(broken.view("web").state, State::Running);
    assert!(broken.view("web").problems[0].contains("colour"));
    let effects = broken.swap(2, "web", "A", SwapVerb::Abandon);
    assert!(matches!(error(&effects), CommandError::Broken { .. }));

    host.files.clear();
    let (mut gone, effects) = host.die(runs());
    assert_eq!(stops(&effects).len(), 2);
    assert!(effects.contains(&Effect::ForgetKey { key: "@app/web".to_owned() }));
    let forgets = |key: &str| vec![Effect::ForgetKey { key: key.to_owned() }];
    assert_eq!(gone.ended("web.0", 1, 15, Cause::Asked), forgets("web.0"));
    assert_eq!(gone.ended("web.1", 1, 15, Cause::Asked), forgets("web.1"));
}
