//! `cargo xtask setup`: what the machine must have, and how it gets it.

use crate::workspace::{has_program, root, run, step};
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

/// A need: how to see that it is met, the Debian package that meets it, and what for.
struct Need {
    met: fn() -> bool,
    package: &'static str,
    reason: &'static str,
}

const NEEDS: [Need; 9] = [
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
        met: || has_program("nix-build"),
        package: "nix-bin",
        reason: "builds the guests' images from nixos/",
    },
    Need {
        met: || has_program("mke2fs"),
        package: "e2fsprogs",
        reason: "writes the guests' ext4 root",
    },
    Need {
        met: || has_program("patchelf"),
        package: "patchelf",
        reason: "makes a store path of Debian's nginx",
    },
    Need {
        met: || Path::new("/bin/busybox").exists() && is_static("/bin/busybox"),
        package: "busybox-static",
        reason: "the builder's shell inside Nix's sandbox",
    },
    Need {
        met: || has_program("unshare"),
        package: "util-linux",
        reason: "pid and mount namespaces of `test process`",
    },
    Need {
        met: || run_quiet("python3", &["-c", "import ensurepip, venv"]),
        package: "python3-venv",
        reason: "the foreign Varlink client (Python's `varlink`)",
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
    }
    python()
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
    let elevated = has_program("sudo") && !is_root();
    let apt = |arguments: &[&str]| {
        let mut command = Command::new(if elevated { "sudo" } else { "apt-get" });
        if elevated {
            command.arg("apt-get");
        }
        command.env("DEBIAN_FRONTEND", "noninteractive");
        run(command.args(arguments))
    };
    apt(&["update", "-q"])?;
    let mut install = vec!["install", "-q", "--yes", "--no-install-recommends"];
    install.extend(&packages);
    apt(&install)?;
    match missing.iter().find(|need| !(need.met)()) {
        None => Ok(()),
        Some(need) => bail!("installed {}, and it is still not there", need.package),
    }
}

/// The Python that has the foreign Varlink client, relative to the workspace.
pub const PYTHON: &str = "target/venv/bin/python3";

fn python() -> Result<()> {
    let root = root()?;
    let python = root.join(PYTHON);
    let python = python.to_string_lossy();
    if run_quiet(&python, &["-c", "import varlink"]) {
        return Ok(());
    }
    step("setup: Python's varlink, the foreign client, into target/venv", || {
        let venv = root.join("target/venv");
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        let mut pip = Command::new(python.as_ref());
        run(pip.args(["-m", "pip", "install", "--quiet", "varlink==31.0.0"]))
    })
}

fn run_quiet(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

/// Whether an ELF file names no interpreter (`PT_INTERP` is 3): it runs without a libc beside it.
fn is_static(path: &str) -> bool {
    const PROGRAM_HEADERS_OFFSET: usize = 64;
    const PROGRAM_HEADER_BYTES: usize = 56;
    let Ok(image) = std::fs::read(path) else { return false };
    let count = image.get(56).copied().unwrap_or(0);
    (0..usize::from(count))
        .all(|index| image.get(PROGRAM_HEADERS_OFFSET + index * PROGRAM_HEADER_BYTES) != Some(&3))
}
