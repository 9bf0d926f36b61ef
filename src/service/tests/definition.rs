//! Definitions: what is read, what is refused, and what is said about it. Messages are compared
//! whole, since they are the product.

use service::definition::{
    Address, Definition, Intensity, Kind, Policy, ResourceLimit, Scope, load, parse,
};
use service::limits::{FILE_BYTES_MAX, SERVICES_MAX};
use service::problem::Severity;

fn good(text: &str) -> Definition {
    parse("x.toml", text).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// All that is wrong with a text, a line each.
fn bad(text: &str) -> Vec<String> {
    let problems = parse("x.toml", text).expect_err("it was read");
    problems.iter().map(ToString::to_string).collect()
}

/// Wrong lines below a sound `[service]` with `exec`; the places are those of the lines.
fn bad_line(line: &str) -> String {
    let found = bad(&format!("[service]\nexec = ['/bin/x']\n{line}\n"));
    assert_eq!(found.len(), 1, "{found:#?}");
    found[0].clone()
}

/// The least that a file may say, with every default that the reference promises.
#[test]
fn defaults() {
    let definition = good("[service]\nexec = ['/bin/x']");
    assert_eq!(definition.source, "x.toml");
    assert_eq!(definition.kind, Kind::Simple);
    assert_eq!((definition.user, definition.group), (None, None));
    assert_eq!(definition.directory, "/");
    assert_eq!((definition.umask, definition.oom_score_adjust), (0o022, 0));
    assert!(!definition.imds);
    assert_eq!(definition.ready.timeout_ms, None);
    assert_eq!(definition.restart.policy, Policy::Always);
    assert_eq!(definition.restart.backoff_min_ms, 100);
    assert_eq!(definition.restart.backoff_max_ms, 30_000);
    assert_eq!(definition.restart.reset_after_ms, 60_000);
    assert_eq!(definition.restart.intensity, None);
    assert_eq!((definition.stop.signal, definition.stop.timeout_ms), (15, 10_000));
    assert_eq!(definition.stop.scope, Scope::Cgroup);
    assert_eq!(definition.limits.pids_max, Some(4096));
    assert_eq!(definition.limits.cpu_weight, 100);
    let notify = good("[service]\nexec = ['/bin/x']\nkind = 'notify'");
    assert_eq!(notify.ready.timeout_ms, Some(60_000));
    let oneshot = good("[service]\nexec = ['/bin/x']\nkind = 'oneshot'");
    assert_eq!(oneshot.restart.policy, Policy::No);
}

/// Every key at once, each with a value that is not its default.
#[test]
fn every_key() {
    let definition = good(
        r#"
        [service]
        exec = ["/bin/x", "--verbose"]
        kind = "notify"
        user = "web"
        group = "1000"
        groups = ["tls", "7"]
        directory = "/var/lib/x"
        environment = { A = "1", B = "two words" }
        umask = "077"
        oom-score-adjust = -500
        imds = true
        after = ["a"]
        before = ["b"]
        requires = ["c"]
        wants = ["d"]
        [service.ready]
        timeout = "5s"
        [service.restart]
        policy = "on-failure"
        backoff-min = "1s"
        backoff-max = "1m"
        reset-after = "10m"
        intensity = 5
        period = "30s"
        [service.stop]
        signal = "INT"
        timeout = "2s"
        scope = "leader"
        [[service.listen]]
        name = "http"
        tcp = "[::]:8080"
        backlog = 10
        [[service.listen]]
        name = "admin"
        unix = "/run/x.sock"
        mode = "0660"
        user = "root"
        group = "ops"
        [service.limits]
        pids-max = "infinity"
        memory-max = "512M"
        memory-high = 1024
        swap-max = 0
        cpu-weight = 200
        nofile = 65536
        core = "infinity"
        stack = { soft = "8M", hard = "infinity" }
        "#,
    );
    assert_eq!(definition.exec, ["/bin/x", "--verbose"]);
    assert_eq!(definition.groups, ["tls", "7"]);
    assert_eq!(definition.environment["B"], "two words");
    assert_eq!((definition.umask, definition.oom_score_adjust), (0o077, -500));
    assert!(definition.imds);
    assert_eq!([&definition.after[0], &definition.before[0]], ["a", "b"]);
    assert_eq!([&definition.requires[0], &definition.wants[0]], ["c", "d"]);
    assert_eq!(definition.ready.timeout_ms, Some(5000));
    let intensity = Some(Intensity { count: 5, period_ms: 30_000 });
    assert_eq!(definition.restart.intensity, intensity);
    assert_eq!((definition.stop.signal, definition.stop.scope), (2, Scope::Leader));
    assert_eq!(definition.listen[0].address, Address::Tcp("[::]:8080".parse().unwrap()));
    assert_eq!(definition.listen[0].backlog, 10);
    let unix = Address::Unix {
        path: "/run/x.sock".to_owned(),
        mode: 0o660,
        user: Some("root".to_owned()),
        group: Some("ops".to_owned()),
    };
    assert_eq!(definition.listen[1].address, unix);
    let limits = &definition.limits;
    assert_eq!((limits.pids_max, limits.cpu_weight), (None, 200));
    assert_eq!(limits.memory_max_bytes, Some(512 << 20));
    assert_eq!(limits.memory_high_bytes, Some(1024));
    assert_eq!(limits.swap_max_bytes, Some(0));
    let limit = |resource, soft, hard| ResourceLimit { resource, soft, hard };
    let expected =
        [limit(3, 8 << 20, u64::MAX), limit(4, u64::MAX, u64::MAX), limit(7, 65_536, 65_536)];
    assert_eq!(limits.resources, expected);
}

/// One slip each: place, what is wrong, what to write. The list is the reference's other half.
#[test]
fn slips() {
    let cases = [
        ("kynd = 'simple'", "3:1: unknown key \"kynd\" in [service] (write kind)"),
        ("kind = 'notfy'", "3:8: unknown value \"notfy\" (write \"notify\")"),
        (
            "umask = '9'",
            "3:9: \"9\" is not a mode from 000 to 777 (write octal digits such as \"0660\")",
        ),
        (
            "directory = 'here'",
            "3:13: \"here\" is not an absolute path (write directory = \"/an/absolute/path\")",
        ),
        (
            "oom-score-adjust = 1001",
            "3:20: oom-score-adjust = 1001 is out of bounds (write oom-score-adjust = a number \
             from -1000 to 1000)",
        ),
        (
            "environment = { NOTIFY_SOCKET = 'x' }",
            "3:17: NOTIFY_SOCKET is set by the supervisor (leave it out)",
        ),
        ("environment = { A = 1 }", "3:21: the value of A is not a string (write A = \"…\")"),
        ("user = 'a:b'", "3:8: \"a:b\" names no user or group (write user = \"name\" or \"1000\")"),
        ("restart = 'always'", "3:11: restart is not a table (write [service.restart])"),
        (
            "restart.backoff-min = '1m'\nrestart.backoff-max = '1s'",
            "3:1: backoff-min is longer than backoff-max (write a backoff-max that is not below \
             backoff-min)",
        ),
        ("restart.period = '1m'", "3:1: period without intensity (write intensity = 5 beside it)"),
        (
            "stop.timeout = 5",
            "3:16: invalid type: integer `5`, expected a string (write timeout = \"200ms\", \
             \"1.5s\", \"5m\", \"1h\" or \"1d\")",
        ),
        ("stop.signal = 'SIGTREM'", "3:15: no signal is named \"SIGTREM\" (write \"SIGTERM\")"),
        (
            "ready.timeout = '5s'",
            "3:1: a service of kind \"simple\" is ready as soon as it runs (leave ready.timeout \
             out, or write kind = \"notify\")",
        ),
        (
            "listen = [{ name = 'h', tcp = '[::]:0' }]",
            "3:31: port 0 would be another port at each boot (write a port from 1 to 65535)",
        ),
        (
            "listen = [{ name = 'h', tcp = '8080' }]",
            "3:31: \"8080\" is not an address and a port (write \"[::]:8080\" for all addresses, \
             or \"127.0.0.1:8080\")",
        ),
        (
            "listen = [{ name = 'h' }]",
            "3:11: a listening socket needs one of tcp and unix (write tcp = \"[::]:8080\" or \
             unix = \"/run/x.sock\")",
        ),
        (
            "limits.nofile = 'many'",
            "3:17: nofile is not a limit (write nofile = 1024 or \"infinity\")",
        ),
        (
            "limits.memory-max = '1.5G'",
            "3:21: \"1.5G\" is no size (write \"64K\", \"512M\", \"2G\" or \"infinity\")",
        ),
        (
            "limits.nofile = { soft = 2, hard = 1 }",
            "3:17: nofile.soft is above nofile.hard (raise hard)",
        ),
        (
            "limits.pids-max = -1",
            "3:19: pids-max is not a limit (write pids-max = 1024 or \"infinity\")",
        ),
    ];
    for (line, expected) in cases {
        assert_eq!(bad_line(line), format!("x.toml:{expected}"), "{line}");
    }
}

/// What is wrong with a file as a whole.
#[test]
fn whole_files() {
    assert_eq!(
        bad(""),
        ["x.toml: there is no [service] table (write [service] and exec = \
             [\"/path/of/program\"] below it, or [app])"]
    );
    assert_eq!(
        bad("[app]"),
        ["x.toml: it defines an app, not a service (write [service] and exec = \
             [\"/path/of/program\"] below it)"]
    );
    assert_eq!(
        bad("[service]"),
        ["x.toml:1:1: exec is missing or empty (write exec = [\"/path/of/program\", \
             \"argument\"])"]
    );
    assert_eq!(
        bad("[service]\nexec = ['x']"),
        ["x.toml:2:9: the program \"x\" is not an absolute path (write its whole path: no PATH \
             is searched)"]
    );
    let forking = bad("[service]\nexec = ['/bin/x']\nkind = 'forking'");
    assert!(forking[0].contains("\"forking\" is not supported yet"), "{forking:?}");
    let long = bad(&"#".repeat(FILE_BYTES_MAX + 1));
    assert!(long[0].contains("write at most 65536"), "{long:?}");
    let syntax = bad("[service\nexec = [");
    assert!(syntax[0].starts_with("x.toml:1:9: "), "{syntax:?}");
}

/// Everything wrong at once is said at once, in the order of the file, and a column counts letters.
#[test]
fn all_problems_are_reported() {
    let text = "[service]\nexec = ['€']\ncolour = 1\n[service.restart]\npolice = 'no'\n[servce]\n";
    let places: Vec<String> =
        bad(text).iter().map(|line| line.split(": ").next().unwrap().to_owned()).collect();
    assert_eq!(places, ["x.toml:2:9", "x.toml:3:1", "x.toml:5:1", "x.toml:6:2"]);
    let after_euro = bad("[service]\nexec = ['/€', 5]");
    assert!(after_euro[0].starts_with("x.toml:2:15: "), "{after_euro:?}");
}

fn file(name: &str, body: &str) -> (String, String, String) {
    let text = format!("[service]\nexec = ['/bin/x']\n{body}");
    (name.to_owned(), format!("{name}.toml"), text)
}

/// A broken file, an unknown requirement and a cycle keep themselves down and nobody else; an
/// unknown name in the order is only a warning.
#[test]
fn broken_ones_do_not_keep_the_others() {
    let loaded = load(vec![
        file("web", "requires = ['databse']\n"),
        file("database", ""),
        file("broken", "colour = 1\n"),
        file("needs-broken", "requires = ['broken']\n"),
        file("early", "after = ['network']\n"),
        file("x", "after = ['y']\n"),
        file("y", "requires = ['z']\n"),
        file("z", "\n"),
        (
            "w".into(),
            "w.toml".into(),
            "[service]\nexec = ['/w']\nbefore = ['z']\nafter = ['x']".into(),
        ),
        file("self", "after = ['self']\n"),
        file("no/name", ""),
        ("system".into(), "system.toml".into(), "[app]\n".into()),
    ]);
    let sound: Vec<&str> = loaded.definitions.keys().map(String::as_str).collect();
    assert_eq!(sound, ["database", "early", "needs-broken"]);
    assert_eq!(loaded.cycles, [vec!["self", "self"], vec!["w", "x", "y", "z", "w"]]);
    let lines: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    let has = |line: &str| assert!(lines.iter().any(|known| known == line), "{lines:#?}");
    has("web.toml:3:13: requires names \"databse\", which is no service here (write \"database\")");
    has("early.toml:3:10: after names \"network\", which is no service here (define it, or leave \
         it out)");
    has("x.toml:3:10: x waits for itself: w after x after y after z after w (leave out that x is \
         after y, or another)");
    has("w.toml:3:11: z waits for itself: w after x after y after z after w (leave out that z is \
         after w, or another)");
    has("system.toml: \"system\" stands for the host's own system in swaps (rename the file)");
    let warnings = loaded.problems.iter().filter(|one| one.severity == Severity::Warning);
    assert_eq!(warnings.count(), 1);
    assert!(lines.iter().any(|line| line.starts_with("no/name.toml: ")), "{lines:#?}");
    assert!(!loaded.broken.contains_key("no/name"));
}

/// The caps on numbers: services, names given twice.
#[test]
fn caps() {
    let many = (0..=SERVICES_MAX).map(|number| file(&format!("s{number}"), "")).collect();
    let loaded = load(many);
    assert_eq!(loaded.definitions.len(), SERVICES_MAX);
    assert!(loaded.problems[0].message.contains("too many"), "{:?}", loaded.problems);
    let twice = load(vec![file("a", ""), file("a", "")]);
    assert_eq!((twice.definitions.len(), twice.problems.len()), (1, 1));
}

/// Total on any bytes that are text: mutilated sound files are read or refused, never a panic.
#[test]
fn cut_files_never_panic() {
    let text = "[service]\nexec = [\"/bin/x\"]\nenvironment = { A = \"€\" \
     }\n[[service.listen]]\nname = \"h\"\ntcp = \"[::]:1\"\n";
    for (end, _) in text.char_indices() {
        let _ = parse("x.toml", &text[..end]);
        let _ = parse("x.toml", &text[end..]);
    }
}
