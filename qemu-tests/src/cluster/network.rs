//! The network of a cluster: a bridge in a network namespace, a cable to each guest, and DHCP.
//!
//! ```text
//!  10.77.0.1         this side: etcd, HAProxy's runtime API, the cache
//!  10.77.0.2         AWS
//!  10.77.0.11 …      the hosts: number 1 has .11, always
//!  169.254.169.254   the metadata service, which tells its clients apart by their addresses
//! ```

use super::daemon::Daemon;
use anyhow::{Context, Result, ensure};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

/// Where everything is that hosts find on their network.
pub const HERE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// Where AWS is: all services, on port 80 (`guests/cluster.nix`).
pub const AWS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// Where EC2 has its metadata service.
pub const IMDS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// Hosts that the network has addresses and cables for.
pub const HOSTS_MAX: u8 = 6;

const BRIDGE: &str = "br0";

/// The network; its namespace is that of the thread that made it, and goes with it.
#[derive(Debug)]
pub struct Network {
    dhcp: Daemon,
}

/// One host's end of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cable {
    /// The tap interface of this side.
    pub interface: String,
    /// The address of the guest's interface.
    pub mac: String,
    /// What DHCP gives it.
    pub address: Ipv4Addr,
}

/// The cable of host `number`, from 1 on.
#[must_use]
pub fn cable(number: u8) -> Cable {
    Cable {
        interface: format!("tap{number}"),
        mac: format!("52:54:00:77:00:{number:02x}"),
        address: Ipv4Addr::new(10, 77, 0, 10 + number),
    }
}

impl Network {
    /// Makes it, in this thread's own namespace.
    ///
    /// # Errors
    /// iproute2, dnsmasq or the right to make interfaces is missing.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        ip(&["link", "add", BRIDGE, "type", "bridge"])?;
        for address in [format!("{HERE}/24"), format!("{AWS}/32"), format!("{IMDS}/32")] {
            ip(&["address", "add", &address, "dev", BRIDGE])?;
        }
        ip(&["link", "set", BRIDGE, "up"])?;
        for number in 1..=HOSTS_MAX {
            let tap = cable(number).interface;
            ip(&["tuntap", "add", &tap, "mode", "tap"])?;
            ip(&["link", "set", &tap, "master", BRIDGE, "up"])?;
        }
        Ok(Self { dhcp: Daemon::start(folder, "dnsmasq", &mut dnsmasq(folder))? })
    }

    /// Pulls host `number`'s cable out of the bridge; its own link stays up, as when a network is
    /// parted further away.
    ///
    /// # Errors
    /// There is no such cable.
    pub fn cut(&self, number: u8) -> Result<()> {
        ip(&["link", "set", &cable(number).interface, "nomaster"])
    }

    /// Puts it back.
    ///
    /// # Errors
    /// There is no such cable.
    pub fn mend(&self, number: u8) -> Result<()> {
        ip(&["link", "set", &cable(number).interface, "master", BRIDGE])
    }

    /// What DHCP said and heard.
    #[must_use]
    pub fn log(&self) -> String {
        self.dhcp.log()
    }
}

fn dnsmasq(folder: &Path) -> Command {
    let mut command = Command::new("dnsmasq");
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root"]);
    command.args(["--pid-file=", "--no-ping", "--dhcp-authoritative", "--bind-interfaces"]);
    command.args(["--log-dhcp", "--log-facility=-", "--interface", BRIDGE]);
    command.arg(format!("--dhcp-leasefile={}", folder.join("leases").display()));
    command.arg("--dhcp-range=10.77.0.0,static,255.255.255.0,1h");
    command.arg(format!("--dhcp-option=option:router,{HERE}"));
    for number in 1..=HOSTS_MAX {
        let Cable { mac, address, .. } = cable(number);
        command.arg(format!("--dhcp-host={mac},{address}"));
    }
    command
}

fn ip(words: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(words).output();
    let output = output.context("run `ip`; `cargo xtask setup` installs iproute2")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {}", words.join(" "), said.trim());
    Ok(())
}
