//! The loop: what the kernel and servers say goes into the machines, what the machines want is
//! done, and what follows from all leases is made so.

mod apply;
mod files;
mod interface;
mod notify;

use crate::options::Options;
use files::Files;
use interface::Interface;
use network::limits::INTERFACES_MAX;
use network::names;
use network::retry::NS_PER_S;
use network::state::State;
use notify::Notifier;
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::Path;
use sys::clock::{boottime_ns, monotonic_ns};
use sys::netlink::{Events, Heard, Link, Netlink};
use sys::poll::{PollFd, PollFlags};
use sys::signal::Signals;

/// How long a host with IPv6 alone waits for IPv4 before it counts as online, in nanoseconds: its
/// first three requests have had no answer then. Most of what a host needs speaks IPv4 first.
const IPV4_PATIENCE_NS: u64 = 5 * NS_PER_S;

/// When something that the kernel refused is tried again, in nanoseconds.
const AGAIN_NS: u64 = NS_PER_S;

/// Netlink reads of one turn: signals and servers are heard in between.
const READS_MAX: usize = 64;

const SIGINT: u8 = 2;
const SIGTERM: u8 = 15;

/// What keeps the daemon from running.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {error}")]
pub struct Failure {
    step: String,
    error: io::Error,
}

fn at(step: impl Into<String>) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure { step: step.into(), error }
}

/// The daemon.
#[derive(Debug)]
pub struct Daemon {
    options: Options,
    netlink: Netlink,
    events: Events,
    signals: Signals,
    files: Files,
    notifier: Notifier,
    interfaces: Vec<Interface>,
    /// What is wrong now, so that it is said once.
    problems: BTreeSet<String>,
    /// When refused things are tried again.
    again_ns: Option<u64>,
    /// Since when there is an IPv6 address alone.
    ipv6_alone_ns: Option<u64>,
    /// What others were told last.
    told: Option<State>,
}

impl Daemon {
    /// One that has not looked around yet.
    ///
    /// # Errors
    /// [`Failure`]: no netlink, no signals, no directory to write to.
    pub fn new(options: Options) -> Result<Self, Failure> {
        Ok(Self {
            netlink: Netlink::open().map_err(at("open rtnetlink"))?,
            events: Events::open().map_err(at("listen to rtnetlink"))?,
            signals: Signals::take_all().map_err(at("take signals"))?,
            files: Files::new(&options.run)?,
            notifier: Notifier::from_environment(),
            interfaces: Vec::new(),
            problems: BTreeSet::new(),
            again_ns: None,
            ipv6_alone_ns: None,
            told: None,
            options,
        })
    }

    /// Until SIGTERM.
    ///
    /// # Errors
    /// [`Failure`] of waiting itself.
    pub fn run(&mut self) -> Result<(), Failure> {
        let mut is_changed = true;
        loop {
            let now_ns = boottime_ns();
            if is_changed || self.again_ns.is_some_and(|again_ns| again_ns <= now_ns) {
                self.again_ns = None;
                self.look(now_ns);
            }
            let mut is_touched = is_changed;
            for interface in &mut self.interfaces {
                is_touched |= interface.turn(now_ns, &self.files);
            }
            if is_touched || self.deadline_is_over(now_ns) {
                self.settle(now_ns);
            }
            self.wait()?;
            while let Some(arrived) = self.signals.take().map_err(at("read signals"))? {
                if matches!(arrived.signal, SIGTERM | SIGINT) {
                    tracing::info!("ends; addresses and routes stay as they are");
                    return Ok(());
                }
            }
            is_changed = self.hear()?;
        }
    }

    fn deadline_is_over(&self, now_ns: u64) -> bool {
        self.ipv6_alone_ns.is_some_and(|since_ns| {
            now_ns >= since_ns + IPV4_PATIENCE_NS && self.told.as_ref().is_some_and(|s| !s.online)
        })
    }

    fn wait(&self) -> Result<(), Failure> {
        let own = [self.events.as_fd(), self.signals.as_fd()];
        let sockets = self.interfaces.iter().flat_map(Interface::sockets);
        let mut fds: Vec<PollFd<'_>> = own
            .into_iter()
            .chain(sockets)
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let is_online = self.told.as_ref().is_some_and(|state| state.online);
        let patience_ns = self.ipv6_alone_ns.filter(|_| !is_online);
        let deadline_ns = self
            .interfaces
            .iter()
            .filter_map(Interface::deadline_ns)
            .chain(self.again_ns)
            .chain(patience_ns.map(|since_ns| since_ns + IPV4_PATIENCE_NS))
            .min();
        // Leases go on while a host sleeps; poll's own clock is the one that does not.
        let left_ns = deadline_ns.map(|deadline_ns| deadline_ns.saturating_sub(boottime_ns()));
        let deadline_ns = left_ns.map(|left_ns| monotonic_ns().saturating_add(left_ns));
        sys::poll::until(&mut fds, deadline_ns).map_err(at("wait"))
    }

