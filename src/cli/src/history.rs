//! `rollinit generations`, `swaps` and `confirm`; and a path from as little of it as is enough.

use crate::exit::{Code, Failure};
use crate::screen::{Screen, Tone, cut, printable, wrap};
use crate::times::{self, Moment, duration};
use control::agent::client::Client;
use control::agent::{Generation, OutcomeKind, Release, SwapSummary};
use serde::Serialize;
use std::collections::BTreeSet;

#[derive(Debug, Serialize)]
struct ConfirmedJson<'a> {
    confirmed: &'a str,
}

/// Lists the generations of an app.
pub async fn generations(
    client: &mut Client,
    app: &str,
    screen: &mut Screen,
) -> Result<Code, Failure> {
    let list = client.generations(app).await?;
    if screen.json {
        screen.json(&list)?;
        return Ok(Code::Done);
    }
    if list.generations.is_empty() {
        screen.text(&format!("{}: no generation yet\n", printable(app)))?;
        return Ok(Code::Done);
    }
    let heading = screen.tint(Tone::Strong, "      GEN   SINCE PATH");
    screen.text(&format!("{heading}\n"))?;
    let now_ms = times::now_ms();
    for generation in &list.generations {
        screen.text(&generation_lines(generation, now_ms, screen))?;
    }
    Ok(Code::Done)
}

/// The path is never cut: it is there to be copied, and it carries the release's name.
fn generation_lines(generation: &Generation, now_ms: u64, screen: &Screen) -> String {
    let mark = match (generation.current, generation.previous) {
        (true, _) => "now",
        (false, true) => "prev",
        (false, false) => "",
    };
    let since = generation.since_ms.map(|since_ms| now_ms.saturating_sub(since_ms) * 1_000_000);
    let since = since.map_or_else(|| "-".to_owned(), duration);
    let path = printable(&generation.path);
    let mut lines = format!("{mark:<4} {:>4} {since:>7} {path}\n", generation.number);
    if let Some(reason) = &generation.failed {
        let reason = wrap(&format!("failed: {}", printable(reason)), screen.width - 18, 0);
        let indent = format!("\n{:18}", "");
        lines.push_str(&format!("{:18}{}\n", "", reason.replace('\n', &indent)));
    }
    lines
}

/// The generation that a way back goes to; none if what served before never was one.
pub async fn previous(client: &mut Client, app: &str) -> Result<Option<u64>, Failure> {
    let generations = client.generations(app).await?.generations;
    Ok(generations.into_iter().find(|each| each.previous).map(|each| each.number))
}

/// Lists swaps, newest first.
pub async fn swaps(
    client: &mut Client,
    app: Option<&str>,
    screen: &mut Screen,
) -> Result<Code, Failure> {
    let list = client.swaps(app).await?;
    if screen.json {
        screen.json(&list)?;
        return Ok(Code::Done);
    }
    if list.swaps.is_empty() {
        screen.text("no swap yet\n")?;
        return Ok(Code::Done);
    }
    let heading = "SWAP      APP      BEGAN (UTC)    TOOK TO                   HOW IT ENDED";
    let heading = screen.tint(Tone::Strong, &cut(heading, screen.width));
    screen.text(&format!("{heading}\n"))?;
    for swap in &list.swaps {
        let line = swap_line(swap, screen.width);
        screen.text(&format!("{}\n", line.trim_end()))?;
    }
    Ok(Code::Done)
}

fn swap_line(swap: &SwapSummary, width: usize) -> String {
    let took = swap.ended_ms.map(|ended_ms| ended_ms.saturating_sub(swap.started_ms) * 1_000_000);
    let took = took.map_or_else(|| "-".to_owned(), duration);
    let generation = swap.to.generation.map(|number| format!("{number} ")).unwrap_or_default();
    let line = format!(
        "{:<9} {:<8} {:<11} {took:>7} {:<20} {}",
        cut(&printable(&swap.swap), 9),
        cut(&printable(&swap.app), 8),
        Moment::of_ms(swap.started_ms).minute(),
        cut(&printable(&format!("{generation}{}", swap.to.name)), 20),
        printable(&how_it_ended(swap)),
    );
    cut(&line, width)
}

fn how_it_ended(swap: &SwapSummary) -> String {
    let Some(outcome) = &swap.outcome else {
        return format!("now: {}", swap.step.word());
    };
    let word = match outcome.kind {
        OutcomeKind::RolledBack => "rolled back",
        // The swap back has a line of its own.
        OutcomeKind::Committed if outcome.failed_at.is_some() => "undone",
        OutcomeKind::FailedBack => "FAILED BACK",
        OutcomeKind::NothingToDo => "nothing to do",
        other => other.word(),
    };
    match outcome.failed_at.filter(|_| outcome.kind != OutcomeKind::FailedBack) {
        Some(step) => format!("{word}: {}", step.word()),
        None => word.to_owned(),
    }
}

/// Keeps what a test swapped in.
pub async fn confirm(client: &mut Client, app: &str, screen: &mut Screen) -> Result<Code, Failure> {
    client.confirm(app).await?;
    if screen.json {
        screen.json(&ConfirmedJson { confirmed: app })?;
    } else {
        screen.text(&format!("{}: confirmed, it stays\n", printable(app)))?;
    }
    Ok(Code::Done)
}

/// The store path meant by `text`, which is none itself: the only path of the app's past whose
/// hash begins with it or whose name it is.
pub async fn resolve(client: &mut Client, app: &str, text: &str) -> Result<String, Failure> {
    let wanted = text.trim_end_matches('.');
    let swaps = client.swaps(Some(app)).await?.swaps;
    let generations = client.generations(app).await?.generations;
    let of_swaps = swaps.into_iter().flat_map(|swap| swap.from.into_iter().chain([swap.to]));
    let of_swaps = of_swaps.map(|release: Release| release.path);
    let known = of_swaps.chain(generations.into_iter().map(|generation| generation.path));
    let matches: BTreeSet<String> = known.filter(|path| is_meant(path, wanted)).collect();
    let failed = |message: String, cures: Vec<String>| {
        Err(Failure { code: Code::NoSuchService, kind: "no_such_path", message, cures })
    };
    let mut paths = matches.into_iter();
    match (paths.next(), paths.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => failed(
            format!("{app} never had a path that is called or begins with {text:?}"),
            vec![
                "Give the whole store path.".to_owned(),
                format!("`rollinit generations {app}` shows those of the past."),
            ],
        ),
        (Some(one), Some(other)) => failed(
            format!("{text:?} may mean more than one path of {app}"),
            [one, other].into_iter().chain(paths).collect(),
        ),
    }
}

fn is_meant(path: &str, wanted: &str) -> bool {
    let base = path.rsplit('/').next().unwrap_or(path);
    let name = base.split_once('-').map_or("", |(_, name)| name);
    !wanted.is_empty() && (base.starts_with(wanted) || name == wanted)
}
