//! `[balancer.NAME]` of `agent.toml`: the load balancers that send to this host, and how it leaves
//! them.
//!
//! Read once, when the agent starts.

use super::duration;
use balancer::Wanted;
use balancer::alb::Absence;
use balancer::haproxy::{Socket, Which};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;

/// What one section says, with its defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balancer {
    /// Its name here.
    pub name: String,
    /// The app that it sends to.
    pub app: String,
    /// Around what the host leaves it.
    pub around: Around,
    /// Times and numbers.
    pub wanted: Wanted,
    /// What it is.
    pub kind: Kind,
}

/// Around what the host leaves a balancer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Around {
    /// The end of the host.
    Reboot,
    /// Also a swap that stops the old version before the new one starts.
    #[default]
    Restart,
    /// Also any other swap.
    Always,
}

/// What a balancer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HAProxies.
    Haproxy {
        /// Where each is asked.
        sockets: Vec<Socket>,
        /// Which servers this host is.
        which: Which,
        /// The port of its servers; nothing: any.
        port: Option<u16>,
    },
    /// Target groups of Elastic Load Balancing.
    Alb {
        /// ARNs or names.
        groups: Vec<String>,
        /// The port of its targets; nothing: the group's.
        port: Option<u16>,
        /// What the Auto Scaling group is told.
        absence: Absence,
    },
}

/// Balancers of one host: each has its own task, file and line in `status`.
const BALANCERS_MAX: usize = 16;

/// Addresses, names and groups in one list.
const LIST_MAX: usize = 16;

/// Letters of a name: it is part of a file's.
const NAME_BYTES_MAX: usize = 32;

/// What an ALB may go on sending after it was told not to: its nodes learn of it one by one, and
/// 10 to 15 s were seen.
const ALB_FLOOR: Duration = Duration::from_secs(20);

/// How long a target has to stay healthy before the next host goes.
const ALB_SETTLE: Duration = Duration::from_secs(5);

/// Others that stay while this host is out.
const MIN_HEALTHY: u64 = 1;

/// How long the balancer may be away, and others sick.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// One section as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct BalancerTable {
    kind: Spanned<String>,
    app: Spanned<String>,
    #[serde(default)]
    around: Around,
    min_healthy: Option<Spanned<u64>>,
    floor: Option<Spanned<String>>,
    drain: Option<Spanned<String>>,
    join: Option<Spanned<String>>,
    settle: Option<Spanned<String>>,
    patience: Option<Spanned<String>>,
    port: Option<Spanned<u16>>,
    #[serde(default)]
    sockets: Vec<Spanned<String>>,
    #[serde(default)]
    servers: Vec<Spanned<String>>,
    #[serde(default)]
    backends: Vec<Spanned<String>>,
    address: Option<Spanned<String>>,
    #[serde(default)]
    target_groups: Vec<Spanned<String>>,
    asg: Option<Spanned<String>>,
}

/// A mistake, and the bytes where it is.
type Mistake = (Range<usize>, String);

/// Reads all sections. `has_cloud`: whether there is a `[cloud]` to ask AWS by.
///
/// # Errors
/// Where one makes no sense, and what to write instead.
pub(super) fn read(
    tables: BTreeMap<Spanned<String>, BalancerTable>,
    has_cloud: bool,
) -> Result<Vec<Balancer>, Mistake> {
    if let Some((name, _)) = tables.iter().nth(BALANCERS_MAX) {
        return Err((name.span(), format!("more than {BALANCERS_MAX} balancers")));
    }
    let mut excused: Option<String> = None;
    let mut all = Vec::new();
    for (name, table) in tables {
        let is_letter =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let written = name.get_ref();
        if written.is_empty() || written.len() > NAME_BYTES_MAX || !written.bytes().all(is_letter) {
            let text = format!("{written:?}: a name has 1 to {NAME_BYTES_MAX} of a-z, 0-9 and -");
            return Err((name.span(), text));
        }
        let span = table.kind.span();
        let balancer = table.read(written, has_cloud)?;
        if let Kind::Alb { absence, .. } = &balancer.kind
            && *absence != Absence::None
            && let Some(other) = excused.replace(balancer.name.clone())
        {
            let text = format!("balancer {other} has `asg` already; one of them is enough");
            return Err((span, text));
        }
        all.push(balancer);
    }
    Ok(all)
}

