//! Reloads, one rule a test: other files in, a difference and effects out. The simulations prove
//! that they fit together with all the rest.

#[path = "swaps/host.rs"]
mod host;

use host::{Host, error, prepare, run, spawn, stops};
use service::definition::load;
use service::problem::{Problem, Severity};
use service::reload::{Change, Difference, File, load_over};
use service::{Cause, CommandError, Effect, Outcome, Program, Side, State, SwapVerb, Verb};
use std::collections::BTreeMap;

const S: &str = "[service]\nexec = ['/bin/s']\n";
const WEB: &str = "[app]\nclosure = '/s/v1'\nlisten.http = '[::]:80'\n";

fn files(files: &[(&str, &str)]) -> Vec<File> {
    let file = |(name, text): &(&str, &str)| {
        ((*name).to_owned(), format!("{name}.toml"), (*text).to_owned())
    };
    files.iter().map(file).collect()
}

fn with(lines: &str) -> String {
    format!("{S}{lines}\n")
}

impl Host {
    /// Puts these files into force, as the shell does.
    fn reload(&mut self, new: &[(&str, &str)]) -> Vec<Effect> {
        let new = files(new);
        let over = load_over(self.machine.loaded(), &self.files, new.clone(), Vec::new());
        let difference = Difference::between(self.machine.loaded(), &over.loaded);
        assert_eq!(self.machine.may_reload(&over.loaded, &difference), Ok(()));
        self.files = new;
        let effects = self.machine.reload(self.now, over.loaded, &BTreeMap::new());
        self.keep(effects)
    }

    /// Why these files cannot come into force now.
    fn refuses(&self, new: &[(&str, &str)]) -> CommandError {
        let over = load_over(self.machine.loaded(), &self.files, files(new), Vec::new());
        let difference = Difference::between(self.machine.loaded(), &over.loaded);
        self.machine.may_reload(&over.loaded, &difference).expect_err("refused")
    }

    fn command(&mut self, id: u64, verb: Verb, key: &str) -> Vec<Effect> {
        self.step(service::Event::Command { id, verb, key: key.to_owned() })
    }
}

/// Services that are up, each with run 1.
fn up(services: &[(&str, &str)]) -> Host {
    let (mut host, mut effects) = Host::boot(services, &[]);
    while let Some(effect) = effects.pop() {
        if let Effect::Spawn { key, incarnation } = effect {
            effects.extend(host.started(&key, incarnation));
        }
    }
    host
}

fn forget(key: &str) -> Effect {
    Effect::ForgetKey { key: key.to_owned() }
}

/// Every key of a definition differs alone: its name is told, and whether the run has to go.
#[test]
fn a_difference_names_its_keys() {
    let change = |lines: &str| {
        let one = |text: &str| load(files(&[("a", text), ("b", S)]));
        let difference = Difference::between(&one(S), &one(&with(lines)));
        assert!(difference.unchanged.contains(&"b".to_owned()));
        difference.changed.into_iter().next()
    };
    let expect = |key: &'static str, restart: bool| {
        let (name, keys) = ("a".to_owned(), vec![key]);
        Some(Change { name, restart, rebind: false, keys })
    };
    for (key, lines) in [
        ("user", "user = 'web'"),
        ("group", "group = 'web'"),
        ("groups", "groups = ['ssl']"),
        ("directory", "directory = '/srv'"),
        ("environment", "environment.A = 'b'"),
        ("umask", "umask = '0077'"),
        ("oom-score-adjust", "oom-score-adjust = 5"),
        ("limits", "limits.memory-max = '1G'"),
        ("listen", "[[service.listen]]\nname = 'x'\ntcp = '[::]:80'"),
    ] {
        assert_eq!(change(lines), expect(key, true), "{lines}");
    }
    for (key, lines) in [
        ("after", "after = ['b']"),
        ("before", "before = ['b']"),
        ("requires", "requires = ['b']"),
        ("wants", "wants = ['b']"),
        ("restart", "restart.policy = 'no'"),
        ("stop", "stop.timeout = '9s'"),
        ("control", "control = 'operate'"),
    ] {
        assert_eq!(change(lines), expect(key, false), "{lines}");
    }
    let notify = change("kind = 'notify'").expect("changed");
    assert_eq!((notify.restart, notify.keys), (true, vec!["kind", "ready"]), "with its defaults");
    // The same words in another place, with other comments, say the same.
    assert_eq!(change("# a comment"), None);
    let moved = vec![("a".to_owned(), "elsewhere/a.toml".to_owned(), S.to_owned())];
    let difference = Difference::between(&load(files(&[("a", S)])), &load(moved));
    assert_eq!(difference.unchanged, ["a"]);
}

