//! The tables of a definition, one function each.

use super::credentials::credentials;
use super::read::{Fault, File, Section};
use super::resources::limits;
use super::sockets::listen;
use super::values::{Duration, Mode, Signal};
use super::{Definition, Intensity, Kind, Listen, Policy, Ready, Restart, Scope, Stop};
use crate::limits::{
    ARGUMENTS_MAX, EDGES_MAX, ENVIRONMENT_MAX, GROUPS_MAX, INTENSITY_MAX, STRING_BYTES_MAX,
};
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;
use toml::de::DeValue;

/// Variables that the supervisor sets itself.
const VARIABLES_RESERVED: [&str; 5] =
    ["CREDENTIALS_DIRECTORY", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "NOTIFY_SOCKET"];

/// Where the names of other services stand in the file, for messages about them.
pub(super) type Names = Vec<(&'static str, Spanned<String>)>;

/// `[service]` and all below it.
pub(super) fn service(file: &mut File, mut section: Section) -> (Definition, Names) {
    let exec = exec(file, &mut section);
    let kind = section.written(file, "kind").unwrap_or(Kind::Simple);
    let found = body(file, &mut section, exec, kind, listen);
    section.finish(file);
    found
}

/// What services and apps have in common.
pub(super) fn body(
    file: &mut File,
    section: &mut Section,
    exec: Vec<String>,
    kind: Kind,
    listen: impl FnOnce(&mut File, &mut Section) -> Vec<Listen>,
) -> (Definition, Names) {
    let mut names = Names::new();
    let mut edges = |file: &mut File, section: &mut Section, key| {
        let found = strings(file, section, key, EDGES_MAX);
        names.extend(found.iter().map(|name| (key, name.clone())));
        found.into_iter().map(Spanned::into_inner).collect()
    };
    let definition = Definition {
        source: file.label.to_owned(),
        exec,
        kind,
        user: account(file, section, "user"),
        group: account(file, section, "group"),
        groups: groups(file, section),
        directory: path(file, section, "directory").unwrap_or_else(|| "/".to_owned()),
        environment: environment(file, section),
        umask: section.written(file, "umask").map_or(0o022, |mode: Mode| mode.0),
        oom_score_adjust: oom_score_adjust(file, section),
        imds: truth(file, section, "imds"),
        after: edges(file, section, "after"),
        before: edges(file, section, "before"),
        requires: edges(file, section, "requires"),
        wants: edges(file, section, "wants"),
        ready: ready(file, section, kind),
        restart: restart(file, section, kind),
        stop: stop(file, section),
        listen: listen(file, section),
        limits: limits(file, section),
        control: section.written(file, "control").unwrap_or_default(),
        credentials: credentials(file, section),
    };
    (definition, names)
}

fn exec(file: &mut File, section: &mut Section) -> Vec<String> {
    let cure = "write exec = [\"/path/of/program\", \"argument\"]";
    let problems_before = file.problems.len();
    let span = section.span().clone();
    let exec = strings(file, section, "exec", ARGUMENTS_MAX);
    match exec.first() {
        Some(program) if !program.get_ref().starts_with('/') => {
            let message = format!("the program {:?} is not an absolute path", program.get_ref());
            file.fault(
                &program.span(),
                Fault::new(message, "write its whole path: no PATH is searched"),
            );
        }
        None if file.problems.len() == problems_before => {
            file.fault(&span, Fault::new("exec is missing or empty", cure));
        }
        _ => {}
    }
    exec.into_iter().map(Spanned::into_inner).collect()
}

/// A list of strings, capped in number and length, without NULs (execve(2) ends them there).
pub fn strings(
    file: &mut File,
    section: &mut Section,
    key: &'static str,
    count_max: usize,
) -> Vec<Spanned<String>> {
    let cure = format!("write {key} = [\"one\", \"two\"]");
    let Some(list) = section.value::<Vec<Spanned<String>>>(file, key, &cure) else {
        return Vec::new();
    };
    let (span, list) = (list.span(), list.into_inner());
    if list.len() > count_max {
        let message = format!("{key} has {} entries", list.len());
        file.fault(&span, Fault::new(message, format!("write at most {count_max}")));
    }
    list.into_iter().filter(|text| check_string(file, &text.span(), text.get_ref())).collect()
}

pub(super) fn check_string(file: &mut File, span: &Range<usize>, text: &str) -> bool {
    if text.contains('\0') {
        file.fault(
            span,
            Fault::new("a NUL within a string", "leave it out: programs cannot see it"),
        );
        return false;
    }
    if text.len() > STRING_BYTES_MAX {
        let message = format!("a string of {} bytes", text.len());
        file.fault(span, Fault::new(message, format!("write at most {STRING_BYTES_MAX}")));
        return false;
    }
    true
}

pub(super) fn path(file: &mut File, section: &mut Section, key: &'static str) -> Option<String> {
    let cure = format!("write {key} = \"/an/absolute/path\"");
    let text = section.value::<String>(file, key, &cure)?;
    if !text.get_ref().starts_with('/') {
        let message = format!("{:?} is not an absolute path", text.get_ref());
        file.fault(&text.span(), Fault::new(message, cure));
        return None;
    }
    check_string(file, &text.span(), text.get_ref()).then(|| text.into_inner())
}

/// The name or number of a user or group.
pub(super) fn account(file: &mut File, section: &mut Section, key: &'static str) -> Option<String> {
    let cure = format!("write {key} = \"name\" or \"1000\"");
    let text = section.value::<String>(file, key, &cure)?;
    check_account(file, &text, &cure).then(|| text.into_inner())
}

fn check_account(file: &mut File, text: &Spanned<String>, cure: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '$');
    let name = text.get_ref();
    let sound = (1..=32).contains(&name.len()) && name.chars().all(fine);
    if !sound {
        file.fault(&text.span(), Fault::new(format!("{name:?} names no user or group"), cure));
    }
    sound
}

