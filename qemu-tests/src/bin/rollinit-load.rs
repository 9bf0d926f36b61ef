//! `rollinit-load ADDRESS [--rate N] [--seconds N] [--name NAME]`: honest load from a command.
//!
//! Prints the report as JSON; exits 1 if a request failed, 2 on wrong usage.

use qemu_tests::load::{self, Plan};
use std::net::SocketAddr;
use std::process::ExitCode;

const USAGE: &str = "usage: rollinit-load ADDRESS:PORT [--rate N] [--seconds N] [--name NAME]";

fn read_plan(words: &mut dyn Iterator<Item = String>) -> Option<Plan> {
    let target: SocketAddr = words.next()?.parse().ok()?;
    // Only this machine is ever a target.
    if !target.ip().is_loopback() {
        return None;
    }
    let (mut rate, mut seconds, mut name) = (50, 10, "load".to_owned());
    while let Some(word) = words.next() {
        let value = words.next()?;
        match word.as_str() {
            "--rate" => rate = value.parse().ok()?,
            "--seconds" => seconds = value.parse().ok()?,
            "--name" => name = value,
            _ => return None,
        }
    }
    Some(Plan::new(target, &name, rate, seconds))
}

fn main() -> ExitCode {
    let Some(plan) = read_plan(&mut std::env::args().skip(1)) else {
        eprintln!("{USAGE}\nADDRESS must be a loopback address");
        return ExitCode::from(2);
    };
    let report = match load::start(plan) {
        Ok(running) => running.finish(),
        Err(error) => {
            eprintln!("cannot start the load: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match serde_json::to_string_pretty(&report) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("{report}\n(as JSON: {error})"),
    }
    ExitCode::from(u8::from(report.failed > 0))
}
