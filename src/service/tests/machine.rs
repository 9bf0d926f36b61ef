//! The machine's rules, one test each: events in, effects out. `simulation.rs` proves that they
//! hold together; here each is pinned by an example that can be read.

use service::event::PowerKind;
use service::machine::SUPERVISOR_KEY;
use service::snapshot::{Key, Run, RunState, Snapshot};
use service::{Cause, CommandError, Effect, End, Event, Machine, Notification, Now, Outcome};
use service::{State, Verb, View, definition};
use std::collections::BTreeMap;

const MS_NS: u64 = 1_000_000;

/// A machine, the time, and the memos that PID 1 would have.
struct Host {
    machine: Machine,
    now: Now,
    memos: BTreeMap<String, Vec<u8>>,
    files: Vec<(String, String, String)>,
}

impl Host {
    /// Boots with services given as (name, lines below `[service]`); returns what it starts.
    fn boot(services: &[(&str, &str)]) -> (Self, Vec<Effect>) {
        Self::take_over(services, Snapshot::default(), Now(0))
    }

    fn take_over(services: &[(&str, &str)], from: Snapshot, now: Now) -> (Self, Vec<Effect>) {
        let files: Vec<_> = services
            .iter()
            .map(|(name, lines)| {
                let text = format!("[service]\nexec = ['/bin/{name}']\n{lines}\n");
                ((*name).to_owned(), format!("{name}.toml"), text)
            })
            .collect();
        let (machine, effects) =
            Machine::new(definition::load(files.clone()), from, &BTreeMap::new(), now);
        let mut host = Self { machine, now, memos: BTreeMap::new(), files };
        let effects = host.keep(effects);
        (host, effects)
    }

    /// Keeps the memos, checks that they come first, drops the reports.
    fn keep(&mut self, effects: Vec<Effect>) -> Vec<Effect> {
        let is_memo = |effect: &Effect| matches!(effect, Effect::Memo { .. });
        let memos = effects.iter().take_while(|effect| is_memo(effect)).count();
        assert!(!effects[memos..].iter().any(is_memo), "a memo after an effect: {effects:?}");
        let mut rest = Vec::new();
        for effect in effects {
            match effect {
                Effect::Memo { key, bytes } => drop(self.memos.insert(key, bytes)),
                Effect::Report(_) => {}
                effect => rest.push(effect),
            }
        }
        rest
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        let effects = self.machine.step(self.now, event);
        self.keep(effects)
    }

    fn wait(&mut self, duration_ms: u64) -> Vec<Effect> {
        self.now = self.now.plus_ms(duration_ms);
        self.step(Event::Tick)
    }

    fn started(&mut self, key: &str, incarnation: u64) -> Vec<Effect> {
        let (key, started_ns) = (key.to_owned(), self.now.0);
        let pid = 100 + u32::try_from(incarnation).expect("small");
        self.step(Event::Started { key, incarnation, pid, started_ns })
    }

    fn exited(&mut self, key: &str, incarnation: u64, status: i32) -> Vec<Effect> {
        let (key, end) = (key.to_owned(), self.end(status));
        self.step(Event::Exited { key, incarnation, end, emptied: true })
    }

    fn end(&self, status: i32) -> End {
        let (cause, ended_ns) = (Cause::Own, self.now.0);
        End { status, cause, ended_ns, user_us: 1, system_us: 2, resident_max_kib: 3 }
    }

    fn notified(&mut self, key: &str, incarnation: u64, datagram: &str) -> Vec<Effect> {
        let (key, notification) = (key.to_owned(), Notification::parse(datagram.as_bytes()));
        self.step(Event::Notified { key, incarnation, notification, sender_pid: 1 })
    }

    fn command(&mut self, id: u64, verb: Verb, key: &str) -> Vec<Effect> {
        self.step(Event::Command { id, verb, key: key.to_owned() })
    }

    fn view(&self, key: &str) -> View {
        self.machine.views().into_iter().find(|view| view.name == key).expect(key)
    }

    fn state(&self, key: &str) -> State {
        self.view(key).state
    }