fn groups(file: &mut File, section: &mut Section) -> Vec<String> {
    let groups = strings(file, section, "groups", GROUPS_MAX);
    let cure = "write groups = [\"name\", \"1000\"]";
    groups
        .into_iter()
        .filter(|group| check_account(file, group, cure))
        .map(Spanned::into_inner)
        .collect()
}

/// `environment = { NAME = "value" }`; empty if the key is missing.
pub fn environment(file: &mut File, section: &mut Section) -> BTreeMap<String, String> {
    let cure = "write environment = { NAME = \"value\" }";
    let mut variables = BTreeMap::new();
    let Some(value) = section.raw("environment") else { return variables };
    let span = value.span();
    let DeValue::Table(table) = value.into_inner() else {
        file.fault(&span, Fault::new("environment is not a table", cure));
        return variables;
    };
    if table.len() > ENVIRONMENT_MAX {
        let message = format!("environment has {} variables", table.len());
        file.fault(&span, Fault::new(message, format!("write at most {ENVIRONMENT_MAX}")));
    }
    for (key, value) in table {
        let name = key.get_ref().to_string();
        let DeValue::String(text) = value.get_ref() else {
            let message = format!("the value of {name} is not a string");
            file.fault(&value.span(), Fault::new(message, format!("write {name} = \"…\"")));
            continue;
        };
        if name.is_empty() || name.contains('=') {
            let message = format!("{name:?} cannot name a variable");
            file.fault(&key.span(), Fault::new(message, cure));
        } else if VARIABLES_RESERVED.contains(&name.as_str()) {
            let message = format!("{name} is set by the supervisor");
            file.fault(&key.span(), Fault::new(message, "leave it out"));
        } else if check_string(file, &key.span(), &name) && check_string(file, &value.span(), text)
        {
            variables.insert(name, text.to_string());
        }
    }
    variables
}

/// An integer within bounds.
pub(super) fn integer(
    file: &mut File,
    section: &mut Section,
    key: &'static str,
    bounds: std::ops::RangeInclusive<i64>,
) -> Option<i64> {
    let cure = format!("write {key} = a number from {} to {}", bounds.start(), bounds.end());
    let number = section.value::<i64>(file, key, &cure)?;
    if bounds.contains(number.get_ref()) {
        return Some(number.into_inner());
    }
    let message = format!("{key} = {} is out of bounds", number.get_ref());
    file.fault(&number.span(), Fault::new(message, cure));
    None
}