/// A socket that is elsewhere has all of the service's bound anew; one more does not.
#[test]
fn sockets_are_bound_anew_when_one_moved() {
    let socket = |name: &str, port: u16| {
        format!("[[service.listen]]\nname = '{name}'\ntcp = '[::]:{port}'\n")
    };
    let rebinds = |old: &str, new: &str| {
        let one = |text: &str| load(files(&[("a", &with(text))]));
        Difference::between(&one(old), &one(new)).changed[0].rebind
    };
    assert!(!rebinds(&socket("x", 80), &(socket("x", 80) + &socket("y", 81))));
    assert!(rebinds(&socket("x", 80), &socket("x", 81)));
    assert!(rebinds(&(socket("x", 80) + &socket("y", 81)), &socket("x", 80)));

    let mut host = up(&[("a", &with(&socket("x", 80)))]);
    let effects = host.reload(&[("a", &with(&socket("x", 81)))]);
    assert_eq!(stops(&effects).len(), 1);
    let unlisten = Effect::Unlisten { key: "a".to_owned() };
    assert_eq!(host.ended("a", 1, 15, Cause::Asked), [unlisten, spawn("a", 2)]);
}

/// What comes starts, what goes stops and is forgotten, what stays is not touched.
#[test]
fn added_and_removed() {
    let mut host = up(&[("stays", S), ("goes", S)]);
    let effects = host.reload(&[("stays", S), ("comes", S)]);
    assert_eq!(stops(&effects), [("goes", 10_000_000_000)]);
    assert!(effects.contains(&spawn("comes", 1)) && effects.len() == 2, "{effects:?}");
    assert_eq!(host.view("goes").state, State::Stopping);
    assert!(host.view("goes").problems.contains(&"is no longer defined".to_owned()));
    assert_eq!(host.ended("goes", 1, 15, Cause::Asked), [forget("goes")]);
    assert!(!host.machine.views().iter().any(|view| view.name == "goes"));
    assert_eq!(host.view("stays").incarnation, 1);
    // One that has no run is forgotten at once.
    host.command(1, Verb::Stop, "stays");
    host.ended("stays", 1, 15, Cause::Asked);
    assert_eq!(host.reload(&[("comes", S)]), [forget("stays")]);
}