    /// What PID 1 would tell the next supervisor, with these runs.
    fn snapshot(&self, runs: Vec<Run>) -> Snapshot {
        let last = |key: &str| {
            let incarnations = runs.iter().filter(|run| run.key == key).map(|run| run.incarnation);
            incarnations.max().unwrap_or(0)
        };
        let keys = self.memos.iter().map(|(key, memo)| Key {
            key: key.clone(),
            incarnation_last: last(key),
            memo: memo.clone(),
        });
        Snapshot { keys: keys.collect(), runs, shutting_down: false }
    }
}

fn run(key: &str, incarnation: u64, state: RunState) -> Run {
    let pid = 100 + u32::try_from(incarnation).expect("small");
    Run { key: key.to_owned(), incarnation, pid, started_ns: 0, stop_deadline_ns: None, state }
}

fn spawn(key: &str, incarnation: u64) -> Effect {
    Effect::Spawn { key: key.to_owned(), incarnation }
}

fn forget(key: &str, incarnation: u64) -> Effect {
    Effect::Forget { key: key.to_owned(), incarnation }
}

fn stop(key: &str, incarnation: u64, deadline_ns: u64) -> Effect {
    let (key, scope) = (key.to_owned(), definition::Scope::Cgroup);
    Effect::Stop { key, incarnation, scope, signal: 15, deadline_ns }
}

fn reply(id: u64, result: Result<Outcome, CommandError>) -> Effect {
    Effect::Reply { id, result }
}

/// The first way up is noted once: a restart, a failure and another supervisor change nothing of it.
#[test]
fn the_first_way_up_is_remembered() {
    let services = [
        ("disk", "kind = 'oneshot'"),
        ("web", "kind = 'notify'\nafter = ['disk']"),
        ("bad", "kind = 'oneshot'"),
        ("late", "requires = ['bad']"),
    ];
    // A host never boots at 0: that is when its kernel begins.
    let (mut host, _) = Host::take_over(&services, Snapshot::default(), Now(MS_NS));
    let at = |time_ms: u64| Some(time_ms * MS_NS);
    host.wait(1);
    host.started("disk", 1);
    host.started("bad", 1);
    host.wait(2);
    host.exited("disk", 1, 0);
    host.exited("bad", 1, 256);
    host.wait(3);
    host.started("web", 1);
    host.wait(4);
    host.notified("web", 1, "READY=1");
    let ways = host.machine.timeline();
    let times = |name: &str| {
        let way = ways.iter().find(|way| way.name == name).expect(name);
        (way.state, way.waiting_ns, way.starting_ns, way.started_ns, way.ready_ns)
    };
    use service::view::WayState::{Coming, Failed, Ready};
    assert_eq!(times("disk"), (Ready, MS_NS, at(1), at(2), at(4)));
    assert_eq!(times("web"), (Ready, MS_NS, at(4), at(7), at(11)));
    assert_eq!(times("bad"), (Failed, MS_NS, at(1), at(2), None));
    assert_eq!(times("late"), (Coming, MS_NS, None, None, None));
    assert_eq!(ways.iter().find(|way| way.name == "late").expect("late").after, ["bad"]);

    host.wait(5);
    host.command(1, Verb::Restart, "web");
    host.exited("web", 1, 15);
    host.started("web", 2);
    host.notified("web", 2, "READY=1");
    assert_eq!(host.state("web"), State::Running);
    assert_eq!(host.machine.timeline(), ways);
    let snapshot = host.snapshot(vec![run("web", 2, RunState::Running)]);
    let files: Vec<_> = host.files.clone();
    let loaded = definition::load(files);
    let (machine, _) = Machine::new(loaded, snapshot, &BTreeMap::new(), host.now);
    let again = machine.timeline();
    let known = |ways: &[service::view::Way]| -> Vec<service::view::Way> {
        ways.iter().filter(|way| way.name != "late").cloned().collect()
    };
    assert_eq!(known(&again), known(&ways));
}

const CHAIN: [(&str, &str); 3] =
    [("db", "kind = 'notify'"), ("front", "requires = ['web']"), ("web", "requires = ['db']")];

