//! Rollouts on the command line: the real binary, and records of a group in a folder.
//!
//! Screens are compared as in `commands.rs`. Ages are days and hours with half an hour to spare, so
//! that they stay the same however long a test takes.

#![allow(clippy::unwrap_used)] // A panic is the test's verdict.

mod stage;

use ledger::{Address, Engine};
use rollout::Ledger;
use rollout::fleet::{
    AppStatus, AppWord, Group, Hold, Holder, Migrations, Outcome, Pause, Portion, Rollout, Seat,
    Status, Stop, Track, Version, keys,
};
use serde_json::Value;
use stage::{Ended, assert_screen, assert_screen_in, help, rollinit};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

const HOUR_MS: u64 = 3_600_000;
const OLD: &str = "/nix/store/3k0vcxfb5m7zlqnydpxg6kxcajx5cwz1-storefront-1.9.2";
const NEW: &str = "/nix/store/9q1cxfb5m7zlqnydpxg6kxcajx5cwz0w-storefront-1.9.3";
const SYSTEM_1: &str = "/nix/store/5d1cxfb5m7zlqnydpxg6kxcajx5cwz0w-rollinit-system-web-1";
const SYSTEM_2: &str = "/nix/store/6f1cxfb5m7zlqnydpxg6kxcajx5cwz0w-rollinit-system-web-2";
const HOSTS: [&str; 3] = ["i-0aaaaaaaaaaaaaaa1", "i-0bbbbbbbbbbbbbbb2", "i-0ccccccccccccccc3"];

/// So many hours and a half ago, by the wall clock.
fn ago(hours: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    u64::try_from(now).unwrap() - hours * HOUR_MS - HOUR_MS / 2
}

/// A moment ago.
fn just_now() -> u64 {
    ago(0) + HOUR_MS / 2
}

