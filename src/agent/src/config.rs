//! `agent.toml`: which caches are asked, whose signatures count, how a fetch goes about it.
//!
//! It is read at each swap, so a change counts from the next one on. A file that is not there says
//! that nothing is fetched: only what the store has already can be swapped in.

use crate::limits::{CACHES_MAX, CONFIG_BYTES_MAX, KEYS_MAX};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;
use toml::Spanned;

pub mod balancer;
pub mod cloud;
pub mod credentials;
pub mod desired;
pub mod fleet;
pub mod metrics;
pub mod peers;
pub mod system;
pub mod user_data;
pub mod webhook;

/// What the file says, checked as far as it can be without asking anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Binary caches, in the order in which they are asked.
    pub caches: Vec<String>,
    /// Keys whose signatures count, as Nix writes them: `NAME:BASE64`.
    pub keys: Vec<String>,
    /// How a fetch goes about it.
    pub fetch: Fetch,
    /// That this host is an EC2 instance, and how AWS is asked.
    pub cloud: Option<cloud::Cloud>,
    /// How often SSM is asked whether a secret changed.
    pub credentials: credentials::Credentials,
    /// That this host does what its user-data says.
    pub user_data: Option<user_data::UserData>,
    /// The group that this host is a member of.
    pub fleet: fleet::Fleet,
    /// The load balancers that send to this host.
    pub balancers: Vec<balancer::Balancer>,
    /// Where the releases of apps are told, by app.
    pub desired: BTreeMap<String, desired::Desired>,
    /// What a swap of the system itself may take.
    pub system: system::System,
    /// Hosts that closures are fetched from and served to.
    pub peers: peers::Peers,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
    /// Who is told of what happens.
    pub webhook: Option<webhook::Webhook>,
}

/// The `[fetch]` table; what it does not say is up to the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetch {
    /// narinfos asked for at once.
    pub parallel_narinfos: Option<usize>,
    /// NARs downloaded at once.
    pub parallel_nars: Option<usize>,
    /// How long a download may stand still.
    pub stall_timeout: Option<Duration>,
    /// How long a cache may be away before the fetch is given up.
    pub give_up_after: Option<Duration>,
}

/// Requests at once that may be asked for: beyond it a cache sees an attack, and a small host's
/// memory goes into windows.
const PARALLEL_MAX: usize = 256;

/// The longest time that may be given: a day is longer than anybody waits for a fetch.
const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A file that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {message}")]
pub struct ConfigError {
    /// `FILE`, or `FILE:LINE:COLUMN`.
    file: String,
    /// What is wrong and what to write instead.
    message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    caches: Vec<Spanned<String>>,
    keys: Vec<Spanned<String>>,
    fetch: FetchTable,
    balancer: BTreeMap<Spanned<String>, balancer::BalancerTable>,
    cloud: Option<cloud::CloudTable>,
    credentials: credentials::CredentialsTable,
    system: system::SystemTable,
    #[serde(rename = "user-data")]
    user_data: Option<user_data::UserDataTable>,
    fleet: Option<fleet::FleetTable>,
    desired: BTreeMap<Spanned<String>, desired::DesiredTable>,
    peers: peers::PeersTable,
    metrics: Option<metrics::MetricsTable>,
    webhook: Option<webhook::WebhookTable>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct FetchTable {
    parallel_narinfos: Option<Spanned<u64>>,
    parallel_nars: Option<Spanned<u64>>,
    stall_timeout: Option<Spanned<String>>,
    give_up_after: Option<Spanned<String>>,
}

impl Config {
    /// Reads `path`.
    ///
    /// # Errors
    /// [`ConfigError`] names file, line, column and what to write instead.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let plain = |message: String| ConfigError { file: name.clone(), message };
        let bytes = match crate::disk::read_capped(path, CONFIG_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(plain(error.error.to_string())),
        };
        if bytes.len() > CONFIG_BYTES_MAX {
            return Err(plain(format!("longer than {CONFIG_BYTES_MAX} bytes")));
        }
        let text = String::from_utf8(bytes).map_err(|_| plain("not UTF-8".to_owned()))?;
        Self::parse(&name, &text)
    }

