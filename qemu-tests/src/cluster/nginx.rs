//! nginx as the binary cache, with a log of who fetched how much of what.

use super::daemon::Daemon;
use super::network::HERE;
use anyhow::{Context, Result};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Its port, on [`HERE`] (`guests/cluster.nix`).
pub const PORT: u16 = 8080;

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    log: PathBuf,
    _daemon: Daemon,
}

/// One request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Who asked.
    pub client: IpAddr,
    /// HTTP status.
    pub status: u16,
    /// Bytes of the body.
    pub bytes: u64,
    /// The path.
    pub path: String,
}

impl Nginx {
    /// Serves the files of `root`.
    ///
    /// # Errors
    /// nginx is missing or does not take its configuration.
    pub(super) fn start(folder: &Path, root: &Path) -> Result<Self> {
        let (file, log) = (folder.join("nginx.conf"), folder.join("cache.log"));
        let _ = std::fs::remove_file(&log);
        std::fs::write(&file, configuration(folder, root, &log)).context("write nginx.conf")?;
        let mut command = Command::new("nginx");
        command.arg("-c").arg(file).args(["-e", "stderr", "-p"]).arg(folder);
        let daemon = Daemon::start(folder, "nginx", &mut command)?;
        daemon.until(|| Ok(TcpStream::connect(SocketAddr::from((HERE, PORT)))?))?;
        Ok(Self { log, _daemon: daemon })
    }

    /// All that was fetched so far.
    ///
    /// # Errors
    /// The log is not what nginx was told to write.
    pub fn fetched(&self) -> Result<Vec<Fetched>> {
        let text = std::fs::read_to_string(&self.log).context("read nginx's log")?;
        let read = |line: &str| {
            let mut words = line.splitn(4, ' ');
            let client = words.next()?.parse().ok()?;
            let status = words.next()?.parse().ok()?;
            let bytes = words.next()?.parse().ok()?;
            Some(Fetched { client, status, bytes, path: words.next()?.to_owned() })
        };
        let lines = text.lines().map(|line| read(line).with_context(|| format!("read {line:?}")));
        lines.collect()
    }
}

/// One process and no master: whoever kills it kills all of it.
fn configuration(folder: &Path, root: &Path, log: &Path) -> String {
    let (folder, root, log) = (folder.display(), root.display(), log.display());
    format!(
        "daemon off;\nmaster_process off;\nuser root;\npid {folder}/nginx.pid;\n\
         events {{ worker_connections 512; }}\n\
         http {{\n  log_format cache '$remote_addr $status $body_bytes_sent $uri';\n  \
         access_log {log} cache;\n  default_type application/octet-stream;\n  \
         server {{ listen {HERE}:{PORT}; root {root}; }}\n}}\n"
    )
}
