//! Definitions of apps: what is read, what is refused, and what is said about it.

use proptest::prelude::*;
use service::app::{Health, Probe, ProbeAddress, Retire, Strategy};
use service::definition::{Address, Control, Kind, Policy, load, parse_app};
use service::{App, Side, Task};

/// A file with every key, each with a value that is not its default.
const EVERY_KEY: &str = r#"
[app]
closure = "/nix/store/abc-web-1"
exec = ["${closure}/bin/web", "--data", "${closure}/share"]
migrate = ""
kind = "notify"
user = "web"
environment = { ROOT = "${closure}" }
requires = ["db"]
control = "operate"
[app.ready]
timeout = "5s"
[app.restart]
policy = "on-failure"
[app.stop]
signal = "INT"
[app.limits]
nofile = { soft = 10, hard = 20 }
[app.listen]
admin = "unix:/run/web.sock"
bare = { unix = "/run/bare.sock", mode = "0600", group = "ops" }
http = "[::]:443"
tls = { tcp = "10.0.0.1:8443", backlog = 9 }
[app.health.http]
listen = "tls"
path = "/up"
every = "100ms"
passes = 7
timeout = "300ms"
deadline = "9s"
[app.swap]
strategy = "overlap"
drain = "1s"
bake = "2s"
watch = "0s"
retire = "at-switch"
migrate-lease = "5s"
[app.hooks]
after-switch = ["${closure}/bin/smoke", "-v"]
on-rollback = ["/bin/say"]
"#;

