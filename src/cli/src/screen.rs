//! The screen: plain ASCII, 80 columns, colours only where they are welcome.
//!
//! A serial console is the screen that matters most, so nothing relies on more than that.

use serde::Serialize;
use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

/// Columns of a screen that does not say how many it has.
const WIDTH_DEFAULT: usize = 80;

/// The narrowest width that the screens can be laid out for.
const WIDTH_MIN: usize = 60;

/// The widest width taken from the environment; a bound, not a taste.
const WIDTH_MAX: usize = 1000;

/// Colours by meaning, as SGR parameters (ECMA-48 section 8.3.117).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// All is well.
    Good,
    /// On its way, or needs an eye.
    Warning,
    /// Broken.
    Bad,
    /// Headings.
    Strong,
    /// Neither here nor there.
    Plain,
}

/// Where a command's output goes.
#[derive(Debug)]
pub struct Screen {
    out: BufWriter<Stdout>,
    /// JSON instead of text.
    pub json: bool,
    /// Columns.
    pub width: usize,
    /// stdout is a terminal.
    pub is_terminal: bool,
    /// stdout is a terminal whose lines can be written anew.
    pub moves_cursor: bool,
    colours: bool,
}

impl Screen {
    /// The screen of this process.
    pub fn of_process(json: bool) -> Screen {
        let variable = |name| std::env::var(name).unwrap_or_default();
        let width = variable("COLUMNS").parse().unwrap_or(WIDTH_DEFAULT);
        let is_terminal = io::stdout().is_terminal();
        let is_dumb = variable("TERM") == "dumb";
        Screen {
            out: BufWriter::new(io::stdout()),
            json,
            width: width.clamp(WIDTH_MIN, WIDTH_MAX),
            is_terminal,
            moves_cursor: is_terminal && !is_dumb,
            // https://no-color.org: set and not empty means no.
            colours: is_terminal && variable("NO_COLOR").is_empty() && !is_dumb,
        }
    }

    /// A screen of a test.
    #[cfg(test)]
    pub fn for_tests(width: usize, is_terminal: bool) -> Screen {
        let out = BufWriter::new(io::stdout());
        let moves_cursor = is_terminal;
        Screen { out, json: false, width, is_terminal, moves_cursor, colours: false }
    }

    /// Writes text as it is.
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())
    }

    /// Writes bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    /// Writes a line of JSON.
    pub fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, value)?;
        self.out.write_all(b"\n")
    }

    /// Sends out what was written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Writes to stderr, after what was written before: both may be the same terminal.
    pub fn complain(&mut self, text: &str) -> io::Result<()> {
        self.flush()?;
        io::stderr().write_all(text.as_bytes())
    }

    /// `text` in a colour, if this screen has colours. Pad before, not after.
    pub fn tint(&self, tone: Tone, text: &str) -> String {
        let parameter = match tone {
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Strong => "1",
            Tone::Plain => return text.to_owned(),
        };
        if self.colours { format!("\x1b[{parameter}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// `text` with everything but printable ASCII escaped, so that a name or a status text of a
/// service can neither move the cursor nor break a line.
pub fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter == ' ' || letter.is_ascii_graphic() {
            safe.push(letter);
        } else {
            safe.extend(letter.escape_default());
        }
    }
    safe
}

/// A line of foreign bytes for a terminal: UTF-8 stays readable, control characters and what is
/// not UTF-8 are escaped.
pub fn line_for_terminal(bytes: &[u8]) -> String {
    let mut safe = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter == '\t' || !letter.is_control() {
                safe.push(letter);
            } else {
                safe.extend(letter.escape_default());
            }
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(safe, "\\x{byte:02x}");
        }
    }
    safe
}

/// `text`, which is ASCII, cut to `width` columns; `..` shows that something is missing.
pub fn cut(text: &str, width: usize) -> String {
    if text.len() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(2)).collect();
    format!("{kept}..")
}

/// `text` in lines of at most `width` columns, broken at blanks where there are some; each line
/// after the first is indented by `indent`.
pub fn wrap(text: &str, width: usize, indent: usize) -> String {
    let mut lines = String::new();
    let mut column = 0;
    let mut is_empty = true;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if !is_empty && column + 1 + word.len() > width {
            lines.push('\n');
            lines.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else if !is_empty {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += word.len();
        is_empty = false;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{cut, line_for_terminal, printable, wrap};

    #[test]
    fn foreign_text_is_harmless() {
        assert_eq!(printable("a b\u{1b}[31m\n\u{e9}"), "a b\\u{1b}[31m\\n\\u{e9}");
        assert_eq!(line_for_terminal(b"gr\xc3\xbcn\t\x1b[2J\xff"), "gr\u{fc}n\t\\u{1b}[2J\\xff");
        // CSI as a single C1 character moves the cursor on some terminals.
        assert_eq!(line_for_terminal("\u{9b}2J".as_bytes()), "\\u{9b}2J");
    }

    #[test]
    fn cutting_and_wrapping() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcd..");
        assert_eq!(wrap("one two three", 8, 2), "one two\n  three");
        // A word that is longer than the line stays whole: it may be a path to copy.
        assert_eq!(wrap("a /very/long/path b", 8, 2), "a\n  /very/long/path\n  b");
    }
}
