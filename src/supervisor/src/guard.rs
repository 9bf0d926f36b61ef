//! The metadata service is for those who are to have it: users of services with `imds = true`, and
//! root. All others are told `EACCES` by the kernel's routing.
//!
//! Whoever can ask a cloud's metadata service has the host's role, and with it every secret that
//! the role may read: without this, modes of files guard nothing. One rule forbids a range of
//! users one address; the ranges are what lies between the users who may. The rules are set before
//! the first service starts, a user is let through before its process is made, and what is
//! forbidden anew is forbidden before what forbade more is removed, so there is no moment at which
//! somebody slips through.
//!
//! On a host with `/etc/rollinit/guarded-addresses` (one address a line) only. In the supervisor
//! and not in the network's daemon: the definitions in force are known here, so are the numbers
//! that users of this host have at the moment of a start, and a host guards whatever brought its
//! network up.

use crate::identity;
use service::Loaded;
use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use sys::netlink::{Action, Netlink, PROTOCOL_STATIC, Rule};

/// The file beside the directory of definitions.
const FILE: &str = "guarded-addresses";

/// Bytes of the file: some hundred addresses, where two are usual.
const FILE_BYTES_MAX: u64 = 4096;

/// Behind the rule that leads to this host's own addresses, before all that others add; and how
/// our rules are told from theirs.
const PRIORITY: u32 = 169;

/// The largest number of a user: the one above it stands for none (`INVALID_UID`).
const USER_LAST: u32 = u32::MAX - 1;

/// The guard.
#[derive(Debug)]
pub struct Guard {
    file: PathBuf,
    addresses: BTreeSet<IpAddr>,
    /// Users that may, beside root.
    allowed: BTreeSet<u32>,
    /// Whether the kernel has what it shall have.
    is_set: bool,
}

impl Guard {
    /// The guard of a host with these definitions. It forbids nothing yet.
    #[must_use]
    pub fn new(definitions: &Path) -> Self {
        let file = definitions.with_file_name(FILE);
        Self { file, addresses: BTreeSet::new(), allowed: BTreeSet::new(), is_set: false }
    }

    /// Forbids whatever these definitions do not allow. A user that the host does not have yet is
    /// let through when its service starts.
    pub fn refresh(&mut self, loaded: &Loaded) {
        let addresses = self.read();
        let former = std::mem::replace(&mut self.addresses, addresses);
        if self.addresses.is_empty() && former.is_empty() {
            self.is_set = true;
            return;
        }
        let asking: Vec<_> =
            loaded.nodes().map(|(_, node)| node).filter(|node| node.imds).collect();
        self.allowed = match identity::accounts() {
            Ok(accounts) => {
                let users = asking.iter().filter_map(|node| {
                    identity::resolve(node, &accounts).ok().map(|found| found.user)
                });
                users.collect()
            }
            Err(_) => BTreeSet::new(),
        };
        self.set();
    }

    /// Lets a user through whose service is about to start.
    pub fn allow(&mut self, user: u32) {
        if self.allowed.insert(user) {
            self.is_set = false;
        }
        self.ensure();
    }

    /// Tries again what the kernel refused.
    pub fn ensure(&mut self) {
        if !self.is_set && !self.addresses.is_empty() {
            self.set();
        }
    }

    fn read(&self) -> BTreeSet<IpAddr> {
        let mut text = String::new();
        let read = std::fs::File::open(&self.file)
            .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
        let file = self.file.display();
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return BTreeSet::new(),
            Err(error) => {
                tracing::error!("{file}: {error}; what was guarded stays guarded");
                return self.addresses.clone();
            }
            Ok(_) => {}
        }
        let mut addresses = BTreeSet::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match line.parse::<IpAddr>() {
                Ok(address) => drop(addresses.insert(address)),
                Err(_) => tracing::error!(
                    "{file}: {line:?} is no address and is not guarded; write one address a line"
                ),
            }
        }
        addresses
    }

    fn set(&mut self) {
        match reconcile(&rules(&self.addresses, &self.allowed)) {
            Ok(()) => self.is_set = true,
            Err(error) => {
                self.is_set = false;
                let addresses: Vec<String> = self.addresses.iter().map(IpAddr::to_string).collect();
                tracing::error!(
                    "services of all users may reach {}: the kernel takes no rule that forbids \
                     it: {error}; it is tried again with each start",
                    addresses.join(" and ")
                );
            }
        }
    }
}

