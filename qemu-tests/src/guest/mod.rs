//! Guests: a QEMU process, its console, its monitor, and a way to run commands inside.
//!
//! QEMU connects to us: the harness listens on three sockets before it starts QEMU, so nothing has
//! to be polled for. A guest never outlives its [`Guest`], nor a Ctrl-C (see [`cleanup`]).

pub mod accelerator;
pub mod agent;
pub mod cleanup;
pub mod disk;
pub mod firmware;
pub mod image;
pub mod network;
pub mod qmp;
pub mod swap;
pub mod transcript;
pub mod view;

use crate::cluster::network::Cable;
use agent::Agent;
use anyhow::{Context, Result, bail};
use cleanup::Held;
use image::Image;
use qmp::Qmp;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::PipeReader;
use std::net::SocketAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;
use transcript::Transcript;

/// How long a guest may take to boot, to answer a command, to power off. A bound against a hang,
/// not a budget: under TCG, on a busy machine, a boot takes ten times as long as it should.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// QEMU starts its devices before the guest runs.
const CONNECT_PATIENCE: Duration = Duration::from_secs(60);

/// Where the root file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// virtio-blk: a module of Debian's cloud kernel.
    VirtioBlock,
    /// NVMe: built into Debian's cloud kernel, and what EC2 has.
    Nvme,
    /// virtio-blk that is not there at the start: a test adds the device `virtio-blk-pci`, with
    /// `drive=root`, on the bus [`LATER`].
    Later,
}

/// The PCI bus on which devices appear while a guest runs.
pub const LATER: &str = "later";

/// A guest to boot.
#[derive(Clone, Debug)]
pub struct Boot {
    /// Its name; its log is `target/qemu/NAME/serial.log`.
    pub name: String,
    /// What it boots from.
    pub image: Image,
    /// Its disk.
    pub disk: Disk,
    /// The disk's contents, when they are not the image's own: what QEMU calls `file=`, such as
    /// [`crate::nbd::Server::address`]. What the guest writes goes there.
    pub drive: Option<String>,
    /// Whether it gets the initramfs, or the kernel mounts the root by itself.
    pub initrd: bool,
    /// Whether it starts by UEFI from its disk, with the loader, kernel and words that are there,
    /// and not by those of the image.
    pub firmware: bool,
    /// Whether QEMU goes on when the guest reboots, or panics: such a guest ends by its power-off.
    pub restarts: bool,
    /// Words in place of the image's own of the same name (`root=`), or after them.
    pub words: Vec<String>,
    /// TCP ports of the guest to reach from here.
    pub ports: Vec<u16>,
    /// A server of this machine that the guest finds at [`network::CACHE`], on EC2 at
    /// [`network::CACHE_ON_EC2`]; nothing else leaves the guest.
    pub cache: Option<SocketAddr>,
    /// What it finds as an instance of EC2; nothing: it is on no cloud.
    pub ec2: Option<network::Ec2>,
    /// Its cable to a network that the harness made: it has no other then, and `ports`, `cache` and
    /// `ec2` say nothing.
    pub cable: Option<Cable>,
    /// Further words for QEMU: disks that hold data.
    pub devices: Vec<String>,
    /// Its memory.
    pub memory_mib: u32,
}