/// Those that go do so in the stop order, by the policies that they were started with.
#[test]
fn removed_in_the_stop_order() {
    let web = with("after = ['db']\nstop.signal = 'SIGQUIT'");
    let mut host = up(&[("db", S), ("web", &web)]);
    let effects = host.reload(&[]);
    let [Effect::Stop { key, signal: 3, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(key, "web");
    let effects = host.ended("web", 1, 3, Cause::Asked);
    assert_eq!(stops(&effects), [("db", 10_000_000_000)]);
    assert_eq!(host.ended("db", 1, 15, Cause::Asked), [forget("db")]);
    assert!(host.machine.views().is_empty());
}

/// A run that cannot stay is stopped by the policy that it was started with, and comes back by the
/// new definition; what follows it stays. Policies alone change in place.
#[test]
fn changed_with_and_without_a_restart() {
    let web = with("requires = ['db']");
    let mut host = up(&[("db", S), ("web", &web)]);
    let other = with("environment.A = 'b'\nstop.signal = 'SIGINT'\nstop.timeout = '60s'");
    let effects = host.reload(&[("db", &other), ("web", &web)]);
    let [Effect::Stop { key, signal: 15, deadline_ns, .. }] = &effects[..] else { panic!() };
    assert_eq!((key.as_str(), *deadline_ns), ("db", 10_000_000_000));
    assert_eq!(host.view("web").state, State::Running);
    assert_eq!(host.ended("db", 1, 15, Cause::Asked), [spawn("db", 2)]);
    assert_eq!(host.machine.definition("db").expect("db").environment["A"], "b");
    host.started("db", 2);
    let policy = format!("{other}restart.policy = 'on-failure'\n");
    assert_eq!(host.reload(&[("db", &policy), ("web", &web)]), []);
    let effects = host.command(1, Verb::Stop, "db");
    assert_eq!(stops(&effects)[0].0, "web");
    let effects = host.ended("web", 1, 15, Cause::Asked);
    let [Effect::Stop { signal: 2, .. }] = &effects[..] else { panic!("the new policy") };
}

/// Two that change go down and come up in their order.
#[test]
fn changed_in_the_order() {
    let more = "environment.A = 'b'";
    let mut host = up(&[("db", S), ("web", &with("after = ['db']"))]);
    let web = with(&format!("after = ['db']\n{more}"));
    let effects = host.reload(&[("db", &with(more)), ("web", &web)]);
    assert_eq!(stops(&effects)[0].0, "web");
    let effects = host.ended("web", 1, 15, Cause::Asked);
    assert_eq!(stops(&effects).len(), 1, "web waits for db: {effects:?}");
    assert_eq!(host.ended("db", 1, 15, Cause::Asked), [spawn("db", 2)]);
    assert_eq!(host.started("db", 2), [spawn("web", 2)]);
}

/// Held down stays held down; what gave up, or did its work, is asked again.
#[test]
fn those_at_rest() {
    let once = "kind = 'oneshot'";
    let mut host = up(&[("held", S), ("failed", &with("restart.policy = 'no'")), ("once", S)]);
    host.reload(&[("held", S), ("failed", &with("restart.policy = 'no'")), ("once", &with(once))]);
    host.ended("once", 1, 15, Cause::Asked);
    host.started("once", 2);
    host.ended("once", 2, 0, Cause::Own);
    host.command(1, Verb::Stop, "held");
    host.ended("held", 1, 15, Cause::Asked);
    host.ended("failed", 1, 256, Cause::Own);
    let states = |host: &Host| ["held", "failed", "once"].map(|name| host.view(name).state);
    assert_eq!(states(&host), [State::Stopped, State::Failed, State::Done]);
    let other = |lines: &str| with(&format!("{lines}\nenvironment.A = 'b'"));
    let effects = host.reload(&[
        ("held", &other("")),
        ("failed", &other("restart.policy = 'no'")),
        ("once", &other(once)),
    ]);
    assert_eq!(effects, [spawn("failed", 2), spawn("once", 3)]);
    assert_eq!(states(&host)[0], State::Stopped);
}

/// A file that breaks, or that requires one that is gone, changes nothing; nor does one that makes
/// an app of a service. All of it is told.
#[test]
fn what_cannot_be_used_changes_nothing() {
    let old = files(&[("a", S), ("b", S), ("c", S), ("d", &with("requires = ['a']"))]);
    let loaded = load(old.clone());
    let new = files(&[
        ("a", "[service]\ncolour = 'blue'\nexec = 5\n"),
        ("b", WEB),
        ("d", &with("requires = ['none']")),
        ("new", "nonsense"),
    ]);
    let unusable = Problem {
        file: "c.toml".to_owned(),
        line: 0,
        column: 0,
        message: "is no text".to_owned(),
        suggestion: None,
        severity: Severity::Error,
    };
    let over = load_over(&loaded, &old, new, vec![("c".to_owned(), unusable)]);
    assert_eq!(over.loaded.definitions, loaded.definitions);
    assert_eq!(over.kept.iter().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    assert_eq!(over.loaded.broken.keys().collect::<Vec<_>>(), ["new"]);
    let files = |problems: &[Problem]| -> Vec<String> {
        problems.iter().map(|one| one.file.clone()).collect()
    };
    assert_eq!(files(&over.refusals), ["a.toml", "a.toml", "b.toml", "c.toml", "d.toml"]);
    assert_eq!(files(&over.loaded.problems), ["new.toml"]);
    let difference = Difference::between(&loaded, &over.loaded);
    assert_eq!((difference.changed, difference.added), (vec![], vec!["new".to_owned()]));
}

/// One that must keep its file, though what that requires is gone, is broken: its run goes on.
#[test]
fn nothing_is_kept_that_cannot_stand() {
    let mut host = up(&[("a", S), ("b", &with("requires = ['a']"))]);
    let effects = host.reload(&[("b", "nonsense")]);
    assert_eq!(stops(&effects), [("a", 10_000_000_000)]);
    assert_eq!(host.view("b").state, State::Running);
    assert!(host.view("b").problems.iter().any(|line| line.contains("requires")));
    host.ended("a", 1, 15, Cause::Asked);
    // Whole again, it starts by what is known of it.
    let effects = host.reload(&[("b", S)]);
    assert_eq!(stops(&effects).len(), 1);
    assert_eq!(host.ended("b", 1, 15, Cause::Asked), [spawn("b", 2)]);
}

/// A cycle that only the new files close keeps all of its services as they were.
#[test]
fn a_new_cycle_is_refused() {
    let mut host = up(&[("a", S), ("b", &with("after = ['a']"))]);
    let effects = host.reload(&[("a", &with("after = ['b']")), ("b", &with("after = ['a']"))]);
    assert_eq!(effects, []);
    assert_eq!(host.machine.loaded().broken.len(), 0);
    let loaded = load(files(&[("a", S), ("b", &with("after = ['a']"))]));
    let cycle = files(&[("a", &with("after = ['b']")), ("b", &with("after = ['a']"))]);
    let over = load_over(&loaded, &host.files, cycle, Vec::new());
    assert_eq!(over.kept.len(), 2);
    assert!(over.refusals.iter().any(|one| one.message.contains("for itself")));
}

/// Who waits for one that goes is told so.
#[test]
fn commands_end_with_their_service() {
    let mut host = up(&[("a", S)]);
    assert_eq!(stops(&host.command(1, Verb::Restart, "a")).len(), 1);
    host.command(2, Verb::Stop, "a");
    host.command(3, Verb::Start, "a");
    host.reload(&[]);
    let effects = host.ended("a", 1, 15, Cause::Asked);
    let removed = Err(CommandError::Removed { key: "a".to_owned() });
    assert!(effects.contains(&Effect::Reply { id: 3, result: removed }), "{effects:?}");
    assert!(matches!(error(&host.command(4, Verb::Start, "a")), CommandError::Unknown { .. }));
    let mut host = up(&[("a", S)]);
    host.command(1, Verb::Stop, "a");
    host.reload(&[]);
    let effects = host.ended("a", 1, 15, Cause::Asked);
    assert!(effects.contains(&Effect::Reply { id: 1, result: Ok(Outcome::Done) }), "{effects:?}");
}

/// A name is free again when what had it is gone; and while the machine ends nothing is reloaded.
#[test]
fn refusals() {
    let mut host = up(&[("web", S)]);
    host.reload(&[]);
    assert!(matches!(host.refuses(&[("web", S)]), CommandError::Refused { .. }));
    assert!(matches!(host.refuses(&[("web", WEB)]), CommandError::Refused { .. }));
    host.ended("web", 1, 15, Cause::Asked);
    assert_eq!(host.reload(&[("web", WEB)]), [spawn("web.0", 1)]);
    host.step(service::Event::Power { kind: service::PowerKind::Reboot, within_ms: None });
    assert!(matches!(host.refuses(&[]), CommandError::ShuttingDown { .. }));
}

/// An app comes with its seed, or waits for its first swap; it goes with both sides and all that
/// is kept of it.
#[test]
fn apps_come_and_go() {
    let mut host = up(&[("db", S)]);
    let seedless = "[app]\nlisten.http = '[::]:80'\n";
    assert_eq!(host.reload(&[("db", S), ("web", seedless)]), []);
    assert_eq!(host.view("web").state, State::Waiting);
    assert_eq!(host.swap(1, "web", "A", prepare("/s/v1")), [spawn("web.1", 1)]);
    host.started("web.1", 1);
    host.swap(2, "web", "A", SwapVerb::Admit);
    host.swap(3, "web", "A", SwapVerb::Retire);
    assert_eq!(host.app().serving.side, Side::One);
    assert_eq!(host.app().swap, None);
    let effects = host.reload(&[("db", S)]);
    assert_eq!(stops(&effects).len(), 1);
    assert!(effects.contains(&forget("web.0")), "{effects:?}");
    let effects = host.ended("web.1", 1, 15, Cause::Asked);
    assert_eq!(effects, [forget("web.1"), forget("@app/web")]);
    assert!(host.machine.apps().is_empty());

    // A seed that comes later is as good.
    host.reload(&[("web", seedless)]);
    assert_eq!(host.reload(&[("web", WEB)]), [spawn("web.0", 1)]);
}

/// A changed app starts again on its side with its drain; the sides' sockets stay, unless they
/// moved. While a swap is under way it stays as it is.
#[test]
fn apps_change() {
    let mut host = Host::up("web", WEB);
    let other = format!("{WEB}environment.A = 'b'\nswap.drain = '3s'\n");
    let other = other
        .replace("listen.http = '[::]:80'\n", "")
        .replace("[app]\n", "[app]\nlisten.http = '[::]:80'\n");
    let effects = host.reload(&[("web", &other)]);
    assert_eq!(stops(&effects), [("web.0", 3_000_000_000)]);
    assert_eq!(host.ended("web.0", 1, 15, Cause::Asked), [spawn("web.0", 2)]);
    host.started("web.0", 2);
    assert_eq!(host.machine.definition("web.0").expect("side").environment["A"], "b");

    host.swap(1, "web", "A", prepare("/s/v2"));
    let refusal = host.refuses(&[("web", WEB)]);
    assert_eq!(refusal, CommandError::SwapUnderWay { app: "web".into(), swap: "A".into() });
    assert!(matches!(host.refuses(&[]), CommandError::SwapUnderWay { .. }));
    // What changes in place does.
    let policy = format!("{other}swap.bake = '9s'\n");
    assert_eq!(host.reload(&[("web", &policy)]), []);
    host.started("web.1", 1);
    host.swap(2, "web", "A", SwapVerb::Abandon);
    host.ended("web.1", 1, 15, Cause::Asked);

    let moved = policy.replace(":80", ":81");
    let asked = host.groups.len();
    assert_eq!(stops(&host.reload(&[("web", &moved)])).len(), 1);
    let unlisten = |key: &str| Effect::Unlisten { key: key.to_owned() };
    let effects = host.ended("web.0", 2, 15, Cause::Asked);
    assert_eq!(effects.last(), Some(&spawn("web.0", 3)));
    assert!(effects.contains(&unlisten("web.0")), "{effects:?}");
    assert_eq!(host.groups[asked..].last(), Some(&(Side::Zero, Program::Alone)));
}

/// A supervisor that dies after a reload leaves nothing half done: what was to start again still
/// is, by memory alone.
#[test]
fn a_death_after_a_reload() {
    let web = with("after = ['db']");
    let mut host = up(&[("db", S), ("web", &web)]);
    let more = with("environment.A = 'b'");
    host.reload(&[("db", &more), ("web", &format!("{more}after = ['db']\n"))]);
    // `db` waits for `web` to go; the next supervisor knows of both.
    let (mut host, effects) = host.die(vec![run("db", 1), run("web", 1)]);
    assert_eq!(stops(&effects), [("web", 10_000_000_000)]);
    let effects = host.ended("web", 1, 15, Cause::Asked);
    assert_eq!(stops(&effects), [("db", 10_000_000_000)]);
    assert_eq!(host.ended("db", 1, 15, Cause::Asked), [spawn("db", 2)]);
}
