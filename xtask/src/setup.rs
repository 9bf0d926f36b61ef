//! `cargo xtask setup`: what the machine must have, and how it gets it.

use crate::workspace::{has_program, root, run, step, target};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

/// A need: how to see that it is met, the Debian package that meets it, and what for.
struct Need {
    met: fn() -> bool,
    package: &'static str,
    reason: &'static str,
}

const NEEDS: [Need; 20] = [
    Need { met: || has_program("cc"), package: "gcc", reason: "links our static binaries" },
    Need {
        met: || Path::new("/usr/lib/x86_64-linux-gnu/libc.a").exists(),
        package: "libc6-dev",
        reason: "the static C library that Rust's std needs",
    },
    Need {
        met: || has_program("qemu-system-x86_64"),
        package: "qemu-system-x86",
        reason: "boots the guests of `test qemu` and `demo`",
    },
    Need {
        met: || Path::new("/usr/share/OVMF/OVMF_CODE_4M.fd").exists(),
        package: "ovmf",
        reason: "the firmware of guests that start by UEFI",
    },
    Need {
        met: || has_program("nix-build"),
        package: "nix-bin",
        reason: "builds the guests' images from nixos/",
    },
    Need {
        met: || has_program("depmod"),
        package: "kmod",
        reason: "the order of the guests' kernel modules",
    },
    Need {
        met: || has_program("ssh-keygen"),
        package: "openssh-client",
        reason: "signs and verifies releases, beside our own code",
    },
    Need {
        met: || has_program("cpio"),
        package: "cpio",
        reason: "reads what our image writer wrote, in its tests",
    },
    Need {
        met: || has_program("debugfs") && has_program("e2fsck"),
        package: "e2fsprogs",
        reason: "reads a guest's disk, for Nix to look at its store",
    },
    Need {
        met: || has_program("etcd"),
        package: "etcd-server",
        reason: "a ledger for the tests of one",
    },
    Need {
        met: || has_program("mkfs.xfs"),
        package: "xfsprogs",
        reason: "xfs for the tests of superblocks and volumes",
    },
    Need {
        met: || has_program("mkfs.btrfs"),
        package: "btrfs-progs",
        reason: "btrfs for the tests of superblocks",
    },
    Need {
        met: || has_program("mkfs.vfat"),
        package: "dosfstools",
        reason: "FAT for the tests of superblocks",
    },
    Need {
        met: || has_program("sfdisk"),
        package: "fdisk",
        reason: "the second opinion on partition tables that grew",
    },
    Need {
        met: || has_program("ip"),
        package: "iproute2",
        reason: "cables between network namespaces, for the tests of netlink and DHCP",
    },
    Need {
        met: || has_program("dnsmasq"),
        package: "dnsmasq-base",
        reason: "the DHCP server that `rollinit-network` is tested against",
    },
    Need {
        met: || has_program("haproxy"),
        package: "haproxy",
        reason: "the balancer in front of a cluster",
    },
    Need {
        met: || has_program("nginx"),
        package: "nginx-light",
        reason: "the binary cache of a cluster, with a log of who fetched what",
    },
    Need {
        met: || has_program("unshare"),
        package: "util-linux",
        reason: "pid and mount namespaces of `test process`",
    },
    Need {
        met: || run_quiet("python3", &["-c", "import ensurepip, venv"]),
        package: "python3-venv",
        reason: "the foreign Varlink client and AWS (Python's `varlink` and `moto`)",
    },
];

/// The command.
///
/// # Errors
/// Something is missing that cannot be installed here; the text names it.
pub fn run_setup() -> Result<()> {
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| !(need.met)()).collect();
    if !missing.is_empty() {
        step("setup", || install(&missing))?;
    } else if !knows_packages()? {
        eprintln!(
            "  missing: apt's package lists, from which nixos/debian.sh downloads the guests"
        );
        step("setup", || apt(&["update", "-q"]))?;
    }
    python()
}

/// Whether the guests' Debian packages are there, or apt knows where to get them.
fn knows_packages() -> Result<bool> {
    let complete = target(&root()?).join("debian/complete").exists();
    let listed = || run_quiet("apt-cache", &["show", "linux-image-cloud-amd64"]);
    Ok(complete || !has_program("apt-get") || listed())
}

/// What all tests need below `target`, in bytes: 9 GiB are there after a first run, and some more
/// on the way.
const TARGET_BYTES: u64 = 12 << 30;

