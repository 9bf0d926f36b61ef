//! The screen of a swap: a line for each step, and how it ended.
//!
//! On a terminal the lines stay where they are and are written anew; elsewhere (a pipe, a serial
//! log) each is appended when a step begins to take its time and when it is over.

use crate::screen::{Screen, Tone, cut, printable, wrap};
use crate::times;
use control::agent::{Progress, Release, Step, StepState, report};
use std::collections::BTreeMap;

/// Columns of `  gate     ok    ` and of `  failed at  `, after which texts begin.
const STEP_WIDTH: usize = 17;
const LABEL_WIDTH: usize = 13;

/// What was drawn so far.
#[derive(Debug)]
pub struct Drawing {
    moves_cursor: bool,
    has_heading: bool,
    steps: BTreeMap<Step, Progress>,
    /// The rows on the screen, as they are there.
    rows: Vec<String>,
}

impl Drawing {
    /// Nothing yet.
    pub fn new(screen: &Screen) -> Drawing {
        Drawing {
            moves_cursor: screen.moves_cursor,
            has_heading: false,
            steps: BTreeMap::new(),
            rows: Vec::new(),
        }
    }

    /// The text that shows `progress` too.
    pub fn add(&mut self, screen: &Screen, progress: &Progress) -> String {
        let mut text = String::new();
        if !self.has_heading {
            self.has_heading = true;
            text.push_str(&heading(screen, progress));
        }
        let before = self.steps.insert(progress.step, progress.clone());
        if self.moves_cursor {
            text.push_str(&self.redraw(screen));
        } else if is_news(before.as_ref(), progress) {
            text.push_str(&row(screen, progress));
            text.push('\n');
        }
        text.push_str(&ending(screen, progress));
        text
    }

    /// Moves up to the first row that changed and writes it and all below it anew.
    fn redraw(&mut self, screen: &Screen) -> String {
        let rows: Vec<String> = self.steps.values().map(|step| row(screen, step)).collect();
        let same = rows.iter().zip(&self.rows).take_while(|(new, old)| new == old).count();
        let mut text = String::new();
        if self.rows.len() > same {
            text.push_str(&format!("\x1b[{}A", self.rows.len() - same));
        }
        for row in &rows[same..] {
            text.push_str(&format!("\r\x1b[K{row}\n"));
        }
        self.rows = rows;
        text
    }
}

/// Worth a line where lines are only appended.
fn is_news(before: Option<&Progress>, now: &Progress) -> bool {
    match now.state {
        StepState::Pending => false,
        StepState::Running => {
            let is_told = before.is_some_and(says_something);
            is_long(now.step) && says_something(now) && !is_told
        }
        StepState::Ok | StepState::Skip | StepState::Failed => {
            before.is_none_or(|before| before.state != now.state || before.text != now.text)
        }
    }
}

/// There is more to say than that it has begun.
fn says_something(progress: &Progress) -> bool {
    progress.state != StepState::Pending && !words(progress).is_empty()
}

/// It may take longer than one waits without asking what it does.
fn is_long(step: Step) -> bool {
    !matches!(step, Step::Plan | Step::Start | Step::Switch | Step::Commit)
}

/// `web: storefront 1.9.2 (gen 42) -> 1.9.3 (gen 43)   swap 7H2K  Ctrl-C detaches`
fn heading(screen: &Screen, progress: &Progress) -> String {
    let change = match &progress.from {
        None => format!("{}: {}", progress.app, named(&progress.to, None)),
        Some(from) => {
            let to = named(&progress.to, split(&from.name).map(|(product, _)| product));
            format!("{}: {} -> {to}", progress.app, named(from, None))
        }
    };
    let change = printable(&change);
    let mut swap = String::new();
    if !progress.swap.is_empty() {
        swap = format!("swap {}", printable(&progress.swap));
    }
    if screen.is_terminal && !swap.is_empty() {
        swap.push_str("  Ctrl-C detaches");
    }
    if swap.is_empty() {
        format!("{}\n", wrap(&change, screen.width, 2))
    } else if change.len() + 3 + swap.len() <= screen.width {
        format!("{change}   {swap}\n")
    } else {
        format!("{}\n  {swap}\n", wrap(&change, screen.width, 2))
    }
}

