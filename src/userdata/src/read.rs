//! From bytes to a [`UserData`], or to all that is wrong with them.

use crate::secret;
use crate::signers;
use crate::{
    APPS_MAX, AppWish, CACHES_MAX, Closure, DOCUMENT_BYTES_MAX, GROUP_BYTES_MAX, LEDGER_BYTES_MAX,
    LIFETIME_MS_MIN, Purpose, Run, STORE, Then, UserData, VERSION, path_fault,
};
use service::definition::document::{self, Fault, File, Section, Written, duration, strings, word};
use service::limits::{APP_NAME_BYTES_MAX, ARGUMENTS_MAX};
use service::problem::Problem;
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;

/// What to do about a secret.
const SECRET_CURE: &str = "everybody who may describe the instance can read it: put it into SSM as \
    a SecureString and name it in [apps.NAME.definition.credentials]; then make a new one, this \
    one is known";

impl Written for Then {
    const EXAMPLE: &'static str = "\"stay\" or \"power-off\"";

    fn read(text: &str) -> Result<Self, Fault> {
        word(text, &[("stay", Self::Stay), ("power-off", Self::PowerOff)])
    }
}

/// Reads a document.
///
/// # Errors
/// All problems found, sorted by place. What looks like a secret is one, and is not repeated.
pub fn read(label: &str, bytes: &[u8]) -> Result<UserData, Vec<Problem>> {
    if let Some(fault) = foreign(bytes) {
        let mut file = File::new(label, "");
        file.fault_whole(fault);
        return Err(file.problems);
    }
    // Said to be text just now.
    let text = str::from_utf8(bytes).unwrap_or_default();
    let mut file = File::new(label, text);
    let secrets = secret::in_text(text);
    for finding in &secrets {
        let message = format!("this looks like {}", finding.what);
        file.fault(&(finding.offset..finding.offset), Fault::new(message, SECRET_CURE));
    }
    if !secrets.is_empty() {
        // What else is wrong may be told by repeating it.
        return Err(file.problems);
    }
    let found = file.root().map(|root| document(&mut file, root));
    match found {
        Some(found) if file.problems.is_empty() => Ok(found),
        _ => {
            file.problems.sort();
            file.problems.dedup();
            Err(file.problems)
        }
    }
}

/// Why this is no document of ours, if that can be told at a glance.
fn foreign(bytes: &[u8]) -> Option<Fault> {
    let ours = "write a TOML document that begins with `rollinit = 1`";
    let begins = |with: &[u8]| bytes.starts_with(with);
    let what = if bytes.is_empty() {
        "it is empty"
    } else if bytes.len() > DOCUMENT_BYTES_MAX {
        "it is longer than the 16 KiB that EC2 takes"
    } else if begins(b"\x1f\x8b") {
        "it is compressed"
    } else if begins(b"#cloud-config") {
        "it is a document of cloud-init, which this host does not have"
    } else if begins(b"#!") {
        "it is a script, and this host has no shell"
    } else if begins(b"MIME-Version:") || begins(b"Content-Type:") {
        "it is a MIME message, as cloud-init takes them"
    } else if str::from_utf8(bytes).is_err() {
        "it is not UTF-8"
    } else {
        return None;
    };
    Some(Fault::new(what, ours))
}

fn document(file: &mut File, mut root: Section) -> UserData {
    version(file, &mut root);
    let caches = checked(file, &mut root, "caches", cache_fault);
    let keys = checked(file, &mut root, "keys", key_fault);
    let group = group(file, &mut root);
    let ledger = ledger(file, &mut root);
    let environment = environment(file, &mut root);
    let lifetime_ms = lifetime(file, &mut root);
    let signers = signers::signers(file, &mut root);
    let purpose = purpose(file, &mut root);
    root.finish(file);
    UserData { caches, keys, group, ledger, signers, environment, purpose, lifetime_ms }
}

fn version(file: &mut File, root: &mut Section) {
    let cure = "write `rollinit = 1` as the first line";
    if root.place_of("rollinit").is_none() {
        file.fault_whole(Fault::new("it does not say that it is for rollinit", cure));
        return;
    }
    if let Some(version) = root.value::<i64>(file, "rollinit", cure)
        && *version.get_ref() != VERSION
    {
        let message = format!("version {} is not known here", version.get_ref());
        file.fault(&version.span(), Fault::new(message, cure));
    }
}

/// A list of texts, each of which is looked at.
fn checked(
    file: &mut File,
    root: &mut Section,
    key: &'static str,
    look: fn(&str) -> Option<Fault>,
) -> Vec<String> {
    let list = strings(file, root, key, CACHES_MAX);
    for text in &list {
        if let Some(fault) = look(text.get_ref()) {
            file.fault(&text.span(), fault);
        }
    }
    list.into_iter().map(Spanned::into_inner).collect()
}