/// The ranges of users that may not, between root and those who may.
fn forbidden(allowed: &BTreeSet<u32>) -> Vec<(u32, u32)> {
    let mut ranges = Vec::new();
    let mut first = 1;
    for user in allowed.iter().copied().filter(|user| (1..=USER_LAST).contains(user)) {
        if user > first {
            ranges.push((first, user - 1));
        }
        first = user + 1;
    }
    if first <= USER_LAST {
        ranges.push((first, USER_LAST));
    }
    ranges
}

fn rules(addresses: &BTreeSet<IpAddr>, allowed: &BTreeSet<u32>) -> Vec<Rule> {
    let ranges = forbidden(allowed);
    let rule = |address: IpAddr, users: (u32, u32)| Rule {
        priority: PRIORITY,
        from: None,
        to: Some((address, if address.is_ipv4() { 32 } else { 128 })),
        users: Some(users),
        action: Action::Prohibit,
        protocol: PROTOCOL_STATIC,
    };
    addresses.iter().flat_map(|address| ranges.iter().map(|range| rule(*address, *range))).collect()
}

/// Makes the kernel's rules of our priority these.
fn reconcile(wanted: &[Rule]) -> io::Result<()> {
    let mut netlink = Netlink::open()?;
    let found = netlink.rules()?;
    for rule in wanted.iter().filter(|rule| !found.contains(rule)) {
        match netlink.add_rule(rule) {
            // A kernel without IPv6 reaches nobody by it.
            Err(error) if is_unknown_family(&error) && rule.to.is_some_and(is_ipv6) => {}
            result => result?,
        }
    }
    let is_ours = |rule: &&Rule| rule.priority == PRIORITY && rule.action == Action::Prohibit;
    for rule in found.iter().filter(is_ours).filter(|rule| !wanted.contains(rule)) {
        netlink.remove_rule(rule)?;
    }
    Ok(())
}

fn is_ipv6((address, _): (IpAddr, u8)) -> bool {
    address.is_ipv6()
}

/// `EAFNOSUPPORT` and `EOPNOTSUPP` of errno(3).
fn is_unknown_family(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(97 | 95))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody but root, gaps around those who may, no gap between neighbours, both ends.
    #[test]
    fn ranges() {
        let forbidden = |allowed: &[u32]| forbidden(&allowed.iter().copied().collect());
        assert_eq!(forbidden(&[]), [(1, USER_LAST)]);
        assert_eq!(forbidden(&[0]), [(1, USER_LAST)]);
        assert_eq!(forbidden(&[1000]), [(1, 999), (1001, USER_LAST)]);
        assert_eq!(forbidden(&[1, 2, 5]), [(3, 4), (6, USER_LAST)]);
        assert_eq!(forbidden(&[USER_LAST]), [(1, USER_LAST - 1)]);
        assert_eq!(forbidden(&[u32::MAX]), [(1, USER_LAST)]);
    }

    /// In a network namespace of the test's own: rules come, follow the allowed, and go; rules of
    /// others stay. Without privilege there is no namespace: skipped.
    #[test]
    fn the_kernel_has_what_is_wanted() {
        let thread = std::thread::spawn(|| {
            if let Err(error) = sys::network::enter_own_namespace() {
                eprintln!("skipped: no network namespace: {error}");
                return;
            }
            let addresses: BTreeSet<IpAddr> =
                ["169.254.169.254", "fd00:ec2::254"].map(|text| text.parse().unwrap()).into();
            let others =
                Rule { priority: PRIORITY + 1, ..rules(&addresses, &BTreeSet::new())[0].clone() };
            let mut netlink = Netlink::open().expect("socket");
            netlink.add_rule(&others).expect("a rule of others");
            for allowed in [&[][..], &[1000], &[1000, 1001], &[7], &[]] {
                let wanted = rules(&addresses, &allowed.iter().copied().collect());
                reconcile(&wanted).expect("set");
                reconcile(&wanted).expect("again");
                let found: BTreeSet<Rule> = netlink.rules().expect("rules").into_iter().collect();
                let all = wanted.into_iter().chain([others.clone()]).collect();
                assert_eq!(found, all);
            }
            reconcile(&[]).expect("none");
            assert_eq!(netlink.rules().expect("rules"), [others]);
        });
        thread.join().expect("the test's thread");
    }
}
