//! Systems that are swapped on the host itself, over UEFI, systemd-boot and NVMe: what comes up
//! stays, and what does not is left, by nobody's help. The host's own boot partition and the words
//! of each boot are looked at, not what the agent says of them.

use anyhow::{Context, Result, ensure};
use qemu_tests::guest::swap::{COMMITTED, REFUSED, Swapped};
use qemu_tests::guest::{End, Guest, PATIENCE};
use qemu_tests::guests;
use serde_json::Value;
use std::time::Instant;

const SH: &str = "/run/current-system/sw/bin/sh";

/// Mounts the boot partition for as long as a command takes.
const ON_PARTITION: &str = "mkdir -p /run/seen && mount -t vfat /dev/nvme0n1p1 /run/seen && \
                            cd /run/seen && { eval \"$1\"; code=$?; cd /; umount /run/seen; \
                            exit $code; }";

/// A host of the configuration `slots`.
struct Host {
    guest: Guest,
    image: String,
}

impl Host {
    /// Started, and blessed by itself.
    fn start(name: &str) -> Result<Self> {
        let mut guest = guests::boot(name)?.start()?;
        guest.agent.hello(PATIENCE)?;
        let image = qemu_tests::guest::image::Image::open("slots")?.toplevel()?;
        let mut host = Self { guest, image };
        host.until("the first boot is blessed", |host| Ok(host.entries()? == ["rollinit-1.conf"]))?;
        Ok(host)
    }

    /// Waits for the test agent of the next boot.
    fn booted(&mut self) -> Result<()> {
        self.guest.agent.hello(PATIENCE).with_context(|| {
            let text = self.guest.console.so_far();
            let start = text.len().saturating_sub(4000);
            let start = (start..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            format!("no further boot; the console says:\n{}", &text[start..])
        })
    }

    /// Asks until it holds. Each question is a whole command in the guest, which paces it.
    /// Asks until it holds. Each question is a whole command in the guest, which paces it.
    fn until(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&mut Self) -> Result<bool>,
    ) -> Result<()> {
        let give_up = Instant::now() + PATIENCE;
        while !holds(self)? {
            ensure!(Instant::now() < give_up, "never so: {what}; {:#}", self.swaps()?);
        }
        Ok(())
    }

    fn shell(&mut self, words: &str) -> Result<String> {
        let output = self.guest.agent.run(&[SH, "-c", ON_PARTITION, "sh", words])?;
        ensure!(output.code == Some(0), "{words}: {output:?}");
        Ok(output.stdout)
    }

    /// The entries on the boot partition.
    fn entries(&mut self) -> Result<Vec<String>> {
        Ok(self.shell("ls loader/entries")?.lines().map(str::to_owned).collect())
    }

    /// The toplevel of a system of the configuration.
    fn path(&mut self, system: &str) -> Result<String> {
        let link = format!("{}/etc/systems/{system}", self.image);
        let read = ["/run/current-system/sw/bin/readlink", "-f", &link];
        let output = self.guest.agent.run(&read)?;
        ensure!(output.code == Some(0), "{link}: {output:?}");
        Ok(output.stdout.trim().to_owned())
    }

    /// The toplevel that this boot was started with, by the kernel's own words.
    fn booted_path(&mut self) -> Result<String> {
        let line = self.guest.agent.read("/proc/cmdline")?;
        let word = line.split_whitespace().find_map(|word| word.strip_prefix("init="));
        Ok(word.context("no init=")?.trim_end_matches("/init").to_owned())
    }

    fn swap(&mut self, system: &str, more: &[&str]) -> Result<Swapped> {
        let path = self.path(system)?;
        let mut words = vec!["swap", "system", &path, "--json"];
        words.extend(more);
        let (output, _) = self.guest.agent.attempt(&words, None)?;
        Ok(Swapped::read(output))
    }

    fn swaps(&mut self) -> Result<Value> {
        let text = self.guest.agent.rollinit(&["swaps", "system", "--json"])?;
        serde_json::from_str(&text).context("swaps")
    }

    /// The outcome of the newest swap, once it is over.
    fn outcome(&mut self) -> Result<Value> {
        let mut outcome = Value::Null;
        self.until("the swap is over", |host| {
            outcome = host.swaps()?["swaps"][0]["outcome"].clone();
            Ok(!outcome.is_null())
        })?;
        Ok(outcome)
    }

    /// Swaps to a system that needs a reboot, and waits for the boot after it.
    fn swap_by_reboot(&mut self, system: &str) -> Result<()> {
        // Nobody is left to hear how it ends.
        let swapped = self.swap(system, &["--detach"])?;
        ensure!(swapped.code == Some(COMMITTED), "{system}: {swapped:?}");
        self.booted()?;
        let console = self.guest.console.so_far();
        ensure!(console.contains("system: the host reboots into gen"), "it did not say so");
        Ok(())
    }

