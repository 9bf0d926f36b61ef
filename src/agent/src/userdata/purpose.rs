//! What a host is for, done.

use super::{Host, Trouble, all, blocking, files, join, release};
use control::agent::{OutcomeKind, SYSTEM};
use control::types::{Reload, ServiceState, ServiceStatus, ShutdownKind};
use rollout::{Failure, RootRole};
use std::collections::BTreeMap;
use std::rc::Rc;
use store::fetch::Cancel;
use sys::kmsg::Priority;
use tokio::sync::oneshot;
use userdata::{AppWish, Purpose, Run, Then, UserData};

/// The service that the one program is.
const RUN_SERVICE: &str = "user-data-run";

/// Makes the host what it is for; what was done, in words.
pub async fn fulfil(host: &Rc<Host>, document: &UserData) -> Result<String, Trouble> {
    match &document.purpose {
        Purpose::Image => {
            define(host, BTreeMap::new()).await?;
            Ok("read; this host is for what its image is".to_owned())
        }
        Purpose::Apps(wishes) => apps(host, document, wishes).await,
        Purpose::System(path) => {
            define(host, BTreeMap::new()).await?;
            if join::rolls_system(host).await? {
                return Ok("this host gets the system that its group runs".to_owned());
            }
            swap(host, SYSTEM, path).await
        }
        Purpose::Run(run) => program(host, document, run).await,
    }
}

/// Puts these definitions into force beside those of the image.
async fn define(host: &Host, definitions: BTreeMap<String, String>) -> Result<(), Trouble> {
    let run = host.run.clone();
    let names: Vec<String> = definitions.keys().cloned().collect();
    blocking(move || files::define(&run, &definitions)).await?;
    let reloaded = host.tools.supervisor.ask(async |client| client.reload(false).await).await;
    let reloaded = reloaded.map_err(|error| {
        Trouble::error(format!("reload: {error}"), "`rollinit reload --dry-run` shows it")
    })?;
    match names.iter().find(|name| reloaded.refused.contains(name)) {
        Some(name) => Err(refused(name, &reloaded)),
        None => Ok(()),
    }
}

fn refused(name: &str, reload: &Reload) -> Trouble {
    let is_of = |about: &str| about.contains(&format!("/{name}.toml"));
    let problem = reload.problems.iter().find(|problem| is_of(&problem.about));
    let text = problem.map_or_else(String::new, |problem| format!(": {}", problem.message));
    let cure = problem.and_then(|problem| problem.cure.clone());
    let cure = cure.unwrap_or_else(|| "`rollinit reload --dry-run` tells more".to_owned());
    Trouble::error(format!("the definition of {name} cannot be used{text}"), cure)
}

/// All apps, each as far as it goes: one that fails does not hold up the others.
async fn apps(
    host: &Rc<Host>,
    document: &UserData,
    wishes: &BTreeMap<String, AppWish>,
) -> Result<String, Trouble> {
    let definitions = wishes.iter();
    let definitions = definitions
        .filter_map(|(name, wish)| Some((name.clone(), wish.definition.clone()?)))
        .collect();
    define(host, definitions).await?;
    let defined = host.tools.supervisor.apps().await.map_err(|error| {
        Trouble::error(error.to_string(), "`rollinit status` tells more of the supervisor")
    })?;
    let (mut done, mut troubles) = (Vec::new(), Vec::new());
    for (name, wish) in wishes {
        if !defined.iter().any(|app| app.name == *name) {
            let text = format!("{name} is no app of this image");
            troubles.push(Trouble::error(text, format!("write [apps.{name}.definition]")));
            continue;
        }
        match app(host, document, name, wish).await {
            Ok(words) => done.push(words),
            Err(trouble) => troubles.push(trouble),
        }
    }
    all(troubles).map(|()| done.join("; "))
}

async fn app(
    host: &Rc<Host>,
    document: &UserData,
    name: &str,
    wish: &AppWish,
) -> Result<String, Trouble> {
    if release::follow(host, document, name, &wish.closure)? {
        return Ok(format!("{name} follows its signed release"));
    }
    let generation = host.tools.closures.profile(name).await.map_err(of_store)?;
    if let Some(generation) = generation {
        return Ok(format!("{name} has a generation and keeps {}", generation.path));
    }
    if join::installs(host, name).await? {
        return Ok(format!("{name} gets what its group runs"));
    }
    let path = release::resolve(host, name, &wish.closure).await?;
    swap(host, name, &path).await
}

/// Swaps an app, or the system, and waits for how that ends. What failed before is tried again:
/// nobody else is there who would.
async fn swap(host: &Rc<Host>, name: &str, path: &str) -> Result<String, Trouble> {
    let force = host.tries.get() > 0;
    let cure = format!("`rollinit swaps {name}` tells more");
    let begun = host.agent.wish(name, path, force).await;
    let mut reader = begun.map_err(|error| Trouble::error(error.to_string(), &cure))?;
    let outcome = reader.end().await.and_then(|progress| progress.outcome);
    let Some(outcome) = outcome else {
        return Err(Trouble::error(format!("{name}: the swap ended without a word"), cure));
    };
    match outcome.kind {
        OutcomeKind::Committed => Ok(format!("{name} runs {path}")),
        OutcomeKind::NothingToDo => Ok(format!("{name} runs {path} already")),
        OutcomeKind::Rebooting => Ok(format!("reboots to become {path}")),
        _ => {
            let reason = outcome.reason.unwrap_or_else(|| "it was not done".to_owned());
            let cure = outcome.cures.into_iter().next().unwrap_or(cure);
            Err(Trouble::error(format!("{name}: {reason}"), cure))
        }
    }
}