/// A host whose chain db ← web ← front is up.
fn chain() -> Host {
    let (mut host, _) = Host::boot(&CHAIN);
    host.started("db", 1);
    host.notified("db", 1, "READY=1");
    host.started("web", 1);
    host.started("front", 1);
    assert_eq!(host.state("front"), State::Running);
    host
}

/// What is independent starts at once; what requires waits for READY=1, not for the exec.
#[test]
fn starts_in_parallel_and_in_order() {
    let (mut host, effects) =
        Host::boot(&[("a", "kind = 'notify'"), ("b", ""), ("c", "after = ['a', 'b']")]);
    assert_eq!(effects, [spawn("a", 1), spawn("b", 1)]);
    assert_eq!(host.started("a", 1), []);
    assert_eq!(host.started("b", 1), []);
    assert_eq!(host.view("c").problems, ["waits for a"]);
    assert_eq!(host.notified("a", 1, "STATUS=warming up"), []);
    assert_eq!(host.view("a").status, "warming up");
    assert_eq!(host.notified("a", 1, "READY=1\nMAINPID=77"), [spawn("c", 1)]);
    assert_eq!((host.state("a"), host.view("a").main_pid), (State::Running, Some(77)));
}

/// Order lets go of a failed attempt; a requirement does not.
#[test]
fn a_failed_start_frees_the_order_only() {
    let services = [("a", ""), ("after", "after = ['a']"), ("needs", "requires = ['a']")];
    let (mut host, _) = Host::boot(&services);
    let (key, step) = ("a".to_owned(), "exec".to_owned());
    let effects = host.step(Event::SpawnFailed { key, incarnation: 1, step, errno: 2 });
    assert_eq!(effects, [spawn("after", 1)]);
    assert_eq!((host.state("a"), host.state("needs")), (State::Backoff, State::Waiting));
    assert!(host.view("a").problems[0].contains("is /bin/a there and executable?"));
    assert_eq!(host.wait(100), [spawn("a", 2)]);
    assert_eq!(host.started("a", 2), [spawn("needs", 1)]);
}

/// 100 ms, 200 ms; after a minute of standing 100 ms again. The tombstone goes each time, once
/// more if it comes again, and the end is not counted again.
#[test]
fn restarts_with_backoff_and_counts_an_end_once() {
    let (mut host, _) = Host::boot(&[("a", "")]);
    host.started("a", 1);
    assert_eq!(host.exited("a", 1, 256), [forget("a", 1)]);
    assert_eq!(host.exited("a", 1, 256), [forget("a", 1)]);
    assert_eq!(host.view("a").next_start_ns, Some(100 * MS_NS));
    assert_eq!(host.machine.deadline(), Some(Now(100 * MS_NS)));
    assert_eq!(host.wait(99), []);
    assert_eq!(host.wait(1), [spawn("a", 2)]);
    host.started("a", 2);
    host.exited("a", 2, 9);
    assert_eq!(host.wait(199), []);
    assert_eq!(host.wait(1), [spawn("a", 3)]);
    host.started("a", 3);
    host.wait(60_000);
    host.exited("a", 3, 0);
    assert_eq!(host.wait(100), [spawn("a", 4)]);
    assert_eq!(host.view("a").restarts, 3);
    assert_eq!(host.view("a").last_end.unwrap().text, "exited with code 0");
}

/// The second restart within the period is one too many; an operator begins a new count.
#[test]
fn gives_up_and_says_so() {
    let lines = "restart.intensity = 1\nrestart.period = '10s'";
    let (mut host, _) = Host::boot(&[("a", lines), ("needs", "requires = ['a']")]);
    host.exited("a", 1, 256);
    host.wait(100);
    host.exited("a", 2, 256);
    assert_eq!(host.state("a"), State::Failed);
    let reason = "gave up after 1 restarts within 10s; last: exited with code 1";
    assert_eq!(host.view("a").problems, [reason]);
    assert_eq!(host.view("needs").problems, ["needs requires a, which failed"]);
    assert_eq!(host.state("needs"), State::Blocked);
    assert_eq!(host.command(1, Verb::Start, "needs"), [spawn("a", 3)]);
    assert_eq!(host.started("a", 3), [spawn("needs", 1)]);
    assert_eq!(host.started("needs", 1), [reply(1, Ok(Outcome::Done))]);
}

