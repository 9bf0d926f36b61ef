//! An agent made of cardboard. What it says of a swap depends on the path that is asked for.

use super::apps::{NEW, OLD};
use super::{NOW_NS, POLICY};
use control::agent::board::{Board, Reader};
use control::agent::server::{Answer, Backend, Caller, SwapRequest};
use control::agent::{
    Error, Generation, GenerationList, Level, Notice, NoticeList, Outcome, OutcomeKind, Progress,
    Release, Step, StepState, SwapList, SwapSummary,
};
use control::roles::Peer;
use std::cell::RefCell;
use std::future::ready;
use std::rc::Rc;

/// 2026-03-01 03:04:05.678 UTC, when the cardboard swaps began.
pub const BEGAN_MS: u64 = 1_772_334_245_678;

/// The cardboard agent, and what it was asked to do.
#[derive(Default)]
pub struct FakeAgent {
    /// Every order it got.
    pub orders: RefCell<Vec<String>>,
    /// Boards of swaps that are not over, kept so that their readers wait.
    pub boards: RefCell<Vec<Board>>,
    /// What holds on its host.
    pub notices: Vec<Notice>,
    /// When the newest swap began and ended, if not at the usual times.
    pub times: Option<(u64, Option<u64>)>,
}

/// A release of the app web.
pub fn release(path: &str, generation: u64) -> Release {
    Release::of_path(path, Some(generation))
}

/// One step of the swap 7H2K from generation 42 to 43.
pub fn progress(step: Step, state: StepState, elapsed_ms: u64, text: &str) -> Progress {
    Progress {
        swap: "7H2K".into(),
        app: "web".into(),
        from: Some(release(OLD, 42)),
        to: release(NEW, 43),
        step,
        state,
        text: text.into(),
        elapsed_ms,
        bytes_done: None,
        bytes_total: None,
        paths_done: None,
        paths_total: None,
        outcome: None,
    }
}

/// How that swap ended, after `last`.
pub fn ended(last: Progress, kind: OutcomeKind) -> Progress {
    let serving = match kind {
        OutcomeKind::Committed | OutcomeKind::NothingToDo => Some(release(NEW, 43)),
        OutcomeKind::FailedBack => None,
        _ => Some(release(OLD, 42)),
    };
    let (failed_at, reason, details, cures): (_, _, &[&str], &[&str]) = match kind {
        OutcomeKind::RolledBack => (
            Some(Step::Gate),
            Some("GET /up on gen 43 -> 503 \"relation orders does not exist\""),
            &["(8 tries in 60s; users never reached gen 43)"],
            &[],
        ),
        OutcomeKind::FailedBack => (
            Some(Step::Rollback),
            Some("gen 42 does not come up either: exited with code 1"),
            &[],
            &["start a release that works: rollinit swap web PATH"],
        ),
        OutcomeKind::Refused => (
            Some(Step::Plan),
            Some("/nix/store: 1.2 GB are needed and 0.4 GB are free"),
            &[],
            &["free disk space, for example with nix-collect-garbage"],
        ),
        _ => (None, None, &[], &[]),
    };
    let mut outcome = Outcome {
        kind,
        serving,
        failed_at,
        reason: reason.map(str::to_owned),
        details: details.iter().map(|&line| line.to_owned()).collect(),
        cures: cures.iter().map(|&line| line.to_owned()).collect(),
    };
    if let OutcomeKind::RolledBack | OutcomeKind::FailedBack = kind {
        outcome.cures.push(control::agent::report::retry(&last));
    }
    Progress { outcome: Some(outcome), ..last }
}

/// The steps before the gate.
fn beginning() -> Vec<Progress> {
    use StepState::{Ok, Running};
    let fetching = Progress {
        bytes_done: Some(12_100_000),
        bytes_total: Some(18_400_000),
        paths_done: Some(7),
        paths_total: Some(11),
        ..progress(Step::Fetch, Running, 900, "")
    };
    vec![
        progress(Step::Plan, Ok, 40, "11 of 214 paths missing, 18.4 MB to fetch, 9.1 GB free"),
        fetching,
        progress(Step::Fetch, Ok, 1300, "11 from http://cache"),
        progress(Step::Migrate, Ok, 400, ""),
        progress(Step::Start, Ok, 30, "pid 2214; users stay on gen 42"),
    ]
}

