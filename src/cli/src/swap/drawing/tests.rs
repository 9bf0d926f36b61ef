//! What a person sees of a swap.
//!
//! Proof: the bytes for a terminal are played on a terminal of cardboard, and the picture that is
//! left is compared whole, at the end and in the middle.

use super::Drawing;
use crate::screen::Screen;
use control::agent::{Outcome, OutcomeKind, Progress, Release, Step, StepState};

/// Rows of letters, and the cursor. Knows what the drawing uses and nothing else.
#[derive(Default)]
struct Terminal {
    rows: Vec<String>,
    row: usize,
    column: usize,
}

impl Terminal {
    fn play(&mut self, text: &str) {
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            self.rows.resize(self.rows.len().max(self.row + 1), String::new());
            match letter {
                '\n' => (self.row, self.column) = (self.row + 1, 0),
                '\r' => self.column = 0,
                '\x1b' => self.escape(&letters.by_ref().sequence()),
                letter => {
                    let row = &mut self.rows[self.row];
                    row.truncate(self.column);
                    row.push(letter);
                    self.column += 1;
                    assert!(self.column <= 80, "wider than the screen: {row}");
                }
            }
        }
    }

    fn escape(&mut self, sequence: &str) {
        match (sequence.strip_suffix('A'), sequence) {
            (Some(up), _) => self.row -= up[1..].parse::<usize>().unwrap(),
            (None, "[K") => self.rows[self.row].truncate(self.column),
            other => panic!("the drawing uses {other:?}"),
        }
    }

    fn picture(&self) -> String {
        let last = self.rows.iter().rposition(|row| !row.is_empty()).map_or(0, |last| last + 1);
        self.rows[..last].iter().map(|row| format!("{}\n", row.trim_end())).collect()
    }
}

/// The letters up to the one that ends an escape sequence.
trait Sequence {
    fn sequence(self) -> String;
}

impl<I: Iterator<Item = char>> Sequence for I {
    fn sequence(mut self) -> String {
        let mut sequence = String::new();
        while !sequence.ends_with(|last: char| last.is_ascii_alphabetic()) {
            sequence.push(self.next().unwrap());
        }
        sequence
    }
}