/// A ledger in a folder, whose path has always the same length.
struct Stage {
    directory: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Stage {
    fn new() -> Stage {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Stage { directory: tempfile::tempdir().unwrap(), runtime }
    }

    fn url(&self) -> String {
        format!("file://{}/ledger", self.directory.path().display())
    }

    fn engine(&self) -> Engine {
        let address: Address = self.url().parse().unwrap();
        Engine::open(&address, None).unwrap()
    }

    fn put(&self, key: &str, value: &[u8]) {
        self.runtime.block_on(async {
            let engine = self.engine();
            let token = engine.get(key).await.unwrap().map(|entry| entry.token);
            engine.cas(key, token.as_ref(), value).await.unwrap();
        });
    }

    fn group(&self, group: &str) -> Group {
        let entry = self.runtime.block_on(self.engine().get(&keys::record(group).unwrap()));
        Group::read(&entry.unwrap().unwrap().value).unwrap()
    }

    fn put_group(&self, group: &str, record: &Group) {
        self.put(&keys::record(group).unwrap(), &record.write().unwrap());
    }

    fn put_host(&self, group: &str, host: &str, path: &str, word: AppWord, text: &str) {
        self.put_status(group, host, path, word, text, just_now());
    }

    fn put_status(
        &self,
        group: &str,
        host: &str,
        path: &str,
        word: AppWord,
        text: &str,
        said: u64,
    ) {
        let app = AppStatus { path: Some(path.to_owned()), word, text: text.to_owned() };
        let status = Status {
            format: 1,
            host: host.to_owned(),
            beat: 1,
            wall_ms: said,
            apps: [("web".to_owned(), app)].into(),
            ..Status::default()
        };
        self.put(&keys::host(group, host).unwrap(), &serde_json::to_vec(&status).unwrap());
    }

    /// Three hosts that serve the old release, which is blessed.
    fn at_rest(&self, group: &str) {
        for host in HOSTS {
            self.put_host(group, host, OLD, AppWord::Serves, "");
        }
        self.put_group(group, &blessed());
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = rollinit(arguments);
        command.env("ROLLINIT_LEDGER", self.url()).env("ROLLINIT_GROUP", "prod");
        command.env("USER", "alice").env_remove("SUDO_USER");
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.run_in(80, arguments)
    }

    fn run_in(&self, width: usize, arguments: &[&str]) -> Ended {
        let mut command = self.command(arguments);
        Ended::of(command.env("COLUMNS", width.to_string()).output().unwrap())
    }

    /// Compares stdout, with the ledger's address and this machine's name made the same everywhere.
    fn screen(&self, name: &str, width: usize, text: &str) {
        let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let text = text.replace(&format!("alice@{}", machine.trim()), "alice@laptop");
        assert_screen_in(width, name, &text.replace(&self.url(), "file:///ledger"));
    }
}

fn rolling(id: &str, path: &str) -> Rollout {
    Rollout {
        id: id.to_owned(),
        to: Version { path: path.to_owned(), serial: 0 },
        by: "bob@ci".to_owned(),
        began_ms: ago(2),
        paused: None,
        forced: false,
    }
}

fn blessed() -> Group {
    let mut group = Group::new();
    group.start("web", rolling("R0", OLD), false).unwrap();
    let app = AppStatus { path: Some(OLD.to_owned()), word: AppWord::Serves, text: String::new() };
    let status = Status { apps: [("web".to_owned(), app)].into(), ..Status::default() };
    assert!(group.bless("web", &[status], ago(5)));
    group
}

fn slot(host: &str) -> Holder {
    Holder {
        host: host.to_owned(),
        fence: 0,
        app: "web".to_owned(),
        path: NEW.to_owned(),
        rollout: "R1".to_owned(),
        since_ms: ago(1),
        leaves: false,
    }
}

/// One of three is done, one is out, one waits.
fn in_the_middle(stage: &Stage) {
    let mut group = blessed();
    group.start("web", rolling("R1", NEW), false).unwrap();
    group.take_slot(slot(HOSTS[1]), 3).unwrap();
    stage.put_group("prod", &group);
    stage.put_host("prod", HOSTS[0], NEW, AppWord::Serves, "");
    stage.put_host("prod", HOSTS[1], OLD, AppWord::Swaps, NEW);
    let text = format!("waits for a slot: 1 of 1 out: {}", HOSTS[1]);
    stage.put_host("prod", HOSTS[2], OLD, AppWord::Waits, &text);
}

/// It failed on one host, after another had it.
fn failed(stage: &Stage) {
    let mut group = blessed();
    group.start("web", rolling("R1", NEW), false).unwrap();
    group.take_slot(slot(HOSTS[1]), 3).unwrap();
    let held = group.holder(HOSTS[1]).cloned().unwrap();
    let reason = "gate: GET /up on gen 43 -> 503 \"relation orders does not exist\"";
    group.give_back(&held, &Stop::Failed(reason.to_owned()), ago(1));
    stage.put_group("prod", &group);
    let left = "a rollout that ended badly left it here; roll the one you want";
    stage.put_host("prod", HOSTS[0], NEW, AppWord::Serves, left);
    stage.put_host("prod", HOSTS[1], OLD, AppWord::Failed, reason);
    stage.put_status("prod", HOSTS[2], OLD, AppWord::Serves, "", ago(3));
}

/// SAID of a host that has just said something depends on how fast the test is.
fn settled(text: &str) -> String {
    let mut settled = String::new();
    for line in text.lines() {
        let mut line = line.to_owned();
        for unit in ["ms", "s"] {
            let words: Vec<&str> = line.split(' ').collect();
            let is_age = |word: &&&str| {
                word.strip_suffix(unit).is_some_and(|n| !n.is_empty() && n.parse::<u32>().is_ok())
            };
            if let Some(word) = words.iter().find(is_age) {
                let (old, new) = (format!("{word:>7}"), format!("{:>7}", "NOW"));
                line = line.replacen(&old, &new, 1);
            }
        }
        settled.push_str(line.trim_end());
        settled.push('\n');
    }
    settled
}

#[test]
fn screens_of_a_group() {
    let stage = Stage::new();
    let status = |name: &str, width: usize| {
        let ended = stage.run_in(width, &["rollout", "status"]);
        assert_eq!((ended.code, &*ended.error), (0, ""), "{name}");
        stage.screen(name, width, &settled(&ended.out));
    };
    stage.at_rest("prod");
    status("rollout-blessed", 80);
    in_the_middle(&stage);
    status("rollout-rolling", 80);
    status("rollout-rolling-narrow", 60);
    status("rollout-rolling-wide", 120);
    let mut group = stage.group("prod");
    let pause = Pause { by: "carol@laptop".to_owned(), why: "the database is moved".to_owned() };
    group.pause("web", Some(pause)).unwrap();
    group.set_max_unavailable("25%".parse().unwrap());
    stage.put_group("prod", &group);
    status("rollout-paused", 80);
    failed(&stage);
    status("rollout-failed", 80);
    status("rollout-failed-narrow", 60);
    status("rollout-failed-wide", 120);
    in_the_middle(&stage);
    held_up(&stage);
    status("rollout-held-up", 80);
    let view = stage.run(&["rollout", "status", "--json"]).json();
    assert_eq!(view["apps"][0]["held_up"], serde_json::json!([HOSTS[2]]));
}

/// All hosts have taken the release but one, which cannot.
fn held_up(stage: &Stage) {
    for host in [HOSTS[0], HOSTS[1]] {
        stage.put_host("prod", host, NEW, AppWord::Serves, "");
    }
    let why = "balancer edge: HAProxy at 10.0.0.5:9999 says \"Can't find backend.\"; correct the \
               backend's name";
    stage.put_host("prod", HOSTS[2], OLD, AppWord::Refused, why);
    let mut group = stage.group("prod");
    let holders = std::mem::take(&mut group.holders);
    stage.put_group("prod", &group);
    assert_eq!(holders.len(), 1, "one was out before");
}

/// The form for machines has everything that the screens have.
#[test]
fn json_of_a_group() {
    let stage = Stage::new();
    in_the_middle(&stage);
    stage.put("groups/prod/hosts/broken", b"{");
    let view = stage.run(&["rollout", "status", "--json"]).json();
    assert_eq!(
        (&view["group"], &view["hosts"], &view["allowed"]),
        (&"prod".into(), &3.into(), &1.into())
    );
    let web = &view["apps"][0];
    assert_eq!(
        (&web["state"], &web["done"], &web["total"]),
        (&"rolling".into(), &1.into(), &3.into())
    );
    let eta_ms = web["eta_ms"].as_u64().unwrap();
    assert!((5 * HOUR_MS..5 * HOUR_MS + HOUR_MS / 10).contains(&eta_ms), "{eta_ms}");
    assert_eq!(web["hosts"][1]["word"], "swaps");
    assert_eq!(web["hosts"][1]["slot"]["fence"], 1);
    let problem = view["problems"][0].as_str().unwrap();
    assert!(problem.starts_with("groups/prod/hosts/broken is not what a host writes"), "{problem}");
}

/// A release is begun, held up, let go, ended: each in the record, and the second time no other.
#[test]
fn a_rollout_from_a_laptop() {
    let stage = Stage::new();
    stage.at_rest("prod");
    let begun = stage.run(&["rollout", "start", "web", NEW, "--max-unavailable", "2", "--json"]);
    assert_eq!((begun.code, &*begun.error), (0, ""));
    let begun = begun.json();
    let id = begun["rollout"].as_str().unwrap().to_owned();
    let group = stage.group("prod");
    let rollout = group.apps["web"].rollout.clone().unwrap();
    assert_eq!((rollout.id.as_str(), rollout.to.path.as_str()), (&*id, NEW));
    assert!(rollout.by.starts_with("alice@") && group.writer.starts_with("alice@"));
    assert_eq!(group.max_unavailable, Portion::Hosts(2));
    let again = stage.run(&["rollout", "start", "web", NEW, "--json"]).json();
    assert_eq!((&again["rollout"], &again["joined"]), (&begun["rollout"], &Value::Bool(true)));
    let other = stage.run(&["rollout", "start", "web", OLD]);
    assert_eq!(other.code, 12);
    assert!(other.error.contains("supersede it (--supersede)"), "{other:?}");
    assert_eq!(stage.run(&["rollout", "pause", "web", "--why", "lunch"]).code, 0);
    let paused = stage.group("prod").apps["web"].rollout.clone().unwrap().paused.unwrap();
    assert_eq!(paused.why, "lunch");
    let resumed = stage.run(&["rollout", "resume", "web"]);
    assert_eq!(resumed.out, format!("web: rollout {id} goes on\n"));
    assert!(stage.group("prod").apps["web"].rollout.clone().unwrap().paused.is_none());
    let aborted = stage.run(&["rollout", "abort", "web", "--why", "wrong branch", "--json"]);
    assert_eq!(aborted.json()["done"], "aborted");
    let group = stage.group("prod");
    assert!(group.apps["web"].rollout.is_none());
    let busy = stage.run(&["rollout", "start", "web", "storefront-1.9.2"]);
    assert_eq!(busy.code, 0, "by its name: {busy:?}");
    let superseded = stage.run(&["rollout", "start", "web", "9q1c...", "--supersede"]);
    assert_eq!(superseded.code, 0, "by its hash, which the record knows: {superseded:?}");
    assert_eq!(stage.group("prod").apps["web"].rollout.clone().unwrap().to.path, NEW);
}

/// What goes wrong names the object and the cure, and has its own exit code.
#[test]
fn what_is_refused() {
    let stage = Stage::new();
    failed(&stage);
    for (name, code, arguments) in [
        ("error-rollout-barred", 12, vec!["rollout", "start", "web", NEW]),
        ("error-rollout-path", 12, vec!["rollout", "start", "web", "/nix/store/web/bin/serve"]),
        ("error-rollout-no-path", 5, vec!["rollout", "start", "web", "storefront-2"]),
        ("error-rollout-no-app", 5, vec!["rollout", "start", "wbe", NEW]),
        ("error-rollout-no-group", 5, vec!["rollout", "start", "web", NEW, "--group", "pord"]),
        ("error-rollout-none", 5, vec!["rollout", "abort", "web"]),
        ("error-rollout-status", 5, vec!["rollout", "status", "--group", "pord"]),
        ("error-rollout-promote", 5, vec!["rollout", "promote", "staging", "prod"]),
        ("error-locks-release", 5, vec!["locks", "release", "i-0"]),
        ("error-rollout-ledger", 12, vec!["rollout", "status", "--ledger", "redis://a:1"]),
    ] {
        let ended = stage.run(&arguments);
        assert_eq!((ended.code, &*ended.out), (code, ""), "{name}: {ended:?}");
        // Store paths and others' reasons stay whole: whoever is told copies them.
        assert_screen_in(200, name, &ended.error.replace(&stage.url(), "file:///ledger"));
    }
    let forced = stage.run(&["rollout", "start", "web", NEW, "--force"]);
    assert_eq!(forced.code, 0, "{forced:?}");
    assert!(stage.group("prod").apps["web"].failed.is_empty());
    for portion in ["0", "101%", "some"] {
        let wrong = ["rollout", "start", "web", NEW, "--max-unavailable", portion];
        assert_eq!(stage.run(&wrong).code, 2);
    }
    // Nobody listens there.
    let away = stage.run(&["rollout", "status", "--ledger", "etcd://127.0.0.1:1"]);
    assert_eq!(away.code, 3, "{away:?}");
    assert!(away.error.contains("etcd http://127.0.0.1:1"), "{away:?}");
}

/// The hosts' own system is rolled like an app, and is not spoken of before.
#[test]
fn the_hosts_own_system() {
    let stage = Stage::new();
    stage.put_group("prod", &blessed());
    let says = |host: &str, word: AppWord, text: &str| {
        let text = text.to_owned();
        let system = AppStatus { path: Some(SYSTEM_1.to_owned()), word, text };
        let (path, word, text) = (Some(OLD.to_owned()), AppWord::Serves, String::new());
        let apps =
            [("system".to_owned(), system), ("web".to_owned(), AppStatus { path, word, text })];
        let (host, wall_ms) = (host.to_owned(), just_now());
        let status =
            Status { format: 1, host, beat: 1, wall_ms, apps: apps.into(), ..Status::default() };
        let key = keys::host("prod", &status.host).unwrap();
        stage.put(&key, &serde_json::to_vec(&status).unwrap());
    };
    HOSTS.iter().for_each(|host| says(host, AppWord::Serves, ""));
    let quiet = stage.run(&["rollout", "status"]);
    assert!(!quiet.out.contains("system"), "{quiet:?}");
    assert!(stage.run(&["rollout", "status", "system"]).out.contains("system: NOTHING"));
    let begun = stage.run(&["rollout", "start", "system", SYSTEM_2]);
    assert_eq!(begun.code, 0, "{begun:?}");
    let mut group = stage.group("prod");
    let track = group.apps.get_mut("system").unwrap();
    assert_eq!(track.rollout.as_ref().unwrap().to.path, SYSTEM_2);
    track.rollout = Some(rolling("R2", SYSTEM_2));
    let (app, path, rollout) = ("system".to_owned(), SYSTEM_2.to_owned(), "R2".to_owned());
    group.take_slot(Holder { app, path, rollout, ..slot(HOSTS[0]) }, 3).unwrap();
    stage.put_group("prod", &group);
    says(HOSTS[0], AppWord::Swaps, "reboots");
    says(HOSTS[1], AppWord::Waits, &format!("waits for a slot: 1 of 1 out: {}", HOSTS[0]));
    says(HOSTS[2], AppWord::Refused, "it takes a reboot (another kernel), and no loader counts");
    let ended = stage.run(&["rollout", "status", "system"]);
    stage.screen("rollout-system", 80, &settled(&ended.out));
}

/// On a host of a group its agent says which ledger and which group.
#[test]
fn a_host_knows_its_group() {
    let stage = Stage::new();
    stage.at_rest("prod");
    let run = stage.directory.path();
    let bare = |arguments: &[&str]| {
        let mut command = stage.command(arguments);
        command.env_remove("ROLLINIT_LEDGER").env_remove("ROLLINIT_GROUP");
        Ended::of(command.env("ROLLINIT_SOCKET", run.join("supervisor")).output().unwrap())
    };
    let ended = bare(&["rollout", "status"]);
    assert_eq!(ended.code, 5);
    assert_screen("error-rollout-nowhere", &ended.error);
    let host = HOSTS[0].to_owned();
    let seat = Seat { ledger: stage.url(), group: "prod".to_owned(), host };
    std::fs::write(run.join("fleet"), seat.write()).unwrap();
    assert_eq!(bare(&["rollout", "status", "--json"]).json()["group"], "prod");
    let other = bare(&["rollout", "status", "--group", "staging"]);
    assert!(other.error.contains("staging"), "what is given counts more: {other:?}");
    std::fs::write(run.join("fleet"), b"{}").unwrap();
    let broken = bare(&["rollout", "status"]);
    assert!(broken.error.contains("not what an agent writes"), "{broken:?}");
}

/// What is blessed in one group begins in another.
#[test]
fn promotion() {
    let stage = Stage::new();
    stage.at_rest("staging");
    for host in HOSTS {
        stage.put_host("prod", host, NEW, AppWord::Serves, "");
    }
    let mut both = stage.group("staging");
    both.apps.insert("system".to_owned(), both.apps["web"].clone());
    stage.put_group("staging", &both);
    let mut prod = Group::new();
    prod.apps.insert("system".to_owned(), Track::default());
    stage.put_group("prod", &prod);
    let promoted = stage.run(&["rollout", "promote", "staging", "prod", "--json"]);
    assert_eq!((promoted.code, &promoted.json()["path"]), (0, &OLD.into()), "{promoted:?}");
    assert_eq!(stage.group("prod").apps["web"].rollout.clone().unwrap().to.path, OLD);
    assert_eq!(stage.group("prod").apps["system"].rollout, None, "only by its name");
    let named = stage.run(&["rollout", "promote", "staging", "prod", "system"]);
    assert_eq!((named.code, stage.group("prod").apps["system"].rollout.is_some()), (0, true));
    let mut group = stage.group("staging");
    group.start("web", rolling("R7", NEW), false).unwrap();
    stage.put_group("staging", &group);
    let busy = stage.run(&["rollout", "promote", "staging", "prod", "web"]);
    assert_eq!(busy.code, 0, "what is blessed counts, not what is tried: {busy:?}");
    assert!(busy.out.contains("goes on already"), "{busy:?}");
}

/// Who is out and who migrates, and what taking it away means.
#[test]
fn locks() {
    let stage = Stage::new();
    in_the_middle(&stage);
    let hold = Hold {
        host: HOSTS[1].to_owned(),
        swap: "R1-1".to_owned(),
        path: NEW.to_owned(),
        beat: 4,
        lease_ms: 30_000,
        since_ms: ago(1),
    };
    let outcome = Outcome {
        path: OLD.to_owned(),
        host: HOSTS[0].to_owned(),
        fence: 3,
        failed: Some("exit code 1: relation orders exists already".to_owned()),
        ended_ms: ago(30),
    };
    let mut web = Migrations { fence: 4, holder: Some(hold), ..Migrations::default() };
    let key = |app: &str| keys::migrations("prod", app).unwrap();
    stage.put(&key("web"), &web.write().unwrap());
    web.holder = None;
    web.outcomes.push(outcome);
    stage.put(&key("jobs"), &web.write().unwrap());
    let shown = stage.run(&["locks"]);
    assert_eq!((shown.code, &*shown.error), (0, ""));
    stage.screen("locks", 80, &shown.out);
    stage.screen("locks-narrow", 60, &stage.run_in(60, &["locks"]).out);
    let json = stage.run(&["locks", "--json"]).json();
    assert_eq!(
        (&json["slots"][0]["fence"], &json["migrations"][1]["holder"]["lease_ms"]),
        (&1.into(), &30_000.into())
    );

    // Whoever has said nothing for hours may be gone: that is seen where it matters.
    stage.put_status("prod", HOSTS[1], OLD, AppWord::Swaps, NEW, ago(1));
    stage.screen("locks-silent", 80, &stage.run(&["locks"]).out);
    let silent = stage.run(&["locks", "--json"]).json();
    assert_eq!((&json["silent"][0], &silent["silent"][0]), (&Value::Null, &HOSTS[1].into()));

    let revoked = stage.run(&["locks", "release", "web"]);
    assert_eq!((revoked.code, &*revoked.error), (0, ""));
    stage.screen("locks-release-app", 80, &revoked.out);
    let shown = stage.run(&["locks"]).out;
    assert!(shown.contains("web: revoked by alice@"), "{shown}");

    let before = stage.group("prod");
    let released = stage.run(&["locks", "release", HOSTS[1], "--why", "its disk burned"]);
    assert_eq!((released.code, &*released.error), (0, ""));
    stage.screen("locks-release", 80, &released.out);
    let group = stage.group("prod");
    assert!(group.holders.is_empty() && group.apps["web"].rollout.is_none());
    assert!(group.apps["web"].failed[0].reason.contains("its disk burned"));

    stage.put_group("prod", &before);
    let both = stage.run(&["locks", "release", "i-0", HOSTS[1], "--no-fault", "--json"]);
    assert_eq!(both.code, 5, "the first that failed decides: {both:?}");
    let lines: Vec<Value> =
        both.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["error"], "not_there");
    assert_eq!(lines[1]["slot"]["host"], HOSTS[1], "and does not keep the next from being done");
    assert!(stage.group("prod").apps["web"].rollout.is_some(), "nobody's fault");
}

