//! Apps: services whose program comes from a closure that is swapped.
//!
//! An app `web` is two *sides*, units of the machine with the keys `web.0` and `web.1`. One side
//! *serves*, the other rests except during an overlap. Programs that a swap runs beside them
//! (`bin/migrate`, hooks) are *tasks*, with keys of their own. `web` itself names the app: what
//! operators and dependants say of it goes to the side that users reach.

use crate::definition::{Address, Definition, Kind, Policy};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What stands in a definition for the store path that the app runs.
pub const CLOSURE_VARIABLE: &str = "${closure}";

/// In the environment of a side with the strategy `ports`: the port that it has to bind.
pub const PORT_VARIABLE: &str = "PORT";

/// An app's definition, checked and with all defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// How its sides run, with [`CLOSURE_VARIABLE`] as it was written.
    pub template: Definition,
    /// What a host runs that has no profile of the app yet.
    pub closure: Option<String>,
    /// Strategy `ports`: the TCP port that each side binds by itself, by its index.
    pub ports: Option<[u16; 2]>,
    /// The program that a swap runs first if the closure has it, with [`CLOSURE_VARIABLE`] as it
    /// was written; none: never.
    pub migrate: Option<String>,
    /// How a candidate shows that it is well.
    pub health: Health,
    /// How it is swapped.
    pub swap: SwapPolicy,
    /// Run after the switch: program and arguments; empty for none. A failure fails the swap.
    pub after_switch: Vec<String>,
    /// Run after a way back: program and arguments; empty for none.
    pub on_rollback: Vec<String>,
}

/// `[app.swap]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwapPolicy {
    /// How one release takes over from the other.
    pub strategy: Strategy,
    /// Time that the side which leaves has to finish what it accepted, in milliseconds.
    pub drain_ms: u64,
    /// Time that both sides stay after the switch, in milliseconds.
    pub bake_ms: u64,
    /// Time after the commit in which a sick app is rolled back by itself, in milliseconds.
    pub watch_ms: u64,
    /// When the side that served is stopped.
    pub retire: Retire,
    /// Deadline of `bin/migrate`, renewed while the agent lives, in milliseconds.
    pub migrate_lease_ms: u64,
}

/// How one release takes over from the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Strategy {
    /// Both run at once; users are moved when the new one has passed its gate.
    Overlap,
    /// The old one stops, then the new one starts on the same sockets.
    Restart,
    /// Both run at once, each on a port that it binds by itself; a balancer moves users.
    Ports,
}

/// When the side that served is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retire {
    /// When the new one has stood its bake.
    AfterBake,
    /// As soon as users were moved.
    AtSwitch,
}

/// `[app.health]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is asked.
    pub probe: Probe,
    /// How often, in milliseconds.
    pub every_ms: u64,
    /// How many times in a row it must pass.
    pub passes: u32,
    /// How long one answer may take, in milliseconds.
    pub timeout_ms: u64,
    /// How long all of it may take, in milliseconds.
    pub deadline_ms: u64,
}

/// What is asked of an app to know whether it is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A `GET` answered by 200 to 299.
    Http {
        /// Where.
        at: ProbeAddress,
        /// Path of the request.
        path: String,
    },
    /// A connection that is accepted.
    Tcp {
        /// Where.
        at: ProbeAddress,
    },
    /// It said `READY=1`.
    Notify,
    /// It stays up for the period.
    Up,
}

/// Where a probe goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeAddress {
    /// A TCP address and port; never a wildcard.
    Tcp(SocketAddr),
    /// A Unix socket's path.
    Unix(String),
    /// The port of the side that is asked, on the loopback address.
    OwnPort,
}

/// One of an app's two places to run.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub enum Side {
    /// `NAME.0`.
    #[default]
    Zero,
    /// `NAME.1`.
    One,
}

/// A program that a swap runs beside the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    /// `bin/migrate`, before any process is touched.
    Migrate,
    /// The hook after the switch.
    AfterSwitch,
    /// The hook after a way back.
    OnRollback,
}