/// Not ready in time is a failure, even if it then ends politely.
#[test]
fn ready_timeout_stops_and_counts_as_failure() {
    let lines = "kind = 'notify'\nready.timeout = '5s'\nrestart.policy = 'on-failure'";
    let (mut host, _) = Host::boot(&[("a", lines)]);
    host.started("a", 1);
    assert_eq!(host.wait(5000), [stop("a", 1, 15_000 * MS_NS)]);
    assert_eq!(host.exited("a", 1, 0), [forget("a", 1)]);
    assert_eq!(host.state("a"), State::Backoff);
}

/// A leader that leaves others behind: they are stopped, and only then it starts again.
#[test]
fn leftovers_are_stopped_first() {
    let (mut host, _) = Host::boot(&[("a", "")]);
    host.started("a", 1);
    let (key, end) = ("a".to_owned(), host.end(0));
    let exited = Event::Exited { key: key.clone(), incarnation: 1, end, emptied: false };
    assert_eq!(host.step(exited.clone()), [stop("a", 1, 10_000 * MS_NS)]);
    assert_eq!(host.step(exited), [], "said before");
    assert_eq!((host.state("a"), host.view("a").pid), (State::Stopping, None));
    assert_eq!(host.step(Event::Emptied { key, incarnation: 1 }), [forget("a", 1)]);
    assert_eq!(host.wait(100), [spawn("a", 2)]);
}

/// STOPPING=1 is its own will; it gets the stop timeout and is then helped along.
#[test]
fn a_service_that_leaves_is_helped_at_the_deadline() {
    let (mut host, _) = Host::boot(&[("a", "kind = 'notify'")]);
    host.started("a", 1);
    host.notified("a", 1, "READY=1");
    assert_eq!(host.notified("a", 1, "STOPPING=1"), []);
    assert_eq!(host.state("a"), State::Stopping);
    assert_eq!(host.wait(9999), []);
    assert_eq!(host.wait(1), [stop("a", 1, 20_000 * MS_NS)]);
}

/// A oneshot is up once it has ended with success, and is not started again.
#[test]
fn a_oneshot_is_done() {
    let (mut host, _) = Host::boot(&[("needs", "requires = ['once']"), ("once", "kind='oneshot'")]);
    assert_eq!(host.started("once", 1), []);
    assert_eq!(host.state("once"), State::Starting);
    assert_eq!(host.exited("once", 1, 0), [forget("once", 1), spawn("needs", 1)]);
    assert_eq!(host.state("once"), State::Done);
    assert_eq!(host.command(1, Verb::Start, "once"), [reply(1, Ok(Outcome::Already))]);
    assert_eq!(host.command(2, Verb::Restart, "once"), [spawn("once", 2)]);
}

/// Stopping a requirement goes from the far end; starting it brings all back.
#[test]
fn stop_by_hand_takes_those_that_require_it_first() {
    let mut host = chain();
    assert_eq!(host.command(1, Verb::Stop, "db"), [stop("front", 1, 10_000 * MS_NS)]);
    assert_eq!(host.view("db").problems, ["is to stop after web"]);
    let effects = host.exited("front", 1, 15);
    assert_eq!(effects, [forget("front", 1), stop("web", 1, 10_000 * MS_NS)]);
    assert_eq!(host.state("front"), State::Blocked);
    host.exited("web", 1, 15);
    let effects = host.exited("db", 1, 15);
    assert_eq!(effects, [forget("db", 1), reply(1, Ok(Outcome::Done))]);
    assert_eq!((host.state("db"), host.view("db").desired_up), (State::Stopped, false));
    assert_eq!(host.view("web").problems, ["web requires db, which is stopped by hand"]);
    assert_eq!(host.command(2, Verb::Stop, "db"), [reply(2, Ok(Outcome::Already))]);
    assert_eq!(host.command(3, Verb::Start, "db"), [spawn("db", 2)]);
    host.started("db", 2);
    let effects = host.notified("db", 2, "READY=1");
    assert_eq!(effects, [spawn("web", 2), reply(3, Ok(Outcome::Done))]);
}

