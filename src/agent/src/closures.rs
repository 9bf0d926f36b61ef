//! Closures on this host: what is missing, getting it, holding it, and which generation is the
//! one. Everything here is the room `store`'s doing; errors become failures of the host.

use crate::config::Config;
use crate::metrics::Metrics;
use crate::sharing::Sharing;
use control::agent::SYSTEM;
use rollout::{Failure, Fault, Release, RootRole};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use store::fetch::{Caches, Cancel, Fetched, Options, Progress, Source};
use store::path::StorePath;
use store::plan::Plan;
use store::profile::{Generation, Profile};
use store::store::Store;

/// The store and the configuration of fetches.
#[derive(Debug)]
pub struct Closures {
    root: PathBuf,
    config: PathBuf,
    /// More caches and keys, those of the host's user-data.
    lent: PathBuf,
    /// Opened when it is first needed, and then kept: a host whose store cannot be opened still
    /// takes swaps back.
    store: RefCell<Option<Store>>,
    sharing: Rc<Sharing>,
    metrics: Metrics,
}

/// A closure that is planned: the paths stay protected until this is dropped.
#[derive(Debug)]
pub struct Planned {
    path: String,
    plan: Plan,
    caches: Caches,
}

/// A closure all of whose paths are valid: they stay protected until this is dropped.
#[derive(Debug)]
pub struct Held(#[expect(dead_code, reason = "held for what its drop does")] Fetched);

/// What a fetch brought.
#[derive(Debug)]
pub struct Brought {
    /// Protection of the paths.
    pub held: Held,
    /// Whether the migration that was asked for is there.
    pub has_migration: bool,
    /// A line for people.
    pub text: String,
}

impl Closures {
    /// Below `root`, with `config` and the caches and keys of `lent` read at each plan.
    #[must_use]
    pub fn new(
        root: PathBuf,
        config: PathBuf,
        lent: PathBuf,
        sharing: Rc<Sharing>,
        metrics: Metrics,
    ) -> Self {
        Self { root, config, lent, store: RefCell::new(None), sharing, metrics }
    }

    /// The store of this host.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn store(&self) -> Result<Store, Failure> {
        if let Some(store) = &*self.store.borrow() {
            return Ok(store.clone());
        }
        let store = Store::open(&self.root).map_err(failure)?;
        *self.store.borrow_mut() = Some(store.clone());
        Ok(store)
    }

    /// Finds out what is missing, and what that takes.
    ///
    /// # Errors
    /// A fault of the host, its configuration or its caches.
    pub async fn plan(&self, path: &str) -> Result<Planned, Failure> {
        let top = parse(path)?;
        let store = self.store()?;
        let read = Config::load(&self.config).and_then(|mut config| {
            config.extend(&self.lent)?;
            Ok(config)
        });
        let config = match read {
            Ok(config) => config,
            // Nothing has to be fetched for what is here: a mistake must not bar the way back.
            Err(_) if store.is_valid(&top).map_err(failure)? => Config::default(),
            Err(error) => {
                let cure = vec![format!("correct {} and ask again", self.config.display())];
                return Err(Failure { fault: Fault::Host, reason: error.to_string(), cure });
            }
        };
        let caches =
            Caches::new(&config.caches, &config.keys, options(&config)).map_err(failure)?;
        let caches = match self.sharing.peers() {
            Some(peers) => caches.with_peers(peers),
            None => caches,
        };
        let plan = store::plan::plan(&store, &caches, &top).await;
        self.sharing.account();
        let plan = plan.map_err(failure)?;
        Ok(Planned { path: path.to_owned(), plan, caches })
    }

    /// Gets what is missing. `planned` is used if it is for the same path.
    ///
    /// # Errors
    /// As [`Closures::plan`].
    pub async fn fetch(
        &self,
        path: &str,
        planned: Option<Planned>,
        migration: Option<&str>,
        report: impl Fn(Progress) + Send + Sync + 'static,
        cancel: &Cancel,
    ) -> Result<Brought, Failure> {
        let planned = match planned {
            Some(planned) if planned.path == path => planned,
            _ => self.plan(path).await?,
        };
        let store = self.store()?;
        let Planned { plan, caches, .. } = planned;
        let fetched = store::fetch::fetch(&store, &caches, plan, Arc::new(report), cancel).await;
        self.sharing.account();
        let fetched = fetched.map_err(failure)?;
        self.count(&fetched);
        let text = brought(&fetched);
        let has_migration = migration.is_some_and(|program| self.is_file(program));
        Ok(Brought { held: Held(fetched), has_migration, text })
    }

    /// The digest of a planned closure: what a release document has.
    ///
    /// # Errors
    /// What the store said.
    pub async fn planned_digest(&self, planned: &Planned) -> Result<String, Failure> {
        let (store, plan) = (self.store()?, &planned.plan);
        let (top, missing) = (plan.top.clone(), Arc::clone(&plan.missing));
        let all = blocking(move || store::fingerprints::of_plan(&store, &top, &missing)).await?;
        Ok(release::closure_digest(all.iter().map(String::as_str)))
    }

    /// The digest of a closure that is here.
    ///
    /// # Errors
    /// What the store said.
    pub async fn digest(&self, path: &str) -> Result<String, Failure> {
        let (top, store) = (parse(path)?, self.store()?);
        let all = blocking(move || store::fingerprints::of_valid(&store, &top)).await?;
        Ok(release::closure_digest(all.iter().map(String::as_str)))
    }

    fn count(&self, fetched: &Fetched) {
        let is_peer = |source: &Source| matches!(source, Source::Peer(_));
        for (of_peers, bytes) in [
            (true, fetched.peer_bytes),
            (false, fetched.downloaded_bytes.saturating_sub(fetched.peer_bytes)),
        ] {
            let own = fetched.sources.iter().filter(|(source, _)| is_peer(source) == of_peers);
            let paths = own.map(|(_, paths)| *paths as u64).sum();
            self.metrics.fetched(of_peers, bytes, paths);
        }
    }

    /// Whether a file is there, with links followed inside our root.
    fn is_file(&self, path: &str) -> bool {
        let Ok(opened) = sys::mount::open_in_root(&self.root, Path::new(path)) else {
            return false;
        };
        std::fs::File::from(opened).metadata().is_ok_and(|metadata| metadata.is_file())
    }

    /// Lets the root of this role hold `path`.
    ///
    /// # Errors
    /// What the store said.
    pub async fn root(&self, app: &str, role: RootRole, path: &str) -> Result<(), Failure> {
        let (top, store, name) = (parse(path)?, self.store()?, root_name(app, role));
        blocking(move || store.add_root(&name, &top)).await
    }

    /// Drops the root of this role.
    ///
    /// # Errors
    /// What the store said.
    pub async fn unroot(&self, app: &str, role: RootRole) -> Result<(), Failure> {
        let (store, name) = (self.store()?, root_name(app, role));
        blocking(move || store.remove_root(&name)).await
    }

    /// Lets the profile link point to `path`; its generation.
    ///
    /// # Errors
    /// What the store said.
    pub async fn commit(&self, app: &str, path: &str) -> Result<u64, Failure> {
        let (top, root, app) = (parse(path)?, self.root.clone(), app.to_owned());
        blocking(move || open_profile(&root, &app)?.commit(&top)).await
    }

    /// What the profile link points to.
    ///
    /// # Errors
    /// What the store said.
    pub async fn profile(&self, app: &str) -> Result<Option<Release>, Failure> {
        let (root, app) = (self.root.clone(), app.to_owned());
        let current = blocking(move || open_profile(&root, &app)?.current()).await?;
        Ok(current.map(|generation| release(&generation)))
    }

    /// The generations of an app, oldest first, and the number of the next one.
    ///
    /// # Errors
    /// What the store said.
    pub async fn generations(&self, app: &str) -> Result<(Vec<Generation>, u64), Failure> {
        let (root, app) = (self.root.clone(), app.to_owned());
        blocking(move || {
            let profile = open_profile(&root, &app)?;
            Ok((profile.generations()?, profile.next_number()?))
        })
        .await
    }
}

