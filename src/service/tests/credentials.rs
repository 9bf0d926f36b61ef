//! Credentials: what a definition may say of them, who waits for which, and who is told of a new
//! one.

#[path = "swaps/host.rs"]
mod host;

use host::{Host, already, error, prepare, run, spawn};
use service::definition::{Credential, CredentialSource, OnChange, Scope, parse, parse_app};
use service::{Effect, Event, Notification, SwapVerb, Verb};
use std::collections::{BTreeMap, BTreeSet};

const NOTIFY: &str = r#"
    [service]
    exec = ["/bin/web"]
    kind = "notify"
    [service.credentials]
    database = { ssm = "/shop/database", on-change = "signal" }
    cookie = { ssm = "/shop/cookie", on-change = "signal", signal = "SIGUSR1" }
    license = { ssm = "/shop/license", on-change = "restart" }
    pepper = { ssm = "/shop/pepper" }
    tls = { path = "/etc/tls.key" }
"#;

const APP: &str = r#"
    [app]
    closure = "/s/v1"
    [app.listen]
    http = "127.0.0.1:80"
    [app.credentials]
    database = { ssm = "/shop/database", on-change = "signal", signal = "SIGUSR2" }
"#;

const ALL: [&str; 4] = ["cookie", "database", "license", "pepper"];

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn told(owner: &str, present: &[&str], problems: &[(&str, &str)], changed: &[&str]) -> Event {
    let text = |text: &str| text.to_owned();
    let problems: BTreeMap<String, String> =
        problems.iter().map(|(name, reason)| (text(name), text(reason))).collect();
    let (present, changed) = (set(present), set(changed));
    Event::Credentials { owner: owner.to_owned(), present, problems, changed }
}

fn signal(key: &str, incarnation: u64, signal: u8) -> Effect {
    Effect::Signal { key: key.to_owned(), incarnation, scope: Scope::Leader, signal }
}

fn settled(owner: &str) -> Effect {
    Effect::CredentialsSettled { owner: owner.to_owned() }
}

fn ready(host: &mut Host, incarnation: u64) -> Vec<Effect> {
    let notification = Notification::parse(b"READY=1");
    let key = "web".to_owned();
    host.step(Event::Notified { key, incarnation, notification, sender_pid: 1 })
}

/// A service that is ready with all its credentials.
fn up() -> Host {
    let (mut host, _) = Host::boot(&[("web", NOTIFY)], &[]);
    assert_eq!(host.step(told("web", &ALL, &[], &[])), [spawn("web", 1)]);
    host.started("web", 1);
    ready(&mut host, 1);
    host
}

/// Every form that a credential may have, with its defaults.
#[test]
fn what_a_definition_may_say() {
    let definition = parse("x.toml", NOTIFY).expect("it is sound");
    let ssm = |name: &str| CredentialSource::Ssm(format!("/shop/{name}"));
    let path = CredentialSource::Path("/etc/tls.key".to_owned());
    let expected = [
        ("cookie", ssm("cookie"), OnChange::Signal(10)),
        ("database", ssm("database"), OnChange::Signal(1)),
        ("license", ssm("license"), OnChange::Restart),
        ("pepper", ssm("pepper"), OnChange::Nothing),
        ("tls", path, OnChange::Nothing),
    ];
    let expected: BTreeMap<String, Credential> = expected
        .into_iter()
        .map(|(name, source, on_change)| (name.to_owned(), Credential { source, on_change }))
        .collect();
    assert_eq!(definition.credentials, expected);
    let app = parse_app("x.toml", APP).expect("it is sound");
    assert_eq!(app.side(service::Side::Zero, "/s/v1").credentials.len(), 1);
    for name in ["/a", "plain", "/a.b_c-d/E:7", "/a:live", "arn:aws:ssm:eu-west-1:1:parameter/a"] {
        let text =
            format!("[service]\nexec=['/x']\n[service.credentials]\na = {{ ssm = '{name}' }}");
        assert!(parse("x.toml", &text).is_ok(), "{name}");
    }
}

