//! What a reload changes: the definitions of a host against those in force.
//!
//! Two steps, both pure. [`load_over`] reads the new files; whoever had a sound definition and has
//! a broken file now keeps the definition it had, so a slip of the pen takes nobody down.
//! [`Difference`] then says who comes, who goes, who changes, and whether its run can stay:
//!
//! - What a run was started with (its program, user, environment, sockets, limits …) cannot be
//!   changed under it: it is stopped by the policy that it was started with and starts again.
//! - What the supervisor does about a run (order, strength, restart, stop, probes, drain …) is
//!   changed in place.

use crate::app::App;
use crate::definition::{self, Definition, Loaded};
use crate::problem::{Problem, Severity};
use std::collections::{BTreeMap, BTreeSet};

/// A file of a definition: name, label for messages, text.
pub type File = (String, String, String);

/// Who comes, goes and changes; names, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Defined now, and not before.
    pub added: Vec<String>,
    /// Defined otherwise than before.
    pub changed: Vec<Change>,
    /// No longer defined.
    pub removed: Vec<String>,
    /// Defined as before.
    pub unchanged: Vec<String>,
}

/// A service or app that is defined otherwise than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub name: String,
    /// Its run cannot stay.
    pub restart: bool,
    /// Its sockets cannot stay: one of them is elsewhere now, or is no more.
    pub rebind: bool,
    /// The keys that differ, without those that merely moved: `environment`.
    pub keys: Vec<&'static str>,
}

/// What [`load_over`] made of new files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadedOver {
    /// What is in force from now on.
    pub loaded: Loaded,
    /// Names that keep the file they had.
    pub kept: BTreeSet<String>,
    /// Names whose file is not in force: those that are kept, and those that never had another.
    pub refused: BTreeSet<String>,
    /// What is wrong with the files that are not in force.
    pub refusals: Vec<Problem>,
}

/// Reads new files over those in force. `unusable` are those that are there and cannot be read as
/// text, with their problem.
#[must_use]
pub fn load_over(
    in_force: &Loaded,
    former: &[File],
    files: Vec<File>,
    unusable: Vec<(String, Problem)>,
) -> LoadedOver {
    let (mut files, seconds) = by_name(files);
    let former: BTreeMap<&str, &File> = former.iter().map(|file| (file.0.as_str(), file)).collect();
    let mut kept = BTreeSet::new();
    let mut problems: Vec<Problem> = Vec::new();
    for (name, problem) in &unusable {
        problems.push(problem.clone());
        if let Some(file) = former.get(name.as_str()) {
            files.insert(name.clone(), (*file).clone());
            kept.insert(name.clone());
        }
    }
    loop {
        let loaded = definition::load(files.values().chain(&seconds).cloned().collect());
        let mut again = BTreeSet::new();
        for name in files.keys().filter(|name| !kept.contains(*name)) {
            if let Some(problem) = refusal(in_force, &loaded, name)
                && former.contains_key(name.as_str())
            {
                // A problem of its own is told with all the others of its file.
                let file = &problem.file;
                problems.extend(loaded.problems.iter().filter(|one| one.file == *file).cloned());
                if !loaded.problems.contains(&problem) {
                    problems.push(problem);
                }
                again.insert(name.clone());
            }
        }
        if again.is_empty() {
            problems.sort();
            problems.dedup();
            let mut refused: BTreeSet<String> =
                unusable.into_iter().map(|(name, _)| name).collect();
            refused.extend(kept.iter().cloned());
            return LoadedOver { loaded, kept, refused, refusals: problems };
        }
        for name in again {
            if let Some(file) = former.get(name.as_str()) {
                files.insert(name.clone(), (*file).clone());
            }
            kept.insert(name);
        }
    }
}

/// The files by name; and second ones of a name, which the loader refuses behind the first.
fn by_name(files: Vec<File>) -> (BTreeMap<String, File>, Vec<File>) {
    let (mut first, mut seconds) = (BTreeMap::new(), Vec::new());
    for file in files {
        if first.contains_key(&file.0) {
            seconds.push(file);
        } else {
            first.insert(file.0.clone(), file);
        }
    }
    (first, seconds)
}

/// Why a name cannot have its new file: it had a sound one and this one is not, or it would turn
/// from a service into an app, or back, while the old one may still run.
fn refusal(in_force: &Loaded, loaded: &Loaded, name: &str) -> Option<Problem> {
    let was_service = in_force.definitions.contains_key(name);
    let was_app = in_force.apps.contains_key(name);
    if let Some(problem) = loaded.broken.get(name) {
        return (was_service || was_app).then(|| problem.clone());
    }
    let turned = match (loaded.definitions.get(name), loaded.apps.get(name)) {
        (_, Some(app)) if was_service => Some((&app.template.source, "a service", "an app")),
        (Some(service), _) if was_app => Some((&service.source, "an app", "a service")),
        _ => None,
    };
    turned.map(|(file, was, is)| Problem {
        file: file.clone(),
        line: 0,
        column: 0,
        message: format!("{name} was {was} and would be {is}"),
        suggestion: Some("remove it and reload, then define it anew; or reboot".to_owned()),
        severity: Severity::Error,
    })
}