/// `storefront 1.9.3 (gen 43)`, without the product's name if that was just said.
fn named(release: &Release, said: Option<&str>) -> String {
    let name = match split(&release.name) {
        Some((product, version)) if said == Some(product) => version.to_owned(),
        Some((product, version)) => format!("{product} {version}"),
        None => release.name.clone(),
    };
    match release.generation {
        Some(number) => format!("{name} (gen {number})"),
        None => name,
    }
}

/// Product and version of `storefront-1.9.3`: the version is what begins with a digit.
fn split(name: &str) -> Option<(&str, &str)> {
    let at = name
        .match_indices('-')
        .find(|(at, _)| name.as_bytes().get(at + 1).is_some_and(u8::is_ascii_digit) && *at > 0);
    at.map(|(at, _)| (&name[..at], &name[at + 1..]))
}

/// `  gate     ok    2.1s  GET /up 200 x3, asked of gen 43 only`
fn row(screen: &Screen, progress: &Progress) -> String {
    let (word, tone) = match progress.state {
        StepState::Pending => ("-", Tone::Plain),
        StepState::Running => ("...", Tone::Warning),
        StepState::Ok => ("ok", Tone::Good),
        StepState::Skip => ("skip", Tone::Plain),
        StepState::Failed => ("FAIL", Tone::Bad),
    };
    let space = screen.width.saturating_sub(STEP_WIDTH);
    let text = cut(&printable(&words(progress)), space);
    let padding = if text.is_empty() { 0 } else { 5 - word.len() + 1 };
    let step = progress.step.word();
    let state = screen.tint(tone, word);
    format!("  {step:<8} {state}{:padding$}{text}", "")
}

/// What is to say beside the step and its state: how long, how much, what.
fn words(progress: &Progress) -> String {
    let mut parts = Vec::new();
    let is_timed = match progress.state {
        StepState::Ok | StepState::Failed => true,
        StepState::Running => progress.elapsed_ms >= 1000,
        StepState::Pending | StepState::Skip => false,
    };
    if is_timed && is_long(progress.step) {
        parts.push(times::short(progress.elapsed_ms));
    }
    if progress.state == StepState::Running {
        parts.extend(counted(progress));
    }
    parts.extend(Some(progress.text.clone()).filter(|text| !text.is_empty()));
    parts.join("  ")
}

/// `7 of 11 paths, 12.1 MB of 18.4 MB`
fn counted(progress: &Progress) -> Option<String> {
    let paths = progress.paths_done.zip(progress.paths_total);
    let paths = paths.map(|(done, total)| format!("{done} of {total} paths"));
    let bytes = progress.bytes_done.zip(progress.bytes_total);
    let bytes = bytes.map(|(done, total)| format!("{} of {}", decimal(done), decimal(total)));
    let parts: Vec<String> = paths.into_iter().chain(bytes).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Bytes as network people count them: `812 B`, `18.4 MB`.
fn decimal(bytes: u64) -> String {
    let (mut whole, mut tenths) = (bytes, 0);
    for unit in ["B", "kB", "MB", "GB", "TB", "PB"] {
        if whole < 1000 {
            let is_byte = unit == "B";
            return if is_byte { format!("{whole} B") } else { format!("{whole}.{tenths} {unit}") };
        }
        tenths = whole % 1000 / 100;
        whole /= 1000;
    }
    format!("{whole} EB")
}

/// How it ended, if it did: the agent's own lines, set to the width of the screen.
fn ending(screen: &Screen, progress: &Progress) -> String {
    let mut text = String::new();
    for (index, line) in report::lines(progress).iter().enumerate() {
        let line = printable(line);
        if index == 0 {
            let line = format!("rollinit: {line}");
            let line = if line.len() > screen.width { wrap(&line, screen.width, 2) } else { line };
            text.push_str(&format!("\n{line}\n"));
            continue;
        }
        let (label, words) = line.split_at(LABEL_WIDTH.min(line.len()));
        let words = wrap(words, screen.width.saturating_sub(LABEL_WIDTH), 0);
        let indent = format!("\n{:LABEL_WIDTH$}", "");
        text.push_str(&format!("{label}{}\n", words.replace('\n', &indent)));
    }
    text
}

#[cfg(test)]
mod tests;
