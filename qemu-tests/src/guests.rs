//! The guests that tests boot, by the test's name, so that `cargo xtask qemu NAME` boots the same.

use crate::guest::image::target;
use crate::guest::network::Ec2;
use crate::guest::{Boot, Disk, disk};
use anyhow::{Context, Result, bail};
use imds::Instance;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Test names and the configuration (a file of `qemu-tests/guests`) each boots.
pub const GUESTS: [(&str, &str); 39] = [
    ("boot", "demo"),
    ("boot-nvme", "demo"),
    ("supervisor-killed-under-load", "demo"),
    ("web-app-killed-under-load", "demo"),
    ("wedged-console", "demo"),
    ("power-button", "demo"),
    ("ctrl-alt-del", "demo"),
    ("failing-root", "demo"),
    ("broken-definition", "broken"),
    ("shutdown-order", "demo"),
    ("foreign-client", "foreign"),
    ("swap-commits", "swap"),
    ("swap-bad", "swap"),
    ("swap-other-makes", "interpreters"),
    ("swap-kills", "swaps"),
    ("swap-200", "swaps"),
    ("power-cuts", "swaps"),
    ("power-cuts-forgetful", "forgetful"),
    ("root-grows", "ec2"),
    ("root-late", "ec2"),
    ("volumes", "volumes"),
    ("ec2-boot", "ec2"),
    ("ec2-direct", "ec2"),
    ("vm-image", "ec2"),
    ("vm-system", "ec2"),
    ("ec2-credentials", "ec2"),
    ("ec2-notices", "ec2"),
    ("ec2-network", "ec2"),
    ("ec2-user-data", "ec2"),
    ("ec2-becomes", "ec2"),
    ("activation", "ec2"),
    ("slots", "slots"),
    ("slots-fall-back", "slots"),
    ("demo", "swap"),
    ("demo-ec2", "ec2"),
    ("cluster-rolls", "cluster"),
    ("cluster-survives", "cluster"),
    ("cluster-systems", "cluster-systems"),
    ("demo-cluster", "cluster-demo"),
];

/// Configurations that no test boots.
pub const DEMOS: [&str; 1] = ["cluster-demo"];

/// Where the guest `foreign-client` carries connections to its control socket
/// (`guests/foreign.nix`).
pub const RELAY_PORT: u16 = 8082;

/// The configuration that the guest of `name` is built from.
///
/// # Errors
/// There is no such guest; the text names those that are.
pub fn configuration(name: &str) -> Result<&'static str> {
    if let Some((_, configuration)) = GUESTS.iter().find(|(guest, _)| *guest == name) {
        return Ok(configuration);
    }
    let names: Vec<&str> = GUESTS.iter().map(|(name, _)| *name).collect();
    bail!("no guest `{name}`; there are: {}", names.join(", "))
}

/// An instance as its firmware shows it, a clock that lost its battery, a device for whose driver
/// nobody asked, and a place for one that comes later.
const ACTIVATED: [&str; 10] = [
    "-smbios",
    "type=1,manufacturer=Amazon EC2",
    "-smbios",
    "type=2,asset=i-0123456789abcdef0",
    "-rtc",
    "base=1990-01-01T00:00:00",
    "-device",
    "virtio-rng-pci",
    "-device",
    "pcie-root-port,id=spare,chassis=9",
];

/// The guest of the test `name`, ready to start.
///
/// # Errors
/// There is no such guest, or its image was not built.
pub fn boot(name: &str) -> Result<Boot> {
    let mut boot = Boot::new(name, configuration(name)?)?;
    match name {
        "boot-nvme" => {
            boot.disk = Disk::Nvme;
            boot.initrd = false;
        }
        "slots" | "slots-fall-back" => {
            boot.disk = Disk::Nvme;
            (boot.firmware, boot.restarts) = (true, true);
        }
        "ec2-becomes" => {
            on_ec2(&mut boot, &Instance::default(), None)?;
            (boot.firmware, boot.restarts) = (true, true);
        }
        "ec2-boot" | "demo-ec2" => {
            on_ec2(&mut boot, &Instance::default(), None)?;
            boot.firmware = true;
        }
        "ec2-direct" | "ec2-credentials" | "ec2-notices" | "ec2-network" | "ec2-user-data"
        | "root-grows" | "root-late" | "volumes" | "cluster-rolls" | "cluster-survives"
        | "cluster-systems" | "demo-cluster" => {
            on_ec2(&mut boot, &Instance::default(), None)?;
        }
        "activation" => {
            on_ec2(&mut boot, &Instance::default(), None)?;
            boot.restarts = true;
            boot.devices.extend(ACTIVATED.iter().map(|word| (*word).to_owned()));
        }
        "failing-root" => {
            boot.words.push("root=PARTUUID=00000000-dead-beef-0000-000000000000".to_owned());
        }
        "foreign-client" => boot.ports.push(RELAY_PORT),
        "swap-other-makes" => boot.memory_mib = 768,
        // What they leave behind is looked at from here.
        "swap-commits" | "swap-200" => {
            let disk = disk::copy(name, &boot.image.disk())?;
            boot.drive = Some(disk.display().to_string());
        }
        _ => {}
    }
    Ok(boot)
}

/// Makes the guest an instance: its root on NVMe, on a network with a metadata service and, where
/// `aws` is, all of AWS. Returns the file of the service's answers, read at each question.
///
/// # Errors
/// The file cannot be written.
pub fn on_ec2(boot: &mut Boot, instance: &Instance, aws: Option<SocketAddr>) -> Result<PathBuf> {
    let folder = target().join("qemu").join(&boot.name);
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let imds = folder.join("imds.json");
    instance.state().save(&imds)?;
    boot.disk = Disk::Nvme;
    boot.ec2 = Some(Ec2 { imds: imds.clone(), aws });
    Ok(imds)
}
