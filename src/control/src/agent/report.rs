//! How a swap ended, for a person: the same lines on a terminal, a serial console and in a log.

use super::{Outcome, OutcomeKind, Progress, Release};

/// Letters of a store path's hash that name it on a screen; 32^4 is far more than the paths that
/// a host's history has.
pub const HASH_LETTERS: usize = 4;

/// A store path short enough for a line, and long enough for `rollinit swap` to find it again
/// among those that the agent has seen: `9q1c...`.
#[must_use]
pub fn short(path: &str) -> String {
    let base = path.rsplit('/').next().unwrap_or(path);
    let letters: String = base.chars().take(HASH_LETTERS).collect();
    format!("{letters}...")
}

/// A release as people say it: `gen 42 (storefront-1.9.2)`, or its name alone.
#[must_use]
pub fn release(release: &Release) -> String {
    match release.generation {
        Some(number) => format!("gen {number} ({})", release.name),
        None => release.name.clone(),
    }
}

/// The closing lines of a swap; none while it is under way. Without line ends and without a
/// program's name in front.
#[must_use]
pub fn lines(progress: &Progress) -> Vec<String> {
    let Some(outcome) = &progress.outcome else { return Vec::new() };
    let mut lines = vec![headline(progress, outcome)];
    let step = outcome.failed_at.map(|step| format!("{}: ", step.word())).unwrap_or_default();
    if let Some(reason) = &outcome.reason {
        let label = if outcome.failed_at.is_some() { "failed at" } else { "reason" };
        lines.push(labelled(label, &format!("{step}{reason}")));
    }
    lines.extend(outcome.details.iter().map(|detail| labelled("", detail)));
    // Where to look and how to try again are always said in the same words and places, also if
    // they are among the cures.
    let look = format!("rollinit logs --swap {}", progress.swap);
    let retry = retry(progress);
    if outcome.failed_at.is_some() && !progress.swap.is_empty() {
        lines.push(labelled("look", &look));
    }
    let others = outcome.cures.iter().filter(|cure| **cure != look && **cure != retry);
    lines.extend(others.map(|cure| labelled("cure", cure)));
    let is_failure = matches!(outcome.kind, OutcomeKind::RolledBack | OutcomeKind::FailedBack);
    if is_failure || outcome.cures.contains(&retry) {
        let path = short(&progress.to.path);
        lines.push(labelled("retry", &format!("rollinit swap {} {path} --force", progress.app)));
    }
    lines
}

/// The cure that is to try the same again; [`lines`] writes it shorter.
#[must_use]
pub fn retry(progress: &Progress) -> String {
    format!("rollinit swap {} {} --force", progress.app, progress.to.path)
}

fn labelled(label: &str, text: &str) -> String {
    format!("  {label:<9}  {text}")
}

fn headline(progress: &Progress, outcome: &Outcome) -> String {
    let app = &progress.app;
    let to = release(&progress.to);
    let serving = outcome.serving.as_ref().map(release);
    let serves = serving
        .as_ref()
        .map_or_else(|| "nothing serves".to_owned(), |serving| format!("{serving} serves"));
    let swap = match progress.swap.as_str() {
        "" => String::new(),
        id => format!("  swap {id}"),
    };
    match outcome.kind {
        OutcomeKind::Committed => format!("{app} is on {to}{swap}"),
        OutcomeKind::RolledBack => match serving {
            Some(serving) => format!("{app} ROLLED BACK to {serving}, which serves.{swap}"),
            None => format!("{app} ROLLED BACK to nothing: it had no release before.{swap}"),
        },
        OutcomeKind::FailedBack => {
            format!("{app} FAILED, and the way back failed too: {serves}.{swap}")
        }
        OutcomeKind::Refused => format!("{app}: {} REFUSED, {serves}.{swap}", progress.to.name),
        OutcomeKind::NothingToDo => format!("{app}: nothing to do, {to} serves already"),
        OutcomeKind::Superseded => format!("{app}: superseded by another swap, {serves}.{swap}"),
        OutcomeKind::Planned => format!("{app}: dry run, nothing was done; {serves}"),
        OutcomeKind::Rebooting => format!("{app}: the host reboots into {to} now{swap}"),
    }
}
