//! `rollinit status`: the host in one screen, or one service in full.

use crate::apps::{self, Apps};
use crate::exit::{Code, Failure};
use crate::notices;
use crate::screen::{Screen, Tone, cut, printable, wrap};
use crate::times::duration;
use control::agent::Notice;
use control::client::Client;
use control::types::{App, Host, HostState, Problem, ServiceState, ServiceStatus, Status};
use serde::Serialize;
use std::path::Path;

/// Columns that a name may take before it is cut.
const NAME_WIDTH_MAX: usize = 20;

/// The JSON form: the reply without its time, so that it changes only when something does.
#[derive(Debug, Serialize)]
struct Stable<'a> {
    host: &'a Host,
    services: &'a [ServiceStatus],
    problems: &'a [Problem],
    apps: &'a [App],
    #[serde(skip_serializing_if = "<[Notice]>::is_empty")]
    notices: &'a [Notice],
}

/// Shows the host and its services, or one service.
pub async fn run(
    client: &mut Client,
    agent: &Path,
    name: Option<&str>,
    screen: &mut Screen,
) -> Result<Code, Failure> {
    let status = client.status(name).await?;
    let apps = apps::gather(client, agent, name, !screen.json).await?;
    let notices = if name.is_none() { notices::gather(agent).await } else { Vec::new() };
    let Status { host, services, problems, .. } = &status;
    if screen.json {
        screen.json(&Stable { host, services, problems, apps: &apps.list, notices: &notices })?;
    } else if let (Some(_), [service]) = (name, services.as_slice()) {
        one(screen, service, &apps, status.now_ns)?;
    } else {
        headline(screen, &status)?;
        notices::show(screen, &notices)?;
        apps.table(screen, status.now_ns)?;
        table(screen, &status, &apps)?;
        all_problems(screen, &status)?;
    }
    Ok(Code::Done)
}

fn headline(screen: &mut Screen, status: &Status) -> Result<(), Failure> {
    let host = &status.host;
    let tone = match host.state {
        HostState::Running => Tone::Good,
        HostState::Starting | HostState::Stopping => Tone::Warning,
        HostState::Degraded => Tone::Bad,
    };
    let state = match host.shutdown {
        Some(kind) => format!("{} ({kind})", host.state.word()),
        None => host.state.word().to_owned(),
    };
    let text = format!(
        "{}, up {}; {}\ninit is pid {}, supervisor is pid {} (up {})\n\n",
        screen.tint(tone, &state),
        duration(status.now_ns.saturating_sub(host.init.started_ns)),
        census(&status.services),
        host.init.pid,
        host.supervisor.pid,
        duration(host.supervisor.uptime_ns),
    );
    screen.text(&text)?;
    Ok(())
}

/// How many services there are, and how many of them run.
fn census(services: &[ServiceStatus]) -> String {
    let running = services.iter().filter(|service| service.state == ServiceState::Running).count();
    match (services.len(), running) {
        (0, _) => "no services are defined".to_owned(),
        (1, 1) => "the only service runs".to_owned(),
        (all, running) => format!("{running} of {all} services run"),
    }
}

fn table(screen: &mut Screen, status: &Status, apps: &Apps) -> Result<(), Failure> {
    let others = || status.services.iter().filter(|service| !apps.has(&service.name));
    if others().next().is_none() {
        return Ok(());
    }
    let longest = others().map(|service| printable(&service.name).len()).max();
    let name_width = longest.unwrap_or_default().clamp(4, NAME_WIDTH_MAX);
    let heading = row(name_width, ["STATE", "NAME", "PID", "SINCE", "AGAIN", "WHAT"]);
    let heading = screen.tint(Tone::Strong, &heading);
    screen.text(&format!("{heading}\n"))?;
    for service in others() {
        let word = service.state.word();
        let cells = [
            word,
            &cut(&printable(&service.name), name_width),
            &service.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            &duration(status.now_ns.saturating_sub(service.since_ns)),
            &service.restarts.to_string(),
            &printable(&what(service, status.now_ns)),
        ];
        let line = cut(&row(name_width, cells), screen.width);
        let line = line.trim_end();
        let (state, rest) = line.split_at(word.len().min(line.len()));
        let state = screen.tint(tone(service.state), state);
        screen.text(&format!("{state}{rest}\n"))?;
    }
    Ok(())
}

fn row(name_width: usize, cells: [&str; 6]) -> String {
    let [state, name, pid, since, again, what] = cells;
    format!("{state:<8} {name:<name_width$} {pid:>7} {since:>7} {again:>5} {what}")
}

/// The colour of a state.
pub fn tone(state: ServiceState) -> Tone {
    use ServiceState::{
        Backoff, Blocked, Broken, Done, Failed, Running, Starting, Stopped, Stopping, Waiting,
    };
    match state {
        Running => Tone::Good,
        Done | Stopped => Tone::Plain,
        Waiting | Starting | Stopping | Backoff => Tone::Warning,
        Blocked | Failed | Broken => Tone::Bad,
    }
}

