//! All definitions of a host together: names, and what each says of the others.

use super::read::{Fault, File};
use super::sections::{self, Names};
use super::{Definition, Loaded, apps};
use crate::app::{App, Side, Task};
use crate::graph::Graph;
use crate::limits::{APP_NAME_BYTES_MAX, FILE_BYTES_MAX, NAME_BYTES_MAX, SERVICES_MAX};
use crate::nearest::nearest;
use crate::problem::{Place, Problem, Severity};
use std::collections::{BTreeMap, BTreeSet};

/// No app is called so: `rollinit swap system` is about the host itself.
const SYSTEM: &str = "system";

/// What a file defines.
enum Found {
    Service(Box<Definition>),
    App(Box<App>),
}

impl Found {
    /// What it says of others.
    fn node(&self) -> &Definition {
        match self {
            Self::Service(definition) => definition,
            Self::App(app) => &app.template,
        }
    }
}

/// A definition, and where the names of others stand in it.
struct Parsed {
    found: Found,
    places: Vec<(&'static str, String, Place)>,
}

/// Reads one definition of a service.
///
/// # Errors
/// All problems found, sorted by place, at least one of them an error.
pub fn parse(file_label: &str, text: &str) -> Result<Definition, Vec<Problem>> {
    match parse_with_places(file_label, text)?.found {
        Found::Service(definition) => Ok(*definition),
        Found::App(_) => {
            let cure = "write [service] and exec = [\"/path/of/program\"] below it";
            Err(vec![whole(file_label, Fault::new("it defines an app, not a service", cure))])
        }
    }
}

/// Reads one definition of an app.
///
/// # Errors
/// All problems found, sorted by place, at least one of them an error.
pub fn parse_app(file_label: &str, text: &str) -> Result<App, Vec<Problem>> {
    match parse_with_places(file_label, text)?.found {
        Found::App(app) => Ok(*app),
        Found::Service(_) => {
            let fault = Fault::new("it defines a service, not an app", "write [app]");
            Err(vec![whole(file_label, fault)])
        }
    }
}

fn parse_with_places(label: &str, text: &str) -> Result<Parsed, Vec<Problem>> {
    let mut file = File { label, text, problems: Vec::new() };
    let found = read(&mut file);
    match found {
        Some((found, names)) if file.problems.is_empty() => {
            let place = |(key, name): (_, toml::Spanned<String>)| {
                let place = Place::of(text, name.span().start);
                (key, name.into_inner(), place)
            };
            Ok(Parsed { found, places: names.into_iter().map(place).collect() })
        }
        _ => {
            file.problems.sort();
            Err(file.problems)
        }
    }
}

fn read(file: &mut File) -> Option<(Found, Names)> {
    if file.text.len() > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes", file.text.len());
        file.fault_whole(Fault::new(message, format!("write at most {FILE_BYTES_MAX}")));
        return None;
    }
    let mut root = file.root()?;
    let app = root.section(file, "app");
    let service = root.section(file, "service");
    let found = match (app, service) {
        (Some(app), Some(_)) => {
            let cure = "keep one of [app] and [service]";
            file.fault(app.span(), Fault::new("a file defines an app or a service", cure));
            None
        }
        (Some(app), None) => {
            let (app, names) = apps::app(file, app);
            Some((Found::App(Box::new(app)), names))
        }
        (None, Some(service)) => {
            let (definition, names) = sections::service(file, service);
            Some((Found::Service(Box::new(definition)), names))
        }
        (None, None) if file.problems.is_empty() => {
            let cure = "write [service] and exec = [\"/path/of/program\"] below it, or [app]";
            file.fault_whole(Fault::new("there is no [service] table", cure));
            None
        }
        (None, None) => None,
    };
    root.finish(file);
    found
}

/// Reads what a host lends to all its apps: `[environment]`, variables as in a definition.
///
/// # Errors
/// All problems found, sorted by place.
pub fn parse_environment(
    file_label: &str,
    text: &str,
) -> Result<BTreeMap<String, String>, Vec<Problem>> {
    let mut file = File::new(file_label, text);
    let variables = file.root().map(|mut root| {
        let variables = sections::environment(&mut file, &mut root);
        root.finish(&mut file);
        variables
    });
    match variables {
        Some(variables) if file.problems.is_empty() => Ok(variables),
        _ => {
            file.problems.sort();
            Err(file.problems)
        }
    }
}

/// Why `name` cannot name a service, which also names a cgroup, a socket and files.
fn check_name(name: &str) -> Result<(), Fault> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts && name.len() <= NAME_BYTES_MAX && name.chars().all(fine) {
        return Ok(());
    }
    let cure = format!(
        "rename the file: letters, digits, -, _, . and @, a letter or digit first, \
         at most {NAME_BYTES_MAX}"
    );
    Err(Fault::new(format!("{name:?} cannot name a service"), cure))
}