/// Whether the ledger is any good, from where the command runs.
#[test]
fn probing() {
    let stage = Stage::new();
    let probed = stage.run(&["locks", "probe"]);
    assert_eq!((probed.code, &*probed.error), (0, ""));
    assert!(probed.out.contains("can be written to, for one host ("), "{probed:?}");
    let json = stage.run(&["locks", "probe", "--json"]).json();
    assert!(json["took_ms"].is_u64() && json["found"].is_string(), "{json}");
    let gone = stage.run(&["locks", "probe", "--ledger", "etcd://127.0.0.1:9"]);
    assert_eq!(gone.code, 3, "{gone:?}");
    let said = "probe etcd http://127.0.0.1:9: http://127.0.0.1:9: error sending request";
    assert!(gone.error.contains(said) && gone.error.contains("see that etcd runs"), "{gone:?}");
}

/// Whoever waits hears each change and how it ended, in the exit code, too.
#[test]
fn waiting() {
    for (name, code, how) in [
        ("rollout-wait-blessed", 0, "blessed"),
        ("rollout-wait-failed", 10, "failed"),
        ("rollout-wait-aborted", 16, "aborted"),
        ("rollout-wait-superseded", 13, "superseded"),
    ] {
        let stage = Stage::new();
        stage.at_rest("prod");
        let mut command = stage.command(&["rollout", "start", "web", NEW, "--wait", "--json"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut next =
            || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
        let id = next()["rollout"].as_str().unwrap().to_owned();
        assert_eq!(next()["apps"][0]["state"], "rolling", "{name}");
        let mut group = stage.group("prod");
        let began = group.take_slot(Holder { rollout: id.clone(), ..slot(HOSTS[0]) }, 3).unwrap();
        stage.put_group("prod", &group);
        assert_eq!(next()["apps"][0]["hosts"][0]["slot"]["fence"], began, "{name}");
        let held = group.holder(HOSTS[0]).cloned().unwrap();
        match how {
            "failed" => group.give_back(&held, &Stop::Failed("gate: 503".to_owned()), just_now()),
            "blessed" => {
                group.give_back(&held, &Stop::Committed, just_now());
                let runs = |host: &str| Status {
                    host: host.to_owned(),
                    apps: [(
                        "web".to_owned(),
                        AppStatus {
                            path: Some(NEW.to_owned()),
                            word: AppWord::Serves,
                            text: String::new(),
                        },
                    )]
                    .into(),
                    ..Status::default()
                };
                assert!(group.bless("web", &HOSTS.map(runs), just_now()));
            }
            "aborted" => group.abort("web", "wrong branch", just_now()).unwrap(),
            _ => group.start("web", rolling("R9", OLD), true).unwrap(),
        }
        stage.put_group("prod", &group);
        let last = loop {
            let line = next();
            if !line["ended"].is_null() {
                break line;
            }
        };
        assert_eq!(
            (&last["ended"]["rollout"], &last["ended"]["how"]),
            (&(*id).into(), &how.into())
        );
        assert_eq!(child.wait().unwrap().code(), Some(code), "{name}");
    }
}

/// Ctrl-C stops the watching and says how to go on; the rollout is not told.
#[test]
fn waiting_is_left() {
    for is_json in [false, true] {
        let stage = Stage::new();
        stage.at_rest("prod");
        let mut words = vec!["rollout", "start", "web", NEW, "--wait"];
        words.extend(is_json.then_some("--json"));
        let mut command = stage.command(&words);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        // The last host of the first screen: from here on it watches.
        lines.by_ref().find(|line| line.contains(HOSTS[2])).unwrap();
        // The shell's own kill: not every machine has the program.
        let interrupt = format!("kill -INT {}", child.id());
        assert!(Command::new("/bin/sh").args(["-c", &interrupt]).status().unwrap().success());
        let last = lines.last().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(14), "{last}");
        let id = stage.group("prod").apps["web"].rollout.clone().expect("it goes on").id;
        if is_json {
            assert_eq!(last, format!("{{\"detached\":\"{id}\"}}"));
        } else {
            let way = "Watch it: rollinit rollout status --watch";
            assert_eq!(last, format!("rollinit: detached, rollout {id} goes on.  {way}"));
        }
    }
}

/// Where lines are only appended there is one for each change; a ledger that is away is waited for.
#[test]
fn watching_from_a_pipe() {
    let stage = Stage::new();
    stage.at_rest("prod");
    let mut command = stage.command(&["rollout", "status", "--watch"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut until = |wanted: &str| {
        let found = lines.by_ref().map(Result::unwrap).find(|line| line.contains(wanted));
        assert!(found.is_some(), "no line with {wanted:?}");
    };
    until(HOSTS[2]);
    stage.put_host("prod", HOSTS[1], OLD, AppWord::Refused, "12 kB free in /nix/store");
    until("12 kB free in /nix/store");
    let folder = stage.directory.path().join("ledger");
    std::fs::rename(&folder, stage.directory.path().join("away")).unwrap();
    std::fs::write(&folder, b"").unwrap();
    until("it is asked again");
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(stage.directory.path().join("away"), &folder).unwrap();
    in_the_middle(&stage);
    until("web: ROLLING");
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// docs/rollout.md is read at 3 a.m.: it has the texts of this command and of a host's part, and
/// none that nobody says any more.
#[test]
fn each_error_is_in_the_page() {
    let page = include_str!("../../../docs/rollout.md");
    let sources = [
        include_str!("../src/rollout/place.rs"),
        include_str!("../src/rollout/change.rs"),
        include_str!("../src/rollout/locks.rs"),
        include_str!("../src/rollout/paths.rs"),
        include_str!("../src/rollout/start.rs"),
        include_str!("../src/rollout/view.rs"),
        include_str!("../src/rollout/watch.rs"),
        include_str!("../../userdata/src/lib.rs"),
        include_str!("../../agent/src/agent/fleet.rs"),
        include_str!("../../agent/src/fleet.rs"),
        include_str!("../../agent/src/fleet/fence.rs"),
        include_str!("../../agent/src/fleet/records.rs"),
        include_str!("../../agent/src/fleet/system.rs"),
        include_str!("../../agent/src/system.rs"),
        include_str!("../../rollout/src/fleet/member/system.rs"),
        include_str!("../../agent/src/fleet/words.rs"),
    ];
    for text in [
        "no ledger is named, and this host's agent is in no group",
        "no group is named, and this host's agent is in none",
        " has nothing of a group called ",
        " has an app called ",
        " has nothing blessed that ",
        "the group knows no path of ",
        " that is called or begins with ",
        " may mean more than one path of ",
        " is no store path",
        " is a host that is out, and an app that migrates",
        ": nobody knows whether it was written: ",
        ": others were faster ",
        " is not what a host writes",
        " is not what an agent writes",
        "this host's slot in group ",
        " cannot be confirmed: ",
        " is not this host's any more",
        " does not roll this release any more",
        ": the ledger gives no answer: ",
        ": nothing was rolled there yet",
        "it takes a reboot (",
        "it runs it, and is back once ",
        "for this host's own system",
        "until the swap of ",
        "another host calls itself ",
        " could not be changed: ",
        " rolls it, now to ",
        " may roll it, and its ledger has not answered yet",
    ] {
        let is_said = sources.iter().any(|source| source.contains(text));
        assert!(is_said, "nobody says {text:?} any more: take it out of the page");
        assert!(page.contains(text), "docs/rollout.md lacks {text:?}");
    }
    for state in ["nothing", "rolling", "paused", "blessed", "failed", "aborted", "superseded"] {
        assert!(page.contains(&format!("| `{state}` |")), "{state}");
    }
}

/// The user-data of docs/terraform is what a host takes, and its ledger is an address.
#[test]
fn the_example_on_aws() {
    let mut text = include_str!("../../../docs/terraform/user-data.toml.tftpl").to_owned();
    let key = "cache-1:mB9FSh9qf2dCimDSUo8Zy7bkq5CX+/rkCWyvRCYg3Fs=";
    for (name, value) in [
        ("group", "prod"),
        ("ledger", "dynamodb://prod-rollinit"),
        ("cache", "https://prod-cache-1.s3.eu-central-1.amazonaws.com"),
        ("cache_key", key),
        ("first_release", NEW),
    ] {
        let place = format!("${{{name}}}");
        assert!(text.contains(&place), "{name}");
        text = text.replace(&place, value);
    }
    assert!(!text.contains("${"), "{text}");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("user-data.toml");
    std::fs::write(&file, &text).unwrap();
    let checked = rollinit(&["user-data", "check", file.to_str().unwrap()]).output().unwrap();
    let ended = Ended::of(checked);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.contains(NEW) && ended.out.contains("group prod"), "{ended:?}");
    assert!("dynamodb://prod-rollinit".parse::<Address>().is_ok());
}

#[test]
fn helps() {
    for (name, arguments) in [
        ("help-rollout", vec!["rollout", "--help"]),
        ("help-rollout-start", vec!["rollout", "start", "--help"]),
        ("help-rollout-status", vec!["rollout", "status", "--help"]),
        ("help-rollout-abort", vec!["rollout", "abort", "--help"]),
        ("help-rollout-promote", vec!["rollout", "promote", "--help"]),
        ("help-locks", vec!["locks", "--help"]),
        ("help-locks-release", vec!["locks", "release", "--help"]),
    ] {
        assert_screen(name, &help(&arguments));
    }
}