/// The last column: what it says of itself, or why it is as it is.
fn what(service: &ServiceStatus, now_ns: u64) -> String {
    let in_time = |at_ns: Option<u64>| at_ns.map(|at| duration(at.saturating_sub(now_ns)));
    let end = service.last_end.as_ref().map(|end| end.text.clone());
    let problem = service.problems.first().cloned();
    let words = match service.state {
        ServiceState::Running | ServiceState::Starting => service.status_text.clone().or(problem),
        ServiceState::Backoff => match (in_time(service.restart_at_ns), end) {
            (Some(time), Some(end)) => Some(format!("again in {time}: {end}")),
            (Some(time), None) => Some(format!("again in {time}")),
            (None, end) => end,
        },
        ServiceState::Stopping => {
            problem.or_else(|| in_time(service.stop_deadline_ns).map(|t| format!("killed in {t}")))
        }
        ServiceState::Stopped if !service.wanted => Some("stopped by hand".to_owned()),
        ServiceState::Stopped | ServiceState::Done => end,
        ServiceState::Failed => problem.or(end),
        ServiceState::Waiting | ServiceState::Blocked | ServiceState::Broken => problem,
    };
    words.unwrap_or_default()
}

/// What is wrong and what to do about it: the services' own first, then the host's.
fn all_problems(screen: &mut Screen, status: &Status) -> Result<(), Failure> {
    // The host's list has the problems of a broken definition with their places: once is enough.
    let is_listed = |service: &&ServiceStatus| {
        !service.source.is_empty()
            && status.problems.iter().any(|problem| problem.about.starts_with(&service.source))
    };
    let of_services =
        status.services.iter().filter(|service| !is_listed(service)).flat_map(|service| {
            service.problems.iter().map(|text| (subject(service, text), cure(service)))
        });
    let of_host = status
        .problems
        .iter()
        .map(|problem| (format!("{}: {}", problem.about, problem.message), problem.cure.clone()));
    let problems: Vec<_> = of_services.chain(of_host).collect();
    if problems.is_empty() {
        return Ok(());
    }
    let heading = screen.tint(Tone::Strong, "PROBLEMS");
    screen.text(&format!("\n{heading}\n"))?;
    for (text, cure) in problems {
        screen.text(&format!("{}\n", wrap(&printable(&text), screen.width, 4)))?;
        if let Some(cure) = cure {
            let cure = wrap(&format!("=> {}", printable(&cure)), screen.width - 2, 3);
            screen.text(&format!("  {}\n", cure.replace('\n', "\n  ")))?;
        }
    }
    Ok(())
}

/// A problem that names its service.
fn subject(service: &ServiceStatus, text: &str) -> String {
    let named = text.strip_prefix(&service.name).is_some_and(|rest| rest.starts_with([' ', ':']));
    if named { text.to_owned() } else { format!("{}: {text}", service.name) }
}

/// What to do about a service in trouble.
fn cure(service: &ServiceStatus) -> Option<String> {
    let name = &service.name;
    match service.state {
        ServiceState::Failed => {
            Some(format!("look at `rollinit logs {name}`, then `rollinit start {name}`"))
        }
        ServiceState::Backoff => Some(format!("look at `rollinit logs {name}`")),
        ServiceState::Blocked => Some("cure what it requires; it starts by itself then".to_owned()),
        ServiceState::Broken => Some(format!("correct {}", service.source)),
        _ => None,
    }
}

/// All that is known of one service.
fn one(
    screen: &mut Screen,
    service: &ServiceStatus,
    apps: &Apps,
    now_ns: u64,
) -> Result<(), Failure> {
    let state = screen.tint(tone(service.state), service.state.word());
    let since = duration(now_ns.saturating_sub(service.since_ns));
    screen.text(&format!("{}: {state} for {since}\n", printable(&service.name)))?;
    let of_app = apps.details(&service.name, now_ns);
    // Each side of an app has its own process, and says so itself.
    let is_of_side = |label: &str| matches!(label, "pid" | "main pid" | "run" | "last end");
    let mut of_service = details(service, now_ns);
    of_service.retain(|(label, _)| of_app.is_empty() || !is_of_side(label));
    for (label, value) in of_app.into_iter().chain(of_service) {
        let line = wrap(&printable(&value), screen.width - 14, 0).replace('\n', "\n              ");
        screen.text(&format!("  {label:<11} {line}\n"))?;
    }
    for problem in &service.problems {
        let line =
            wrap(&printable(problem), screen.width - 14, 0).replace('\n', "\n              ");
        screen.text(&format!("  {:<11} {line}\n", "problem"))?;
    }
    if let (false, Some(cure)) = (service.problems.is_empty(), cure(service)) {
        screen.text(&format!("  {:<11} {}\n", "cure", printable(&cure)))?;
    }
    Ok(())
}

/// Label and value of each line, in the order in which one would ask.
fn details(service: &ServiceStatus, now_ns: u64) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let mut line = |label, value: Option<String>| lines.extend(value.map(|value| (label, value)));
    let in_time = |at_ns: u64| format!("in {}", duration(at_ns.saturating_sub(now_ns)));
    line("says", service.status_text.clone());
    line("pid", service.pid.map(|pid| pid.to_string()));
    line("main pid", service.main_pid.map(|pid| pid.to_string()));
    line("run", Some(format!("{}, restarted {} times", service.incarnation, service.restarts)));
    line("starts", service.restart_at_ns.map(in_time));
    line("killed", service.stop_deadline_ns.map(in_time));
    line(
        "last end",
        service.last_end.as_ref().map(|end| {
            let ago = duration(now_ns.saturating_sub(end.at_ns));
            format!("{} (run {}, {ago} ago)", end.text, end.incarnation)
        }),
    );
    if !service.wanted {
        line("wanted", Some("no: stopped by hand, until it is started".to_owned()));
    }
    for listen in &service.listen {
        line("listens", Some(format!("{} ({})", listen.address, listen.name)));
    }
    line("kind", Some(service.kind.clone()).filter(|kind| !kind.is_empty()));
    line("defined in", Some(service.source.clone()).filter(|source| !source.is_empty()));
    line("definition", service.definition.clone());
    lines
}