    /// What the kernel said; whether anything is not as it was.
    fn hear(&mut self) -> Result<bool, Failure> {
        let mut is_changed = false;
        for _ in 0..READS_MAX {
            let heard = self.events.hear().map_err(at("listen to rtnetlink"))?;
            if heard.is_empty() {
                break;
            }
            for one in heard {
                is_changed = true;
                let Heard::RouterOption(link, option) = one else { continue };
                if let Some(found) = self.interfaces.iter_mut().find(|one| one.link.index == link) {
                    found.router_says(boottime_ns(), &option);
                }
            }
        }
        Ok(is_changed)
    }

    /// Which interfaces there are, and how they are.
    fn look(&mut self, now_ns: u64) {
        let links = match self.netlink.links() {
            Ok(links) => links,
            Err(error) => return self.problem(now_ns, format!("list interfaces: {error}")),
        };
        let ours: Vec<Link> =
            links.into_iter().filter(|link| self.is_ours(link)).take(INTERFACES_MAX).collect();
        self.interfaces.retain(|interface| {
            let stays = ours.iter().any(|link| interface.is(link));
            if !stays {
                tracing::warn!("{}: it is gone", interface.link.name);
            }
            stays
        });
        for link in ours {
            if !link.is_up
                && let Err(error) = self.netlink.bring_up(link.index)
            {
                self.problem(now_ns, format!("{}: bring it up: {error}", link.name));
            }
            if let Some(known) = self.interfaces.iter_mut().find(|one| one.is(&link)) {
                known.update(now_ns, link, &self.files);
                continue;
            }
            let name = link.name.clone();
            match Interface::new(now_ns, link, &self.options, &self.files) {
                Ok(interface) => self.interfaces.push(interface),
                Err(failure) => self.problem(now_ns, format!("{name}: {failure}")),
            }
        }
        self.interfaces.sort_by_key(|interface| interface.link.index);
    }

    /// Ethernet with a device behind it, or what we were told by name.
    fn is_ours(&self, link: &Link) -> bool {
        if link.mac.is_none() || link.is_loopback {
            return false;
        }
        match self.options.interfaces.as_slice() {
            [] => Path::new("/sys/class/net").join(&link.name).join("device").exists(),
            named => named.contains(&link.name),
        }
    }

    /// Says what is wrong, once, and has it tried again.
    fn problem(&mut self, now_ns: u64, text: String) {
        self.again_ns = Some(now_ns + AGAIN_NS);
        if self.problems.insert(text.clone()) {
            tracing::error!("{text}; it is tried again every second");
        }
    }

    /// Makes the kernel and the files what follows from all leases.
    fn settle(&mut self, now_ns: u64) {
        let refused = self.apply();
        let is_whole = refused.is_empty();
        self.problems.retain(|problem| refused.contains(problem));
        for text in refused {
            self.problem(now_ns, text);
        }
        let mut state = self.state(now_ns);
        state.online &= is_whole;
        if self.told.as_ref() == Some(&state) {
            return;
        }
        if let Err(failure) = self.files.publish(&state) {
            return self.problem(now_ns, failure.to_string());
        }
        if self.options.sets_host_name
            && let Some(name) = &state.host_name
            && self.told.as_ref().and_then(|told| told.host_name.as_ref()) != Some(name)
        {
            let label = names::host_label(name);
            match sys::kernel_mounts::set_hostname(label.as_bytes()) {
                Ok(()) => tracing::info!("this host is {label:?}"),
                Err(error) => tracing::error!("call this host {label:?}: {error}"),
            }
        }
        // After the files: who waits for us reads them.
        self.notifier.tell(&state);
        self.told = Some(state);
    }

    /// What others shall know.
    fn state(&mut self, now_ns: u64) -> State {
        let mut state = State::default();
        let addresses = self.netlink.addresses().unwrap_or_default();
        let (mut has_ipv4, mut has_ipv6) = (false, false);
        for interface in &mut self.interfaces {
            let usable = addresses.iter().filter(|address| {
                address.link == interface.link.index && address.is_global && address.is_usable
            });
            for address in usable.clone() {
                has_ipv4 |= address.address.is_ipv4();
                has_ipv6 |= address.address.is_ipv6();
            }
            let usable = usable.map(|one| format!("{}/{}", one.address, one.prefix_bits));
            state.interfaces.push(interface.describe(usable.collect()));
            interface.contribute(now_ns, &mut state);
        }
        // Somebody may stand in several leases.
        let mut seen = BTreeSet::new();
        state.name_servers.retain(|server: &IpAddr| seen.insert(server.to_string()));
        state.search.retain(|domain| seen.insert(domain.clone()));
        self.ipv6_alone_ns =
            if has_ipv6 && !has_ipv4 { self.ipv6_alone_ns.or(Some(now_ns)) } else { None };
        let is_patient =
            self.ipv6_alone_ns.is_some_and(|since_ns| now_ns < since_ns + IPV4_PATIENCE_NS);
        state.online = has_ipv4 || (has_ipv6 && !is_patient);
        state
    }
}
