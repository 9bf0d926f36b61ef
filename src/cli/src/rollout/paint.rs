//! A terminal whose last lines are written anew, and how much fits on it.

use super::table;
use super::view::View;
use crate::screen::Screen;

/// Lines of a terminal that does not say how many it has.
const LINES_DEFAULT: usize = 24;

/// Hosts that are shown on the smallest terminal.
const ROWS_MIN: usize = 3;

/// What is on the terminal.
#[derive(Debug, Default)]
pub struct Paint {
    text: String,
}

impl Paint {
    /// What puts `text` in the place of what was painted before, on a terminal of so many columns;
    /// nothing if it is the same.
    pub fn over(&mut self, text: String, width: usize) -> String {
        if text == self.text {
            return String::new();
        }
        let lines = height(&self.text, width);
        self.text.clone_from(&text);
        // Up to the first of them, and nothing below (ECMA-48: CUU, ED).
        if lines == 0 { text } else { format!("\x1b[{lines}A\r\x1b[J{text}") }
    }
}

/// Lines that a text takes: one that is too long (a store path, an address) goes on in the next.
fn height(text: &str, width: usize) -> usize {
    text.lines().map(|line| columns(line).div_ceil(width.max(1)).max(1)).sum()
}

/// Columns of a line, without its colours.
fn columns(line: &str) -> usize {
    let mut columns = 0;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        if letter == '\x1b' {
            let _ = letters.by_ref().find(|letter| *letter == 'm');
        } else {
            columns += 1;
        }
    }
    columns
}

/// Lines of the terminal, if the environment says.
pub fn lines() -> usize {
    let lines = std::env::var("LINES").ok().and_then(|lines| lines.parse().ok());
    lines.unwrap_or(LINES_DEFAULT)
}

/// The screen with as many hosts as fit on so many lines, the cursor's own among them.
pub fn fitting(screen: &Screen, view: &View, lines: usize, now_ms: u64) -> String {
    let most = view.apps.iter().map(|app| app.hosts.len()).max().unwrap_or(0);
    // More never fit.
    let mut rows = most.min(lines.max(ROWS_MIN));
    loop {
        let text = table::draw(screen, view, Some(rows), now_ms);
        if rows <= ROWS_MIN || height(&text, screen.width) < lines {
            return text;
        }
        rows -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::Read;
    use super::*;
    use rollout::fleet::{AppStatus, AppWord, Status};

    /// A terminal of cardboard: what is left on it when this is played.
    fn played(texts: &[String]) -> Vec<String> {
        let mut rows: Vec<String> = Vec::new();
        let mut row = 0;
        for text in texts {
            let mut rest = text.as_str();
            if let Some(sequence) = rest.strip_prefix("\x1b[") {
                let (up, after) = sequence.split_once('A').expect("up");
                row -= up.parse::<usize>().expect("a number");
                rest = after.strip_prefix("\r\x1b[J").expect("erased to the end");
                rows.truncate(row);
            }
            for line in rest.lines() {
                rows.push(line.to_owned());
                row += 1;
            }
        }
        rows
    }

    #[test]
    fn what_is_painted_over_leaves_nothing() {
        let mut paint = Paint::default();
        let texts: Vec<String> = ["a\nb\nc\n", "a\nb\nc\n", "d\n", "e\nf\n"]
            .iter()
            .map(|text| paint.over((*text).to_owned(), 80))
            .collect();
        assert_eq!(texts[1], "", "the same is not written again");
        assert_eq!(played(&texts[..3]), ["d"]);
        assert_eq!(played(&texts), ["e", "f"]);
        let long = format!("\x1b[31m{}\x1b[0m\nb\n", "x".repeat(81));
        assert_eq!((height(&long, 80), height(&long, 81)), (3, 2));
    }

    fn crowd(hosts: usize) -> View {
        let status = |number: usize| {
            let word = match number {
                77 => AppWord::Failed,
                78 => AppWord::Swaps,
                _ => AppWord::Serves,
            };
            let path = Some("/nix/store/9q1c-storefront-1.9.3".to_owned());
            let app = AppStatus { path, word, text: String::new() };
            Status {
                host: format!("i-{number:03}"),
                wall_ms: 1_000,
                apps: [("web".to_owned(), app)].into(),
                ..Status::default()
            }
        };
        let read = Read { hosts: (0..hosts).map(status).collect(), ..Read::default() };
        View::new("prod", "file:///ledger", &read, None, 1_000)
    }

    /// Of two hundred hosts those are shown that are worth a look, and how many are not.
    #[test]
    fn a_crowd_fits_on_the_terminal() {
        let screen = Screen::for_tests(80, true);
        for lines in [12, 24, 60] {
            let text = fitting(&screen, &crowd(200), lines, 1_000);
            assert!(text.lines().count() < lines, "{lines}: {text}");
            assert!(text.contains("i-077") && text.contains("i-078"), "{text}");
            let shown = text.lines().filter(|line| line.starts_with("  i-")).count();
            assert!(text.contains(&format!("and {} hosts more", 200 - shown)), "{text}");
        }
        // Where nothing fits some are shown all the same.
        assert!(fitting(&screen, &crowd(200), 1, 1_000).contains("i-077"));
        let all = fitting(&screen, &crowd(9), 24, 1_000);
        assert!(!all.contains("more, less worth"), "{all}");
    }
}
