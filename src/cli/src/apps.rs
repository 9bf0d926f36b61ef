//! The apps in `rollinit status`: what serves, what comes next, and how far its swap is.
//!
//! The supervisor tells how each side is; generations and the steps of a swap are the agent's. If
//! that one cannot be asked, what it knows is missing and the screen says so.

use crate::exit::Failure;
use crate::screen::{Screen, Tone, cut, printable};
use crate::status::tone;
use crate::times::duration;
use control::agent::client::{CallError, Client as Agent};
use control::agent::{Release, SwapSummary};
use control::client::Client;
use control::types::{App, AppRun, HealthKind, RetireWhen, SwapPhase};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Columns of an app's name, and of a release's, at most.
const NAME_WIDTH_MAX: usize = 16;
const RELEASE_WIDTH_MAX: usize = 24;

/// How long `status` waits for the agent. It answers from memory in milliseconds; its socket stays
/// while it is being replaced, and a look at the host must not wait for that.
const AGENT_PATIENCE: Duration = Duration::from_secs(1);

/// What the name column says of a candidate.
const NEXT: &str = "`- next";

/// The apps of a host.
#[derive(Debug, Default)]
pub struct Apps {
    /// As the supervisor has them.
    pub list: Vec<App>,
    /// Generations by app and path.
    generations: BTreeMap<(String, String), u64>,
    /// Swaps under way.
    swaps: Vec<SwapSummary>,
    /// Why the agent could not be asked.
    trouble: Option<String>,
}

/// Asks for the apps, all or the one called `name`; the agent too if `with_agent`.
pub async fn gather(
    client: &mut Client,
    agent: &Path,
    name: Option<&str>,
    with_agent: bool,
) -> Result<Apps, Failure> {
    let mut list = client.apps().await?.apps;
    list.retain(|app| name.is_none_or(|name| name == app.name));
    let mut apps = Apps { list, ..Apps::default() };
    if with_agent && !apps.list.is_empty() {
        apps.trouble = match tokio::time::timeout(AGENT_PATIENCE, ask(agent, &mut apps)).await {
            Ok(answer) => answer.err().map(|error| Failure::from(error).message),
            Err(_) => Some(format!("the agent does not answer within {AGENT_PATIENCE:?}")),
        };
    }
    Ok(apps)
}

async fn ask(agent: &Path, apps: &mut Apps) -> Result<(), CallError> {
    let mut agent = Agent::connect(agent).await?;
    let swaps = agent.swaps(None).await?.swaps;
    apps.swaps.extend(swaps.into_iter().filter(|swap| swap.outcome.is_none()));
    for app in &apps.list {
        for generation in agent.generations(&app.name).await?.generations {
            // Of two generations with the same path the later one is meant.
            apps.generations.insert((app.name.clone(), generation.path), generation.number);
        }
    }
    Ok(())
}

impl Apps {
    /// One of the apps has this name.
    pub fn has(&self, name: &str) -> bool {
        self.list.iter().any(|app| app.name == name)
    }

    fn generation(&self, app: &App, run: &AppRun) -> Option<u64> {
        let closure = run.closure.as_ref()?;
        let known = self.generations.get(&(app.name.clone(), closure.clone()));
        let coming = self.swap_of(app).map(|swap| &swap.to).filter(|to| to.path == *closure);
        known.copied().or_else(|| coming.and_then(|to| to.generation))
    }

    fn swap_of(&self, app: &App) -> Option<&SwapSummary> {
        self.swaps.iter().find(|swap| swap.app == app.name)
    }

    /// The swap of an app, in a few words, if one is under way.
    fn step(&self, app: &App) -> Option<String> {
        let swap = match (self.swap_of(app), &app.swap) {
            (Some(swap), _) if swap.text.is_empty() => swap.step.word().to_owned(),
            (Some(swap), _) => format!("{}: {}", swap.step.word(), swap.text),
            (None, Some(swap)) => swap.phase.word().to_owned(),
            (None, None) => return None,
        };
        Some(swap)
    }

    /// A line for each app, and one for each candidate.
    pub fn table(&self, screen: &mut Screen, now_ns: u64) -> Result<(), Failure> {
        if self.list.is_empty() {
            return Ok(());
        }
        let longest = self.list.iter().map(|app| printable(&app.name).len()).max();
        let runs = self.list.iter().flat_map(|app| app.candidate.iter().chain([&app.serving]));
        let releases = runs.map(|run| printable(&release_name(run)).len()).max();
        let width = Widths {
            name: longest.unwrap_or_default().clamp(NEXT.len(), NAME_WIDTH_MAX),
            release: releases.unwrap_or_default().clamp("RELEASE".len(), RELEASE_WIDTH_MAX),
        };
        let heading =
            row(width, ["STATE", "APP", "GEN", "RELEASE", "PID", "SINCE", "AGAIN", "WHAT"]);
        let heading = screen.tint(Tone::Strong, &heading);
        screen.text(&format!("{heading}\n"))?;
        for app in &self.list {
            let step = self.step(app);
            let (serving_says, candidate_says) = match &app.candidate {
                Some(_) => (left(app).map(str::to_owned), step),
                None => (step, None),
            };
            let name = printable(&app.name);
            self.line(screen, (app, &app.serving), (width, &name), serving_says, now_ns)?;
            if let Some(candidate) = &app.candidate {
                self.line(screen, (app, candidate), (width, NEXT), candidate_says, now_ns)?;
            }
        }
        if let Some(trouble) = &self.trouble {
            let text = format!("generations are not known: {}", printable(trouble));
            screen.text(&format!("{}\n", cut(&text, screen.width)))?;
        }
        screen.text("\n")?;
        Ok(())
    }