/// `true` or `false`; `false` where the key is missing.
fn truth(file: &mut File, section: &mut Section, key: &'static str) -> bool {
    let cure = format!("write {key} = true or {key} = false");
    section.value::<bool>(file, key, &cure).is_some_and(Spanned::into_inner)
}

fn oom_score_adjust(file: &mut File, section: &mut Section) -> i16 {
    let number = integer(file, section, "oom-score-adjust", -1000..=1000);
    number.and_then(|number| i16::try_from(number).ok()).unwrap_or(0)
}

/// A time, in milliseconds: `"30s"`.
pub fn duration(file: &mut File, section: &mut Section, key: &'static str) -> Option<u64> {
    section.written(file, key).map(|duration: Duration| duration.0)
}

fn ready(file: &mut File, service: &mut Section, kind: Kind) -> Ready {
    let default_ms = if kind == Kind::Notify { Some(60_000) } else { None };
    let Some(mut section) = service.section(file, "ready") else {
        return Ready { timeout_ms: default_ms };
    };
    let span = section.span().clone();
    let timeout_ms = duration(file, &mut section, "timeout");
    section.finish(file);
    if kind == Kind::Simple && timeout_ms.is_some() {
        file.fault(
            &span,
            Fault::new(
                "a service of kind \"simple\" is ready as soon as it runs",
                "leave ready.timeout out, or write kind = \"notify\"",
            ),
        );
    }
    Ready { timeout_ms: timeout_ms.or(default_ms) }
}

fn restart(file: &mut File, service: &mut Section, kind: Kind) -> Restart {
    let policy = if kind == Kind::Oneshot { Policy::No } else { Policy::Always };
    let mut restart = Restart {
        policy,
        backoff_min_ms: 100,
        backoff_max_ms: 30_000,
        reset_after_ms: 60_000,
        intensity: None,
    };
    let Some(mut section) = service.section(file, "restart") else { return restart };
    let span = section.span().clone();
    restart.policy = section.written(file, "policy").unwrap_or(policy);
    restart.backoff_min_ms = duration(file, &mut section, "backoff-min").unwrap_or(100);
    let backoff_max_ms = duration(file, &mut section, "backoff-max");
    restart.backoff_max_ms = backoff_max_ms.unwrap_or(restart.backoff_min_ms.max(30_000));
    restart.reset_after_ms = duration(file, &mut section, "reset-after").unwrap_or(60_000);
    let count = integer(file, &mut section, "intensity", 1..=i64::from(INTENSITY_MAX));
    let period_ms = duration(file, &mut section, "period");
    if let Some(count) = count.and_then(|count| u32::try_from(count).ok()) {
        restart.intensity = Some(Intensity { count, period_ms: period_ms.unwrap_or(60_000) });
    } else if period_ms.is_some() {
        file.fault(&span, Fault::new("period without intensity", "write intensity = 5 beside it"));
    }
    if restart.backoff_min_ms > restart.backoff_max_ms {
        let cure = "write a backoff-max that is not below backoff-min";
        file.fault(&span, Fault::new("backoff-min is longer than backoff-max", cure));
    }
    if kind == Kind::Oneshot && restart.policy == Policy::Always {
        let cure = "write policy = \"on-failure\" or \"no\"";
        file.fault(&span, Fault::new("a oneshot that always starts again is never done", cure));
    }
    section.finish(file);
    restart
}

fn stop(file: &mut File, service: &mut Section) -> Stop {
    let mut stop = Stop::default();
    let Some(mut section) = service.section(file, "stop") else { return stop };
    if let Some(Signal(signal)) = section.written(file, "signal") {
        stop.signal = signal;
    }
    stop.timeout_ms = duration(file, &mut section, "timeout").unwrap_or(stop.timeout_ms);
    stop.scope = section.written::<Scope>(file, "scope").unwrap_or(stop.scope);
    section.finish(file);
    stop
}
