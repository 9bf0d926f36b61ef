//! KVM, if a guest really boots under it; TCG otherwise.
//!
//! `/dev/kvm` proves nothing: in many a cloud machine it can be opened and then hangs or faults. So
//! once a boot of this machine we boot the kernel without a root and look for its first words.

use super::cleanup::Held;
use super::image;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::time::Duration;

/// Under KVM the kernel speaks within a second.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

/// The value of QEMU's `-accel`.
#[must_use]
pub fn choose(kernel: &Path) -> &'static str {
    static CHOICE: OnceLock<&str> = OnceLock::new();
    CHOICE.get_or_init(|| if remembered(kernel) { "kvm" } else { "tcg" })
}

/// The probe's answer, kept in a file for as long as this machine is up.
fn remembered(kernel: &Path) -> bool {
    let file = image::target().join("qemu/accelerator");
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let answer = |boots: bool| format!("{} {boots}", boot.trim());
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    if let Some(boots) = [true, false].into_iter().find(|boots| kept == answer(*boots)) {
        return boots;
    }
    let boots = kvm_boots(kernel);
    // Not kept, the probe runs again: nothing is lost but its time.
    let _ = std::fs::write(&file, answer(boots));
    boots
}

fn kvm_boots(kernel: &Path) -> bool {
    let openable = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    openable && speaks(kernel).unwrap_or(false)
}

fn speaks(kernel: &Path) -> std::io::Result<bool> {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-nodefaults", "-display", "none", "-no-reboot", "-m", "256"]);
    command.args(["-machine", "q35", "-accel", "kvm", "-serial", "stdio", "-kernel"]);
    command.arg(kernel).args(["-append", "console=ttyS0 earlyprintk=ttyS0 panic=-1"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let stdout = child.stdout.take();
    let process = Held::new(child);
    let (sender, spoken) = channel();
    std::thread::spawn(move || {
        let lines = stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines());
        let found = lines.map_while(Result::ok).any(|line| line.contains("Linux version"));
        let _ = sender.send(found);
    });
    let boots = spoken.recv_timeout(PROBE_PATIENCE).unwrap_or(false);
    process.kill();
    Ok(boots)
}