/// Refuses to begin what would end an hour later for want of room, with the words of a linker.
///
/// # Errors
/// There is less than a run of all tests needs.
pub fn need_room(root: &Path) -> Result<()> {
    let folder = target(root);
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let free = bytes_of(Command::new("df").args(["--output=avail", "-B1"]).arg(&folder))?;
    if free >= TARGET_BYTES {
        return Ok(());
    }
    let used = bytes_of(Command::new("du").args(["-s", "-B1"]).arg(&folder))?;
    match shortage(free, used) {
        0 => Ok(()),
        missing => bail!(
            "the disk of {} has {} GiB free; all tests need {} GiB more: remove what is old",
            folder.display(),
            free >> 30,
            missing.div_ceil(1 << 30),
        ),
    }
}

/// How many bytes are missing where `used` of what is needed is there already.
const fn shortage(free: u64, used: u64) -> u64 {
    TARGET_BYTES.saturating_sub(used).saturating_sub(free)
}

/// The number in what `df` or `du` prints.
fn bytes_of(command: &mut Command) -> Result<u64> {
    let output = command.output().context("how much room is there?")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let number = text.split_whitespace().find_map(|word| word.parse().ok());
    number.with_context(|| format!("{command:?} prints no number: {text}"))
}

fn install(missing: &[&Need]) -> Result<()> {
    for need in missing {
        eprintln!("  missing: {:16} {}", need.package, need.reason);
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    if Path::new("/etc/NIXOS").exists() {
        bail!("on Nix run `nix develop` first; it brings {}", packages.join(", "));
    }
    if !has_program("apt-get") {
        bail!("no apt-get here: install what Debian calls {}", packages.join(", "));
    }
    apt(&["update", "-q"])?;
    let mut install = vec!["install", "-q", "--yes", "--no-install-recommends"];
    install.extend(&packages);
    apt(&install)?;
    match missing.iter().find(|need| !(need.met)()) {
        None => Ok(()),
        Some(need) => bail!("installed {}, and it is still not there", need.package),
    }
}

fn apt(arguments: &[&str]) -> Result<()> {
    let elevated = has_program("sudo") && !is_root();
    let mut command = Command::new(if elevated { "sudo" } else { "apt-get" });
    if elevated {
        command.arg("apt-get");
    }
    command.env("DEBIAN_FRONTEND", "noninteractive");
    run(command.args(arguments))
}

/// The Python that has the foreign implementations, relative to the workspace.
pub const PYTHON: &str = "target/venv/bin/python3";

/// What it has: a Varlink client, and AWS (moto answers, boto3 and botocore ask and check).
const PYTHON_PACKAGES: [&str; 3] = ["varlink==31.0.0", "moto[server]==5.2.5", "boto3==1.44.5"];

/// Fails where one of them is missing. moto itself is large; what it brings along tells as well.
const PYTHON_CHECK: &str =
    "import varlink, boto3, importlib.metadata as m, werkzeug; assert m.version('moto') == '5.2.5'";

fn python() -> Result<()> {
    let root = root()?;
    let python = root.join(PYTHON);
    let python = python.to_string_lossy();
    if run_quiet(&python, &["-c", PYTHON_CHECK]) {
        return Ok(());
    }
    step("setup: Python's varlink and moto, the foreign client and AWS, into target/venv", || {
        let venv = root.join("target/venv");
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        let mut pip = Command::new(python.as_ref());
        run(pip.args(["-m", "pip", "install", "--quiet"]).args(PYTHON_PACKAGES))
    })
}

fn run_quiet(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is there already needs no room; nor does a disk with enough of it.
    #[test]
    fn what_is_missing() {
        const GIB: u64 = 1 << 30;
        assert_eq!(shortage(2 * GIB, 0), TARGET_BYTES - 2 * GIB);
        assert_eq!(shortage(2 * GIB, TARGET_BYTES - 3 * GIB), GIB);
        assert_eq!(shortage(0, 2 * TARGET_BYTES), 0);
        assert_eq!(shortage(TARGET_BYTES, 0), 0);
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(bytes_of(Command::new("df").args(["--output=avail", "-B1"]).arg(here)).is_ok());
        assert!(
            bytes_of(Command::new("du").args(["-s", "-B1"]).arg(here)).is_ok_and(|used| used > 0)
        );
        assert!(bytes_of(&mut Command::new("true")).is_err());
    }
}