/// A restart by hand, or a crash, of a requirement touches nobody else.
#[test]
fn restart_of_a_requirement_leaves_the_others() {
    let mut host = chain();
    assert_eq!(host.command(1, Verb::Restart, "db"), [stop("db", 1, 10_000 * MS_NS)]);
    assert_eq!(host.exited("db", 1, 15), [forget("db", 1), spawn("db", 2)]);
    host.started("db", 2);
    assert_eq!(host.notified("db", 2, "READY=1"), [reply(1, Ok(Outcome::Done))]);
    assert_eq!(host.exited("db", 2, 9), [forget("db", 2)]);
    assert_eq!((host.state("web"), host.state("front")), (State::Running, State::Running));
    assert_eq!(host.view("db").restarts, 0, "asked for, or not yet begun");
}

/// Commands that cannot be carried out say why, and later ones take the place of earlier ones.
#[test]
fn commands_answer_in_words() {
    let services = [("a", "kind = 'notify'"), ("b", "colour = 1"), ("c", "requires = ['b']")];
    let (mut host, _) = Host::boot(&services);
    let words = |effects: Vec<Effect>| match effects.last() {
        Some(Effect::Reply { result: Err(error), .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        words(host.command(1, Verb::Start, "A")),
        "no service is named \"A\"; did you mean \"a\"?"
    );
    let broken = "b.toml:3:1: unknown key \"colour\" in [service]";
    let answer = words(host.command(2, Verb::Start, "b"));
    assert!(answer.starts_with(&format!("b cannot start: its definition is broken: {broken}")));
    let answer = words(host.command(3, Verb::Start, "c"));
    assert_eq!(answer, "c does not come up: c requires b, which is broken");
    assert_eq!(host.command(4, Verb::Start, "a"), []);
    let effects = host.command(5, Verb::Stop, "a");
    let (key, verb) = ("a".to_owned(), Verb::Stop);
    assert!(effects.contains(&reply(4, Err(CommandError::Superseded { key, verb }))));
    host.exited("a", 1, 15);
    host.command(6, Verb::Start, "a");
    host.started("a", 2);
    let answer = words(host.exited("a", 2, 256));
    assert_eq!(answer, "a does not come up: exited with code 1; it goes on trying");
}

/// Down in reverse order, then the machine; a second request changes nothing, a start is refused.
#[test]
fn power_off_goes_from_the_far_end() {
    let mut host = chain();
    let kind = PowerKind::Reboot;
    let effects = host.step(Event::Power { kind, within_ms: None });
    assert_eq!(effects, [stop("front", 1, 10_000 * MS_NS)]);
    assert_eq!(host.step(Event::Power { kind: PowerKind::PowerOff, within_ms: None }), []);
    let key = "db".to_owned();
    let refused = reply(1, Err(CommandError::ShuttingDown { key, kind }));
    assert_eq!(host.command(1, Verb::Restart, "db"), [refused]);
    host.exited("front", 1, 15);
    host.exited("web", 1, 15);
    let effects = host.exited("db", 1, 15);
    assert_eq!(effects, [forget("db", 1), Effect::Shutdown { kind }]);
    // The supervisor may die before it has handed over: the next one does. Not after.
    let (_, effects) = Host::take_over(&CHAIN, host.snapshot(vec![]), host.now);
    assert_eq!(effects, [Effect::Shutdown { kind }]);
    let ending = Snapshot { shutting_down: true, ..host.snapshot(vec![]) };
    let (_, effects) = Host::take_over(&CHAIN, ending, host.now);
    assert_eq!(effects, []);
}

/// Who dies on the way down is down: it is neither started again, nor said to be.
#[test]
fn nobody_starts_again_at_a_power_off() {
    let mut host = chain();
    let kind = PowerKind::PowerOff;
    host.step(Event::Power { kind, within_ms: None });
    assert_eq!(host.exited("db", 1, 256), [forget("db", 1)]);
    assert_eq!(host.state("db"), State::Stopped);
    host.exited("front", 1, 15);
    assert_eq!(host.exited("web", 1, 15), [forget("web", 1), Effect::Shutdown { kind }]);
}

/// One that is stuck holds up neither those before it nor, past the deadline, the machine.
#[test]
fn power_off_does_not_wait_for_ever() {
    let mut host = chain();
    host.step(Event::Power { kind: PowerKind::PowerOff, within_ms: None });
    let (key, pids, wchan) = ("front".to_owned(), vec![101], "nfs_wait".to_owned());
    let effects = host.step(Event::Stuck { key, incarnation: 1, pids, wchan });
    assert_eq!(effects, [stop("web", 1, 10_000 * MS_NS)]);
    let problem = "was killed and is still there: pid 101 in nfs_wait";
    assert_eq!(host.view("front").problems, [problem]);
    host.exited("web", 1, 15);
    host.exited("db", 1, 15);
    assert_eq!(host.machine.deadline(), Some(Now(60_000 * MS_NS)));
    let kind = PowerKind::PowerOff;
    assert_eq!(host.wait(60_000), [Effect::Shutdown { kind }]);
}

/// Whoever asks may say how long, also later if that is sooner, and a new supervisor knows it.
#[test]
fn power_off_within() {
    let mut host = chain();
    let within =
        |seconds: u64| Event::Power { kind: PowerKind::PowerOff, within_ms: Some(seconds * 1_000) };
    host.step(within(100_000));
    assert_eq!(host.machine.power().map(|power| power.deadline_ns), Some(3_600_000 * MS_NS));
    host.step(within(90));
    host.step(within(200));
    let deadline = Some(90_000 * MS_NS);
    assert_eq!(host.machine.power().map(|power| power.deadline_ns), deadline);
    let (next, _) = Host::take_over(&CHAIN, host.snapshot(vec![]), host.now);
    assert_eq!(next.machine.power().map(|power| power.deadline_ns), deadline);
}

/// A tombstone that nobody judged is judged once by the next supervisor, one that was judged is
/// only forgotten; held down stays held down; a service that is new starts; one that is gone ends.
#[test]
fn takes_over_from_a_dead_supervisor() {
    let services = [("down", ""), ("gone", ""), ("judged", ""), ("unjudged", ""), ("up", "")];
    let (mut host, _) = Host::boot(&services);
    for (name, _) in services {
        host.started(name, 1);
    }
    host.command(1, Verb::Stop, "down");
    host.exited("down", 1, 15);
    host.exited("judged", 1, 9);
    let ended = RunState::Ended { end: host.end(9), emptied: true };
    let runs = vec![
        run("gone", 1, RunState::Running),
        run("judged", 1, ended),
        run("unjudged", 1, ended),
        run("up", 1, RunState::Running),
    ];
    let services = [("down", ""), ("judged", ""), ("new", ""), ("unjudged", ""), ("up", "")];
    let before = host.machine.views();
    let (mut host, effects) = Host::take_over(&services, host.snapshot(runs), host.now);
    let expected = [
        stop("gone", 1, 10_000 * MS_NS),
        forget("judged", 1),
        forget("unjudged", 1),
        spawn("new", 1),
    ];
    assert_eq!(effects, expected);
    for name in ["down", "judged", "up"] {
        let before = before.iter().find(|view| view.name == name).unwrap();
        assert_eq!(host.view(name), *before);
    }
    assert_eq!(host.view("unjudged").state, State::Backoff);
    let effects = host.exited("gone", 1, 15);
    assert_eq!(effects, [forget("gone", 1), Effect::ForgetKey { key: "gone".to_owned() }]);
    let started = host.wait(100);
    assert_eq!(started, [spawn("judged", 2), spawn("unjudged", 2)]);
}

/// A spawn that never reached PID 1 is asked for again with its number; one that it saw and has no
/// run of has failed. A stop that was lost is asked for again with its deadline.
#[test]
fn finishes_what_was_begun() {
    let (mut host, _) = Host::boot(&[("a", "")]);
    let (_, effects) = Host::take_over(&[("a", "")], host.snapshot(vec![]), host.now);
    assert_eq!(effects, [spawn("a", 1)]);
    let mut seen = host.snapshot(vec![]);
    seen.keys[0].incarnation_last = 1;
    let (failed, effects) = Host::take_over(&[("a", "")], seen, host.now);
    assert_eq!((effects, failed.state("a")), (vec![], State::Backoff));
    host.started("a", 1);
    host.command(1, Verb::Stop, "a");
    let living = host.snapshot(vec![run("a", 1, RunState::Running)]);
    let (_, effects) = Host::take_over(&[("a", "")], living, host.now.plus_ms(3000));
    assert_eq!(effects, [stop("a", 1, 10_000 * MS_NS)]);
}

/// Memos of another version, and garbage: said, and the runs alone count. A lost memo of a living
/// run does not start a second one, and numbers go on above the last.
#[test]
fn lost_memos_are_said_and_survived() {
    for memo in [vec![2, 0, 0, 0, 0], vec![0xff; 100], vec![1]] {
        let entry = |key: &str| Key { key: key.into(), incarnation_last: 7, memo: memo.clone() };
        let keys = vec![entry("a"), entry("b"), entry(SUPERVISOR_KEY), entry("@shell")];
        let runs = vec![run("a", 7, RunState::Running)];
        let from = Snapshot { keys, runs, shutting_down: false };
        let loaded = Host::boot(&[("a", ""), ("b", "")]).0.files;
        let (machine, effects) =
            Machine::new(definition::load(loaded), from, &BTreeMap::new(), Now(5));
        let lost = effects.iter().filter(
            |effect| matches!(effect, Effect::Report(record) if record.what.word() == "memo-lost"),
        );
        assert_eq!(lost.count(), 3);
        assert!(effects.contains(&spawn("b", 8)));
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Stop { .. })));
        let states: Vec<State> = machine.views().iter().map(|view| view.state).collect();
        assert_eq!(states, [State::Running, State::Starting]);
    }
}