/// Each mistake has its place and its cure, and none repeats what may be a secret.
#[test]
fn what_is_refused() {
    let cases = [
        (
            "database = 'hunter2'",
            "x.toml:4:12: database does not say where it comes from (write database = { ssm = \
             \"/shop/database\" } or { path = \"/etc/secrets/database\" }; a secret itself does \
             not belong here)",
        ),
        (
            "a = {}",
            "x.toml:4:5: a does not say where it comes from (write a = { ssm = \
             \"/shop/database\" } or { path = \"/etc/secrets/database\" })",
        ),
        (
            "a = { ssm = '/a', path = '/b' }",
            "x.toml:4:5: a comes from a path and from ssm (write one of them)",
        ),
        (
            "a = { path = '/b', on-change = 'restart' }",
            "x.toml:4:32: a path is read at each start, and not watched (leave on-change out; \
             `rollinit restart` takes up what changed)",
        ),
        (
            "a = { ssm = '/a', signal = 'SIGHUP' }",
            "x.toml:4:28: a signal that nothing sends (write on-change = \"signal\" beside it)",
        ),
        (
            "a = { ssm = '/a', on-change = 'reload' }",
            "x.toml:4:31: unknown value \"reload\" (write one of \"none\", \"restart\", \
             \"signal\")",
        ),
        (
            "a = { ssm = '/a b' }",
            "x.toml:4:13: \"/a b\" names no parameter of SSM (write ssm = \"/shop/database\": \
             letters, digits, -, _, . and /)",
        ),
        (
            "'../a' = { ssm = '/a' }",
            "x.toml:4:1: \"../a\" cannot name a credential (write a name such as database: \
             letters, digits, -, _ and ., a letter or digit first, at most 64)",
        ),
        (
            "a = { smm = '/a' }",
            "x.toml:4:7: unknown key \"smm\" in [service.credentials.a] (write ssm)",
        ),
    ];
    for (line, expected) in cases {
        let text = format!("[service]\nexec = ['/bin/x']\n[service.credentials]\n{line}\n");
        let problems = parse("x.toml", &text).expect_err(line);
        let found: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(found.iter().any(|problem| problem == expected), "{line}: {found:#?}");
        assert!(!format!("{problems:?}").contains("hunter2"));
    }
    let many: String = (0..33).map(|n| format!("c{n} = {{ ssm = '/a' }}\n")).collect();
    let text = format!("[service]\nexec = ['/x']\n[service.credentials]\n{many}");
    let problems = parse("x.toml", &text).expect_err("too many");
    assert!(problems[0].to_string().contains("write at most 32"), "{problems:?}");
    let text = "[service]\nexec=['/x']\nenvironment = { CREDENTIALS_DIRECTORY = '/x' }";
    let problems = parse("x.toml", text).expect_err("reserved");
    assert!(problems[0].message.contains("is set by the supervisor"), "{problems:?}");
}

/// A service starts when the last one from SSM is there, and says what it waits for until then.
/// What comes from a path is not waited for.
#[test]
fn a_service_waits_for_its_credentials() {
    let (mut host, effects) = Host::boot(&[("web", NOTIFY)], &[]);
    assert_eq!(effects, []);
    assert_eq!(host.step(told("web", &["database", "cookie"], &[], &[])), []);
    let waits = "waits for the credential license (SSM parameter /shop/license), the credential \
                 pepper (SSM parameter /shop/pepper)";
    assert_eq!(host.view("web").problems, [waits]);
    assert_eq!(host.step(told("web", &ALL, &[], &[])), [spawn("web", 1)]);
    assert_eq!(host.view("web").problems, [""; 0]);
}

/// A problem is told once and shown; who is merely ordered after it no longer waits, since the one
/// that could help may be among them; who requires it does. An operator hears of it too.
#[test]
fn a_problem_is_said_and_holds_up_nobody_else() {
    let after = "[service]\nexec = ['/bin/agent']\nafter = ['web']";
    let requires = "[service]\nexec = ['/bin/x']\nrequires = ['web']";
    let files = [("web", NOTIFY), ("agent", after), ("needs", requires)];
    let (mut host, effects) = Host::boot(&files, &[]);
    assert_eq!(effects, []);
    let denied = [("license", "AccessDenied: allow ssm:GetParameters")];
    let present = ["cookie", "database", "pepper"];
    host.told.clear();
    assert_eq!(host.step(told("web", &present, &denied, &[])), [spawn("agent", 1)]);
    let line = "web does not get its credential license: AccessDenied: allow ssm:GetParameters";
    assert!(host.told.iter().any(|told| told == line), "{:?}", host.told);
    host.told.clear();
    host.step(told("web", &present, &denied, &[]));
    assert!(!host.told.iter().any(|told| told == line), "said twice: {:?}", host.told);
    assert_eq!(host.view("web").state, service::State::Blocked);
    let problem = &host.view("web").problems[0];
    assert!(problem.ends_with("license): AccessDenied: allow ssm:GetParameters"), "{problem}");
    let key = "web".to_owned();
    let effects = host.step(Event::Command { id: 5, verb: Verb::Start, key });
    assert!(error(&effects).to_string().contains("AccessDenied"), "{effects:?}");
    let effects = host.step(told("web", &ALL, &[], &[]));
    assert_eq!(effects, [spawn("web", 1)]);
}

