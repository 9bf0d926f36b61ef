//! The screens of a group: hosts by states, and how a rollout ended, with what to do about it.

use super::view::{AppView, HostView, State, View};
use crate::screen::{Screen, Tone, cut, printable, wrap};
use crate::times::duration;
use control::agent::Release;
use rollout::fleet::{AppWord, Ended, How};

/// Columns of a host's name and of a release's, at most.
const HOST_WIDTH_MAX: usize = 20;
const RELEASE_WIDTH_MAX: usize = 24;

/// Columns of `  look      `, after which texts begin.
const LABEL_WIDTH: usize = 12;

/// Letters of a hash that tell a path from the few others that a group remembers.
const HASH_LETTERS: usize = 8;

/// Columns before a text that has a line of its own.
const INDENT: usize = 6;

/// The whole screen, at this time of this machine's clock in milliseconds since 1970. Of more
/// hosts than `rows` those are shown that are worth a look.
pub fn draw(screen: &Screen, view: &View, rows: Option<usize>, now_ms: u64) -> String {
    let mut text = heading(screen, view);
    for app in &view.apps {
        text.push('\n');
        text.push_str(&app_text(screen, app, rows, now_ms));
    }
    for problem in &view.problems {
        text.push_str(&format!("\nproblem: {}\n", printable(problem)));
    }
    text
}

/// `prod: 3 hosts, 1 out, at most 1 at once`, and where that is written.
fn heading(screen: &Screen, view: &View) -> String {
    let at_most = match view.max_unavailable.strip_suffix('%') {
        Some(_) => format!("{} ({})", view.allowed, view.max_unavailable),
        None => view.allowed.to_string(),
    };
    let (hosts, out) = (hosts(view.hosts), view.out.len());
    let line = format!("{}: {hosts}, {out} out, at most {at_most} at once", view.group);
    let line = wrap(&printable(&line), screen.width, 2);
    format!("{line}\n  ledger    {}\n", printable(&view.ledger))
}

fn hosts(count: usize) -> String {
    if count == 1 { "1 host".to_owned() } else { format!("{count} hosts") }
}

fn app_text(screen: &Screen, app: &AppView, rows: Option<usize>, now_ms: u64) -> String {
    format!("{}{}", head(screen, app, now_ms), table(screen, app, rows, now_ms))
}

/// How an app is, and what may be done about it.
pub fn head(screen: &Screen, app: &AppView, now_ms: u64) -> String {
    let word = app.state.word().to_uppercase();
    let head = format!("{}: {word}{}", printable(&app.app), change(app));
    let wrapped = wrap(&head, screen.width, 2);
    let tinted = screen.tint(tone(app.state), &word);
    // The word is the first of its kind: the name stands before it and cannot have capitals only.
    let at = printable(&app.app).len() + 2;
    let mut text = match wrapped.get(at..at + word.len()) {
        Some(found) if found == word => {
            format!("{}{tinted}{}\n", &wrapped[..at], &wrapped[at + word.len()..])
        }
        _ => format!("{wrapped}\n"),
    };
    for line in explain(app, now_ms) {
        let (label, words) = line.split_at(LABEL_WIDTH.min(line.len()));
        let indent = format!("\n{:LABEL_WIDTH$}", "");
        let words = wrap(&printable(words), screen.width.saturating_sub(LABEL_WIDTH), 0);
        text.push_str(&format!("{label}{}\n", words.replace('\n', &indent)));
    }
    text
}

/// ` storefront-1.9.2 -> storefront-1.9.3`
fn change(app: &AppView) -> String {
    let blessed = app.blessed.as_ref().map(|version| name(&version.path));
    match (&app.rollout, &app.last, blessed) {
        (Some(rollout), _, Some(from)) => format!(" {from} -> {}", name(&rollout.to.path)),
        (Some(rollout), _, None) => format!(" {}", name(&rollout.to.path)),
        (None, Some(last), blessed) if last.how != How::Blessed => {
            let blessed = blessed.unwrap_or_else(|| "nothing".to_owned());
            format!(" {}; {blessed} is blessed", name(&last.to.path))
        }
        (None, _, Some(blessed)) => format!(" {blessed}"),
        (None, _, None) => String::new(),
    }
}

/// `1 of 3 run storefront-1.9.3, about 4m 6s to go`; none if nothing is wanted of them.
fn progress(app: &AppView) -> Option<String> {
    let wanted = app.rollout.as_ref().map(|rollout| &rollout.to).or(app.blessed.as_ref())?;
    let eta = app.eta_ms.map(|ms| format!(", about {} to go", times(ms))).unwrap_or_default();
    Some(format!("{} of {} run {}{eta}", app.done, app.total, name(&wanted.path)))
}

