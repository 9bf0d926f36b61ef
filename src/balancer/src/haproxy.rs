//! HAProxy, by its runtime API (management.txt, "Unix Socket commands"): over a Unix socket or TCP,
//! with `level admin`.
//!
//! The API has no password: whoever reaches the port may do everything. docs/balancers.md says how
//! to keep it to the hosts.

pub mod answer;

use crate::front::{Scope, Wanted};
use crate::limits::{EXCERPT_BYTES_MAX, HAPROXY_ANSWER_BYTES_MAX, HAPROXY_POLL, HAPROXY_TIMEOUT};
use crate::machine::{Order, Rules, Seen, Stand, Trouble};
use answer::Server;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

/// How long requests may take that the file says nothing about.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// How long a server that was told to be ready may take to be up, where the file does not say.
const JOIN_MAX: Duration = Duration::from_secs(60);

/// Where one HAProxy is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Socket {
    /// `HOST:PORT`.
    Tcp(String),
    /// A path.
    Unix(PathBuf),
}

impl fmt::Display for Socket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => formatter.write_str(address),
            Self::Unix(path) => write!(formatter, "{}", path.display()),
        }
    }
}

/// Which servers are this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// These, by name: backend and server.
    Named(Vec<(String, String)>),
    /// Those of these backends with this address; nothing: the one from which the HAProxy is asked.
    At(Vec<String>, Option<IpAddr>),
}

/// HAProxies that send to the same backends.
#[derive(Clone, Debug)]
pub struct Haproxy {
    sockets: Vec<Socket>,
    which: Which,
    /// The port of the servers that are meant; nothing: any.
    port: Option<u16>,
}

/// Why a question got no answer.
enum Unasked {
    /// Nobody listens: it does not run, so nothing comes through it.
    Gone,
    /// Anything else.
    Trouble(Trouble),
}

impl Haproxy {
    /// Asks nobody yet.
    #[must_use]
    pub fn new(sockets: Vec<Socket>, which: Which, port: Option<u16>) -> Self {
        Self { sockets, which, port }
    }

    /// The rules.
    #[must_use]
    pub fn rules(wanted: &Wanted) -> Rules {
        Rules {
            floor: wanted.floor,
            drain_max: wanted.drain_max.unwrap_or(DRAIN_MAX),
            join_max: wanted.join_max.unwrap_or(JOIN_MAX),
            settle: wanted.settle,
            min_healthy: wanted.min_healthy,
            patience: wanted.patience,
            poll: HAPROXY_POLL,
            shuts: true,
            excuses: false,
        }
    }

    /// How the host stands at each HAProxy that runs.
    ///
    /// # Errors
    /// One does not answer, or has no such backend or server.
    pub async fn look(&self, scope: Scope) -> Result<Vec<Seen>, Trouble> {
        let (mut seen, mut gone) = (Vec::new(), Vec::new());
        for socket in &self.sockets {
            match self.look_at(socket, scope).await {
                Ok(places) => seen.extend(places),
                Err(Unasked::Gone) => gone.push(socket.to_string()),
                Err(Unasked::Trouble(trouble)) => return Err(trouble),
            }
        }
        if gone.len() == self.sockets.len() {
            let text = format!("HAProxy at {}: nobody listens", gone.join(" and "));
            return Err(Trouble::Passing(text));
        }
        Ok(seen)
    }

    async fn look_at(&self, socket: &Socket, scope: Scope) -> Result<Vec<Seen>, Unasked> {
        let mut seen = Vec::new();
        for backend in self.backends() {
            let command = format!("show servers state {backend}");
            let (states, own) = ask(socket, &command).await?;
            let strange = |error: answer::Strange| {
                let reason = format!("HAProxy at {socket}, backend {backend}: {error}");
                Unasked::Trouble(Trouble::Lasting(reason, error.cure().to_owned()))
            };
            // By its number: a frontend may have the same name, and would answer first.
            let number = answer::backend_number(&states).map_err(strange)?;
            let (stats, _) = ask(socket, &format!("show stat {number} 4 -1")).await?;
            let servers = answer::servers(&states, &stats).map_err(strange)?;
            let is_mine = self.mine(&backend, own, scope);
            let mine: Vec<&Server> = servers.iter().filter(|one| is_mine(one)).collect();
            if mine.is_empty() && scope == Scope::All {
                return Err(Unasked::Trouble(self.missing(socket, &backend, own, &servers)));
            }
            seen.extend(mine.into_iter().map(|server| {
                let others = servers.iter().filter(|other| other.name != server.name);
                Seen {
                    place: format!("{backend}/{} at {socket}", server.name),
                    stand: stand(server),
                    in_flight: Some(server.sessions + server.queued),
                    others_healthy: others.filter(gets_users).count(),
                }
            }));
        }
        Ok(seen)
    }

    /// The backends, each once.
    fn backends(&self) -> Vec<String> {
        let mut all: Vec<String> = match &self.which {
            Which::Named(servers) => servers.iter().map(|(backend, _)| backend.clone()).collect(),
            Which::At(backends, _) => backends.clone(),
        };
        all.sort();
        all.dedup();
        all
    }