impl BalancerTable {
    fn read(self, name: &str, has_cloud: bool) -> Result<Balancer, Mistake> {
        let is_alb = match self.kind.get_ref().as_str() {
            "haproxy" => false,
            "alb" => true,
            other => {
                let text = format!("{other:?} is no kind of balancer; write haproxy or alb");
                return Err((self.kind.span(), text));
            }
        };
        if self.app.get_ref().is_empty() {
            return Err((self.app.span(), "name the app that it sends to".to_owned()));
        }
        if let Some((span, key)) = self.stranger(is_alb) {
            let text =
                format!("{key} makes no sense for a balancer of the kind {}", self.kind.get_ref());
            return Err((span, text));
        }
        let wanted = self.wanted(is_alb)?;
        let (app, around) = (self.app.get_ref().clone(), self.around);
        let kind = if is_alb { self.alb(has_cloud)? } else { self.haproxy()? };
        Ok(Balancer { name: name.to_owned(), app, around, wanted, kind })
    }

    /// A key of the other kind.
    fn stranger(&self, is_alb: bool) -> Option<(Range<usize>, &'static str)> {
        let first = |list: &[Spanned<String>]| list.first().map(Spanned::span);
        let of_haproxy = [
            (first(&self.sockets), "sockets"),
            (first(&self.servers), "servers"),
            (first(&self.backends), "backends"),
            (self.address.as_ref().map(Spanned::span), "address"),
        ];
        let of_alb = [
            (first(&self.target_groups), "target-groups"),
            (self.asg.as_ref().map(Spanned::span), "asg"),
        ];
        let strangers = if is_alb { &of_haproxy[..] } else { &of_alb[..] };
        strangers.iter().find_map(|(span, key)| Some((span.clone()?, *key)))
    }

    fn wanted(&self, is_alb: bool) -> Result<Wanted, Mistake> {
        let usual = |usual: Duration| if is_alb { usual } else { Duration::ZERO };
        let least = self.min_healthy.as_ref().map_or(MIN_HEALTHY, |least| *least.get_ref());
        Ok(Wanted {
            floor: time(self.floor.as_ref())?.unwrap_or(usual(ALB_FLOOR)),
            drain_max: time(self.drain.as_ref())?,
            join_max: time(self.join.as_ref())?,
            settle: time(self.settle.as_ref())?.unwrap_or(usual(ALB_SETTLE)),
            min_healthy: usize::try_from(least).unwrap_or(usize::MAX),
            patience: time(self.patience.as_ref())?.unwrap_or(PATIENCE),
        })
    }

    fn haproxy(self) -> Result<Kind, Mistake> {
        let here = self.kind.span();
        check_count(
            &self.sockets,
            &here,
            "sockets",
            "[\"10.0.0.5:9999\"] or [\"/run/haproxy.sock\"]",
        )?;
        let sockets = self.sockets.iter().map(socket).collect::<Result<Vec<_>, _>>()?;
        let port = self.port.map(Spanned::into_inner);
        let which = match (self.servers.first(), self.backends.first()) {
            (Some(server), Some(_)) => {
                let text = "servers and backends; write one of them".to_owned();
                return Err((server.span(), text));
            }
            (Some(_), None) => {
                check_count(&self.servers, &here, "servers", "[\"BACKEND/SERVER\"]")?;
                let named = self.servers.iter().map(server).collect::<Result<Vec<_>, _>>()?;
                Which::Named(named)
            }
            (None, _) => {
                check_count(&self.backends, &here, "backends", "[\"BACKEND\"], or servers")?;
                let backends = self.backends.iter().map(word).collect::<Result<Vec<_>, _>>()?;
                let address = self.address.as_ref().map(address).transpose()?;
                let is_told =
                    address.is_some() || sockets.iter().all(|one| matches!(one, Socket::Tcp(_)));
                if !is_told {
                    let text = "a Unix socket does not tell this host's address; write address";
                    return Err((self.sockets[0].span(), text.to_owned()));
                }
                Which::At(backends, address)
            }
        };
        Ok(Kind::Haproxy { sockets, which, port })
    }