/// The profile of an app, or of the system itself.
pub fn open_profile(root: &Path, app: &str) -> store::error::Result<Profile> {
    if app == SYSTEM { Ok(Profile::of_system(root)) } else { Profile::open(root, app) }
}

impl Planned {
    /// Its top store path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Paths that are missing.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.plan.missing.len()
    }

    /// A line for people.
    #[must_use]
    pub fn text(&self) -> String {
        let (total, missing) = (self.plan.total, self.missing());
        if missing == 0 {
            return format!("all {total} paths are there");
        }
        // A cache that does not tell the size of its files tells that of their contents.
        let bytes = match self.plan.download_bytes {
            0 => self.plan.nar_bytes,
            known => known,
        };
        let free = size(self.plan.free_bytes);
        format!("{missing} of {total} paths missing, {} to fetch, {free} free", size(bytes))
    }
}

/// A generation as a release.
#[must_use]
pub fn release(generation: &Generation) -> Release {
    Release { path: generation.path.to_string(), generation: Some(generation.number) }
}

/// When a generation was made, in milliseconds since 1970.
#[must_use]
pub fn made_ms(generation: &Generation) -> Option<u64> {
    wall_ms(generation.created)
}

/// Milliseconds since 1970; none before that.
#[must_use]
pub fn wall_ms(time: SystemTime) -> Option<u64> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