    /// Whether a server of `backend` is this host, which asks from `own`.
    fn mine<'a>(
        &'a self,
        backend: &'a str,
        own: Option<IpAddr>,
        scope: Scope,
    ) -> impl Fn(&Server) -> bool + 'a {
        move |server| {
            let is_named = match &self.which {
                Which::Named(names) => {
                    names.iter().any(|(of, name)| of == backend && *name == server.name)
                }
                Which::At(_, address) => {
                    let wanted = address.or(own).map(|address| address.to_canonical());
                    server.address.is_some_and(|address| Some(address.to_canonical()) == wanted)
                }
            };
            is_named && scope.holds(server.port, self.port)
        }
    }

    fn missing(
        &self,
        socket: &Socket,
        backend: &str,
        own: Option<IpAddr>,
        servers: &[Server],
    ) -> Trouble {
        let wanted = match &self.which {
            Which::Named(names) => {
                let names = names.iter().filter(|(of, _)| of == backend);
                let names: Vec<&str> = names.map(|(_, name)| name.as_str()).collect();
                format!("called {}", names.join(" or "))
            }
            Which::At(_, address) => match address.or(own) {
                Some(address) => format!("at {address}"),
                None => "at this host's address, which a Unix socket does not tell".to_owned(),
            },
        };
        let port = self.port.map(|port| format!(" and port {port}")).unwrap_or_default();
        let there: Vec<&str> = servers.iter().map(|server| server.name.as_str()).take(8).collect();
        let reason = format!(
            "HAProxy at {socket}, backend {backend} has no server {wanted}{port}; it has {}",
            there.join(", ")
        );
        let cure = "add the host there, or set `servers` or `address` of the balancer in \
                    agent.toml";
        Trouble::Lasting(reason, cure.to_owned())
    }

    /// Carries out an order.
    ///
    /// # Errors
    /// HAProxy says no, or nothing.
    pub async fn tell(&self, order: &Order) -> Result<(), Trouble> {
        let (place, state) = match order {
            Order::Take(place) => (place, "drain"),
            Order::Shut(place) => (place, "maint"),
            Order::Give(place) => (place, "ready"),
            // Nobody replaces servers of HAProxy.
            Order::Excuse | Order::Recall => return Ok(()),
        };
        let found = self.sockets.iter().find_map(|socket| {
            let server = place.strip_suffix(&format!(" at {socket}"))?;
            Some((socket, server))
        });
        let Some((socket, server)) = found else {
            return Err(Trouble::Passing(format!("{place} is not configured any more")));
        };
        let said = match ask(socket, &format!("set server {server} state {state}")).await {
            Ok((said, _)) => said,
            // It comes back as its configuration says; the next look sees how.
            Err(Unasked::Gone) => return Ok(()),
            Err(Unasked::Trouble(trouble)) => return Err(trouble),
        };
        let words = said.trim();
        if words.is_empty() {
            return Ok(());
        }
        let words = excerpt(words);
        let reason = format!("HAProxy at {socket} does not set {server} to {state}: {words}");
        let cure = "give its `stats socket` the words `level admin`";
        Err(Trouble::Lasting(reason, cure.to_owned()))
    }
}

/// Whether it gets new sessions.
fn gets_users(server: &&Server) -> bool {
    server.is_up && !server.is_maint && !server.is_draining
}

/// How a server stands.
fn stand(server: &Server) -> Stand {
    if server.is_maint {
        Stand::Shut
    } else if server.is_draining {
        Stand::Draining
    } else if server.is_sure {
        Stand::Serving
    } else if server.is_up {
        Stand::Joining
    } else {
        let check = server.check.as_str();
        Stand::Sick(format!("HAProxy says {} {check}", server.status).trim_end().to_owned())
    }
}

/// Asks one HAProxy one thing: its words, and the address from which it was asked over TCP.
async fn ask(socket: &Socket, command: &str) -> Result<(String, Option<IpAddr>), Unasked> {
    let exchange = async {
        match socket {
            Socket::Tcp(address) => {
                let stream = TcpStream::connect(address.as_str()).await?;
                let own = stream.local_addr()?.ip();
                Ok((exchange(stream, command).await?, Some(own)))
            }
            Socket::Unix(path) => {
                Ok((exchange(UnixStream::connect(path).await?, command).await?, None))
            }
        }
    };
    let passing =
        |text: String| Unasked::Trouble(Trouble::Passing(format!("HAProxy at {socket}: {text}")));
    match tokio::time::timeout(HAPROXY_TIMEOUT, exchange).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) if is_gone(&error) => Err(Unasked::Gone),
        Ok(Err(error)) => Err(passing(error.to_string())),
        Err(_) => Err(passing(format!("no answer in {} s", HAPROXY_TIMEOUT.as_secs()))),
    }
}

/// Whether that says that no HAProxy runs there.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    command: &str,
) -> io::Result<String> {
    stream.write_all(format!("{command}\n").as_bytes()).await?;
    let limit = u64::try_from(HAPROXY_ANSWER_BYTES_MAX).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    stream.take(limit).read_to_end(&mut bytes).await?;
    if bytes.len() >= HAPROXY_ANSWER_BYTES_MAX {
        return Err(io::Error::other(format!("more than {HAPROXY_ANSWER_BYTES_MAX} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("an answer that is not UTF-8"))
}

/// The beginning of HAProxy's words, on one line.
fn excerpt(words: &str) -> String {
    let mut line = String::new();
    for letter in words.chars() {
        if line.len() >= EXCERPT_BYTES_MAX {
            line.push('…');
            break;
        }
        line.push(if letter.is_control() { ' ' } else { letter });
    }
    line
}