/// All that is said of a swap to a path that ends in the name of its end.
pub fn script(path: &str) -> Vec<Progress> {
    use StepState::{Failed, Ok, Running, Skip};
    let mut said = beginning();
    match path.rsplit('-').next() {
        Some("bad") => {
            let gate = progress(Step::Gate, Failed, 60_000, "GET /up -> 503, 8 tries");
            let back = progress(Step::Rollback, Ok, 300, "gen 42 serves");
            said.extend([gate, ended(back, OutcomeKind::RolledBack)]);
        }
        Some("worse") => {
            said.push(progress(Step::Gate, Failed, 60_000, "GET /up -> 503, 8 tries"));
            let back = progress(Step::Rollback, Failed, 300, "exited with code 1");
            said.push(ended(back, OutcomeKind::FailedBack));
        }
        Some("big") => {
            let plan = progress(Step::Plan, Failed, 20, "too little room");
            let over = Progress { swap: String::new(), ..ended(plan, OutcomeKind::Refused) };
            said = vec![over];
        }
        Some("same") => {
            let plan = progress(Step::Plan, Skip, 0, "it serves already");
            said = vec![Progress { swap: String::new(), ..ended(plan, OutcomeKind::NothingToDo) }];
        }
        Some("kernel") => {
            let reboot = progress(Step::Reboot, Running, 0, "the host reboots");
            said.truncate(3);
            said.push(progress(Step::Write, Ok, 300, "rollinit-43+1.conf, one try"));
            said.push(ended(reboot, OutcomeKind::Rebooting));
        }
        Some("late") => {
            let gate = progress(Step::Gate, Running, 100, "");
            said.push(ended(gate, OutcomeKind::Superseded));
        }
        Some("slow") => said.push(progress(Step::Gate, Running, 100, "1 of 3 good answers")),
        _ => said.extend([
            progress(Step::Gate, Running, 100, "1 of 3 good answers"),
            progress(Step::Gate, Ok, 2100, "GET /up 200 x3, asked of gen 43 only"),
            progress(Step::Switch, Ok, 1, "14:02:11.482  new connections go to gen 43"),
            progress(Step::Hook, Skip, 0, "none is defined"),
            progress(Step::Bake, Ok, 20_000, ""),
            progress(Step::Drain, Running, 4000, "gen 42: 3 of 41 connections left"),
            progress(Step::Drain, Ok, 4400, "gen 42 is gone"),
            ended(progress(Step::Commit, Ok, 3, "gen 43"), OutcomeKind::Committed),
        ]),
    }
    said
}

impl FakeAgent {
    fn tell(&self, said: Vec<Progress>) -> Reader {
        let board = Board::new();
        let reader = board.reader();
        for progress in said {
            board.post(progress);
        }
        self.boards.borrow_mut().push(board);
        reader
    }

    fn known(app: &str) -> Result<(), Error> {
        let apps = ["web", "jobs", "system"];
        if apps.contains(&app) { Ok(()) } else { Err(Error::no_such_app(app, apps)) }
    }
}

impl Backend for FakeAgent {
    fn swap<'a>(&'a self, _caller: &'a Caller, request: SwapRequest) -> Answer<'a, Reader> {
        let answer = Self::known(&request.app).map(|()| {
            self.orders.borrow_mut().push(format!("{request:?}"));
            let said = script(&request.path);
            if request.dry_run {
                let plan = said.into_iter().take(1);
                let plan = plan.map(|plan| Progress { swap: String::new(), ..plan });
                self.tell(plan.map(|plan| ended(plan, OutcomeKind::Planned)).collect())
            } else {
                self.tell(said)
            }
        });
        Box::pin(ready(answer))
    }

