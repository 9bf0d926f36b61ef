//! QEMU's arguments for a machine as close to Nitro as QEMU gets: NVMe root, serial console,
//! metadata at 169.254.169.254, DMI that says EC2.

use crate::exit::Failure;
use clap::ValueEnum;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Names the folder of the firmware when `--firmware` does not.
pub const FIRMWARE_VARIABLE: &str = "ROLLINIT_FIRMWARE";

/// Where distributions keep OVMF and an empty set of its variables: Debian, Ubuntu, Fedora, Arch.
const FIRMWARE: [(&str, &str); 4] = [
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
];

/// Names of the two files in a folder that was named: nixpkgs' first.
const FIRMWARE_NAMES: [(&str, &str); 2] =
    [("OVMF_CODE.fd", "OVMF_VARS.fd"), ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd")];

/// The serial number of the root, as EBS volumes have theirs.
const ROOT_SERIAL: &str = "vol00000000000000001";

/// The network in which the metadata service's address lies: QEMU carries only what is inside.
const NETWORK: &str = "net=169.254.0.0/16,host=169.254.0.2,dns=169.254.0.3,dhcpstart=169.254.0.15";

/// EC2's metadata service.
const METADATA: &str = "169.254.169.254";

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Accelerator {
    /// The processor itself
    Kvm,
    /// QEMU, in software: slow, everywhere
    Tcg,
}

impl Accelerator {
    /// The processor itself where we may use it. That it works is not known before a guest runs.
    pub fn best() -> Accelerator {
        let opened = OpenOptions::new().read(true).write(true).open("/dev/kvm");
        if opened.is_ok() { Accelerator::Kvm } else { Accelerator::Tcg }
    }

    fn name(self) -> &'static str {
        match self {
            Accelerator::Kvm => "kvm",
            Accelerator::Tcg => "tcg",
        }
    }
}

/// A TCP port of the guest on a port of this machine's loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    here: u16,
    there: u16,
}

impl FromStr for Forward {
    type Err = String;
    fn from_str(text: &str) -> Result<Forward, String> {
        let (here, there) = text.split_once(':').unwrap_or((text, text));
        let port = |word: &str| match word.parse() {
            Ok(0) | Err(_) => Err(format!("`{word}` is no port: write 8080, or 8080:80")),
            Ok(port) => Ok(port),
        };
        Ok(Forward { here: port(here)?, there: port(there)? })
    }
}

/// What starts the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Boot {
    /// UEFI, with the loader on the disk.
    Firmware {
        /// The firmware, only read.
        code: PathBuf,
        /// Its variables.
        variables: PathBuf,
    },
    /// QEMU, by the kernel of a system.
    Kernel {
        /// The kernel.
        kernel: PathBuf,
        /// Its initramfs.
        initrd: PathBuf,
        /// Its command line.
        line: String,
    },
}

/// Where the serial console is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Serial {
    /// On the terminal, shared with QEMU's own monitor.
    Terminal,
    /// In a file.
    File(PathBuf),
}

/// The machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its disk, raw.
    pub disk: PathBuf,
    /// What starts it.
    pub boot: Boot,
    /// Its console.
    pub serial: Serial,
    /// The socket of QEMU's monitor.
    pub monitor: PathBuf,
    /// The command line that answers one connection to the metadata service.
    pub metadata: String,
    /// Ports to reach from here.
    pub forwards: Vec<Forward>,
    /// Nothing but the metadata service is to be reached from inside.
    pub isolated: bool,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Processors.
    pub processors: u32,
    /// What runs its instructions.
    pub accelerator: Accelerator,
}

impl Machine {
    /// QEMU's arguments.
    pub fn arguments(&self) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        let mut add = |line: &[&str]| words.extend(line.iter().map(|word| (*word).to_owned()));
        add(&["-nodefaults", "-display", "none", "-machine", "q35", "-cpu", "max"]);
        add(&["-accel", self.accelerator.name()]);
        add(&["-m", &self.memory_mib.to_string(), "-smp", &self.processors.to_string()]);
        add(&["-smbios", "type=1,manufacturer=Amazon EC2,product=rollinit vm"]);
        match &self.serial {
            Serial::Terminal => add(&["-serial", "mon:stdio"]),
            Serial::File(path) => add(&["-serial", &format!("file:{}", path.display())]),
        }
        add(&["-qmp", &format!("unix:{},server=on,wait=off", value(&self.monitor))]);
        match &self.boot {
            Boot::Firmware { code, variables } => {
                let drive = |unit: u8, options: &str, path: &Path| {
                    format!("if=pflash,unit={unit},format=raw,{options}file={}", value(path))
                };
                add(&["-drive", &drive(0, "readonly=on,", code)]);
                add(&["-drive", &drive(1, "", variables)]);
            }
            Boot::Kernel { kernel, initrd, line } => {
                let path = |path: &Path| path.display().to_string();
                add(&["-kernel", &path(kernel), "-initrd", &path(initrd), "-append", line]);
            }
        }
        add(&["-drive", &format!("if=none,id=root,format=raw,file={}", value(&self.disk))]);
        add(&["-device", &format!("nvme,drive=root,bootindex=1,serial={ROOT_SERIAL}")]);
        add(&["-netdev", &self.network()]);
        add(&["-device", "virtio-net-pci,netdev=net,romfile="]);
        words
    }

    fn network(&self) -> String {
        let mut network = format!("user,id=net,{NETWORK}");
        if self.isolated {
            network.push_str(",restrict=on");
        }
        for Forward { here, there } in &self.forwards {
            network.push_str(&format!(",hostfwd=tcp:127.0.0.1:{here}-:{there}"));
        }
        let command = self.metadata.replace(',', ",,");
        network.push_str(&format!(",guestfwd=tcp:{METADATA}:80-cmd:{command}"));
        network
    }
}