/// Events of nobody, of old runs, and out of place: no effect but forgetting.
#[test]
fn strange_events_are_harmless() {
    let (mut host, _) = Host::boot(&[("a", "")]);
    host.started("a", 1);
    let before = host.machine.views();
    assert_eq!(host.started("nobody", 1), []);
    assert_eq!(host.started("a", 9), []);
    assert_eq!(host.notified("a", 0, "STOPPING=1"), []);
    assert_eq!(host.exited("nobody", 3, 0), [forget("nobody", 3)]);
    assert_eq!(host.exited("a", 0, 0), [forget("a", 0)]);
    let key = "a".to_owned();
    assert_eq!(host.step(Event::Emptied { key: key.clone(), incarnation: 1 }), []);
    let step = "exec".to_owned();
    assert_eq!(host.step(Event::SpawnFailed { key, incarnation: 1, step, errno: 2 }), []);
    assert_eq!(host.machine.views(), before);
}

/// After dropped events a snapshot tells the rest, without a word about what is known.
#[test]
fn resync_learns_what_was_missed() {
    let (mut host, _) = Host::boot(&[("a", ""), ("b", "")]);
    host.started("a", 1);
    let ended = RunState::Ended { end: host.end(256), emptied: true };
    let runs = vec![run("a", 1, ended), run("b", 1, RunState::Running)];
    let snapshot = host.snapshot(runs);
    let effects = host.machine.resync(host.now, snapshot.clone());
    assert_eq!(host.keep(effects), [forget("a", 1)]);
    assert_eq!((host.state("a"), host.state("b")), (State::Backoff, State::Running));
    let effects = host.machine.resync(host.now, snapshot);
    assert_eq!(host.keep(effects), [forget("a", 1)]);
}