fn cache_fault(url: &str) -> Option<Fault> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let plain = |rest: &str| {
        !rest.is_empty()
            && !rest.starts_with('/')
            && rest.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let cure = "write \"https://HOST/PATH\"";
    if !rest.is_some_and(plain) {
        return Some(Fault::new(format!("{url:?} is no URL of a binary cache"), cure));
    }
    let extra = url.contains(['?', '#', '@']);
    extra.then(|| Fault::new(format!("{url:?} has more than a host and a path"), cure))
}

fn key_fault(key: &str) -> Option<Fault> {
    const LETTERS: usize = 44;
    let sound = key.split_once(':').is_some_and(|(name, base64)| {
        !name.is_empty()
            && base64.len() == LETTERS
            && base64.ends_with('=')
            && base64.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
    });
    let cure = "write what nix.conf has in trusted-public-keys: \"NAME:BASE64\"";
    (!sound).then(|| Fault::new(format!("{key:?} is no public key of a binary cache"), cure))
}

fn group(file: &mut File, root: &mut Section) -> Option<String> {
    let cure = "write group = \"web\": letters, digits, -, _ and .";
    let group = root.value::<String>(file, "group", cure)?;
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let name = group.get_ref();
    if name.is_empty() || name.len() > GROUP_BYTES_MAX || !name.bytes().all(is_letter) {
        file.fault(&group.span(), Fault::new(format!("{name:?} cannot name a group"), cure));
        return None;
    }
    Some(group.into_inner())
}

fn ledger(file: &mut File, root: &mut Section) -> Option<String> {
    let cure =
        "write ledger = \"dynamodb://TABLE\", \"s3://BUCKET/PREFIX\" or \"etcds://HOST:2379\"";
    let ledger = root.value::<String>(file, "ledger", cure)?;
    let text = ledger.get_ref();
    let is_plain =
        text.len() <= LEDGER_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_plain || !text.contains("://") {
        file.fault(&ledger.span(), Fault::new(format!("{text:?} is no ledger"), cure));
        return None;
    }
    Some(ledger.into_inner())
}

/// The variables, none of which is a secret.
fn environment(file: &mut File, section: &mut Section) -> BTreeMap<String, String> {
    let span = section.place_of("environment").unwrap_or_default();
    let variables = document::environment(file, section);
    for (name, value) in &variables {
        if let Some(what) = secret::of_variable(name, value) {
            let at = variable_place(file.text, &span, name);
            file.fault(&at, Fault::new(format!("{name} looks like {what}"), SECRET_CURE));
        }
    }
    variables
}

/// Where a variable stands in its table, or the table.
fn variable_place(text: &str, table: &Range<usize>, name: &str) -> Range<usize> {
    let found = text.get(table.clone()).and_then(|table| table.find(name));
    found.map_or_else(|| table.clone(), |at| table.start + at..table.start + at + name.len())
}

fn lifetime(file: &mut File, root: &mut Section) -> Option<u64> {
    let span = root.place_of("lifetime")?;
    let lifetime_ms = duration(file, root, "lifetime")?;
    if lifetime_ms < LIFETIME_MS_MIN {
        let fault = Fault::new("a lifetime below a minute", "write lifetime = \"8h\"");
        file.fault(&span, fault);
    }
    Some(lifetime_ms)
}

/// The one thing that the host is for.
fn purpose(file: &mut File, root: &mut Section) -> Purpose {
    let places = ["apps", "system", "run"].map(|key| (key, root.place_of(key)));
    let asked: Vec<_> = places.iter().filter_map(|(key, at)| Some((*key, at.clone()?))).collect();
    if let [(first, _), (second, at), ..] = &asked[..] {
        let message = format!("{first} and {second}: a host is for one thing");
        file.fault(at, Fault::new(message, "keep one of apps, system and run"));
    }
    let apps = root.section(file, "apps").map(|section| apps(file, section));
    let system = system(file, root);
    let run = root.section(file, "run").and_then(|section| run(file, section));
    match (apps, system, run) {
        (Some(apps), _, _) => Purpose::Apps(apps),
        (_, Some(system), _) => Purpose::System(system),
        (_, _, Some(run)) => Purpose::Run(run),
        (None, None, None) => Purpose::Image,
    }
}

fn store_path(file: &mut File, section: &mut Section, key: &'static str) -> Option<String> {
    let cure =
        format!("write {key} = \"/nix/store/…\", as `nix build --print-out-paths` prints it");
    let path = section.value::<String>(file, key, &cure)?;
    if let Some(message) = path_fault(path.get_ref()) {
        file.fault(&path.span(), Fault::new(message, cure));
        return None;
    }
    Some(path.into_inner())
}

fn system(file: &mut File, root: &mut Section) -> Option<String> {
    store_path(file, root, "system")
}