fn of_store(failure: Failure) -> Trouble {
    let cure = failure.cure.into_iter().next().unwrap_or_default();
    Trouble::error(failure.reason, cure)
}

/// The one program: fetched, held, run as a oneshot of the supervisor, and followed to its end.
async fn program(host: &Rc<Host>, document: &UserData, run: &Run) -> Result<String, Trouble> {
    let closures = &host.tools.closures;
    let path = run.closure();
    let brought = closures.fetch(path, None, None, |_| {}, &Cancel::default()).await;
    // Held until the root holds it.
    let brought = brought.map_err(of_store)?;
    closures.root(RUN_SERVICE, RootRole::Running, path).await.map_err(of_store)?;
    drop(brought);
    let definition = definition(document, run);
    define(host, BTreeMap::from([(RUN_SERVICE.to_owned(), definition)])).await?;
    host.tools.console.announce(Priority::Notice, &format!("user-data: runs {}", run.exec[0]));
    let end = end(host).await;
    if run.then == Then::PowerOff {
        let text = format!("user-data: the program {}; powers off", end.words());
        host.tools.console.announce(Priority::Warning, &text);
        let supervisor = &host.tools.supervisor;
        let asked = supervisor.ask(async |client| client.shutdown(ShutdownKind::Poweroff).await);
        asked.await.map_err(|error| {
            Trouble::error(format!("cannot power off: {error}"), "terminate the instance")
        })?;
    }
    match end {
        End::Done => Ok("the program did its work".to_owned()),
        End::Failed(_) => {
            let cure = format!("`rollinit logs {RUN_SERVICE}` tells more; it is not run again");
            let text = format!("the program {}", end.words());
            host.tools.console.announce(Priority::Error, &format!("user-data: {text} ({cure})"));
            Ok(text)
        }
    }
}

fn definition(document: &UserData, run: &Run) -> String {
    let text = |text: &String| toml::Value::String(text.clone());
    let exec = toml::Value::Array(run.exec.iter().map(text).collect());
    let mut service = toml::Table::from_iter([
        ("exec".to_owned(), exec),
        ("kind".to_owned(), "oneshot".into()),
        ("restart".to_owned(), toml::Table::from_iter([("policy".to_owned(), "no".into())]).into()),
    ]);
    service.extend(run.user.iter().map(|user| ("user".to_owned(), text(user))));
    let lent = files::Lent::of(document).environment;
    let variables = lent.iter().map(|(name, value)| (name.clone(), text(value)));
    service.insert("environment".to_owned(), toml::Value::Table(variables.collect()));
    toml::Table::from_iter([("service".to_owned(), service.into())]).to_string()
}

/// How the program ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Done,
    Failed(String),
}

impl End {
    fn words(&self) -> String {
        match self {
            Self::Done => "did its work".to_owned(),
            Self::Failed(reason) => format!("failed: {reason}"),
        }
    }

    /// The end of a service, if it has come.
    fn of(service: &ServiceStatus) -> Option<Self> {
        let last = || service.last_end.as_ref().map(|end| end.text.clone());
        let problem = || service.problems.first().cloned();
        match service.state {
            ServiceState::Done => Some(Self::Done),
            ServiceState::Failed | ServiceState::Broken | ServiceState::Blocked => {
                Some(Self::Failed(last().or_else(problem).unwrap_or_default()))
            }
            ServiceState::Stopped => Some(Self::Failed("it was stopped by hand".to_owned())),
            _ => None,
        }
    }
}

/// Waits for the end of the program.
async fn end(host: &Host) -> End {
    let (sender, receiver) = oneshot::channel();
    let mut sender = Some(sender);
    let look = async |services: Vec<ServiceStatus>| {
        let service = services.iter().find(|service| service.name == RUN_SERVICE);
        if let Some(end) = service.and_then(End::of)
            && let Some(sender) = sender.take()
        {
            // The receiver waits below.
            let _ = sender.send(end);
        }
    };
    tokio::select! {
        () = host.tools.supervisor.watch_services(look) => {
            End::Failed("the supervisor does not tell of it".to_owned())
        }
        end = receiver => {
            end.unwrap_or_else(|_| End::Failed("nobody told of its end".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The service is as the supervisor's reader wants it, with the variables of the host.
    #[test]
    fn the_program_is_a_sound_service() {
        let run = Run {
            exec: vec!["/nix/store/x/bin/job".to_owned(), "it's".to_owned()],
            user: Some("job".to_owned()),
            then: Then::Stay,
        };
        let environment = BTreeMap::from([("A".to_owned(), "b\n\"".to_owned())]);
        let document =
            UserData { environment, group: Some("web".to_owned()), ..UserData::default() };
        let text = definition(&document, &run);
        let service = service::definition::parse("x.toml", &text).expect("sound");
        assert_eq!((&service.exec, &service.user), (&run.exec, &run.user));
        assert_eq!(service.environment["A"], "b\n\"");
        assert_eq!(service.environment["ROLLINIT_GROUP"], "web");
        assert_eq!(service.restart.policy, service::definition::Policy::No);
    }
}