impl Boot {
    /// The usual guest: virtio, initramfs, ports 8080 and 8081.
    ///
    /// # Errors
    /// The image of `configuration` was not built.
    pub fn new(name: &str, configuration: &str) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            image: Image::open(configuration)?,
            disk: Disk::VirtioBlock,
            drive: None,
            initrd: true,
            firmware: false,
            restarts: false,
            words: Vec::new(),
            ports: vec![8080, 8081],
            cache: None,
            ec2: None,
            cable: None,
            devices: Vec::new(),
            memory_mib: 512,
        })
    }

    /// The kernel command line. A panic ends QEMU: `panic=-1` reboots at once, and QEMU has
    /// `-no-reboot`.
    fn command_line(&self) -> String {
        let replaced = |word: &str| {
            let key = word.split_inclusive('=').next().unwrap_or(word);
            self.words.iter().any(|mine| key.ends_with('=') && mine.starts_with(key))
        };
        let words = self.image.command_line.split_ascii_whitespace();
        let mut line: Vec<&str> =
            words.filter(|word| !replaced(word) && !word.starts_with("panic=")).collect();
        line.push("panic=-1");
        line.extend(self.words.iter().map(String::as_str));
        line.join(" ")
    }

    /// QEMU's arguments. `sockets` is the folder with the three sockets that we listen on.
    fn arguments(&self, sockets: &Path) -> Result<Vec<String>> {
        let socket = |name: &str| sockets.join(name).display().to_string();
        let path = |path: PathBuf| path.display().to_string();
        let mut words: Vec<String> = Vec::new();
        let mut add = |line: &[&str]| words.extend(line.iter().map(|word| (*word).to_owned()));
        add(&["-nodefaults", "-display", "none"]);
        if !self.restarts {
            add(&["-no-reboot"]);
        }
        add(&["-m", &self.memory_mib.to_string()]);
        add(&["-machine", "q35", "-accel", accelerator::choose(&self.image.kernel())]);
        for line in ["console", "agent"] {
            add(&["-chardev", &format!("socket,id={line},path={}", socket(line))]);
            add(&["-serial", &format!("chardev:{line}")]);
        }
        add(&["-chardev", &format!("socket,id=monitor,path={}", socket("monitor"))]);
        add(&["-mon", "chardev=monitor,mode=control"]);
        if !self.firmware {
            add(&["-kernel", &path(self.image.kernel()), "-append", &self.command_line()]);
            if self.initrd {
                add(&["-initrd", &path(self.image.initrd())]);
            }
        }
        let file = self.drive.as_ref().map_or_else(
            || format!("snapshot=on,file={}", path(self.image.disk())),
            |drive| format!("file={drive}"),
        );
        add(&["-drive", &format!("if=none,id=root,format=raw,{file}")]);
        add(match self.disk {
            Disk::VirtioBlock => &["-device", "virtio-blk-pci,drive=root,bootindex=1"],
            Disk::Nvme => &["-device", "nvme,serial=root,drive=root,bootindex=1"],
            Disk::Later => &[],
        });
        add(&["-device", &format!("pcie-root-port,id={LATER},chassis=1")]);
        let user = || network::netdev(&self.ports, self.cache, self.ec2.as_ref());
        let (netdev, mac) =
            self.cable.as_ref().map_or_else(|| (user(), String::new()), network::tap);
        add(&["-netdev", &netdev]);
        add(&["-device", &format!("virtio-net-pci,netdev=net,romfile={mac}")]);
        words.extend(self.devices.iter().cloned());
        if self.firmware {
            words.extend(firmware::arguments(&self.name)?);
        }
        Ok(words)
    }

    /// Starts QEMU and connects to the guest's lines.
    ///
    /// # Errors
    /// QEMU does not start; its own words are in `target/qemu/NAME/qemu.log`.
    pub fn start(&self) -> Result<Guest> {
        cleanup::on_ctrl_c()?;
        let folder = image::target().join("qemu").join(&self.name);
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        // Socket paths have at most 108 bytes, so not below a deep target folder.
        let sockets = tempdir()?;
        let result = self.connect(&folder, &sockets);
        // Both ends are connected by now, or never will be.
        let _ = std::fs::remove_dir_all(&sockets);
        result
    }

    fn connect(&self, folder: &Path, sockets: &Path) -> Result<Guest> {
        let listen = |name: &str| {
            UnixListener::bind(sockets.join(name)).with_context(|| format!("listen for {name}"))
        };
        let listeners = [listen("console")?, listen("agent")?, listen("monitor")?];
        let log = folder.join("qemu.log");
        let (words, pipe) = std::io::pipe()?;
        let mut command = Command::new("qemu-system-x86_64");
        command.args(self.arguments(sockets)?).stdin(Stdio::null());
        command.stdout(pipe.try_clone()?).stderr(pipe);
        let process = Held::new(command.spawn().context("start qemu-system-x86_64")?);
        drop(command); // it holds our copies of the pipe, whose end says that QEMU ended
        let lines = accept_all(listeners, words, File::create(&log)?).with_context(|| {
            let words = std::fs::read_to_string(&log).unwrap_or_default();
            format!("QEMU does not start, see {}: {words}", log.display())
        })?;
        let [console, agent, monitor] = lines;
        let writer = console.try_clone().context("duplicate the console")?;
        let serial_log = folder.join("serial.log");
        let console = Transcript::start(console, &serial_log)?;
        let agent = Agent::start(agent, PATIENCE)?;
        let mut qmp = Qmp::start(monitor)?;
        let ports = forwarded(&qmp.monitor("info usernet")?);
        let restarts = self.restarts;
        Ok(Guest { process, console, writer, qmp, agent, ports, serial_log, restarts })
    }
}