/// A path as the value of one of QEMU's options, in which a comma is written twice.
fn value(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// The firmware and its variables: those of the folder that was named, or where most keep them.
///
/// # Errors
/// There is none.
pub fn find_firmware(named: Option<&Path>) -> Result<(PathBuf, PathBuf), Failure> {
    let variable = || std::env::var_os(FIRMWARE_VARIABLE).filter(|path| !path.is_empty());
    let folder = named.map(Path::to_owned).or_else(|| variable().map(PathBuf::from));
    let pairs: Vec<(PathBuf, PathBuf)> = match &folder {
        Some(folder) => {
            let place = |(code, variables)| (folder.join(code), folder.join(variables));
            FIRMWARE_NAMES.into_iter().map(place).collect()
        }
        None => {
            FIRMWARE.into_iter().map(|(code, variables)| (code.into(), variables.into())).collect()
        }
    };
    let found = pairs.iter().find(|(code, variables)| code.is_file() && variables.is_file());
    found.cloned().ok_or_else(|| {
        let looked: Vec<String> =
            pairs.iter().map(|(code, _)| code.display().to_string()).collect();
        let what = format!("no UEFI firmware; looked for {}", looked.join(", "));
        Failure {
            cures: vec![
                "Debian and Ubuntu: apt-get install ovmf. Nix: --firmware $(nix build \
                 --print-out-paths nixpkgs#OVMF.fd)/FV"
                    .to_owned(),
            ],
            ..Failure::local(&what, &io::ErrorKind::NotFound.into())
        }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is the test's verdict")]
mod tests {
    use super::*;

    fn machine(boot: Boot) -> Machine {
        Machine {
            disk: "/a,b/disk.img".into(),
            boot,
            serial: Serial::Terminal,
            monitor: "/m".into(),
            metadata: "/r vm-imds /s".to_owned(),
            forwards: vec!["8080".parse().unwrap(), "81:80".parse().unwrap()],
            isolated: true,
            memory_mib: 512,
            processors: 1,
            accelerator: Accelerator::Tcg,
        }
    }

    /// Whether the arguments have these next to one another.
    fn has(arguments: &[String], pair: [&str; 2]) -> bool {
        arguments.windows(2).any(|words| words == pair)
    }

    #[test]
    fn arguments_by_firmware() {
        let boot = Boot::Firmware { code: "/c".into(), variables: "/v".into() };
        let arguments = machine(boot).arguments();
        for pair in [
            ["-drive", "if=pflash,unit=0,format=raw,readonly=on,file=/c"],
            ["-drive", "if=pflash,unit=1,format=raw,file=/v"],
            ["-drive", "if=none,id=root,format=raw,file=/a,,b/disk.img"],
            ["-accel", "tcg"],
            [
                "-netdev",
                "user,id=net,net=169.254.0.0/16,host=169.254.0.2,dns=169.254.0.3,\
                 dhcpstart=169.254.0.15,restrict=on,hostfwd=tcp:127.0.0.1:8080-:8080,\
                 hostfwd=tcp:127.0.0.1:81-:80,guestfwd=tcp:169.254.169.254:80-cmd:/r vm-imds /s",
            ],
        ] {
            assert!(has(&arguments, pair), "no {pair:?} in {arguments:?}");
        }
        assert!(!arguments.contains(&"-kernel".to_owned()));
    }

    #[test]
    fn arguments_by_kernel() {
        let boot = Boot::Kernel { kernel: "/k".into(), initrd: "/i".into(), line: "a b".into() };
        let arguments = machine(boot).arguments();
        assert!(has(&arguments, ["-append", "a b"]) && has(&arguments, ["-kernel", "/k"]));
        assert!(!arguments.iter().any(|word| word.contains("pflash")));
    }

    #[test]
    fn ports() {
        assert_eq!("8080:80".parse(), Ok(Forward { here: 8080, there: 80 }));
        for wrong in ["0", "x", "80:", "1:70000", ""] {
            assert!(wrong.parse::<Forward>().unwrap_err().contains("no port"), "{wrong}");
        }
    }

    /// Both files have to be there; the refusal names the places.
    #[test]
    fn firmware() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("OVMF_CODE_4M.fd"), "").unwrap();
        let failure = find_firmware(Some(folder.path())).unwrap_err();
        assert!(failure.message.contains("OVMF_CODE.fd"), "{}", failure.message);
        std::fs::write(folder.path().join("OVMF_VARS_4M.fd"), "").unwrap();
        let (code, variables) = find_firmware(Some(folder.path())).unwrap();
        assert!(code.ends_with("OVMF_CODE_4M.fd") && variables.ends_with("OVMF_VARS_4M.fd"));
    }
}