    fn rollback<'a>(
        &'a self,
        _caller: &'a Caller,
        app: &'a str,
        generation: Option<u64>,
    ) -> Answer<'a, Reader> {
        let answer = match (Self::known(app), generation) {
            (Err(error), _) => Err(error),
            (Ok(()), None | Some(40 | 42)) => {
                self.orders.borrow_mut().push(format!("Rollback {app} {generation:?}"));
                Ok(self.tell(script("back-good")))
            }
            (Ok(()), generation) => Err(Error::NoSuchGeneration { app: app.into(), generation }),
        };
        Box::pin(ready(answer))
    }

    fn follow<'a>(&'a self, swap: &'a str) -> Answer<'a, Reader> {
        let answer = match swap {
            "7H2K" => Ok(self.tell(script("follow-good"))),
            other => Err(Error::NoSuchSwap { swap: other.into() }),
        };
        Box::pin(ready(answer))
    }

    fn confirm<'a>(&'a self, caller: &'a Caller, app: &'a str) -> Answer<'a, ()> {
        assert_eq!(caller.connected_ns, NOW_NS);
        self.orders.borrow_mut().push(format!("Confirm {app}"));
        let reason = "jobs: no test waits to be confirmed".to_owned();
        Box::pin(ready(match app {
            "web" => Ok(()),
            name => Err(Error::Refused { name: name.into(), reason }),
        }))
    }

    fn generations<'a>(&'a self, app: &'a str) -> Answer<'a, GenerationList> {
        let generations = if app == "web" { generations() } else { Vec::new() };
        let answer = Self::known(app).map(|()| GenerationList { generations });
        Box::pin(ready(answer))
    }

    fn swaps<'a>(&'a self, app: Option<&'a str>) -> Answer<'a, SwapList> {
        let answer = app.map_or(Ok(()), Self::known).map(|()| {
            let mut swaps = swaps();
            if let (Some((began, ended)), Some(newest)) = (self.times, swaps.first_mut()) {
                (newest.started_ms, newest.ended_ms) = (began, ended);
            }
            SwapList { swaps }
        });
        Box::pin(ready(answer))
    }

    fn standing(&self) -> NoticeList {
        NoticeList { notices: self.notices.clone() }
    }

    fn leave_balancers(&self) -> Answer<'_, ()> {
        self.orders.borrow_mut().push("leave balancers".to_owned());
        Box::pin(ready(Ok(())))
    }

    fn now_ns(&self) -> u64 {
        NOW_NS
    }

    fn say(&self, message: &str) {
        self.orders.borrow_mut().push(message.to_owned());
    }
}

fn generations() -> Vec<Generation> {
    let generation = |number, path: &str| Generation {
        number,
        name: Release::of_path(path, None).name,
        path: path.into(),
        since_ms: Some(BEGAN_MS - 86_400_000),
        current: number == 42,
        previous: number == 40,
        failed: None,
    };
    let bad = "/nix/store/1b9q1cxfb5m7zlqnydpxg6kxcajx5wz0-storefront-1.9.0";
    vec![
        generation(40, "/nix/store/xcajx5cwz0w9q1cxfb5m7zlqnydpxg6k-storefront-1.8.9"),
        Generation { failed: Some("watch: it kept exiting".into()), ..generation(41, bad) },
        generation(42, OLD),
    ]
}

fn swaps() -> Vec<SwapSummary> {
    let running = SwapSummary {
        swap: "7H2K".into(),
        app: "web".into(),
        from: Some(release(OLD, 42)),
        to: release(NEW, 43),
        started_ms: BEGAN_MS,
        ended_ms: None,
        step: Step::Gate,
        text: "2 of 3 good answers".into(),
        confirm_by_ms: None,
        outcome: None,
    };
    let over = |swap: &str, kind: OutcomeKind| SwapSummary {
        swap: swap.into(),
        started_ms: BEGAN_MS - 3_600_000,
        ended_ms: Some(BEGAN_MS - 3_500_000),
        step: Step::Commit,
        outcome: ended(progress(Step::Commit, StepState::Ok, 0, ""), kind).outcome,
        ..running.clone()
    };
    let mut undone = over("3C9X", OutcomeKind::Committed);
    if let Some(outcome) = &mut undone.outcome {
        outcome.failed_at = Some(Step::Watch);
    }
    let others = [
        over("6F2A", OutcomeKind::RolledBack),
        SwapSummary { from: None, ..over("5E1Z", OutcomeKind::Committed) },
        over("4D0Y-back", OutcomeKind::FailedBack),
        undone,
    ];
    [running.clone()].into_iter().chain(others).collect()
}

/// A notice of an error, with a cure.
pub fn notice() -> Notice {
    Notice {
        subject: "user-data".into(),
        level: Level::Error,
        text: "line 3: no key is called \"cahces\"".into(),
        cure: Some("write caches = [...]".into()),
        since_ms: BEGAN_MS,
    }
}

/// Serves `agent` at `socket`, every peer taken for `peer`, until the local task set ends.
pub fn listen_agent(socket: &std::path::Path, peer: Peer, agent: Rc<FakeAgent>) {
    let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    let identify = Rc::new(move |_: &std::os::unix::net::UnixStream| Ok(peer.clone()));
    tokio::task::spawn_local(control::agent::server::run(listener, POLICY, identify, agent));
}
