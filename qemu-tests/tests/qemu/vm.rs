//! `rollinit vm`, as a person would call it: from a terminal's line, with an image and with a system.

use anyhow::{Context, Result, ensure};
use qemu_tests::guest::cleanup::{Held, on_ctrl_c};
use qemu_tests::guest::transcript::Transcript;
use qemu_tests::guest::{PATIENCE, accelerator, image};
use std::path::Path;
use std::process::{Command, Stdio};

/// User-data with a mistake, which the host tells on its console: so it was asked for and read.
const USER_DATA: &str = "rollinit = 1\nblue = 'sky'\n";

/// Proof: the image starts by UEFI, finds its user-data, and SIGTERM is the power button.
pub fn of_image(name: &str) -> Result<()> {
    let disk = image::Image::open("ec2")?.disk();
    let console = run(name, &disk.display().to_string())?;
    ensure!(console.contains("EFI stub"), "the kernel was not started by UEFI:\n{console}");
    Ok(())
}

/// Proof: of a store path alone a disk is made, and the system boots from it as from its image.
pub fn of_system(name: &str) -> Result<()> {
    let console = run(name, &image::Image::open("ec2")?.toplevel()?)?;
    ensure!(!console.contains("EFI stub"), "QEMU was to start the kernel:\n{console}");
    Ok(())
}

/// Boots `what` until its user-data was read, and stops it; the console's words.
fn run(name: &str, what: &str) -> Result<String> {
    on_ctrl_c()?;
    let folder = image::target().join("qemu").join(name);
    std::fs::create_dir_all(&folder).context("make a folder")?;
    let user_data = folder.join("user-data.toml");
    std::fs::write(&user_data, USER_DATA).context("write the user-data")?;
    let accelerator = accelerator::choose(&image::Image::open("ec2")?.kernel());
    let mut command = in_store();
    command.arg(image::target().join("out/bin/rollinit")).args(["vm", what, "--isolated"]);
    command.args(["--memory", "512", "--disk-size", "1", "--accelerator", accelerator]);
    command.arg("--user-data").arg(&user_data);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().context("start rollinit vm")?;
    let (pid, output) = (child.id(), child.stdout.take().context("its console")?);
    let held = Held::new(child);
    let console = Transcript::start(output, &folder.join("serial.log"))?;
    let stopped = console.expect("blue", PATIENCE).and_then(|_| {
        // Of the shell, which any machine has; the program need not be there.
        let killed = Command::new("sh").arg("-c").arg(format!("kill -TERM {pid}")).status()?;
        ensure!(killed.success(), "rollinit vm is gone");
        console.expect("reboot: Power down", PATIENCE)
    });
    let text = console.whole(PATIENCE);
    held.kill();
    stopped?;
    let left = std::env::temp_dir().join(format!("rollinit-vm-{pid}"));
    ensure!(!left.exists(), "{} was left behind", left.display());
    text
}

/// A command with the tests' store as `/nix`, as nixos/build.sh has it.
fn in_store() -> Command {
    let target = image::target();
    let mut command = Command::new("unshare");
    let rights = if is_root() { "-m" } else { "-rm" };
    command.args([rights, "--propagation", "private", "sh", "-c"]);
    command.arg("mount --bind \"$0\" /nix && exec \"$@\"").arg(target.join("nix"));
    command.env("NIX_REMOTE", "local").env("NIX_CONF_DIR", target.join("nix-conf"));
    command.env("XDG_CACHE_HOME", target.join("nix-cache"));
    command
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    Path::new("/proc/self").metadata().is_ok_and(|own| own.uid() == 0)
}