    fn line(
        &self,
        screen: &mut Screen,
        (app, run): (&App, &AppRun),
        (width, name): (Widths, &str),
        says: Option<String>,
        now_ns: u64,
    ) -> Result<(), Failure> {
        let state = run.state.word();
        let generation = self.generation(app, run);
        let cells = [
            state,
            &cut(name, width.name),
            &generation.map_or_else(|| "-".to_owned(), |number| number.to_string()),
            &cut(&printable(&release_name(run)), width.release),
            &run.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            &duration(now_ns.saturating_sub(run.since_ns)),
            &run.restarts.to_string(),
            &printable(&says.or_else(|| run.reason.clone()).unwrap_or_default()),
        ];
        let line = cut(&row(width, cells), screen.width);
        let line = line.trim_end();
        let (state, rest) = line.split_at(state.len().min(line.len()));
        let state = screen.tint(tone(run.state), state);
        screen.text(&format!("{state}{rest}\n"))?;
        Ok(())
    }

    /// Label and value of what is to say of one app beyond its service.
    pub fn details(&self, name: &str, now_ns: u64) -> Vec<(&'static str, String)> {
        let Some(app) = self.list.iter().find(|app| app.name == name) else { return Vec::new() };
        let mut lines = vec![("release", self.run(app, &app.serving, now_ns))];
        lines.extend(left(app).map(|left| ("", left.to_owned())));
        lines.extend(app.serving.closure.clone().map(|closure| ("closure", closure)));
        lines.extend(app.serving.reason.clone().map(|reason| ("because", reason)));
        if let Some(candidate) = &app.candidate {
            lines.push(("next", self.run(app, candidate, now_ns)));
            lines.extend(candidate.closure.clone().map(|closure| ("closure", closure)));
            lines.extend(candidate.reason.clone().map(|reason| ("because", reason)));
        }
        if let Some(step) = self.step(app) {
            let id = app.swap.as_ref().map(|swap| swap.id.as_str());
            let id = id.or_else(|| self.swap_of(app).map(|swap| swap.swap.as_str()));
            lines.push(("swap", format!("{}, {step}", id.unwrap_or("-"))));
        }
        lines.push(("swaps by", how(app)));
        lines.extend(self.trouble.clone().map(|trouble| ("agent", trouble)));
        lines
    }

    /// `storefront-1.9.2 (gen 42): running for 6d 4h, pid 1234, again 2 times`
    fn run(&self, app: &App, run: &AppRun, now_ns: u64) -> String {
        let generation = self.generation(app, run);
        let generation = generation.map(|number| format!(" (gen {number})")).unwrap_or_default();
        let pid = run.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
        let port = run.port.map(|port| format!(", port {port}")).unwrap_or_default();
        let restarts = match run.restarts {
            0 => String::new(),
            count => format!(", again {count} times"),
        };
        format!(
            "{}{generation}: {} for {}{pid}{port}{restarts}",
            release_name(run),
            run.state.word(),
            duration(now_ns.saturating_sub(run.since_ns)),
        )
    }
}

/// What the side that served is still there for, once users have left it.
fn left(app: &App) -> Option<&'static str> {
    match app.swap.as_ref().filter(|_| app.candidate.is_some())?.phase {
        SwapPhase::Admitted => Some("kept for the way back"),
        SwapPhase::Retiring => Some("finishes its requests"),
        SwapPhase::Preparing | SwapPhase::Prepared | SwapPhase::Abandoning => None,
    }
}

/// Columns that depend on what there is to show.
#[derive(Debug, Clone, Copy)]
struct Widths {
    name: usize,
    release: usize,
}

fn row(width: Widths, cells: [&str; 8]) -> String {
    let [state, app, generation, version, pid, since, again, what] = cells;
    let Widths { name, release } = width;
    format!(
        "{state:<8} {app:<name$} {generation:>4} {version:<release$} {pid:>7} {since:>7} \
         {again:>5} {what}"
    )
}

fn release_name(run: &AppRun) -> String {
    let path = run.closure.as_deref();
    path.map_or_else(|| "-".to_owned(), |path| Release::of_path(path, None).name)
}

/// `overlap; GET /up every 1s x3 in 1m 0s; bakes 20s, drains 30s`
fn how(app: &App) -> String {
    let policy = &app.policy;
    let health = &policy.health;
    let milliseconds = |value: u64| duration(value.saturating_mul(1_000_000));
    let path = health.path.as_deref().unwrap_or("/");
    let address = match &health.address {
        // Whose it is depends on who is asked.
        Some(address) if address.ends_with(":${port}") => "its own port",
        Some(address) => address,
        None => "its address",
    };
    let gate = match health.kind {
        HealthKind::Http => format!("GET {path} at {address}"),
        HealthKind::Tcp => format!("connecting to {address}"),
        HealthKind::Notify => "READY=1".to_owned(),
        HealthKind::Up => "staying up".to_owned(),
    };
    let retire = match policy.retire {
        RetireWhen::AfterBake => "",
        RetireWhen::AtSwitch => ", retires at the switch",
    };
    let strategy = match policy.ports[..] {
        [zero, one] => format!("ports {zero} and {one}"),
        _ => policy.strategy.word().to_owned(),
    };
    format!(
        "{strategy}; gate {gate} x{} in {}; bakes {}, drains {}{retire}",
        health.passes,
        milliseconds(health.deadline_ms),
        milliseconds(policy.bake_ms),
        milliseconds(policy.drain_ms),
    )
}