    fn alb(self, has_cloud: bool) -> Result<Kind, Mistake> {
        let here = self.kind.span();
        if !has_cloud {
            let text = "an alb is asked through AWS; write a section [cloud] too".to_owned();
            return Err((here, text));
        }
        check_count(&self.target_groups, &here, "target-groups", "[\"NAME\"] or [\"arn:…\"]")?;
        let absence = match &self.asg {
            None => Absence::None,
            Some(asg) => match asg.get_ref().as_str() {
                "none" => Absence::None,
                "standby" => Absence::Standby,
                "suspend" => Absence::Suspend,
                other => {
                    let text = format!("{other:?}: write standby, suspend or none");
                    return Err((asg.span(), text));
                }
            },
        };
        let groups = self.target_groups.into_iter().map(Spanned::into_inner).collect();
        Ok(Kind::Alb { groups, port: self.port.map(Spanned::into_inner), absence })
    }
}

fn check_count(
    list: &[Spanned<String>],
    here: &Range<usize>,
    key: &str,
    example: &str,
) -> Result<(), Mistake> {
    if list.is_empty() {
        return Err((here.clone(), format!("it needs {key}; write {key} = {example}")));
    }
    match list.get(LIST_MAX) {
        Some(over) => Err((over.span(), format!("more than {LIST_MAX} {key}"))),
        None => Ok(()),
    }
}

/// A time that may be none.
fn time(value: Option<&Spanned<String>>) -> Result<Option<Duration>, Mistake> {
    let Some(value) = value else { return Ok(None) };
    if value.get_ref() == "0s" {
        return Ok(Some(Duration::ZERO));
    }
    duration(value.get_ref()).map(Some).map_err(|error| (value.span(), error))
}

fn socket(text: &Spanned<String>) -> Result<Socket, Mistake> {
    let written = text.get_ref();
    if written.starts_with('/') {
        return Ok(Socket::Unix(PathBuf::from(written)));
    }
    let port = written.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    match port.map(|(_, port)| port.parse::<u16>()) {
        Some(Ok(1..)) => Ok(Socket::Tcp(written.clone())),
        _ => {
            let why = format!("{written:?} is neither HOST:PORT nor an absolute path");
            Err((text.span(), why))
        }
    }
}

fn server(text: &Spanned<String>) -> Result<(String, String), Mistake> {
    let written = word(text)?;
    match written.split_once('/') {
        Some((backend, server)) if !backend.is_empty() && !server.is_empty() => {
            Ok((backend.to_owned(), server.to_owned()))
        }
        _ => Err((text.span(), format!("{written:?}: write BACKEND/SERVER"))),
    }
}

/// A name of HAProxy's: it becomes part of a command.
fn word(text: &Spanned<String>) -> Result<String, Mistake> {
    let written = text.get_ref();
    // What configuration.txt allows in names, and the slash between two of them.
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
    if written.is_empty() || !written.bytes().all(is_letter) {
        let why = format!("{written:?}: a name has letters, digits, -, _, . and :");
        return Err((text.span(), why));
    }
    Ok(written.clone())
}

fn address(text: &Spanned<String>) -> Result<IpAddr, Mistake> {
    let parsed = text.get_ref().parse();
    parsed.map_err(|_| (text.span(), format!("{:?} is no IP address", text.get_ref())))
}

#[cfg(test)]
mod tests;
