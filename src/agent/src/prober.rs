//! Probes: one question to an app, asked from the address that the gate lets through.
//!
//! Each probe is a connection of its own: one that were kept would go on talking to whoever took
//! it first. Redirects are answers, not instructions. No proxy is used, whatever the environment.

use crate::causes::innermost;
use crate::limits::EXCERPT_BYTES_MAX;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpSocket;

/// The source address of probes: what the program on a group of listeners tells apart from users.
pub const PROBE_SOURCE: IpAddr = IpAddr::V4(sys::reuseport::PROBE_ADDRESS);

/// Whom a probe shall reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The candidate behind its gate: asked from [`PROBE_SOURCE`].
    Gate,
    /// Whoever serves users: asked as they are, from any address.
    Users,
}

impl Door {
    /// Where a question to `address` comes from. No gate guards an IPv6 address: `check` refuses
    /// them for apps that overlap.
    fn source(self, address: SocketAddr) -> Option<IpAddr> {
        (self == Self::Gate && address.is_ipv4()).then_some(PROBE_SOURCE)
    }
}

/// How one probe went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Good: 2xx, or connected.
    Good(String),
    /// Nobody listens yet.
    Refused,
    /// No answer in time, in milliseconds.
    Silent(u64),
    /// Anything else: a bad status with the beginning of its body, a broken connection.
    Bad(String),
}

/// Asks apps how they are.
#[derive(Debug)]
pub struct Prober {
    /// From [`PROBE_SOURCE`].
    gate: reqwest::Client,
    /// From whatever the kernel picks.
    any: reqwest::Client,
}

/// No client can be made.
#[derive(Debug, thiserror::Error)]
#[error("the client of probes cannot be made: {0}")]
pub struct ProberError(#[from] reqwest::Error);

fn client(source: Option<IpAddr>) -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .user_agent(concat!("rollinit-agent/", env!("CARGO_PKG_VERSION"), " (probe)"))
        .local_address(source)
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .no_proxy()
        // Probes are plain HTTP: no roots, so none have to be found on the host.
        .tls_certs_only([])
        .build()
}

impl Prober {
    /// For all apps.
    ///
    /// # Errors
    /// [`ProberError`] of the TLS library that comes along and is not used.
    pub fn new() -> Result<Self, ProberError> {
        // reqwest wants one even for plain HTTP. Installed already, by the fetch: just as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self { gate: client(Some(PROBE_SOURCE))?, any: client(None)? })
    }

    /// GETs `path` of whoever listens on `address`.
    pub async fn http(
        &self,
        door: Door,
        address: SocketAddr,
        path: &str,
        timeout: Duration,
    ) -> Answer {
        let client = if door.source(address).is_some() { &self.gate } else { &self.any };
        let request = client
            .get(format!("http://{address}{path}"))
            .header(reqwest::header::CONNECTION, "close")
            .timeout(timeout);
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return broken(&error, timeout),
        };
        let status = response.status();
        if status.is_success() {
            return Answer::Good(status.as_u16().to_string());
        }
        let mut body = Vec::new();
        // What follows the excerpt is not read; the connection is closed with it.
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() >= EXCERPT_BYTES_MAX {
                break;
            }
        }
        match excerpt(&body) {
            text if text.is_empty() => Answer::Bad(status.as_u16().to_string()),
            text => Answer::Bad(format!("{} \"{text}\"", status.as_u16())),
        }
    }

    /// Connects to whoever listens on `address`.
    pub async fn tcp(&self, door: Door, address: SocketAddr, timeout: Duration) -> Answer {
        match tokio::time::timeout(timeout, connect(door, address)).await {
            Ok(Ok(())) => Answer::Good("connected".to_owned()),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Answer::Refused,
            Ok(Err(error)) => Answer::Bad(error.to_string()),
            Err(_) => Answer::Silent(milliseconds(timeout)),
        }
    }
}

async fn connect(door: Door, address: SocketAddr) -> io::Result<()> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = door.source(address) {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(address).await.map(drop)
}

/// Where a listener on `address` is asked: a wildcard takes the loopback address too.
#[must_use]
pub fn target(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        // `[::]` takes IPv4 as well, and the gate knows probes by their IPv4 address.
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port())
    } else {
        address
    }
}

fn broken(error: &reqwest::Error, timeout: Duration) -> Answer {
    if error.is_timeout() {
        return Answer::Silent(milliseconds(timeout));
    }
    let cause = innermost(error);
    let io = cause.downcast_ref::<io::Error>();
    if error.is_connect() && io.is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused) {
        return Answer::Refused;
    }
    Answer::Bad(cause.to_string())
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The beginning of a foreign body as one line for a person.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut line = String::new();
    for word in text.split(|letter: char| letter.is_whitespace() || letter.is_control()) {
        if word.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if line.len() > EXCERPT_BYTES_MAX {
        let mut end = EXCERPT_BYTES_MAX;
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests;
