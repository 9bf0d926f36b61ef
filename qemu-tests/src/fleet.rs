//! Several contained hosts of one app that share a ledger: a group.

use crate::apphost::{AGENT, APP, AppHost};
use crate::contained::Output;
use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

/// The group.
pub const GROUP: &str = "prod";

/// A group of hosts that all run `web-1`, each called `host-0`, `host-1`, ….
#[derive(Debug)]
pub struct Fleet {
    /// The hosts. The first makes releases.
    pub hosts: Vec<AppHost>,
    /// The ledger's address.
    pub ledger: String,
    /// What each app's definition has at its end.
    more: String,
    /// The ledger, if it is a folder.
    folder: TempDir,
}

impl Fleet {
    /// So many hosts and the ledger at an address; without one, in a folder. All are up.
    ///
    /// # Errors
    /// As [`AppHost::prepare`].
    pub fn start(hosts: usize, more: &str, ledger: Option<&str>) -> Result<Self> {
        Self::start_with(hosts, more, ledger, |_| String::new())
    }

    /// The same, with more in the configuration of each host's agent.
    ///
    /// # Errors
    /// As [`AppHost::prepare`].
    pub fn start_with(
        hosts: usize,
        more: &str,
        ledger: Option<&str>,
        config: impl Fn(usize) -> String,
    ) -> Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the ledger")?;
        let own = format!("file://{}", folder.path().join("ledger").display());
        let mut fleet = Self {
            hosts: vec![AppHost::prepare(more)?],
            ledger: ledger.map_or(own, str::to_owned),
            more: more.to_owned(),
            folder,
        };
        fleet.configure(0)?;
        for _ in 1..hosts {
            fleet.add()?;
        }
        for (number, host) in fleet.hosts.iter_mut().enumerate() {
            host.configure(&config(number))?;
            host.settle()?;
        }
        Ok(fleet)
    }

    /// One more host, not yet started.
    ///
    /// # Errors
    /// As [`AppHost::beside`].
    pub fn add(&mut self) -> Result<()> {
        let host = self.hosts[0].beside(&self.more)?;
        self.hosts.push(host);
        self.configure(self.hosts.len() - 1)
    }

    fn configure(&self, host: usize) -> Result<()> {
        let ledger = &self.ledger;
        self.hosts[host].configure(&format!(
            "[fleet]\nledger = \"{ledger}\"\ngroup = \"{GROUP}\"\nhost = \"host-{host}\"\n\
             [peers]\nlisten = \"127.0.0.1:0\"\n"
        ))
    }

    /// Where the ledger's folder is; somebody who takes it away takes the ledger away.
    #[must_use]
    pub fn folder(&self) -> std::path::PathBuf {
        self.folder.path().join("ledger")
    }

    /// `rollinit WORDS --ledger … --group …`, from the first host.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn rollinit(&self, words: &[&str]) -> Result<Output> {
        let mut all = words.to_vec();
        all.extend(["--ledger", &self.ledger, "--group", GROUP]);
        self.hosts[0].host.rollinit(&all)
    }

    /// `rollinit rollout start web PATH WORDS`.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn roll(&self, path: &str, words: &[&str]) -> Result<Output> {
        let mut all = vec!["rollout", "start", APP, path, "--new-group"];
        all.extend(words);
        self.rollinit(&all)
    }

    /// `rollinit rollout status --json`.
    ///
    /// # Errors
    /// It fails, or prints no JSON.
    pub fn status(&self) -> Result<Value> {
        let output = self.rollinit(&["rollout", "status", "--json"])?;
        serde_json::from_str(&output.stdout).with_context(|| format!("{output:?}"))
    }

    /// The version that users of each host are answered by.
    ///
    /// # Errors
    /// Somebody is not answered.
    pub fn versions(&self) -> Result<Vec<String>> {
        self.hosts.iter().map(AppHost::version).collect()
    }

    /// What everybody said, for a failure's text.
    #[must_use]
    pub fn said(&self) -> String {
        let mut text = format!("{:?}\n", self.status());
        for (number, host) in self.hosts.iter().enumerate() {
            let logs = host.host.rollinit(&["logs", AGENT, "-n", "40"]);
            let logs = logs.map(|output| output.stdout).unwrap_or_default();
            text.push_str(&format!("host-{number}, its agent:\n{logs}\n"));
        }
        text
    }
}
