//! `rollinit check`: definitions in a directory, offline, by the supervisor's own code.

mod advice;

use crate::exit::{Code, Failure};
use crate::screen::{Screen, printable};
use advice::Note;
use serde::Serialize;
use service::definition::{self, Loaded, document};
use service::problem::Severity;
use service::{Problem, limits};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The agent's configuration, in `/etc/rollinit` beside `services/`.
const AGENT_FILE: &str = "agent.toml";

/// The JSON form.
#[derive(Debug, Serialize)]
struct Report<'a> {
    services: Vec<&'a str>,
    apps: Vec<&'a str>,
    problems: Vec<ProblemJson<'a>>,
    notes: Vec<Note>,
}

/// A problem in JSON.
#[derive(Debug, Serialize)]
pub struct ProblemJson<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    severity: &'static str,
    message: &'a str,
    suggestion: Option<&'a str>,
}

/// Checks each `NAME.toml` in `directory`. Advice about sound definitions is no problem: it
/// changes neither the verdict nor the exit code.
pub fn run(directory: &Path, screen: &mut Screen) -> Result<Code, Failure> {
    let (files, unreadable) = read(directory).map_err(|error| {
        let what = format!("cannot read the directory {}", directory.display());
        let cures = vec!["Name the directory with the service definitions, NAME.toml.".to_owned()];
        Failure { cures, ..Failure::local(&what, &error) }
    })?;
    let loaded = definition::load(files);
    let fronted = fronted(directory);
    let of_app = |(name, app)| advice::of(app, fronted.contains(name));
    let mut notes: Vec<Note> = loaded.apps.iter().flat_map(of_app).collect();
    notes.extend(advice::of_metadata(&loaded));
    notes.extend(advice::of_ports(&loaded));
    let Loaded { definitions, apps, mut problems, .. } = loaded;
    problems.extend(unreadable);
    problems.sort();
    if screen.json {
        let services = definitions.keys().map(String::as_str).collect();
        let apps = apps.keys().map(String::as_str).collect();
        let problems = problems.iter().map(json).collect();
        screen.json(&Report { services, apps, problems, notes })?;
    } else {
        for problem in &problems {
            screen.text(&format!("{}\n", printable(&problem.to_string())))?;
        }
        for note in &notes {
            let text = format!("{}: note: {} ({})", note.file, note.message, note.suggestion);
            screen.text(&format!("{}\n", printable(&text)))?;
        }
        screen.text(&verdict(definitions.len() + apps.len(), problems.len()))?;
    }
    Ok(if problems.is_empty() { Code::Done } else { Code::Failed })
}

/// The apps that a load balancer is told of: those of `[balancer.NAME]` in the agent's file, which
/// lies beside the directory. What is wrong with that file the agent says.
fn fronted(directory: &Path) -> BTreeSet<String> {
    let Some(folder) = directory.parent() else { return BTreeSet::new() };
    let Ok(text) = text_of(&folder.join(AGENT_FILE)) else { return BTreeSet::new() };
    let mut file = document::File::new(AGENT_FILE, &text);
    let Some(mut root) = file.root() else { return BTreeSet::new() };
    let Some(balancers) = root.section(&mut file, "balancer") else { return BTreeSet::new() };
    let sections = balancers.named(&mut file);
    let app = |(_, mut section): (_, document::Section)| {
        section.value::<String>(&mut file, "app", "").map(|app| app.get_ref().clone())
    };
    sections.into_iter().filter_map(app).collect()
}

fn verdict(sound: usize, problems: usize) -> String {
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let services = format!("{sound} sound definition{}", plural(sound));
    match problems {
        0 => format!("{services}, no problems\n"),
        _ => format!("{services}, {problems} problem{}\n", plural(problems)),
    }
}

/// The JSON form of a problem.
pub fn json(problem: &Problem) -> ProblemJson<'_> {
    ProblemJson {
        file: &problem.file,
        line: problem.line,
        column: problem.column,
        severity: match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        message: &problem.message,
        suggestion: problem.suggestion.as_deref(),
    }
}

/// Name, label and text of each definition.
type Files = Vec<(String, String, String)>;

/// The definitions in `directory` by name, and a problem for each that cannot be read.
fn read(directory: &Path) -> io::Result<(Files, Vec<Problem>)> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    let (mut files, mut problems) = (Vec::new(), Vec::new());
    for path in paths {
        let label = path.display().to_string();
        let text = text_of(&path);
        match (path.file_stem().and_then(|stem| stem.to_str()), text) {
            (Some(name), Ok(text)) => files.push((name.to_owned(), label, text)),
            (None, Ok(_)) => {
                problems.push(whole(label, "its name is not UTF-8", "rename it in ASCII"));
            }
            (_, Err(error)) => {
                let message = format!("cannot be read: {error}");
                problems.push(whole(label, &message, "make it a readable text file"));
            }
        }
    }
    Ok((files, problems))
}

/// The text of a file, of which at most one byte more than allowed is read: the loader then says
/// that it is too long.
fn text_of(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limits::FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limits::FILE_BYTES_MAX {
        // The cut may have gone through a character.
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        io::Error::other(format!("line {} is not UTF-8", line + 1))
    })
}

fn whole(file: String, message: &str, cure: &str) -> Problem {
    Problem {
        file,
        line: 0,
        column: 0,
        message: message.to_owned(),
        suggestion: Some(cure.to_owned()),
        severity: Severity::Error,
    }
}