/// What stands below the head, each with its label in [`LABEL_WIDTH`] columns.
fn explain(app: &AppView, now_ms: u64) -> Vec<String> {
    let line = |label: &str, words: &str| format!("  {label:<9} {words}");
    let hosts = progress(app).map(|progress| line("hosts", &progress));
    if let Some(rollout) = &app.rollout {
        let ago = times(now_ms.saturating_sub(rollout.began_ms));
        let mut lines = vec![line("rollout", &format!("{} by {}, {ago}", rollout.id, rollout.by))];
        lines.extend(hosts);
        if let Some(pause) = &rollout.paused {
            lines.push(line("paused", &format!("by {}: {}", pause.by, pause.why)));
            lines.push(line("go on", &format!("rollinit rollout resume {}", app.app)));
        }
        if !app.held_up.is_empty() {
            let names = app.held_up.join(", ");
            let words = "what it says stands below; it tries again, within 15m";
            lines.push(line("held up", &format!("by {names}, which could not: {words}")));
            lines.push(line("at once", "mended: rollinit restart rollinit-agent, there"));
            lines.push(line("without", "rollinit stop rollinit-agent, there; 3m later it is over"));
        }
        return lines;
    }
    let Some(last) = &app.last else { return hosts.into_iter().collect() };
    let ago = times(now_ms.saturating_sub(last.ended_ms));
    let mut lines = vec![line("rollout", &format!("{} ended {ago} ago", last.id))];
    match &last.how {
        How::Blessed => {}
        How::Failed(reason) => {
            lines.push(line("failed", reason));
            lines.push(line("stopped", "nobody else begins; the release needs --force"));
        }
        How::Aborted(why) => lines.push(line("aborted", why)),
        How::Superseded(by) => lines.push(line("by", by)),
    }
    lines.extend(hosts);
    lines.extend(cures(app, last).into_iter().map(|(label, words)| line(label, &words)));
    lines
}

/// What may be done after a rollout that did not end well.
fn cures(app: &AppView, last: &Ended) -> Vec<(&'static str, String)> {
    let mut cures = Vec::new();
    let start = |path: &str| format!("rollinit rollout start {} {}", app.app, short(path));
    if let How::Failed(_) = last.how {
        let host = app.failed.iter().rev().find(|failed| failed.path == last.to.path);
        if let Some(failed) = host {
            cures.push(("look", format!("on {}: rollinit swaps {}", failed.host, app.app)));
        }
    }
    let is_left = |host: &&HostView| host.path.as_deref() == Some(last.to.path.as_str());
    let left = app.hosts.iter().filter(is_left).count();
    let blessed = app.blessed.as_ref().filter(|blessed| blessed.path != last.to.path);
    if let (Some(blessed), true) = (blessed, left > 0 && last.how != How::Blessed) {
        cures.push(("left", format!("{} with {} all the same", hosts(left), name(&last.to.path))));
        cures.push(("back", start(&blessed.path)));
    }
    if let How::Failed(_) = last.how {
        cures.push(("retry", format!("{} --force", start(&last.to.path))));
    }
    cures
}

fn table(screen: &Screen, app: &AppView, rows: Option<usize>, now_ms: u64) -> String {
    if app.hosts.is_empty() {
        return "  no host of the group has this app\n".to_owned();
    }
    let shown = worth_a_look(app, rows);
    let widths = Widths::of(&shown);
    let heading = widths.row(["HOST", "STATE", "RUNS", "SAID", "WHAT"]);
    let mut text = format!("{}\n", screen.tint(Tone::Strong, &heading));
    for host in &shown {
        text.push_str(&row(screen, widths, host, now_ms));
    }
    let hidden = app.hosts.len() - shown.len();
    if hidden > 0 {
        text.push_str(&format!("  and {} more, less worth a look\n", hosts(hidden)));
    }
    text
}

/// One host, as in the table of all.
pub fn line(screen: &Screen, app: &AppView, host: &HostView, now_ms: u64) -> String {
    row(screen, Widths::of(&app.hosts.iter().collect::<Vec<_>>()), host, now_ms)
}

/// All hosts by name, or the `rows` that are most worth a look.
fn worth_a_look(app: &AppView, rows: Option<usize>) -> Vec<&HostView> {
    let mut hosts: Vec<&HostView> = app.hosts.iter().collect();
    let Some(rows) = rows.filter(|rows| *rows < hosts.len()) else { return hosts };
    hosts.sort_by_key(|host| match host.word {
        _ if host.slot.is_some() => 0,
        Some(AppWord::Failed) | None => 1,
        Some(_) if host.silent => 1,
        Some(AppWord::Swaps) => 2,
        Some(AppWord::Refused) => 3,
        Some(AppWord::Prepares) => 4,
        Some(AppWord::Waits) => 5,
        Some(AppWord::Leaves) => 6,
        Some(AppWord::Serves) => 7,
    });
    hosts.truncate(rows);
    hosts
}

