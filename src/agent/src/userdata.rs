//! Zero touch: a host from one image reads its user-data and becomes what that says.
//!
//! Read until it is there and sound, carried out until all of it is done; once a boot, since EC2
//! changes user-data of stopped instances only. Every step bears repetition, so an agent that is
//! started anew begins from the top. What is missing or wrong leaves the host as its image made it,
//! is said on the console and in `rollinit status`, and is tried again.
//!
//! An app that has a generation is left alone: user-data is the seed of a host, releases decide
//! after that.

mod files;
mod join;
mod lifetime;
mod purpose;
mod release;

use crate::agent::Agent;
use crate::app::Tools;
use crate::config::fleet::Fleet;
use crate::config::user_data::UserData as Settings;
use control::agent::Level;
use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use sys::kmsg::Priority;
use tokio::time::sleep;
use userdata::{DOCUMENT_BYTES_MAX, Problem, UserData};

pub use files::{CACHES_FILE, Lent};
pub use join::kept;

/// The subject in `rollinit status`, and the label of the document in messages.
pub const SUBJECT: &str = "user-data";

/// The first and the longest pause before all of it is tried again.
const AGAIN_MIN: Duration = Duration::from_secs(2);
/// See [`AGAIN_MIN`]. A person who mends a cache or a bucket waits no longer than this.
const AGAIN_MAX: Duration = Duration::from_secs(60);

/// What stands in the way, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Trouble {
    level: Level,
    text: String,
    cure: String,
}

impl Trouble {
    fn error(text: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { level: Level::Error, text: text.into(), cure: cure.into() }
    }
}

/// The host, and what it takes to change it.
#[derive(Debug)]
pub struct Host {
    agent: Rc<Agent>,
    tools: Rc<Tools>,
    settings: Settings,
    /// What agent.toml says about the fleet.
    fleet: Fleet,
    /// The run directory.
    run: PathBuf,
    /// How often it was tried.
    tries: Cell<u32>,
    has_lifetime: Cell<bool>,
    /// The problems that were said one by one.
    said: RefCell<Vec<String>>,
}

impl Host {
    /// This host.
    #[must_use]
    pub fn new(
        agent: Rc<Agent>,
        tools: Rc<Tools>,
        settings: Settings,
        fleet: Fleet,
        run: PathBuf,
    ) -> Self {
        let (tries, has_lifetime, said) = Default::default();
        Self { agent, tools, settings, fleet, run, tries, has_lifetime, said }
    }
}

/// Until all of it is done, and then for what the host's purpose needs.
pub async fn run(host: Rc<Host>) {
    let mut pause = AGAIN_MIN;
    loop {
        match once(&host).await {
            Ok(done) => {
                host.tools.standing.clear(SUBJECT);
                host.tools.console.announce(Priority::Notice, &format!("{SUBJECT}: {done}"));
                return;
            }
            Err(Trouble { level, text, cure }) => {
                let cure = format!("{cure}; tried again at least every minute");
                let standing = &host.tools.standing;
                standing.set(&host.tools.console, SUBJECT, level, &text, Some(&cure));
            }
        }
        host.tries.set(host.tries.get().saturating_add(1));
        sleep(pause).await;
        pause = (pause * 2).min(AGAIN_MAX);
    }
}

/// All of it, as far as it goes; what was done, in words.
async fn once(host: &Rc<Host>) -> Result<String, Trouble> {
    let bytes = fetch(host).await?;
    let document = userdata::read(SUBJECT, &bytes).map_err(|problems| host.wrong(&problems))?;
    let run = host.run.clone();
    let lent = Lent::of(&document);
    blocking(move || files::keep(&run, &bytes, &lent)).await?;
    join::join(host, &document)?;
    if let Some(lifetime_ms) = document.lifetime_ms
        && !host.has_lifetime.replace(true)
    {
        tokio::task::spawn_local(lifetime::run(Rc::clone(host), lifetime_ms));
    }
    purpose::fulfil(host, &document).await
}

/// The document's bytes. A metadata service that went away after it told them does not matter.
async fn fetch(host: &Host) -> Result<Vec<u8>, Trouble> {
    let found = match (&host.settings.file, &host.tools.ec2) {
        (Some(file), _) => {
            let file = file.clone();
            blocking(move || files::read(&file, DOCUMENT_BYTES_MAX)).await
        }
        (None, Some(ec2)) => ec2.imds.user_data().await.map_err(|error| {
            Trouble::error(error.to_string(), "is the instance's metadata service enabled?")
        }),
        (None, None) => Ok(None),
    };
    match found {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(Trouble {
            level: Level::Warning,
            text: "there is none; this host stays what its image made it".to_owned(),
            cure: "stop the instance, give it user-data (docs/user-data.md), and start it"
                .to_owned(),
        }),
        Err(trouble) => {
            let run = host.run.clone();
            let kept = blocking(move || files::kept(&run)).await?;
            kept.ok_or(trouble)
        }
    }
}

impl Host {
    /// A document that cannot be obeyed: each problem is said once, and the first stands.
    fn wrong(&self, problems: &[Problem]) -> Trouble {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let known = self.said.replace(lines.clone());
        // The first one is said by whoever sets the notice.
        for line in lines.iter().skip(1).filter(|line| !known.contains(line)) {
            self.tools.console.announce(Priority::Error, &format!("{SUBJECT}: {line}"));
        }
        let first = problems.first();
        let place = first.filter(|problem| problem.line > 0).map_or_else(String::new, |problem| {
            format!("line {}, column {}: ", problem.line, problem.column)
        });
        let more = match problems.len() {
            0 | 1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        let message = first.map_or("", |problem| problem.message.as_str());
        let cure = first.and_then(|problem| problem.suggestion.clone()).unwrap_or_default();
        Trouble::error(format!("{place}{message}{more}"), cure)
    }
}

/// Files are slow when disks are.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, crate::disk::DiskError> + Send + 'static,
) -> Result<T, Trouble> {
    let cure = "is there room, and is the directory writable?";
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| Trouble::error(error.to_string(), cure)),
        Err(error) => Err(Trouble::error(
            format!("files: {error}"),
            "this is a fault of rollinit-agent: report it with its log",
        )),
    }
}

/// Several troubles as one: the worst level, all texts, the first cure.
fn all(troubles: Vec<Trouble>) -> Result<(), Trouble> {
    let level = troubles.iter().map(|trouble| trouble.level).max();
    let (Some(level), Some(first)) = (level, troubles.first()) else { return Ok(()) };
    let cure = first.cure.clone();
    let texts: Vec<String> = troubles.into_iter().map(|trouble| trouble.text).collect();
    Err(Trouble { level, text: texts.join("; "), cure })
}

/// What a host lends, from its document: caches for fetches, variables for apps.
impl Lent {
    fn of(document: &UserData) -> Self {
        let mut environment = document.environment.clone();
        if let Some(group) = &document.group {
            environment.entry("ROLLINIT_GROUP".to_owned()).or_insert_with(|| group.clone());
        }
        Self {
            caches: document.caches.clone(),
            keys: document.keys.clone(),
            environment,
            group: document.group.clone(),
        }
    }
}
