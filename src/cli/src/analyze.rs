//! `rollinit analyze`: where the time of the boot went.

use crate::exit::{Code, Failure};
use crate::screen::{Screen, Tone, cut, printable, wrap};
use control::client::Client;
use control::types::{FirstWay, Timeline, WayState};
use serde::Serialize;

/// Columns of the figures, with the blanks between them: `  WAITED    TOOK  READY AT `.
const FIGURES_WIDTH: usize = 27;

/// The least and the most columns of a name.
const NAME_WIDTH: (usize, usize) = (12, 28);

/// Names in the chain; more are cut, which needs a circle that a supervisor does not start.
const CHAIN_MAX: usize = 64;

/// What `--json` prints.
#[derive(Serialize)]
struct Analysis<'a> {
    #[serde(flatten)]
    timeline: &'a Timeline,
    /// The last one to be ready, whom of its order it waited for longest, and so on.
    chain: Vec<&'a str>,
}

/// Shows the first way up of every service, and which of them the boot waited for.
pub async fn run(client: &mut Client, screen: &mut Screen) -> Result<Code, Failure> {
    let timeline = client.timeline().await?;
    let chain = chain(&timeline);
    if screen.json {
        let chain = chain.iter().map(|way| way.name.as_str()).collect();
        screen.json(&Analysis { timeline: &timeline, chain })?;
        return Ok(Code::Done);
    }
    screen.text(&summary(&timeline, &chain))?;
    let longest = timeline.services.iter().map(|way| way.name.len()).max().unwrap_or(0);
    let name_width = longest.clamp(NAME_WIDTH.0, NAME_WIDTH.1);
    let bar_width = screen.width.saturating_sub(name_width + FIGURES_WIDTH);
    let heading = line(name_width, ["NAME", "WAITED", "TOOK", "READY AT", ""]);
    let heading = screen.tint(Tone::Strong, heading.trim_end());
    screen.text(&format!("{heading}\n"))?;
    let mut ways: Vec<&FirstWay> = timeline.services.iter().collect();
    ways.sort_by_key(|way| (way.starting_ns.unwrap_or(u64::MAX), &way.name));
    let scale = Scale::of(&timeline, bar_width);
    for way in ways {
        let text = row(name_width, way, &scale);
        screen.text(&format!("{}\n", cut(text.trim_end(), screen.width)))?;
    }
    if chain.len() > 1 {
        let steps: Vec<String> = chain
            .iter()
            .map(|way| format!("{} {}", printable(&way.name), at(way.ready_ns)))
            .collect();
        let text = format!("what the last one waited for: {}", steps.join(" <- "));
        screen.text(&format!("\n{}\n", wrap(&text, screen.width, 2)))?;
    }
    Ok(Code::Done)
}

/// The last to be ready, then each time the one of its order that was ready last before it began.
fn chain(timeline: &Timeline) -> Vec<&FirstWay> {
    let last = timeline.services.iter().filter(|way| way.ready_ns.is_some());
    let mut chain: Vec<&FirstWay> = last.max_by_key(|way| way.ready_ns).into_iter().collect();
    while let Some(way) = chain.last().filter(|_| chain.len() < CHAIN_MAX) {
        let before = timeline.services.iter().filter(|other| {
            way.after.contains(&other.name)
                && other.ready_ns.is_some()
                && other.ready_ns <= way.starting_ns
        });
        let Some(next) = before.max_by_key(|other| other.ready_ns) else { break };
        chain.push(next);
    }
    chain
}

fn summary(timeline: &Timeline, chain: &[&FirstWay]) -> String {
    let ready = timeline.services.iter().filter(|way| way.state == WayState::Ready).count();
    let begun_ns = timeline.services.iter().map(|way| way.waiting_ns).min();
    let end_ns = chain.first().and_then(|way| way.ready_ns);
    let (Some(begun_ns), Some(end_ns)) = (begun_ns, end_ns) else {
        return format!(
            "kernel {}; no service has been ready so far\n",
            at(Some(timeline.init_ns))
        );
    };
    let kernel = at(Some(timeline.init_ns));
    let own = at(Some(begun_ns.saturating_sub(timeline.init_ns)));
    let services = at(Some(end_ns.saturating_sub(begun_ns)));
    let total = at(Some(end_ns));
    format!("kernel {kernel} + rollinit {own} + services {services} = {total}; {ready} ready\n")
}

/// Where a time lies in a bar.
struct Scale {
    begin_ns: u64,
    end_ns: u64,
    width: usize,
}