fn good(text: &str) -> App {
    parse_app("x.toml", text).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn bad(text: &str) -> Vec<String> {
    let problems = parse_app("x.toml", text).expect_err("it was read");
    problems.iter().map(ToString::to_string).collect()
}

fn file(name: &str, text: &str) -> (String, String, String) {
    (name.to_owned(), format!("{name}.toml"), text.to_owned())
}

/// The least that a file may say, with every default that the reference promises.
#[test]
fn defaults() {
    let app = good("[app]");
    assert_eq!(app.template.exec, ["${closure}/bin/serve"]);
    assert_eq!((app.closure, app.template.kind), (None, Kind::Simple));
    assert_eq!(app.migrate.as_deref(), Some("${closure}/bin/migrate"));
    assert_eq!(app.swap.strategy, Strategy::Restart);
    assert_eq!((app.swap.drain_ms, app.swap.bake_ms, app.swap.watch_ms), (30_000, 20_000, 60_000));
    assert_eq!((app.swap.retire, app.swap.migrate_lease_ms), (Retire::AfterBake, 60_000));
    assert_eq!((app.after_switch.len(), app.on_rollback.len()), (0, 0));
    let (every_ms, timeout_ms, deadline_ms) = (1000, 2000, 60_000);
    let up = Health { probe: Probe::Up, every_ms, passes: 1, timeout_ms, deadline_ms };
    assert_eq!(app.health, up);
    assert_eq!(
        good("[app]\nkind = 'notify'").health,
        Health { probe: Probe::Notify, ..up.clone() }
    );
    let tcp = good("[app.listen]\nhttp = '[::]:443'");
    let at = ProbeAddress::Tcp("127.0.0.1:443".parse().unwrap());
    assert_eq!(tcp.health, Health { probe: Probe::Tcp { at }, passes: 3, ..up });
    assert_eq!(tcp.swap.strategy, Strategy::Overlap);
    assert!(tcp.template.listen[0].grouped && tcp.is_grouped());
}

/// Every key at once, each with a value that is not its default.
#[test]
fn every_key() {
    let app = good(EVERY_KEY);
    let template = &app.template;
    assert_eq!((template.control, template.restart.policy), (Control::Operate, Policy::OnFailure));
    assert_eq!((template.ready.timeout_ms, template.stop.signal), (Some(5000), 2));
    let names: Vec<&str> = template.listen.iter().map(|listen| listen.name.as_str()).collect();
    assert_eq!(names, ["admin", "bare", "http", "tls"]);
    let grouped: Vec<bool> = template.listen.iter().map(|listen| listen.grouped).collect();
    assert_eq!(grouped, [false, false, true, true]);
    assert_eq!(template.listen[3].backlog, 9);
    let Address::Unix { path, mode, group, .. } = &template.listen[1].address else { panic!() };
    assert_eq!((path.as_str(), *mode, group.as_deref()), ("/run/bare.sock", 0o600, Some("ops")));
    let at = ProbeAddress::Tcp("10.0.0.1:8443".parse().unwrap());
    let probe = Probe::Http { at, path: "/up".to_owned() };
    let (passes, timeout_ms, deadline_ms) = (7, 300, 9000);
    assert_eq!(app.health, Health { probe, every_ms: 100, passes, timeout_ms, deadline_ms });
    assert_eq!((app.swap.drain_ms, app.swap.bake_ms, app.swap.watch_ms), (1000, 2000, 0));
    assert_eq!((app.swap.retire, app.swap.migrate_lease_ms), (Retire::AtSwitch, 5000));
    assert_eq!((app.migrate.as_deref(), app.after_switch.len()), (None, 2));

    let side = app.side(Side::Zero, "/nix/store/def-web-2");
    assert_eq!(side.exec[0], "/nix/store/def-web-2/bin/web");
    assert_eq!(side.exec[2], "/nix/store/def-web-2/share");
    assert_eq!(side.environment["ROOT"], "/nix/store/def-web-2");
    assert_eq!(side.listen, app.template.listen);
    let task = app.task(&app.after_switch, Side::Zero, "/nix/store/def-web-2");
    assert_eq!(task.exec, ["/nix/store/def-web-2/bin/smoke", "-v"]);
    assert_eq!((task.kind, task.restart.policy), (Kind::Oneshot, Policy::No));
    assert_eq!((task.listen.len(), task.user.as_deref()), (0, Some("web")));
}

/// Each mistake alone, with its place and cure.
#[test]
fn mistakes() {
    let cases = [
        (
            "[app]\nclosure = 'store'",
            "2:11: \"store\" is no store path (write closure = \"/nix/store/…\", or leave it out \
             for a host with a profile)",
        ),
        (
            "[app]\nexec = ['${closur}/bin/serve']",
            "2:9: the program \"${closur}/bin/serve\" is not an absolute path (begin with / or \
             ${closure}/: no PATH is searched)",
        ),
        (
            "[app]\nexec = []",
            "2:8: exec is empty (write exec = [\"${closure}/bin/x\", \"argument\"])",
        ),
        (
            "[app]\nmigrate = 'bin/migrate'",
            "2:11: the program \"bin/migrate\" is not an absolute path (write migrate = \
             \"${closure}/bin/migrate\", or \"\" for never)",
        ),
        (
            "[app]\nkind = 'oneshot'",
            "2:8: an app stays up, a oneshot does not (write kind = \"simple\" or \"notify\")",
        ),
        ("[app]\nbin = 'x'", "2:1: unknown key \"bin\" in [app] (known here: "),
        (
            "[app.listen]\nhttp = '443'",
            "2:8: \"443\" is not an address and a port (write \"[::]:8080\" for all addresses, or \
             \"127.0.0.1:8080\")",
        ),
        (
            "[app.listen]\nhttp = 'unix:x'",
            "2:8: \"x\" is not an absolute path (write \"unix:/run/x.sock\")",
        ),
        (
            "[app.listen]\nhttp = 443",
            "2:8: http is no address (write http = \"[::]:443\" or \"unix:/run/x.sock\")",
        ),
        (
            "[app.listen]\nhttp = { port = 443, tcp = '0.0.0.0:1' }",
            "2:10: unknown key \"port\" in [app.listen.http] (known here: tcp, unix, mode, user, \
             group, backlog)",
        ),
        (
            "[app.listen]\n'a b' = '[::]:443'",
            "2:1: \"a b\" cannot name a socket (write a name such as http: letters, digits, - and \
             _)",
        ),
        (
            "[app.listen]\nhttp = '[::1]:443'",
            "2:1: strategy \"overlap\" tells probes by an IPv4 address, which never comes to \
             [::1]:443 (write \"[::]:443\" or an IPv4 address, or strategy = \"restart\" in \
             [app.swap])",
        ),
        (
            "[app.listen]\nhttp = '[::]:1'\n[app.health]\nhttp = {}",
            "4:8: an http probe needs a path (write path = \"/up\")",
        ),
        (
            "[app.listen]\nhttp = '[::]:1'\n[app.health]\nhttp = { path = 'up' }",
            "4:17: \"up\" is no path of a URL (write path = \"/up\")",
        ),
        (
            "[app.listen]\nhttp = '[::]:1'\n[app.health]\ntcp = { listen = 'htp' }",
            "4:18: no socket is named \"htp\" (name a socket of [app.listen]: http)",
        ),
        (
            "[app.health]\ntcp = {}",
            "2:7: there is no socket to probe (write [app.listen] with the socket to ask, or \
             ports, or leave the probe out)",
        ),
        (
            "[app.health]\nnotify = {}",
            "2:10: an app of kind \"simple\" says nothing (write kind = \"notify\" in [app], or \
             probe http or tcp)",
        ),
        (
            "[app]\nkind = 'notify'\n[app.listen]\nhttp = '[::]:1'\n[app.health]\ntcp = {}\n\
             notify = {}",
            "5:1: more than one probe (write one of http, tcp and notify)",
        ),
        (
            "[app.listen]\nhttp = '[::]:1'\n[app.health.tcp]\nevery = '1ms'",
            "4:9: every is too short (write at least \"10ms\")",
        ),
        (
            "[app.swap]\nstrategy = 'overlapp'",
            "2:12: unknown value \"overlapp\" (write \"overlap\")",
        ),
        (
            "[app.swap]\nstrategy = 'ports'",
            "2:12: strategy \"ports\" needs a port for each side (write ports = [4000, 4001] in [app])",
        ),
        (
            "[app]\nports = [80, 81]\n[app.swap]\nstrategy = 'overlap'",
            "4:12: an app with ports cannot be swapped by \"overlap\" (write strategy = \"ports\", or \
             leave ports out of [app])",
        ),
        (
            "[app]\nports = [80, 80]",
            "2:9: [80, 80] are no two ports (write ports = [4000, 4001]: one for each side, from 1 \
             to 65535)",
        ),
        ("[app]\nports = [0, 80]", "2:9: [0, 80] are no two ports (write"),
        ("[app]\nports = [80, 65536]", "2:14: invalid value: integer `65536`, expected u16 (write"),
        ("[app]\nports = [80]", "2:9: invalid length 1, expected an array of length 2 (write"),
        (
            "[app]\nports = [80, 81]\n[app.listen]\nhttp = '[::]:82'",
            "4:1: an app with ports binds them itself and is given no sockets (leave [app.listen] \
             out, or ports)",
        ),
        (
            "[app]\nports = [80, 81]\nenvironment = { PORT = '80' }",
            "2:9: PORT is set by the supervisor: to the port of each side (leave it out of \
             environment)",
        ),
        (
            "[app]\nports = [80, 81]\n[app.health]\ntcp = { listen = 'http' }",
            "4:9: unknown key \"listen\" in [app.health.tcp] (known here: ",
        ),
        ("[app.swap]\nmigrate-lease = '1ms'", "2:17: migrate-lease is too short (write at least"),
        ("[app.swap]\ndrainn = '1s'", "2:1: unknown key \"drainn\" in [app.swap] (write drain)"),
        ("[app.hooks]\nafter-switch = ['smoke']", "2:17: the program \"smoke\" is not an absolute"),
        ("[app]\n[service]\nexec = ['/x']", "1:1: a file defines an app or a service (keep one of"),
        ("[app.limits]\nnofile = { soft = 1 }", "2:10: nofile needs soft and hard (write"),
    ];
    for (text, expected) in cases {
        let found = bad(text);
        assert_eq!(found.len(), 1, "{text}: {found:#?}");
        assert!(found[0].starts_with(&format!("x.toml:{expected}")), "{text}: {}", found[0]);
    }
    let all = bad("[app]\nexec = 1\n[app.swap]\ndrain = 3\n[app.health]\nhttp = {}\n");
    assert_eq!(all.len(), 4, "all problems at once: {all:#?}");
}

/// Strategy `ports`: each side is told its own port, tasks that of the side they are run beside, and
/// the gate asks the port of whoever is meant.
#[test]
fn an_app_that_binds_its_own_ports() {
    let app = good("[app]\nports = [4000, 4001]\nenvironment = { HOST = '${closure}' }");
    assert_eq!(app.swap.strategy, Strategy::Ports);
    assert_eq!(app.template.listen, []);
    assert_eq!(app.health.probe, Probe::Tcp { at: ProbeAddress::OwnPort });
    assert_eq!(ProbeAddress::OwnPort.to_string(), "127.0.0.1:${port}");
    for (side, port) in [(Side::Zero, "4000"), (Side::One, "4001")] {
        let environment = app.side(side, "/s/v2").environment;
        assert_eq!((&*environment["PORT"], &*environment["HOST"]), (port, "/s/v2"));
        let task = app.task(&["/bin/smoke".to_owned()], side, "/s/v2");
        assert_eq!(task.environment["PORT"], port);
        assert_eq!(app.port(side).map(|port| port.to_string()).as_deref(), Some(port));
    }
    let text = "[app]\nports = [4000, 4001]\n[app.swap]\nstrategy = 'ports'\n\
                [app.health.http]\npath = '/up'";
    let probe = Probe::Http { at: ProbeAddress::OwnPort, path: "/up".to_owned() };
    assert_eq!(good(text).health.probe, probe);
    let notifies = good("[app]\nkind = 'notify'\nports = [1, 2]\n[app.health]\nnotify = {}");
    assert_eq!(notifies.health.probe, Probe::Notify);
    assert_eq!(good("[app]").port(Side::Zero), None);
}

/// Apps among services: they are required by name, and nobody else may have their keys' names.
#[test]
fn apps_among_services() {
    let service = "[service]\nexec = ['/bin/x']\n";
    let loaded = load(vec![
        file("web", "[app]\nrequires = ['db']"),
        file("db", service),
        file("proxy", &format!("{service}requires = ['web']")),
        file("web.1", service),
        file("web.migrate", service),
        file("web.2", service),
        file("late", &format!("{service}requires = ['web.0']")),
    ]);
    assert_eq!(loaded.apps.keys().collect::<Vec<_>>(), ["web"]);
    assert_eq!(loaded.definitions.keys().collect::<Vec<_>>(), ["db", "proxy", "web.2"]);
    assert_eq!(loaded.broken.keys().collect::<Vec<_>>(), ["late", "web.1", "web.migrate"]);
    let message = loaded.broken["web.1"].to_string();
    assert_eq!(message, "web.1.toml: \"web.1\" names a side of the app \"web\" (rename this file)");
    let circle = load(vec![
        file("web", "[app]\nafter = ['db']"),
        file("db", &format!("{service}requires = ['web']")),
    ]);
    assert_eq!(circle.cycles, [["db", "web", "db"]]);
    let long = "x".repeat(49);
    let loaded = load(vec![file(&long, "[app]")]);
    assert!(loaded.broken[&long].message.ends_with("is too long to name an app"));
    // The longest name of an app still makes keys that PID 1 takes.
    let longest = "x".repeat(48);
    assert!(Task::ALL.iter().all(|task| task.key(&longest).len() <= 64));
    assert!(Side::One.key(&longest).len() <= 64);
}

proptest! {
    /// Whatever is written in place of any part of a file, it is read or refused: with places that
    /// are in it, and something to say.
    #[test]
    fn any_text_is_read_or_refused(
        at in 0..EVERY_KEY.len(),
        length in 0..40_usize,
        instead in r#"[\[\]{}=.'",a-z0-9$:/ \n\u{e9}]{0,12}"#,
    ) {
        let end = (at + length).min(EVERY_KEY.len());
        let text = format!("{}{instead}{}", &EVERY_KEY[..at], &EVERY_KEY[end..]);
        for problem in parse_app("x.toml", &text).err().into_iter().flatten() {
            prop_assert!(problem.line <= text.lines().count() + 1, "{problem}");
            prop_assert!(!problem.message.is_empty());
        }
    }
}
