//! HAProxy in front of the hosts, with its runtime API over TCP.
//!
//! It hides nothing: it neither repeats a request nor sends it elsewhere. Connections to servers
//! are not kept: a server that closes one between two requests races with the next of them
//! (RFC 9112, 9.3.1), and who of both is to blame is no matter of rollouts. Connections of clients
//! are kept.

use super::daemon::{Daemon, ask};
use super::network::HERE;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

/// Port of the runtime API, on [`HERE`].
pub const RUNTIME_PORT: u16 = 9999;

/// An app behind the balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Front {
    /// Its name: that of the backend.
    pub app: &'static str,
    /// Where users find it, on loopback.
    pub port: u16,
    /// Where each host has it: one port, or that of each side.
    pub ports: &'static [u16],
}

impl Front {
    /// Where users find it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }
}

/// A server of a backend, as HAProxy sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `UP`, `DOWN`, `MAINT`, `DRAIN`, …
    pub status: String,
    /// Requests that it has now.
    pub sessions: u64,
}

/// A running HAProxy.
#[derive(Debug)]
pub struct Haproxy {
    daemon: Daemon,
}

impl Haproxy {
    /// Starts it in front of `hosts`: names of servers and addresses.
    ///
    /// # Errors
    /// HAProxy is missing or does not take its configuration.
    pub(super) fn start(
        folder: &Path,
        fronts: &[Front],
        hosts: &[(String, Ipv4Addr)],
    ) -> Result<Self> {
        let file = folder.join("haproxy.cfg");
        std::fs::write(&file, configuration(fronts, hosts)).context("write haproxy.cfg")?;
        let mut command = Command::new("haproxy");
        let daemon = Daemon::start(folder, "haproxy", command.arg("-db").arg("-f").arg(file))?;
        let haproxy = Self { daemon };
        haproxy.daemon.until(|| haproxy.servers())?;
        Ok(haproxy)
    }

    /// Sends a command to the runtime API; what it answers.
    ///
    /// # Errors
    /// It is gone.
    pub fn command(&self, line: &str) -> Result<String> {
        ask(SocketAddr::from((HERE, RUNTIME_PORT)), line)
    }

    /// All servers, by `BACKEND/SERVER`.
    ///
    /// # Errors
    /// It is gone, or answers with another table.
    pub fn servers(&self) -> Result<BTreeMap<String, Server>> {
        let table = self.command("show stat -1 4 -1")?;
        let mut lines = table.trim_start_matches("# ").lines();
        let names: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
        let column = |name: &str| {
            let found = names.iter().position(|one| *one == name);
            found.with_context(|| format!("HAProxy tells no `{name}`: {table}"))
        };
        let columns = [column("pxname")?, column("svname")?, column("status")?, column("scur")?];
        let mut servers = BTreeMap::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let fields: Vec<&str> = line.split(',').collect();
            let [backend, server, status, sessions] =
                columns.map(|column| fields.get(column).copied().unwrap_or_default());
            let sessions = sessions.parse().unwrap_or(0);
            let seen = Server { status: status.to_owned(), sessions };
            servers.insert(format!("{backend}/{server}"), seen);
        }
        Ok(servers)
    }

    /// Waits until these servers have a status: `UP` takes users.
    ///
    /// # Errors
    /// One has not in time.
    pub fn until(&self, servers: &[String], status: &str) -> Result<()> {
        self.daemon.until(|| {
            let seen = self.servers()?;
            let is_so = |name: &&String| {
                seen.get(*name).is_some_and(|server| server.status.starts_with(status))
            };
            let other = servers.iter().find(|name| !is_so(name));
            ensure!(other.is_none(), "{other:?} is not {status}: {seen:?}");
            Ok(())
        })
    }
}

/// Checks are slow to judge: a guest that TCG computes freezes for seconds on a busy machine.
const DEFAULTS: &str = "\
defaults
  mode http
  option http-server-close
  option httpchk
  http-check send meth GET uri /up ver HTTP/1.1 hdr Host check
  retries 0
  timeout connect 10s
  timeout client 60s
  timeout server 60s
  timeout check 10s
  default-server check inter 500ms fall 4 rise 1
";

fn configuration(fronts: &[Front], hosts: &[(String, Ipv4Addr)]) -> String {
    let mut text = format!(
        "global\n  stats socket ipv4@{HERE}:{RUNTIME_PORT} level admin\n  stats timeout 10m\n  \
         nbthread 1\n{DEFAULTS}"
    );
    for Front { app, port, ports } in fronts {
        // One name for both, as many have it.
        text.push_str(&format!("frontend {app}\n  bind {}:{port}\n", Ipv4Addr::LOCALHOST));
        text.push_str(&format!("  default_backend {app}\nbackend {app}\n"));
        for (host, address) in hosts {
            for port in *ports {
                let server = server_name(host, *port, ports);
                text.push_str(&format!("  server {server} {address}:{port}\n"));
            }
        }
    }
    text
}

/// What a server is called: the host's name, and the port where a host has several.
#[must_use]
pub fn server_name(host: &str, port: u16, ports: &[u16]) -> String {
    if ports.len() > 1 { format!("{host}-{port}") } else { host.to_owned() }
}