fn apps(file: &mut File, section: Section) -> BTreeMap<String, AppWish> {
    let span = section.span().clone();
    let problems_before = file.problems.len();
    let sections = section.named(file);
    let is_empty = sections.is_empty() && file.problems.len() == problems_before;
    if is_empty || sections.len() > APPS_MAX {
        let message = format!("{} apps", sections.len());
        let cure = format!("write [apps.NAME], for 1 to {APPS_MAX} of them");
        file.fault(&span, Fault::new(message, cure));
    }
    let mut wishes = BTreeMap::new();
    for (name, section) in sections {
        if !is_app_name(name.get_ref()) {
            let message = format!("{:?} cannot name an app", name.get_ref());
            let cure = format!(
                "letters, digits, -, _ and ., a letter or digit first, at most {APP_NAME_BYTES_MAX}"
            );
            file.fault(&name.span(), Fault::new(message, cure));
        }
        if let Some(wish) = app(file, section, name.get_ref()) {
            wishes.insert(name.into_inner(), wish);
        }
    }
    wishes
}

fn is_app_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    // The host's own system goes by this name.
    first && name.len() <= APP_NAME_BYTES_MAX && name.bytes().all(is_letter) && name != "system"
}

fn app(file: &mut File, mut section: Section, name: &str) -> Option<AppWish> {
    let span = section.span().clone();
    let path_place = section.place_of("path");
    let release_place = section.place_of("release");
    let path = store_path(file, &mut section, "path");
    let release = release(file, &mut section);
    let has_definition = section.place_of("definition").is_some();
    if let Some(mut definition) = section.section(file, "definition") {
        if let Some(at) = definition.place_of("closure") {
            let cure = format!("write path or release in [apps.{name}]");
            file.fault(&at, Fault::new("the closure stands elsewhere", cure));
            let _ = definition.raw("closure");
        }
        let at = definition.place_of("environment").unwrap_or_default();
        let app = document::app(file, definition);
        for (variable, value) in &app.template.environment {
            if let Some(what) = secret::of_variable(variable, value) {
                let at = variable_place(file.text, &at, variable);
                let fault = Fault::new(format!("{variable} looks like {what}"), SECRET_CURE);
                file.fault(&at, fault);
            }
        }
    }
    section.finish(file);
    let closure = match (path_place, release_place) {
        (Some(_), Some(at)) => {
            file.fault(&at, Fault::new("a path and a release", "keep one of the two"));
            None
        }
        (None, None) => {
            let cure = "write path = \"/nix/store/…\", or release = \"https://…\" or \"s3://…\"";
            file.fault(&span, Fault::new(format!("{name} has nothing to run"), cure));
            None
        }
        _ => path.map(Closure::Path).or(release.map(Closure::Release)),
    };
    let definition = has_definition.then(|| definition_text(file.text, name));
    Some(AppWish { closure: closure?, definition: definition.flatten() })
}

fn release(file: &mut File, section: &mut Section) -> Option<String> {
    let cure = "write release = \"https://HOST/PATH\" or \"s3://BUCKET/KEY\"";
    let url = section.value::<String>(file, "release", cure)?;
    let text = url.get_ref();
    let known =
        ["https://", "http://", "s3://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let plain = |rest: &str| {
        rest.split_once('/').is_some_and(|(host, path)| !host.is_empty() && !path.is_empty())
            && rest.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if !known.is_some_and(plain) {
        file.fault(&url.span(), Fault::new(format!("{text:?} is no URL of a document"), cure));
        return None;
    }
    Some(url.into_inner())
}

/// The definition of an app as a file of its own.
fn definition_text(text: &str, name: &str) -> Option<String> {
    // The same text was read just now: this finds what that found.
    let mut root: toml::Table = toml::from_str(text).ok()?;
    let table = |key: &str, of: &mut toml::Table| match of.remove(key) {
        Some(toml::Value::Table(table)) => Some(table),
        _ => None,
    };
    let mut app = table("apps", &mut root).and_then(|mut apps| table(name, &mut apps))?;
    let definition = table("definition", &mut app)?;
    let file = toml::Table::from_iter([("app".to_owned(), toml::Value::Table(definition))]);
    Some(format!("# from the user-data of this host\n{file}"))
}

fn run(file: &mut File, mut section: Section) -> Option<Run> {
    let span = section.span().clone();
    let cure = "write exec = [\"/nix/store/…/bin/PROGRAM\", \"ARGUMENT\"]";
    let exec = strings(file, &mut section, "exec", ARGUMENTS_MAX);
    let user = section.value::<String>(file, "user", "write user = \"NAME\"");
    let then = section.written(file, "then").unwrap_or_default();
    section.finish(file);
    let Some(program) = exec.first() else {
        file.fault(&span, Fault::new("nothing to run", cure));
        return None;
    };
    let text = program.get_ref().clone();
    let closure = text.strip_prefix(STORE).and_then(|rest| rest.split_once('/'));
    let fault = match closure {
        None => Some(format!("{text:?} is no program in the store")),
        Some((name, _)) => path_fault(&format!("{STORE}{name}")),
    };
    if let Some(message) = fault {
        file.fault(&program.span(), Fault::new(message, cure));
    }
    let exec = exec.into_iter().map(Spanned::into_inner).collect();
    Some(Run { exec, user: user.map(Spanned::into_inner), then })
}
