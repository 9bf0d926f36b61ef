//! `rollinit user-data check`: a document, offline, by the agent's own code.

use crate::check::{ProblemJson, json};
use crate::exit::{Code, Failure};
use crate::screen::{Screen, printable};
use crate::times;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use userdata::{Closure, DOCUMENT_BYTES_MAX, Problem, Purpose, Then, UserData};

/// The JSON form.
#[derive(Debug, Serialize)]
struct Report<'a> {
    sound: bool,
    problems: Vec<ProblemJson<'a>>,
    /// What a host would do, a line each; empty if there are problems.
    would: Vec<String>,
}

/// Checks the document in `file`, or on standard input for `-`.
pub fn check(file: &Path, screen: &mut Screen) -> Result<Code, Failure> {
    let is_stdin = file == Path::new("-");
    let label = if is_stdin { "stdin".to_owned() } else { file.display().to_string() };
    let bytes = read(file, is_stdin).map_err(|error| {
        let cures = vec!["Name a readable file, or - for standard input.".to_owned()];
        Failure { cures, ..Failure::local(&format!("cannot read {label}"), &error) }
    })?;
    let read = userdata::read(&label, &bytes);
    let (problems, would): (&[Problem], Vec<String>) = match &read {
        Ok(document) => (&[], would(document)),
        Err(problems) => (problems, Vec::new()),
    };
    if screen.json {
        let sound = problems.is_empty();
        screen.json(&Report { sound, problems: problems.iter().map(json).collect(), would })?;
    } else {
        for problem in problems {
            screen.text(&format!("{}\n", printable(&problem.to_string())))?;
        }
        for line in &would {
            screen.text(&format!("{}\n", printable(line)))?;
        }
    }
    Ok(if problems.is_empty() { Code::Done } else { Code::Failed })
}

/// One byte more than allowed is read at most: the reader then says that it is too long.
fn read(file: &Path, is_stdin: bool) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let bytes_max = DOCUMENT_BYTES_MAX as u64 + 1;
    if is_stdin {
        io::stdin().lock().take(bytes_max).read_to_end(&mut bytes)?;
    } else {
        File::open(file)?.take(bytes_max).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// What a host would do, a line each.
fn would(document: &UserData) -> Vec<String> {
    let mut lines = purpose(document);
    lines.extend(document.group.iter().map(|group| format!("be a member of the group {group}")));
    lines.extend(document.caches.iter().map(|cache| format!("fetch from {cache}")));
    let variables: Vec<&str> = document.environment.keys().map(String::as_str).collect();
    if !variables.is_empty() {
        lines.push(format!("give every app {}", variables.join(", ")));
    }
    if let Some(lifetime_ms) = document.lifetime_ms {
        let lifetime = times::duration(lifetime_ms.saturating_mul(1_000_000));
        lines.push(format!("power itself off {lifetime} after its launch"));
    }
    lines
}

fn purpose(document: &UserData) -> Vec<String> {
    match &document.purpose {
        Purpose::Image => vec!["be what its image is".to_owned()],
        Purpose::Apps(apps) => {
            let lines = apps.iter().map(|(name, wish)| {
                let by = if wish.definition.is_some() { "" } else { " as the image defines it" };
                match &wish.closure {
                    Closure::Path(path) => format!("run {name}{by}: {path}"),
                    Closure::Release(url) => match &document.signers {
                        None => format!("run {name}{by}: what {url} names"),
                        Some(signers) => {
                            let person = |line: &str| line.split(' ').next().map(str::to_owned);
                            let may: BTreeSet<String> =
                                signers.text.lines().filter_map(person).collect();
                            let may = may.into_iter().collect::<Vec<_>>().join(", ");
                            let due = signers.threshold;
                            format!("run {name}{by}: what {url} names, signed by {due} of {may}")
                        }
                    },
                }
            });
            lines.collect()
        }
        Purpose::System(path) => vec![format!("become {path}")],
        Purpose::Run(run) => {
            let then = match run.then {
                Then::Stay => "stay",
                Then::PowerOff => "power itself off",
            };
            vec![format!("run {} once, and then {then}", run.exec.join(" "))]
        }
    }
}