/// One signal for each that is named, however many changed; nothing for who wants none. What is
/// there stays in use if it cannot be made new, and that is shown.
#[test]
fn a_running_service_is_told() {
    let mut host = up();
    let effects = host.step(told("web", &ALL, &[], &["database", "pepper"]));
    assert_eq!(effects, [signal("web", 1, 1), settled("web")]);
    let effects = host.step(told("web", &ALL, &[], &["database", "cookie"]));
    assert_eq!(effects, [signal("web", 1, 1), signal("web", 1, 10), settled("web")]);
    let effects = host.step(told("web", &ALL, &[("database", "no answer")], &["pepper"]));
    assert_eq!(effects, [settled("web")]);
    assert_eq!(host.view("web").problems, ["its credential database may be old: no answer"]);
    assert_eq!(host.view("web").state, service::State::Running);
}

/// A restart takes the place of signals, and the run that follows is told nothing.
#[test]
fn a_restart_tells_all() {
    let mut host = up();
    let effects = host.step(told("web", &ALL, &[], &["database", "license"]));
    let stops = |effect: &Effect| matches!(effect, Effect::Stop { incarnation: 1, .. });
    assert!(effects.iter().any(stops) && effects.contains(&settled("web")), "{effects:?}");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Signal { .. })), "{effects:?}");
    let effects = host.ended("web", 1, 15, service::Cause::Asked);
    assert_eq!(effects, [spawn("web", 2)]);
}

/// A signal to a program that has no handler yet would end it: it waits until the program is
/// ready, and only then the change is settled. If that run ends before, the next one reads anew.
#[test]
fn who_is_on_the_way_up_is_told_when_ready() {
    let (mut host, _) = Host::boot(&[("web", NOTIFY)], &[]);
    host.step(told("web", &ALL, &[], &[]));
    host.started("web", 1);
    assert_eq!(host.step(told("web", &ALL, &[], &["database"])), []);
    assert_eq!(host.step(told("web", &ALL, &[], &["cookie"])), []);
    let effects = ready(&mut host, 1);
    assert_eq!(effects, [signal("web", 1, 1), signal("web", 1, 10), settled("web")]);

    let (mut host, _) = Host::boot(&[("web", NOTIFY)], &[]);
    host.step(told("web", &ALL, &[], &[]));
    host.started("web", 1);
    host.step(told("web", &ALL, &[], &["database"]));
    let effects = host.ended("web", 1, 256, service::Cause::Own);
    assert_eq!(effects, [settled("web")]);
    assert_eq!(host.wait(100), [spawn("web", 2)]);
    host.started("web", 2);
    assert_eq!(ready(&mut host, 2), []);
}

/// A supervisor that died between the file and the signal: the next one is told again, and tells.
/// Who runs is not stopped for what the new one does not know yet.
#[test]
fn a_change_is_not_lost_with_the_supervisor() {
    let host = up();
    let (mut next, effects) = host.die(vec![run("web", 1)]);
    assert_eq!(effects, []);
    let effects = next.step(told("web", &ALL, &[], &["database"]));
    assert_eq!(effects, [signal("web", 1, 1), settled("web")]);
}

/// Both sides of an app wait and are told; a side that rests is neither.
#[test]
fn both_sides_of_an_app_are_told() {
    let (mut host, effects) = Host::boot(&[("web", APP)], &[]);
    assert_eq!(effects, []);
    assert_eq!(host.step(told("web", &["database"], &[], &[])), [spawn("web.0", 1)]);
    host.started("web.0", 1);
    let effects = host.step(told("web", &["database"], &[], &["database"]));
    assert_eq!(effects, [signal("web.0", 1, 12), settled("web")]);
    host.swap(1, "web", "S", prepare("/s/v2"));
    host.started("web.1", 1);
    let effects = host.step(told("web", &["database"], &[], &["database"]));
    assert_eq!(effects, [signal("web.0", 1, 12), signal("web.1", 1, 12), settled("web")]);
    assert_eq!(host.swap(2, "web", "S", prepare("/s/v2")), [already(2)]);
    host.swap(3, "web", "S", SwapVerb::Abandon);
}

/// What a swap runs beside the app has the app's credentials, so it waits for them as well.
#[test]
fn a_task_waits_too() {
    let (mut host, _) = Host::boot(&[("web", APP)], &[]);
    assert_eq!(host.task(1, "S", 60_000), []);
    let effects = host.step(told("web", &["database"], &[], &[]));
    assert!(effects.contains(&spawn("web.migrate", 1)), "{effects:?}");
}
