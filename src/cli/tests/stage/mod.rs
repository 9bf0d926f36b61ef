//! What tests of the command line share: running it, and comparing its screens.

#![allow(dead_code, reason = "compiled into each test program, which uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a panic is the test's verdict")]

use std::path::Path;
use std::process::{Command, Output};

/// The command line, without the environment's sockets and width.
pub fn rollinit(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollinit"));
    command.args(arguments);
    for variable in
        ["COLUMNS", "ROLLINIT_SOCKET", "ROLLINIT_AGENT", "ROLLINIT_LEDGER", "ROLLINIT_GROUP"]
    {
        command.env_remove(variable);
    }
    command
}

/// What a command left behind.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: i32,
    /// Its stdout.
    pub out: String,
    /// Its stderr.
    pub error: String,
}

impl Ended {
    /// Of a command that ended by itself.
    pub fn of(output: Output) -> Ended {
        Ended {
            code: output.status.code().unwrap(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            error: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Its stdout, which is one line of JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Compares with the checked-in screen of that name, for 80 columns.
pub fn assert_screen(name: &str, screen: &str) {
    assert_screen_in(80, name, screen);
}

/// Compares with the checked-in screen of that name, for so many columns.
pub fn assert_screen_in(width: usize, name: &str, screen: &str) {
    for line in screen.lines() {
        assert!(line.len() <= width, "{name}: wider than {width} columns: {line}");
        assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{name}: {line:?}");
        assert_eq!(line, line.trim_end(), "{name}: blanks at the end");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/screens/{name}.txt"));
    if std::env::var_os("ROLLINIT_UPDATE").is_some() {
        std::fs::write(&path, screen).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(screen, expected, "see {}", path.display());
}

/// A help text; clap leaves blanks at line ends, which are none of our business.
pub fn help(arguments: &[&str]) -> String {
    let ended = Ended::of(rollinit(arguments).output().unwrap());
    ended.out.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
