//! The EC2 image as a whole: what is in it, and that it starts as EC2 would start it.

use anyhow::{Context, Result, ensure};
use qemu_tests::guest::view::View;
use qemu_tests::guest::{End, Guest, PATIENCE, image};
use qemu_tests::guests;

/// What no system of ours has in its closure, by the names of store paths.
const UNWANTED: [&str; 3] = ["systemd", "perl", "bash"];

/// Proof: firmware with empty variables finds the loader, the loader the first generation's entry,
/// whose words lead to the toplevel of the image; the power button ends it.
pub fn boot(name: &str) -> Result<()> {
    let mut guest = serving(name)?;
    let console = guest.console.so_far();
    ensure!(console.contains("EFI stub"), "the kernel was not started by UEFI:\n{console}");
    ensure!(console.contains("rollinit-stage1"), "the entry has no initrd:\n{console}");
    is_the_image(&mut guest)?;
    let disks = guest.agent.read("/proc/partitions")?;
    ensure!(disks.contains("nvme0n1p2") && !disks.contains("vda"), "not on NVMe:\n{disks}");
    guest.qmp.press_power()?;
    ensure!(guest.ended(PATIENCE)? == End::PowerOff, "the power button was pressed");
    Ok(())
}

/// Proof: the same disk and toplevel start without firmware and loader, by QEMU's `-kernel`.
pub fn direct(name: &str) -> Result<()> {
    let mut guest = serving(name)?;
    ensure!(!guest.console.so_far().contains("EFI stub"), "UEFI was to be left out");
    is_the_image(&mut guest)?;
    closure_is_clean(&mut guest)?;
    guest.agent.rollinit_last(&["poweroff"])?;
    ensure!(guest.ended(PATIENCE)? == End::PowerOff, "it was asked to power off");
    Ok(())
}

fn serving(name: &str) -> Result<Guest> {
    let mut guest = guests::boot(name)?.start()?;
    guest.agent.hello(PATIENCE)?;
    View::settled(&mut guest.agent, PATIENCE)?;
    Ok(guest)
}

/// What runs is the toplevel that the image was built of.
fn is_the_image(guest: &mut Guest) -> Result<()> {
    let toplevel = image::Image::open("ec2")?.toplevel()?;
    let words = guest.agent.read("/proc/cmdline")?;
    let named = format!("init={toplevel}/init");
    ensure!(words.split_whitespace().any(|word| word == named), "no {named} in {words}");
    let link = ["/run/current-system/sw/bin/readlink", "/run/current-system"];
    let running = guest.agent.run(&link)?;
    ensure!(running.stdout.trim() == toplevel, "{running:?} is not {toplevel}");
    Ok(())
}

/// No systemd, Perl or bash in the store that the image was made with.
fn closure_is_clean(guest: &mut Guest) -> Result<()> {
    let listed = guest.agent.run(&["/run/current-system/sw/bin/ls", "/nix/store"])?;
    let paths: Vec<&str> = listed.stdout.lines().collect();
    let known = paths.iter().any(|path| path.contains("-rollinit-system-"));
    ensure!(known, "/nix/store was not listed: {listed:?}");
    for path in paths {
        let name = path.split_once('-').context("a store path without a name")?.1;
        let unwanted = UNWANTED.iter().find(|unwanted| name.starts_with(**unwanted));
        ensure!(unwanted.is_none(), "{path} has no place in a system");
    }
    Ok(())
}