/// Columns that depend on what there is to show.
#[derive(Debug, Clone, Copy)]
struct Widths {
    host: usize,
    runs: usize,
}

impl Widths {
    fn of(hosts: &[&HostView]) -> Widths {
        let host = hosts.iter().map(|host| printable(&host.host).len()).max().unwrap_or(0);
        let runs = hosts.iter().map(|host| runs(host).len()).max().unwrap_or(0);
        Widths { host: host.clamp(4, HOST_WIDTH_MAX), runs: runs.clamp(4, RELEASE_WIDTH_MAX) }
    }

    fn row(self, cells: [&str; 5]) -> String {
        let [host, state, runs, said, what] = cells;
        let Widths { host: host_width, runs: runs_width } = self;
        let row = format!("  {host:<host_width$} {state:<8} {runs:<runs_width$} {said:>7} {what}");
        row.trim_end().to_owned()
    }

    const fn before_what(self) -> usize {
        2 + self.host + 1 + 8 + 1 + self.runs + 1 + 7 + 1
    }
}

fn row(screen: &Screen, widths: Widths, host: &HostView, now_ms: u64) -> String {
    let word = state_word(host);
    let said = host.said_ms.map(|ms| times(now_ms.saturating_sub(ms)));
    let what = printable(&what(host, now_ms));
    let room = screen.width.saturating_sub(widths.before_what());
    let fits = what.len() <= room;
    let beside = if fits { what.as_str() } else { "" };
    let name = cut(&printable(&host.host), widths.host);
    let said = said.unwrap_or_else(|| "-".to_owned());
    let line = widths.row([&name, word, &cut(&runs(host), widths.runs), &said, beside]);
    let line = cut(&line, screen.width);
    let at = 2 + widths.host + 1;
    let (before, rest) = line.split_at(at.min(line.len()));
    let (state, after) = rest.split_at(word.len().min(rest.len()));
    let mut text = format!("{before}{}{after}\n", screen.tint(word_tone(host), state));
    if !fits {
        let indent = format!("\n{:INDENT$}", "");
        let words = wrap(&what, screen.width.saturating_sub(INDENT), 0);
        text.push_str(&format!("{:INDENT$}{}\n", "", words.replace('\n', &indent)));
    }
    text
}

fn state_word(host: &HostView) -> &'static str {
    match host.word {
        _ if host.silent => "silent",
        None => "unheard",
        Some(word) => word.word(),
    }
}

fn runs(host: &HostView) -> String {
    host.path.as_ref().map_or_else(|| "-".to_owned(), |path| printable(&name(path)))
}

/// The last column.
fn what(host: &HostView, now_ms: u64) -> String {
    let slot = host.slot.map(|slot| {
        format!("out for {} (slot {})", times(now_ms.saturating_sub(slot.since_ms)), slot.fence)
    });
    let text = match host.word {
        Some(word) if host.silent => format!("said `{}` last", word.word()),
        // Who is out stands in the table.
        Some(AppWord::Waits) if host.text.starts_with("waits for a slot") => "for a slot".into(),
        // Its text is the path, which stands above.
        Some(AppWord::Prepares) => "fetches it".to_owned(),
        Some(AppWord::Swaps) if host.text.starts_with('/') => String::new(),
        None => "holds a slot, and has said nothing".to_owned(),
        Some(_) => host.text.clone(),
    };
    let parts: Vec<String> = slot.into_iter().chain(Some(text)).collect();
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

fn word_tone(host: &HostView) -> Tone {
    match host.word {
        _ if host.silent => Tone::Bad,
        Some(AppWord::Serves) => Tone::Good,
        Some(AppWord::Failed) | None => Tone::Bad,
        Some(AppWord::Waits) => Tone::Plain,
        Some(AppWord::Prepares | AppWord::Swaps | AppWord::Refused | AppWord::Leaves) => {
            Tone::Warning
        }
    }
}

/// The colour of a state.
pub fn tone(state: State) -> Tone {
    match state {
        State::Blessed => Tone::Good,
        State::Nothing | State::Superseded => Tone::Plain,
        State::Rolling | State::Paused => Tone::Warning,
        State::Failed | State::Aborted => Tone::Bad,
    }
}

/// `storefront-1.9.3` of its store path.
pub fn name(path: &str) -> String {
    Release::of_path(path, None).name
}

/// As much of a store path as `start` takes for the whole: `9q1cxfb5...`.
fn short(path: &str) -> String {
    let base = path.rsplit('/').next().unwrap_or(path);
    format!("{}...", base.get(..HASH_LETTERS).unwrap_or(base))
}

fn times(milliseconds: u64) -> String {
    duration(milliseconds.saturating_mul(1_000_000))
}