/// Accepts one connection on each listener, or fails when QEMU ends before: its `words` do then,
/// which are copied to `log`.
fn accept_all(
    listeners: [UnixListener; 3],
    mut words: PipeReader,
    mut log: File,
) -> Result<[UnixStream; 3]> {
    let (sender, lines) = channel();
    let ended = sender.clone();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut words, &mut log);
        let _ = ended.send(Err(anyhow::anyhow!("it ended")));
    });
    std::thread::spawn(move || {
        let accepted: std::io::Result<Vec<UnixStream>> =
            listeners.iter().map(|listener| listener.accept().map(|(stream, _)| stream)).collect();
        let _ = sender.send(accepted.map_err(Into::into));
    });
    let accepted = lines.recv_timeout(CONNECT_PATIENCE).context("it does not connect")??;
    accepted.try_into().map_err(|_| anyhow::anyhow!("three lines"))
}

fn tempdir() -> Result<PathBuf> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("rollinit-{}-{number}", std::process::id()));
    std::fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
    Ok(path)
}

/// Guest ports and where they are here, from the table that `info usernet` prints.
fn forwarded(table: &str) -> BTreeMap<u16, SocketAddr> {
    let mut ports = BTreeMap::new();
    for line in table.lines().filter(|line| line.contains("TCP[HOST_FORWARD]")) {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        if let [_, _, address, here, _, there, ..] = words[..]
            && let (Ok(here), Ok(there)) = (format!("{address}:{here}").parse(), there.parse())
        {
            ports.insert(there, here);
        }
    }
    ports
}

/// How a guest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It powered itself off.
    PowerOff,
    /// It rebooted itself (and QEMU ended, by `-no-reboot`).
    Reboot,
}

/// A running guest. Dropped, it is killed.
#[derive(Debug)]
pub struct Guest {
    process: Held,
    /// What it says on its console.
    pub console: Transcript,
    writer: UnixStream,
    /// QEMU's monitor.
    pub qmp: Qmp,
    /// Commands inside.
    pub agent: Agent,
    /// Where its TCP ports are, here.
    pub ports: BTreeMap<u16, SocketAddr>,
    /// The console's log.
    pub serial_log: PathBuf,
    restarts: bool,
}

impl Guest {
    /// Where a port of the guest is to be reached.
    ///
    /// # Errors
    /// It was not forwarded.
    pub fn address(&self, port: u16) -> Result<SocketAddr> {
        self.ports.get(&port).copied().with_context(|| format!("port {port} is not forwarded"))
    }

    /// Types on the console.
    ///
    /// # Errors
    /// QEMU is gone.
    pub fn type_text(&mut self, text: &str) -> Result<()> {
        use std::io::Write;
        self.writer.write_all(text.as_bytes()).context("write to the guest's console")
    }

    /// Waits until the guest ends by itself, and checks that its kernel never panicked, unless it
    /// is one that restarts when it does.
    ///
    /// # Errors
    /// It does not end in time, or its kernel panicked.
    pub fn ended(&mut self, patience: Duration) -> Result<End> {
        let event = self.qmp.event("SHUTDOWN", patience).with_context(|| {
            let text = self.console.so_far();
            let start = text.len().saturating_sub(3000);
            let start = (start..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            format!("the guest does not end; its console says:\n{}", &text[start..])
        })?;
        self.console.resume();
        let text = self.console.whole(PATIENCE)?;
        if !self.restarts && text.contains(transcript::PANIC) {
            bail!("the kernel panicked, see {}", self.serial_log.display());
        }
        match event["data"]["reason"].as_str() {
            Some("guest-shutdown") => Ok(End::PowerOff),
            Some("guest-reset") => Ok(End::Reboot),
            other => bail!("the guest ended by {other:?}"),
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.process.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_ports_are_read_from_the_monitor() {
        let table = "  Protocol[State]    FD  Source Address  Port   Dest. Address  Port
  TCP[HOST_FORWARD]  17       127.0.0.1 45371       10.0.2.15  8080     0     0
  TCP[ESTABLISHED]   18       127.0.0.1 45371       10.0.2.15  8080     0     0\n";
        let ports = forwarded(table);
        assert_eq!(ports.len(), 1);
        assert_eq!(ports[&8080], "127.0.0.1:45371".parse().expect("an address"));
    }

    #[test]
    fn own_words_replace_those_of_the_image() {
        let image = Image {
            folder: PathBuf::new(),
            command_line: "console=ttyS0 panic=-1 root=PARTUUID=a init=/x".to_owned(),
        };
        let boot = Boot {
            name: String::new(),
            image,
            disk: Disk::Nvme,
            drive: None,
            initrd: false,
            firmware: false,
            restarts: false,
            words: vec!["root=PARTUUID=b".to_owned(), "quiet".to_owned()],
            ports: Vec::new(),
            cache: None,
            ec2: None,
            cable: None,
            devices: Vec::new(),
            memory_mib: 512,
        };
        assert_eq!(boot.command_line(), "console=ttyS0 init=/x panic=-1 root=PARTUUID=b quiet");
    }
}