fn root_name(app: &str, role: RootRole) -> String {
    format!("{app}-{}", role.word())
}

/// A store path out of a text.
///
/// # Errors
/// It is none.
pub fn parse(path: &str) -> Result<StorePath, Failure> {
    StorePath::parse(path.as_bytes()).map_err(|error| Failure {
        fault: Fault::Host,
        reason: format!("{path:?}: {error}"),
        cure: vec!["give the path that `nix-build` printed".to_owned()],
    })
}

fn options(config: &Config) -> Options {
    let mut options = Options::default();
    let fetch = &config.fetch;
    options.parallel_narinfos = fetch.parallel_narinfos.unwrap_or(options.parallel_narinfos);
    options.parallel_nars = fetch.parallel_nars.unwrap_or(options.parallel_nars);
    options.stall_timeout = fetch.stall_timeout.unwrap_or(options.stall_timeout);
    options.give_up_after = fetch.give_up_after.unwrap_or(options.give_up_after);
    options
}

/// Files are slow when disks are: never on the thread that renews leases.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> store::error::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(failure),
        Err(error) => Err(Failure {
            fault: Fault::Host,
            reason: format!("the store: {error}"),
            cure: vec!["this is a fault of rollinit-agent: report it with its log".to_owned()],
        }),
    }
}

/// None of the store's errors is a release's fault.
fn failure(error: store::error::Error) -> Failure {
    let cure = vec![error.cure().to_owned()];
    Failure { fault: Fault::Host, reason: format!("{}: {}", error.object, error.fault), cure }
}

fn brought(fetched: &Fetched) -> String {
    if fetched.paths == 0 {
        return "nothing was missing".to_owned();
    }
    let mut from: Vec<String> = Vec::new();
    for (source, paths) in &fetched.sources {
        from.push(match source {
            Source::Peer(name) => format!("{paths} from peer {name}"),
            Source::Cache(address) => format!("{paths} from {address}"),
        });
    }
    if fetched.resumed_paths > 0 {
        from.push(format!("{} were here from before", fetched.resumed_paths));
    }
    from.join(", ")
}

/// Bytes for people: `18.4 MB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    // In tenths, so that no floating point is needed: 18 449 999 B are 18.4 MB.
    let mut tenths = bytes / 100;
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1000;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// Milliseconds for people: `20s`, `1.5s`.
#[must_use]
pub fn time(duration_ms: u64) -> String {
    match (duration_ms / 1000, duration_ms % 1000 / 100) {
        (seconds, 0) => format!("{seconds}s"),
        (seconds, tenths) => format!("{seconds}.{tenths}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::{size, time};

    /// Times as a person says them.
    #[test]
    fn times() {
        for (duration_ms, text) in [(0, "0s"), (200, "0.2s"), (1_500, "1.5s"), (20_000, "20s")] {
            assert_eq!(time(duration_ms), text);
        }
    }

    /// Sizes as a person says them.
    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (18_449_999, "18.4 MB"),
            (999_999_999, "999.9 MB"),
            (9_100_000_000, "9.1 GB"),
            (u64::MAX, "18446.7 PB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