/// Reads all definitions of a host: (name, label, text) each. A broken one does not keep the others
/// from starting.
#[must_use]
pub fn load(files: Vec<(String, String, String)>) -> Loaded {
    let mut loaded = Loaded::default();
    let mut parsed: BTreeMap<String, Parsed> = BTreeMap::new();
    for (name, label, text) in files {
        let full = parsed.len() + loaded.broken.len() >= SERVICES_MAX;
        let refusal = if full {
            let cure = format!("have at most {SERVICES_MAX}");
            Err(Fault::new("too many services", cure))
        } else if parsed.contains_key(&name) || loaded.broken.contains_key(&name) {
            Err(Fault::new(format!("a second definition of {name:?}"), "remove one of the two"))
        } else {
            check_name(&name)
        };
        if let Err(fault) = refusal {
            // It has no sound name to be shown under, or one that is taken: a problem, no service.
            loaded.problems.push(whole(&label, fault));
            continue;
        }
        let one = parse_with_places(&label, &text).and_then(|one| match &one.found {
            Found::App(_) if name.len() > APP_NAME_BYTES_MAX => {
                let message = format!("{name:?} is too long to name an app");
                let cure = format!("rename the file: at most {APP_NAME_BYTES_MAX} letters");
                Err(vec![whole(&label, Fault::new(message, cure))])
            }
            Found::App(_) if name == SYSTEM => {
                let message = format!("{name:?} stands for the host's own system in swaps");
                Err(vec![whole(&label, Fault::new(message, "rename the file"))])
            }
            _ => Ok(one),
        });
        match one {
            Ok(one) => drop(parsed.insert(name, one)),
            Err(problems) => {
                loaded.broken.insert(name, problems[0].clone());
                loaded.problems.extend(problems);
            }
        }
    }
    refuse_app_keys(&mut parsed, &mut loaded);
    refuse_unknown_names(&mut parsed, &mut loaded);
    refuse_cycles(&mut parsed, &mut loaded);
    for (name, one) in parsed {
        match one.found {
            Found::Service(definition) => drop(loaded.definitions.insert(name, *definition)),
            Found::App(app) => drop(loaded.apps.insert(name, *app)),
        }
    }
    loaded.problems.sort();
    loaded
}

fn whole(label: &str, fault: Fault) -> Problem {
    let mut file = File { label, text: "", problems: Vec::new() };
    file.fault_whole(fault);
    file.problems.remove(0)
}

/// Names that apps need for their own keys are nobody else's.
fn refuse_app_keys(parsed: &mut BTreeMap<String, Parsed>, loaded: &mut Loaded) {
    let apps: Vec<String> = parsed
        .iter()
        .filter(|(_, one)| matches!(one.found, Found::App(_)))
        .map(|(name, _)| name.clone())
        .collect();
    for app in &apps {
        let sides = Side::BOTH.map(|side| (side.key(app), "a side"));
        let tasks = Task::ALL.map(|task| (task.key(app), "a task"));
        for (key, what) in sides.into_iter().chain(tasks) {
            if let Some(one) = parsed.remove(&key) {
                let message = format!("{key:?} names {what} of the app {app:?}");
                let fault = Fault::new(message, "rename this file");
                let problem = whole(&one.found.node().source, fault);
                loaded.broken.insert(key, problem.clone());
                loaded.problems.push(problem);
            }
        }
    }
}

/// A requirement that nobody defines keeps the service down. Order and wishes about nobody are
/// reported, and mean nothing.
fn refuse_unknown_names(parsed: &mut BTreeMap<String, Parsed>, loaded: &mut Loaded) {
    let known: BTreeSet<String> = parsed.keys().chain(loaded.broken.keys()).cloned().collect();
    for (service, one) in &*parsed {
        for (key, name, place) in &one.places {
            if known.contains(name) {
                continue;
            }
            let near = nearest(name, known.iter().map(String::as_str));
            let problem = Problem {
                file: one.found.node().source.clone(),
                line: place.line,
                column: place.column,
                message: format!("{key} names {name:?}, which is no service here"),
                suggestion: Some(match near {
                    Some(near) => format!("write {near:?}"),
                    None => "define it, or leave it out".to_owned(),
                }),
                severity: match *key {
                    "requires" => Severity::Error,
                    _ => Severity::Warning,
                },
            };
            if problem.severity == Severity::Error {
                loaded.broken.entry(service.clone()).or_insert_with(|| problem.clone());
            }
            loaded.problems.push(problem);
        }
    }
    parsed.retain(|name, _| !loaded.broken.contains_key(name));
}

/// Services that wait for each other would wait for ever: none of them starts, and the path around
/// is named. Those that merely wait for a cycle are not part of it.
fn refuse_cycles(parsed: &mut BTreeMap<String, Parsed>, loaded: &mut Loaded) {
    let nodes = parsed.iter().map(|(name, one)| (name, one.found.node()));
    loaded.cycles = Graph::new(nodes).cycles();
    for cycle in &loaded.cycles {
        for pair in cycle.windows(2) {
            let [waits, awaited] = pair else { continue };
            let (file, place) = edge_place(parsed, waits, awaited);
            let problem = Problem {
                file,
                line: place.line,
                column: place.column,
                message: format!("{waits} waits for itself: {}", cycle.join(" after ")),
                suggestion: Some(format!("leave out that {waits} is after {awaited}, or another")),
                severity: Severity::Error,
            };
            if parsed.contains_key(waits) {
                loaded.broken.insert(waits.clone(), problem.clone());
            }
            loaded.problems.push(problem);
        }
    }
    parsed.retain(|name, _| !loaded.broken.contains_key(name));
}

/// Where it stands that `waits` comes after `awaited`: in its own file, or as the other's `before`.
fn edge_place(parsed: &BTreeMap<String, Parsed>, waits: &str, awaited: &str) -> (String, Place) {
    let find = |owner: &str, keys: &[&str], name: &str| {
        let one = parsed.get(owner)?;
        let place =
            one.places.iter().find(|(key, other, _)| keys.contains(key) && other == name)?;
        Some((one.found.node().source.clone(), place.2))
    };
    find(waits, &["after", "requires"], awaited)
        .or_else(|| find(awaited, &["before"], waits))
        .unwrap_or_default()
}