impl Scale {
    fn of(timeline: &Timeline, width: usize) -> Self {
        let begin_ns = timeline.services.iter().map(|way| way.waiting_ns).min().unwrap_or(0);
        let ends = timeline.services.iter().flat_map(|way| [way.ready_ns, way.starting_ns]);
        Self { begin_ns, end_ns: ends.flatten().max().unwrap_or(begin_ns), width }
    }

    fn column(&self, time_ns: u64) -> usize {
        let whole_ns = u128::from(self.end_ns.saturating_sub(self.begin_ns)).max(1);
        let part_ns = u128::from(time_ns.saturating_sub(self.begin_ns)).min(whole_ns);
        let column = part_ns * self.width as u128 / whole_ns;
        usize::try_from(column).unwrap_or(self.width)
    }

    /// Dots while it waited, then marks until it was ready; one mark at least.
    fn bar(&self, way: &FirstWay) -> String {
        let Some(starting_ns) = way.starting_ns else { return String::new() };
        let from = self.column(starting_ns).min(self.width.saturating_sub(1));
        let to = self.column(way.ready_ns.unwrap_or(starting_ns)).max(from + 1);
        let waited = self.column(way.waiting_ns).min(from);
        let (blank, dots) = (" ".repeat(waited), ".".repeat(from - waited));
        format!("{blank}{dots}{}", "#".repeat(to - from))
    }
}

fn row(name_width: usize, way: &FirstWay, scale: &Scale) -> String {
    let waited = way.starting_ns.map(|starting_ns| starting_ns.saturating_sub(way.waiting_ns));
    let took = way.ready_ns.zip(way.starting_ns).map(|(ready, starting)| ready - starting);
    let bar = match (way.state, way.starting_ns) {
        (WayState::Failed, _) => "failed".to_owned(),
        (WayState::Coming, None) => "waits".to_owned(),
        (WayState::Coming, Some(_)) => "starts".to_owned(),
        (WayState::Ready, _) => scale.bar(way),
    };
    let name = cut(&printable(&way.name), name_width);
    line(name_width, [&name, &span(waited), &span(took), &at(way.ready_ns), &bar])
}

fn line(name_width: usize, cells: [&str; 5]) -> String {
    let [name, waited, took, ready, bar] = cells;
    format!("{name:<name_width$} {waited:>7} {took:>7} {ready:>9} {bar}")
}

/// A duration in at most seven columns: `50ms`, `1.85s`, `312s`.
fn span(nanoseconds: Option<u64>) -> String {
    let Some(milliseconds) = nanoseconds.map(|time_ns| time_ns / 1_000_000) else {
        return "-".to_owned();
    };
    match milliseconds {
        0..1000 => format!("{milliseconds}ms"),
        1000..100_000 => format!("{}.{:02}s", milliseconds / 1000, milliseconds % 1000 / 10),
        _ => format!("{}s", milliseconds / 1000),
    }
}

/// A time since the kernel began: `3.114s`.
fn at(nanoseconds: Option<u64>) -> String {
    nanoseconds.map_or_else(
        || "-".to_owned(),
        |time_ns| format!("{}.{:03}s", time_ns / 1_000_000_000, time_ns / 1_000_000 % 1000),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (milliseconds, text) in
            [(0, "0ms"), (999, "999ms"), (1850, "1.85s"), (99_999, "99.99s"), (312_000, "312s")]
        {
            assert_eq!(span(Some(milliseconds * 1_000_000)), text);
        }
        assert_eq!((span(None), at(None)), ("-".to_owned(), "-".to_owned()));
    }

    /// A bar stays in its columns whatever the times are, and a moment has a mark.
    #[test]
    fn bars_stay_inside() {
        let way = |waiting_ns, starting_ns, ready_ns| FirstWay {
            name: "x".to_owned(),
            state: WayState::Ready,
            after: Vec::new(),
            waiting_ns,
            starting_ns: Some(starting_ns),
            started_ns: None,
            ready_ns: Some(ready_ns),
        };
        let scale = Scale { begin_ns: 100, end_ns: 200, width: 10 };
        assert_eq!(scale.bar(&way(100, 150, 200)), ".....#####");
        assert_eq!(scale.bar(&way(120, 120, 120)), "  #");
        assert_eq!(scale.bar(&way(200, 200, 200)), "         #");
        assert_eq!(scale.bar(&way(0, u64::MAX, u64::MAX)), ".........#");
        let empty = Scale { begin_ns: 5, end_ns: 5, width: 4 };
        assert_eq!(empty.bar(&way(5, 5, 5)), "#");
    }
}