impl Difference {
    /// What is different in `new`.
    #[must_use]
    pub fn between(old: &Loaded, new: &Loaded) -> Self {
        let mut difference = Self::default();
        let names: BTreeSet<&String> = names(old).chain(names(new)).collect();
        for name in names {
            let list = match (is_defined(old, name), is_defined(new, name)) {
                (false, _) => &mut difference.added,
                (true, false) => &mut difference.removed,
                (true, true) => match change(name, old, new) {
                    Some(change) => {
                        difference.changed.push(change);
                        continue;
                    }
                    None => &mut difference.unchanged,
                },
            };
            list.push(name.clone());
        }
        difference
    }
}

fn names(loaded: &Loaded) -> impl Iterator<Item = &String> {
    loaded.definitions.keys().chain(loaded.apps.keys()).chain(loaded.broken.keys())
}

fn is_defined(loaded: &Loaded, name: &str) -> bool {
    loaded.definitions.contains_key(name)
        || loaded.apps.contains_key(name)
        || loaded.broken.contains_key(name)
}

/// How one that is defined before and after differs. What breaks goes on as it is; what is whole
/// again may have a run of which nobody knows the definition.
fn change(name: &str, old: &Loaded, new: &Loaded) -> Option<Change> {
    let mut keys = Keys::default();
    match (old.definitions.get(name), new.definitions.get(name)) {
        (Some(old), Some(new)) => keys.of_service(old, new),
        _ => match (old.apps.get(name), new.apps.get(name)) {
            (Some(old), Some(new)) => keys.of_app(old, new),
            _ if old.broken.contains_key(name) && new.broken.contains_key(name) => {}
            _ => keys.push("definition", !new.broken.contains_key(name)),
        },
    }
    let Keys { names: keys, restart, rebind } = keys;
    (!keys.is_empty()).then(|| Change { name: name.to_owned(), restart, rebind, keys })
}

/// The keys that differ so far.
#[derive(Default)]
struct Keys {
    names: Vec<&'static str>,
    restart: bool,
    rebind: bool,
}

impl Keys {
    fn push(&mut self, key: &'static str, restart: bool) {
        self.names.push(key);
        self.restart |= restart;
    }

    /// Every field is named, so that a new one is a decision: does a run have to go for it?
    fn of_service(&mut self, old: &Definition, new: &Definition) {
        let Definition {
            source: _,
            exec,
            kind,
            user,
            group,
            groups,
            directory,
            environment,
            umask,
            oom_score_adjust,
            imds,
            after,
            before,
            requires,
            wants,
            ready,
            restart,
            stop,
            listen,
            limits,
            control,
            credentials,
        } = old;
        let fields = [
            ("exec", *exec == new.exec, true),
            ("kind", *kind == new.kind, true),
            ("user", *user == new.user, true),
            ("group", *group == new.group, true),
            ("groups", *groups == new.groups, true),
            ("directory", *directory == new.directory, true),
            ("environment", *environment == new.environment, true),
            ("umask", *umask == new.umask, true),
            ("oom-score-adjust", *oom_score_adjust == new.oom_score_adjust, true),
            ("imds", *imds == new.imds, false),
            ("listen", *listen == new.listen, true),
            ("limits", *limits == new.limits, true),
            ("credentials", *credentials == new.credentials, true),
            ("after", *after == new.after, false),
            ("before", *before == new.before, false),
            ("requires", *requires == new.requires, false),
            ("wants", *wants == new.wants, false),
            ("ready", *ready == new.ready, false),
            ("restart", *restart == new.restart, false),
            ("stop", *stop == new.stop, false),
            ("control", *control == new.control, false),
        ];
        for (key, same, restart) in fields {
            if !same {
                self.push(key, restart);
            }
        }
        self.rebind |= listen.iter().any(|socket| !new.listen.contains(socket));
    }

    fn of_app(&mut self, old: &App, new: &App) {
        let App { template, closure, ports, migrate, health, swap, after_switch, on_rollback } =
            old;
        self.of_service(template, &new.template);
        if *ports != new.ports {
            self.push("ports", true);
        }
        let fields = [
            ("closure", *closure == new.closure),
            ("migrate", *migrate == new.migrate),
            ("health", *health == new.health),
            ("swap", *swap == new.swap),
            ("after-switch", *after_switch == new.after_switch),
            ("on-rollback", *on_rollback == new.on_rollback),
        ];
        for (key, same) in fields {
            if !same {
                self.push(key, false);
            }
        }
    }
}
