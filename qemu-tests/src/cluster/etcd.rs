//! Debian's etcd: one member or three, on the cluster's network.

use super::daemon::{Daemon, post};
use super::network::HERE;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// Port of the first member's clients; each further member's is [`STEP`] higher, and members speak
/// among themselves on the port after it.
const PORT: u16 = 2379;
const STEP: u16 = 10;

/// The prefix of all keys.
const PREFIX: &str = "rollinit";

/// A running etcd.
#[derive(Debug)]
pub struct Etcd {
    members: Vec<Daemon>,
}

fn client(index: usize) -> SocketAddr {
    SocketAddr::from((HERE, PORT + STEP * u16::try_from(index).unwrap_or(0)))
}

fn peer(index: usize) -> String {
    let address = client(index);
    format!("http://{}:{}", address.ip(), address.port() + 1)
}

impl Etcd {
    /// Starts `count` members and waits until one leads.
    ///
    /// # Errors
    /// etcd is missing, or there is no leader.
    pub(super) fn start(folder: &Path, count: usize) -> Result<Self> {
        let everybody: Vec<String> =
            (0..count).map(|index| format!("n{index}={}", peer(index))).collect();
        let member = |index: usize| {
            let (name, clients) = (format!("n{index}"), format!("http://{}", client(index)));
            let data = folder.join(format!("etcd-{index}"));
            // What an earlier run left there is another cluster's.
            let _ = std::fs::remove_dir_all(&data);
            let mut command = Command::new("etcd");
            command.args(["--name", &name, "--log-level", "warn"]).arg("--data-dir").arg(data);
            command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
            command.args(["--listen-peer-urls", &peer(index)]);
            command.args(["--initial-advertise-peer-urls", &peer(index)]);
            command.args(["--initial-cluster", &everybody.join(",")]);
            // What is proven needs no durability, and the disk of a shared machine may be slow.
            command.arg("--unsafe-no-fsync");
            Daemon::start(folder, &format!("etcd-{index}"), &mut command)
        };
        let etcd = Self { members: (0..count).map(member).collect::<Result<_>>()? };
        for (index, member) in etcd.members.iter().enumerate() {
            // A linearizable read: it takes a leader.
            member.until(|| post(client(index), "/v3/kv/range", r#"{"key":"AA=="}"#))?;
        }
        Ok(etcd)
    }

    /// Its address as a ledger is named.
    #[must_use]
    pub fn url(&self) -> String {
        let members: Vec<String> =
            (0..self.members.len()).map(|index| client(index).to_string()).collect();
        format!("etcd://{}/{PREFIX}", members.join(","))
    }

    /// Kills the member that leads; which one it was.
    ///
    /// # Errors
    /// Nobody leads.
    pub fn kill_leader(&self) -> Result<usize> {
        let leads = |index: usize| -> Result<bool> {
            let text = post(client(index), "/v3/maintenance/status", "{}")?;
            let status: Value = serde_json::from_str(&text)?;
            Ok(status["leader"] == status["header"]["member_id"])
        };
        let leader = (0..self.members.len()).find(|index| leads(*index).unwrap_or(false));
        let leader = leader.context("no member of etcd leads")?;
        ensure!(self.members.len() > 2, "etcd has too few members to lose one");
        self.members[leader].kill();
        Ok(leader)
    }
}
