//! HAProxy on this machine, in front of what the process tests run: one frontend, one backend
//! `web`, its runtime API on a Unix socket.
//!
//! It hides nothing: it neither repeats a request nor sends it elsewhere. Connections to servers
//! are not kept, those of clients are. It is slower than the agent to judge a server that falls
//! sick, as a balancer should be: of one that it calls down it refuses users, whom the agent would
//! move back. A check may take long: one that is late on a busy machine is no sick server, and one
//! that was just let in is down after the first that fails.

use crate::cluster::daemon::Daemon;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The backend.
pub const BACKEND: &str = "web";

/// A running HAProxy; killed when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    socket: PathBuf,
    configuration: PathBuf,
    folder: PathBuf,
    daemon: Option<Daemon>,
}

impl Proxy {
    /// Starts one on `port` of 127.0.0.1 that sends to these servers there: names and ports. All of
    /// them are asked for `/up`.
    ///
    /// # Errors
    /// HAProxy is missing or does not take its configuration.
    pub fn start(folder: &Path, port: u16, servers: &[(&str, u16)]) -> Result<Self> {
        let socket = folder.join("haproxy.sock");
        let here = Ipv4Addr::LOCALHOST;
        let mut text = format!(
            "global\n  stats socket {} level admin\n  nbthread 1\ndefaults\n  mode http\n  \
             option http-server-close\n  option httpchk\n  \
             http-check send meth GET uri /up ver HTTP/1.1 hdr Host check\n  retries 0\n  \
             timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  timeout check 5s\n  \
             default-server check inter 50ms fall 20 rise 2\nfrontend users\n  \
             bind {here}:{port}\n  default_backend {BACKEND}\nbackend {BACKEND}\n",
            socket.display()
        );
        for (name, port) in servers {
            text.push_str(&format!("  server {name} {here}:{port}\n"));
        }
        let configuration = folder.join("haproxy.cfg");
        std::fs::write(&configuration, text).context("write haproxy.cfg")?;
        let folder = folder.to_owned();
        let mut proxy = Self { socket, configuration, folder, daemon: None };
        proxy.restart()?;
        Ok(proxy)
    }

    /// Kills it, if it runs, and starts it anew: it has forgotten what it was told.
    ///
    /// # Errors
    /// As [`Proxy::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.stop();
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&self.configuration);
        let daemon = Daemon::start(&self.folder, "haproxy", &mut command)?;
        daemon.until(|| self.command("show info"))?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Kills it.
    pub fn stop(&mut self) {
        self.daemon = None;
    }

    /// Where the runtime API is.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sends a command to the runtime API; what it answers.
    ///
    /// # Errors
    /// It is gone.
    pub fn command(&self, line: &str) -> Result<String> {
        let mut stream = UnixStream::connect(&self.socket).context("reach HAProxy")?;
        stream.write_all(format!("{line}\n").as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// How each server stands: `maint`, `drain`, `up` or `down`, the first of these that it is.
    /// What `show stat` says would not do: there one that is down hides that it drains.
    ///
    /// # Errors
    /// It is gone, or answers with another table.
    pub fn states(&self) -> Result<BTreeMap<String, &'static str>> {
        /// `srv_admin_state` and `srv_op_state` of management.txt, "show servers state".
        const FORCED_MAINTENANCE: u8 = 0x01;
        const FORCED_DRAIN: u8 = 0x08;
        const STOPPED: u8 = 0;
        let table = self.command(&format!("show servers state {BACKEND}"))?;
        let mut lines = table.lines().skip_while(|line| !line.starts_with("# "));
        let names: Vec<&str> = lines.next().unwrap_or_default().split(' ').skip(1).collect();
        let column = |name: &str| {
            let found = names.iter().position(|one| *one == name);
            found.with_context(|| format!("HAProxy tells no `{name}`: {table}"))
        };
        let (name, admin, operation) =
            (column("srv_name")?, column("srv_admin_state")?, column("srv_op_state")?);
        let row = |line: &str| {
            let fields: Vec<&str> = line.split(' ').collect();
            let bits: u8 = fields.get(admin)?.parse().ok()?;
            let state = match fields.get(operation)?.parse::<u8>().ok()? {
                _ if bits & FORCED_MAINTENANCE != 0 => "maint",
                _ if bits & FORCED_DRAIN != 0 => "drain",
                STOPPED => "down",
                _ => "up",
            };
            Some((fields.get(name)?.to_string(), state))
        };
        Ok(lines.filter_map(row).collect())
    }
}