    /// Reads the text of the file called `name`.
    fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        let at = |offset: usize, message: String| {
            let (line, column) = position(text, offset);
            ConfigError { file: format!("{name}:{line}:{column}"), message }
        };
        let file: File = toml::from_str(text).map_err(|error| {
            at(error.span().map_or(0, |span| span.start), error.message().to_owned())
        })?;
        let count = |list: &[Spanned<String>], max: usize, what: &str| match list.get(max) {
            Some(over) => Err(at(over.span().start, format!("more than {max} {what}"))),
            None => Ok(()),
        };
        count(&file.caches, CACHES_MAX, "caches")?;
        count(&file.keys, KEYS_MAX, "keys")?;
        for cache in &file.caches {
            check_cache(cache.get_ref()).map_err(|error| at(cache.span().start, error))?;
        }
        for key in &file.keys {
            check_key(key.get_ref()).map_err(|error| at(key.span().start, error))?;
        }
        let wrong = |(span, error): (Range<usize>, String)| at(span.start, error);
        let has_cloud = file.cloud.is_some();
        let user_data = file.user_data.map(|table| table.read(has_cloud)).transpose();
        let user_data = user_data.map_err(wrong)?.flatten();
        let balancers = balancer::read(file.balancer, has_cloud).map_err(wrong)?;
        let cloud = file.cloud.map(cloud::CloudTable::read).transpose().map_err(wrong)?;
        let credentials = file.credentials.read().map_err(wrong)?;
        let system = file.system.read().map_err(wrong)?;
        let fleet = file.fleet.map(|table| table.read(user_data.is_some())).transpose();
        let fleet = fleet.map_err(wrong)?.unwrap_or_default();
        let desired = desired::read(file.desired, has_cloud, fleet.is_due).map_err(wrong)?;
        let peers = file.peers.read().map_err(wrong)?;
        let metrics = file.metrics.map(metrics::MetricsTable::read).transpose().map_err(wrong)?;
        let webhook = file.webhook.map(webhook::WebhookTable::read).transpose().map_err(wrong)?;
        Ok(Self {
            caches: file.caches.into_iter().map(Spanned::into_inner).collect(),
            keys: file.keys.into_iter().map(Spanned::into_inner).collect(),
            fetch: file.fetch.read().map_err(wrong)?,
            balancers,
            cloud,
            credentials,
            user_data,
            fleet,
            desired,
            system,
            peers,
            metrics,
            webhook,
        })
    }
}

impl FetchTable {
    fn read(self) -> Result<Fetch, (Range<usize>, String)> {
        let parallel = |value: Option<Spanned<u64>>| {
            let Some(value) = value else { return Ok(None) };
            let number = usize::try_from(*value.get_ref()).unwrap_or(usize::MAX);
            if (1..=PARALLEL_MAX).contains(&number) {
                return Ok(Some(number));
            }
            Err((value.span(), format!("a number from 1 to {PARALLEL_MAX} is due")))
        };
        let time = |value: Option<Spanned<String>>| {
            let Some(value) = value else { return Ok(None) };
            duration(value.get_ref()).map(Some).map_err(|error| (value.span(), error))
        };
        Ok(Fetch {
            parallel_narinfos: parallel(self.parallel_narinfos)?,
            parallel_nars: parallel(self.parallel_nars)?,
            stall_timeout: time(self.stall_timeout)?,
            give_up_after: time(self.give_up_after)?,
        })
    }
}

impl Config {
    /// Takes the caches and keys of a further file too, behind its own.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn extend(&mut self, path: &Path) -> Result<(), ConfigError> {
        let Self { caches, keys, .. } = Self::load(path)?;
        let add = |own: &mut Vec<String>, more: Vec<String>| {
            let new: Vec<String> = more.into_iter().filter(|one| !own.contains(one)).collect();
            own.extend(new);
        };
        add(&mut self.caches, caches);
        add(&mut self.keys, keys);
        Ok(())
    }
}

/// Line and column, from 1, of a byte.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
    (line, column)
}

/// An address, for an error: what may have a password in it is not said, since errors travel.
fn quoted(address: &str) -> String {
    if address.contains('@') { "what stands there".to_owned() } else { format!("{address:?}") }
}

fn check_cache(text: &str) -> Result<(), String> {
    let said = quoted(text);
    let url = reqwest::Url::parse(text)
        .map_err(|error| format!("{said} is no URL ({error}); write \"https://HOST/PATH\""))?;
    if !matches!(url.scheme(), "http" | "https") {
        let scheme = url.scheme();
        return Err(format!("caches are asked over http or https, not {scheme}: {said}"));
    }
    if url.password().is_some() || !url.username().is_empty() {
        return Err("a cache's URL with a password in it: this file is read by everybody".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{text:?}: leave out what begins with ? or #"));
    }
    Ok(())
}

fn check_key(text: &str) -> Result<(), String> {
    store::signature::PublicKey::parse(text).map(drop).map_err(|error| error.to_string())
}

/// A time, written as in definitions: `500ms`, `1.5s`, `5m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let read = service::definition::document::duration_ms(text);
    let ms = read.map_err(|fault| format!("{}; {}", fault.message, fault.suggestion))?;
    let duration = Duration::from_millis(ms);
    if duration.is_zero() || duration > DURATION_MAX {
        return Err(format!("{text:?}: more than nothing and at most a day is due"));
    }
    Ok(duration)
}

#[cfg(test)]
mod tests;