fn progress(step: Step, state: StepState, elapsed_ms: u64, text: &str) -> Progress {
    let release = |path, number| Release::of_path(path, Some(number));
    Progress {
        swap: "7H2K".into(),
        app: "web".into(),
        from: Some(release("/nix/store/1b9p07z77-storefront-1.9.2", 42)),
        to: release("/nix/store/9q1cxfb5m-storefront-1.9.3", 43),
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

const MIDDLE: &str = "\
web: storefront 1.9.2 (gen 42) -> 1.9.3 (gen 43)   swap 7H2K  Ctrl-C detaches
  plan     ok    11 of 214 paths missing, 18.4 MB to fetch, 9.1 GB free
  fetch    ...   7 of 11 paths, 12.1 MB of 18.4 MB
  bake     -     20s
";

const END: &str = "\
web: storefront 1.9.2 (gen 42) -> 1.9.3 (gen 43)   swap 7H2K  Ctrl-C detaches
  plan     ok    11 of 214 paths missing, 18.4 MB to fetch, 9.1 GB free
  fetch    ok    1.3s  11 from http://cache
  start    ok    pid 2214; users stay on gen 42
  gate     FAIL  1m 0s  GET /up -> 503
  bake     -     20s
  rollback ok    0.3s  gen 42 serves

rollinit: web ROLLED BACK to gen 42 (storefront-1.9.2), which serves.  swap 7H2K
  failed at  gate: GET /up on gen 43 -> 503 \"relation orders does not exist\" and
             more words than fit into one line of the screen
             (8 tries in 60s; users never reached gen 43)
  look       rollinit logs --swap 7H2K
  retry      rollinit swap web 9q1c... --force
";

/// Lines are written anew in place, new ones come where they belong, and foreign text cannot move
/// the cursor.
#[test]
fn in_place() {
    use StepState::{Failed, Ok, Pending, Running};
    let screen = Screen::for_tests(80, true);
    let mut drawing = Drawing::new(&screen);
    let mut terminal = Terminal::default();
    let mut show = |progress: &Progress| terminal.play(&drawing.add(&screen, progress));
    show(&progress(Step::Bake, Pending, 0, "20s"));
    let plan = "11 of 214 paths missing, 18.4 MB to fetch, 9.1 GB free";
    show(&progress(Step::Plan, Ok, 40, plan));
    for paths in [1, 7] {
        show(&Progress {
            bytes_done: Some(12_100_000),
            bytes_total: Some(18_400_000),
            paths_done: Some(paths),
            paths_total: Some(11),
            ..progress(Step::Fetch, Running, 900, "")
        });
    }
    assert_eq!(terminal.picture(), MIDDLE);

    let mut show = |progress: &Progress| terminal.play(&drawing.add(&screen, progress));
    show(&progress(Step::Fetch, Ok, 1300, "11 from http://cache"));
    show(&progress(Step::Start, Ok, 30, "pid 2214; users stay on gen 42"));
    show(&progress(Step::Gate, Running, 1000, "503 \x1b[2J\n"));
    show(&progress(Step::Gate, Failed, 60_000, "GET /up -> 503"));
    let reason = "GET /up on gen 43 -> 503 \"relation orders does not exist\" and more words than \
                  fit into one line of the screen";
    let outcome = Outcome {
        kind: OutcomeKind::RolledBack,
        serving: Some(progress(Step::Plan, Ok, 0, "").from.unwrap()),
        failed_at: Some(Step::Gate),
        reason: Some(reason.into()),
        details: vec!["(8 tries in 60s; users never reached gen 43)".into()],
        cures: vec!["rollinit swap web /nix/store/9q1cxfb5m-storefront-1.9.3 --force".into()],
    };
    let end = progress(Step::Rollback, Ok, 300, "gen 42 serves");
    show(&Progress { outcome: Some(outcome), ..end });
    assert_eq!(terminal.picture(), END);
}

/// Where lines are only appended, each step is told when it begins to take time and when it is
/// over, and counts in between are not.
#[test]
fn appended() {
    use StepState::{Ok, Pending, Running};
    let screen = Screen::for_tests(80, false);
    let mut drawing = Drawing::new(&screen);
    let mut text = String::new();
    for line in [
        progress(Step::Bake, Pending, 0, "20s"),
        progress(Step::Plan, Running, 0, ""),
        progress(Step::Plan, Ok, 1, "nothing is missing"),
        progress(Step::Gate, Running, 0, ""),
        progress(Step::Gate, Running, 0, "0 of 3"),
        progress(Step::Gate, Running, 1, "1 of 3"),
        progress(Step::Gate, Ok, 2100, "GET /up 200 x3"),
    ] {
        text.push_str(&drawing.add(&screen, &line));
    }
    let expected = "\
web: storefront 1.9.2 (gen 42) -> 1.9.3 (gen 43)   swap 7H2K
  plan     ok    nothing is missing
  gate     ...   0 of 3
  gate     ok    2.1s  GET /up 200 x3
";
    assert_eq!(text, expected);
}

/// Names with and without versions, first releases, and one too long for a line.
#[test]
fn headings() {
    let screen = Screen::for_tests(80, false);
    let line = |from: Option<&str>, to: &str| {
        let mut progress = progress(Step::Plan, StepState::Pending, 0, "");
        progress.from = from.map(|name| Release::of_path(&format!("/nix/store/h-{name}"), None));
        progress.to = Release::of_path(&format!("/nix/store/h-{to}"), Some(1));
        Drawing::new(&screen).add(&screen, &progress)
    };
    assert_eq!(line(None, "web-1.0"), "web: web 1.0 (gen 1)   swap 7H2K\n");
    assert_eq!(line(Some("web"), "web"), "web: web -> web (gen 1)   swap 7H2K\n");
    assert_eq!(
        line(Some("my-web-2-rc1"), "my-web-3"),
        "web: my-web 2-rc1 -> 3 (gen 1)   swap 7H2K\n"
    );
    let long = "a-web-application-with-a-long-name-9.9.9";
    assert_eq!(
        line(Some(long), "another-web-application-1"),
        "web: a-web-application-with-a-long-name 9.9.9 -> another-web-application 1 (gen\n  1)\n  \
         swap 7H2K\n"
    );
}
