//! Whether a closure is the one that persons signed.
//!
//! Asked twice in each swap: of what is planned, before a byte is fetched, and of what is
//! registered then. A cache that serves another closure under the same top path is found by either.

use super::keep::{Kept, KeptError};
use crate::app::Tools;
use crate::closures::{Brought, Planned};
use crate::config::desired::{Desired, Signers};
use release::Seen;
use rollout::{Failure, Fault};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long a swap to a closure that no release names yet waits for a look at the release: another
/// host of the group may have seen it first. A look takes a request or two.
const LOOK_PATIENCE: Duration = Duration::from_secs(20);

/// What is known of the releases of this host's apps.
#[derive(Debug)]
pub struct Releases {
    kept: Kept,
    apps: RefCell<BTreeMap<String, Rc<Entry>>>,
}

/// One app whose release is followed.
#[derive(Debug)]
pub struct Entry {
    only_signed: bool,
    is_signed: bool,
    seen: RefCell<Result<Option<Seen>, String>>,
    /// Rung by who wants the follower to look now.
    pub(super) hurry: Notify,
    /// Rung after each look.
    pub(super) looked: Notify,
    /// Whether somebody looks at all.
    pub(super) is_followed: Cell<bool>,
}

impl Entry {
    /// What was seen, as it is on the disk.
    pub(super) fn set(&self, seen: Option<Seen>) {
        *self.seen.borrow_mut() = Ok(seen);
    }

    /// What was seen before, or why that is not known.
    pub(super) fn seen(&self) -> Result<Option<Seen>, String> {
        self.seen.borrow().clone()
    }

    fn of_path(&self, path: &str) -> Option<Seen> {
        let seen = self.seen.borrow();
        seen.as_ref().ok()?.clone().filter(|seen| seen.serial > 0 && seen.path == path)
    }
}

impl Releases {
    /// With what is on the disk of the apps of this configuration.
    #[must_use]
    pub fn new(kept: Kept, apps: &BTreeMap<String, Desired>) -> Self {
        let releases = Self { kept, apps: RefCell::default() };
        for (app, desired) in apps {
            releases.register(app, desired);
        }
        releases
    }

    /// From now on this app is known; what was known of it stays.
    pub fn register(&self, app: &str, desired: &Desired) -> Rc<Entry> {
        let known = self.apps.borrow().get(app).cloned();
        known.unwrap_or_else(|| {
            let seen = self.kept.load(app).map_err(|error: KeptError| error.to_string());
            let entry = Rc::new(Entry {
                only_signed: desired.only_signed,
                is_signed: desired.signers != Signers::Anybody,
                seen: RefCell::new(seen),
                hurry: Notify::new(),
                looked: Notify::new(),
                is_followed: Cell::new(false),
            });
            self.apps.borrow_mut().insert(app.to_owned(), Rc::clone(&entry));
            entry
        })
    }

    /// Whether persons have to sign the releases of this app.
    #[must_use]
    pub fn is_signed(&self, app: &str) -> bool {
        self.apps.borrow().get(app).is_some_and(|entry| entry.is_signed)
    }

    /// Where what was seen is kept.
    #[must_use]
    pub const fn kept(&self) -> &Kept {
        &self.kept
    }

    /// The release that names this closure for the app, if its release is a signed one; waits for a
    /// look if none does yet.
    ///
    /// # Errors
    /// None does, and only signed ones are allowed.
    async fn named(&self, app: &str, path: &str, is_known: bool) -> Result<Option<Seen>, Failure> {
        let entry = self.apps.borrow().get(app).cloned();
        let Some(entry) = entry.filter(|entry| entry.is_signed) else { return Ok(None) };
        if let Some(seen) = entry.of_path(path) {
            return Ok(Some(seen));
        }
        // A generation of this host was let in before.
        if is_known {
            return Ok(None);
        }
        if entry.is_followed.get() {
            let looked = entry.looked.notified();
            entry.hurry.notify_one();
            // A look that does not end tells nothing, as one that finds nothing.
            let _ = timeout(LOOK_PATIENCE, looked).await;
        }
        if let Some(seen) = entry.of_path(path) {
            return Ok(Some(seen));
        }
        if !entry.only_signed {
            return Ok(None);
        }
        let newest = match entry.seen() {
            Ok(Some(seen)) => format!("release {} is {}", seen.serial, seen.path),
            Ok(None) => "none was seen yet".to_owned(),
            Err(error) => error,
        };
        Err(Failure {
            fault: Fault::Host,
            reason: format!("no signed release of {app} names {path} ({newest})"),
            cure: vec![
                "make and sign a release of it: rollinit release make".to_owned(),
                format!("or take only-signed out of [desired.{app}] of agent.toml"),
            ],
        })
    }
}

/// Whether what is planned is what persons signed.
///
/// # Errors
/// It is not, or nobody signed it and somebody has to.
pub async fn planned(tools: &Tools, app: &str, planned: Planned) -> Result<Planned, Failure> {
    let path = planned.path().to_owned();
    if let Some(seen) = named(tools, app, &path).await? {
        let digest = tools.closures.planned_digest(&planned).await?;
        compare(app, &seen, &digest, "the caches offer")?;
    }
    Ok(planned)
}

/// Whether what was brought is what persons signed.
///
/// # Errors
/// As [`planned`].
pub async fn brought(
    tools: &Tools,
    app: &str,
    path: &str,
    brought: Brought,
) -> Result<Brought, Failure> {
    if let Some(seen) = named(tools, app, path).await? {
        let digest = tools.closures.digest(path).await?;
        compare(app, &seen, &digest, "this store has")?;
    }
    Ok(brought)
}

async fn named(tools: &Tools, app: &str, path: &str) -> Result<Option<Seen>, Failure> {
    let (generations, _) = tools.closures.generations(app).await?;
    let is_known = generations.iter().any(|generation| generation.path.to_string() == path);
    tools.releases.named(app, path, is_known).await
}

fn compare(app: &str, seen: &Seen, digest: &str, who: &str) -> Result<(), Failure> {
    if seen.closure_sha256 == digest {
        return Ok(());
    }
    let persons = seen.persons.join(" and ");
    Err(Failure {
        fault: Fault::Host,
        reason: format!(
            "release {} of {app} is not what {persons} signed: the closure that {who} has the \
             digest {digest}, and {} was signed",
            seen.serial, seen.closure_sha256
        ),
        cure: vec![
            "`rollinit release make` prints the digest of what a cache has; find out who changed \
             what"
                .to_owned(),
            "if the closure was built anew under the same path, sign a new release".to_owned(),
        ],
    })
}