/// What a key of PID 1 stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// A service, or nothing that is known.
    Service,
    /// A side of an app.
    Side {
        /// The app.
        app: &'a str,
        /// Which side.
        side: Side,
    },
    /// A task of an app.
    Task {
        /// The app.
        app: &'a str,
        /// Which task.
        task: Task,
    },
}

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Zero, Self::One];

    /// 0 or 1.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Zero => Self::One,
            Self::One => Self::Zero,
        }
    }

    /// Its key in PID 1: `web.0`.
    #[must_use]
    pub fn key(self, app: &str) -> String {
        format!("{app}.{}", self.index())
    }
}

impl Task {
    /// All.
    pub const ALL: [Self; 3] = [Self::Migrate, Self::AfterSwitch, Self::OnRollback];

    /// The word for it: `after-switch`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Migrate => "migrate",
            Self::AfterSwitch => "after-switch",
            Self::OnRollback => "on-rollback",
        }
    }

    /// Its key in PID 1: `web.after-switch`.
    #[must_use]
    pub fn key(self, app: &str) -> String {
        format!("{app}.{}", self.word())
    }
}

impl Strategy {
    /// The word in the file.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Overlap => "overlap",
            Self::Restart => "restart",
            Self::Ports => "ports",
        }
    }

    /// Whether the candidate runs on the other side, beside the one that serves.
    #[must_use]
    pub const fn has_two_sides(self) -> bool {
        matches!(self, Self::Overlap | Self::Ports)
    }
}

impl App {
    /// Whether its sides listen in a `SO_REUSEPORT` group that is to be steered.
    #[must_use]
    pub fn is_grouped(&self) -> bool {
        self.template.listen.iter().any(|listen| listen.grouped)
    }

    /// The port that a side binds by itself; none unless the strategy is `ports`.
    #[must_use]
    pub fn port(&self, side: Side) -> Option<u16> {
        self.ports.map(|ports| ports[side.index()])
    }

    /// How a side runs this closure.
    #[must_use]
    pub fn side(&self, side: Side, closure: &str) -> Definition {
        let mut definition = self.template.clone();
        expand_all(&mut definition.exec, closure);
        definition.directory = expand(&definition.directory, closure);
        for value in definition.environment.values_mut() {
            *value = expand(value, closure);
        }
        let port = self.port(side).map(|port| (PORT_VARIABLE.to_owned(), port.to_string()));
        definition.environment.extend(port);
        definition
    }

    /// How a task runs this program for this closure: as the app, once, without its sockets. With
    /// the strategy `ports` it is told the port of `side`, which serves users meanwhile.
    #[must_use]
    pub fn task(&self, program: &[String], side: Side, closure: &str) -> Definition {
        let mut definition = self.side(side, closure);
        definition.exec = program.to_vec();
        expand_all(&mut definition.exec, closure);
        definition.kind = Kind::Oneshot;
        definition.ready.timeout_ms = None;
        definition.restart.policy = Policy::No;
        definition.restart.intensity = None;
        definition.listen.clear();
        definition
    }
}

fn expand(text: &str, closure: &str) -> String {
    text.replace(CLOSURE_VARIABLE, closure)
}

fn expand_all(texts: &mut [String], closure: &str) {
    for text in texts {
        *text = expand(text, closure);
    }
}

impl ProbeAddress {
    /// Where to ask somebody who listens there: loopback for a wildcard.
    #[must_use]
    pub fn of(address: &Address) -> Self {
        match address {
            Address::Unix { path, .. } => Self::Unix(path.clone()),
            Address::Tcp(address) => {
                let ip = match address.ip() {
                    // [::] takes IPv4 too, and the group tells probes by an IPv4 address.
                    IpAddr::V4(Ipv4Addr::UNSPECIFIED) | IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
                        IpAddr::V4(Ipv4Addr::LOCALHOST)
                    }
                    ip => ip,
                };
                Self::Tcp(SocketAddr::new(ip, address.port()))
            }
        }
    }
}

impl fmt::Display for ProbeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{path}"),
            // As `${closure}`, it is filled in by whoever knows which side is meant.
            Self::OwnPort => write!(f, "{}:${{port}}", Ipv4Addr::LOCALHOST),
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.index().fmt(f)
    }
}