    /// A bad system was left: what ran before runs, its entry alone is there, and it is told why.
    fn fell_back(&mut self, system: &str, to: &str, entries: &[&str]) -> Result<String> {
        let outcome = self.outcome()?;
        ensure!(outcome["kind"] == "rolled_back", "{system}: {outcome:#}");
        ensure!(self.booted_path()? == to, "{system}: another one runs than before");
        let found = self.entries()?;
        ensure!(found == entries, "{system}: {found:?} are on the boot partition");
        let status = self.guest.agent.status()?;
        let notice = status["notices"][0]["text"].as_str().unwrap_or_default().to_owned();
        ensure!(notice.starts_with("fell back from"), "{system}: {status:#}");
        let again = self.swap(system, &[])?;
        ensure!(again.code == Some(REFUSED), "{system} may be tried again: {again:?}");
        Ok(outcome["reason"].as_str().unwrap_or_default().to_owned())
    }

    fn power_off(mut self) -> Result<()> {
        self.guest.agent.rollinit_last(&["poweroff"])?;
        ensure!(self.guest.ended(PATIENCE)? == End::PowerOff, "it was asked to power off");
        Ok(())
    }
}

/// Proof: the kernel's command line after the reboot, the entries' own names, the profile. A live
/// swap keeps the boot's id; the next boot is its try. A full partition is refused before a byte of
/// it changes.
pub fn good(name: &str) -> Result<()> {
    let mut host = Host::start(name)?;
    let (image, good) = (host.image.clone(), host.path("good")?);
    host.swap_by_reboot("good")?;
    let outcome = host.outcome()?;
    ensure!(outcome["kind"] == "committed", "{outcome:#}");
    ensure!(host.booted_path()? == good, "another one was booted");
    ensure!(host.entries()? == ["rollinit-1.conf", "rollinit-2.conf"], "{:?}", host.entries()?);
    // Another kernel command line again: the way back is a swap like others.
    host.guest.agent.rollinit(&["rollback", "system", "--detach", "--json"])?;
    host.booted()?;
    ensure!(host.outcome()?["kind"] == "committed", "the way back");
    ensure!(host.booted_path()? == image, "the image's own system is back");
    live(&mut host)?;
    full(&mut host)?;
    host.power_off()
}

/// The same kernel: /etc and services change while the host runs.
fn live(host: &mut Host) -> Result<()> {
    let boot = host.guest.agent.read("/proc/sys/kernel/random/boot_id")?;
    let swapped = host.swap("live", &[])?;
    ensure!(swapped.code == Some(COMMITTED), "{swapped:?}");
    ensure!(host.guest.agent.read("/proc/sys/kernel/random/boot_id")? == boot, "it rebooted");
    ensure!(host.guest.agent.read("/etc/slot-live")? == "live\n", "/etc is the old one");
    host.until("the added service runs", |host| {
        let status = host.guest.agent.status()?;
        let mut services = status["services"].as_array().into_iter().flatten();
        Ok(services.any(|one| one["name"] == "added" && one["state"] == "running"))
    })?;
    host.guest.agent.rollinit_last(&["reboot"])?;
    host.booted()?;
    let live = host.path("live")?;
    ensure!(host.booted_path()? == live, "the next boot is another system's");
    host.until("the live one is blessed too", |host| {
        Ok(host.entries()?.contains(&"rollinit-4.conf".to_owned()))
    })
}

/// No room: said, and nothing is touched.
fn full(host: &mut Host) -> Result<()> {
    // Nobody's kernel, below the folder of nobody: room cannot be made of it.
    host.shell("mkdir other; dd if=/dev/zero of=other/kernel bs=1M; sync; true")?;
    // So that it has something to write: a file that is not as it should be is written anew.
    host.shell("for one in rollinit/kernel-*; do mv $one other/; done")?;
    let before = host.shell("find . -type f | sort | xargs ls -ln")?;
    let refused = host.swap("good", &[])?;
    ensure!(refused.code == Some(REFUSED), "{refused:?}");
    ensure!(refused.reason().contains("the boot partition is full"), "{refused:?}");
    ensure!(host.shell("find . -type f | sort | xargs ls -ln")? == before, "it was touched");
    host.shell("mv other/kernel-* rollinit/; rm -r other")?;
    Ok(())
}

/// Proof: QEMU goes on over a kernel panic, the watchdog's reset and the agent's own reboot; each
/// time it is the loader's count alone that leads back, and the same generation runs as before.
pub fn fall_back(name: &str) -> Result<()> {
    let mut host = Host::start(name)?;
    let image = host.image.clone();
    let entries = ["rollinit-1.conf"];
    host.swap_by_reboot("panics")?;
    ensure!(host.guest.console.so_far().contains("Kernel panic"), "it did not panic");
    host.fell_back("panics", &image, &entries)?;
    host.swap_by_reboot("hangs")?;
    let console = host.guest.console.so_far();
    ensure!(console.contains("Initiating system reboot"), "the watchdog did not bark:\n{console}");
    host.fell_back("hangs", &image, &entries)?;
    host.swap_by_reboot("silent")?;
    let silent = host.path("silent")?;
    ensure!(host.booted_path()? == silent, "it comes up, and is not blessed");
    host.booted()?;
    let reason = host.fell_back("silent", &image, &entries)?;
    ensure!(reason.contains("never"), "what was waited for is told: {reason}");
    host.power_off()
}
