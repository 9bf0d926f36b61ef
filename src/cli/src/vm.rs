//! `rollinit vm`: a system or an image in QEMU, in front of a metadata service of its own.
//!
//! ```text
//! image  ── copied ────────────▶ disk ─┐ NVMe, UEFI
//! system ── closure, mke2fs ───▶ disk ─┴ NVMe, -kernel ─▶ QEMU ─ 169.254.169.254 ─▶ vm-imds
//! ```
//!
//! It touches a folder of its own in the temporary directory, which goes when QEMU does, and the
//! disk that `--disk` names. QEMU is asked to end by its monitor, never by a signal: the guest then
//! sees what EC2's stop looks like.

mod closure;
mod files;
mod machine;
mod metadata;
mod monitor;

use crate::exit::{Code, Failure};
use crate::screen::Screen;
use crate::vm_ec2;
use clap::Args;
use files::Folder;
use machine::{Accelerator, Boot, Forward, Machine, Serial};
use serde::Serialize;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tokio::signal::unix::{SignalKind, signal};

/// The program that is the machine.
const QEMU: &str = "qemu-system-x86_64";

/// Bytes of a GiB.
const GIB_BYTES: u64 = 1 << 30;

/// What to boot, and as what.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A disk image, or a system: a store path with `init` and `kernel`
    #[arg(value_name = "IMAGE|SYSTEM", required_unless_present = "ec2")]
    what: Option<PathBuf>,
    /// Not here but on EC2: what to do there
    #[arg(long, value_name = "VERB", value_enum)]
    ec2: Option<vm_ec2::Verb>,
    #[command(flatten)]
    instance: vm_ec2::InstanceArguments,
    /// The user-data that its metadata service hands out
    #[arg(long, value_name = "FILE")]
    user_data: Option<PathBuf>,
    /// Further answers of the metadata service: a JSON object, path to text
    #[arg(long, value_name = "FILE")]
    metadata: Option<PathBuf>,
    /// Reach a TCP port of the guest on this machine's loopback (repeatable)
    #[arg(long, value_name = "[HERE:]THERE")]
    port: Vec<Forward>,
    /// Nothing but the metadata service can be reached from inside
    #[arg(long)]
    isolated: bool,
    /// Keep the disk in this file, and go on with it if it is there
    #[arg(long, value_name = "FILE")]
    disk: Option<PathBuf>,
    /// Size of a new disk; the root grows to it at the first boot
    #[arg(long, value_name = "GIB", default_value_t = 8)]
    disk_size: u32,
    /// Memory
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    memory: u32,
    /// Processors
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    processors: u32,
    /// What runs the guest's instructions; kvm if /dev/kvm can be opened
    #[arg(long, value_name = "NAME", value_enum)]
    accelerator: Option<Accelerator>,
    /// A folder with OVMF_CODE.fd and OVMF_VARS.fd, if they are elsewhere
    #[arg(long, value_name = "DIR")]
    firmware: Option<PathBuf>,
}

/// The arguments of `vm-imds`, which QEMU starts for each connection of the guest.
#[derive(Debug, Args)]
pub struct MetadataArguments {
    /// The file of answers
    answers: PathBuf,
}

/// What is said, with `--json`, when the guest runs and when it has ended.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Said<'a> {
    Started { pid: u32, disk: &'a Path, metadata: &'a Path, monitor: &'a Path, console: &'a Path },
    Ended { exit_code: Option<i32> },
}

/// Boots it and stays until it is off.
///
/// # Errors
/// A [`Failure`] that names what is missing; a guest that fails by itself is none.
pub fn run(arguments: &Arguments, screen: &mut Screen) -> Result<Code, Failure> {
    if let Some(verb) = arguments.ec2 {
        let (what, user_data) = (arguments.what.as_deref(), arguments.user_data.as_deref());
        let disk_gib = arguments.disk_size;
        return vm_ec2::run(verb, &arguments.instance, what, user_data, disk_gib, screen);
    }
    let folder = Folder::new()?;
    let answers = folder.path("metadata.json");
    metadata::write(&answers, arguments.user_data.as_deref(), arguments.metadata.as_deref())?;
    let firmware = arguments.firmware.as_deref();
    let (disk, boot) = prepare(arguments, &folder, firmware)?;
    let serial =
        if screen.json { Serial::File(folder.path("console.log")) } else { Serial::Terminal };
    let machine = Machine {
        disk,
        boot,
        serial,
        monitor: folder.path("monitor"),
        metadata: metadata::command(&answers)?,
        forwards: arguments.port.clone(),
        isolated: arguments.isolated,
        memory_mib: arguments.memory,
        processors: arguments.processors,
        accelerator: arguments.accelerator.unwrap_or_else(Accelerator::best),
    };
    let mut child = start(&machine)?;
    announce(&machine, &answers, child.id(), screen)?;
    let exit_code = wait(&mut child, &machine.monitor)?;
    if screen.json {
        screen.json(&Said::Ended { exit_code })?;
    }
    Ok(if exit_code == Some(0) { Code::Done } else { Code::Failed })
}

/// Answers the guest's question that is on standard input.
///
/// # Errors
/// A [`Failure`] if the file of answers cannot be read.
pub fn answer(arguments: &MetadataArguments) -> Result<Code, Failure> {
    metadata::serve(&arguments.answers)?;
    Ok(Code::Done)
}

/// The disk, and what starts it.
fn prepare(
    arguments: &Arguments,
    folder: &Folder,
    firmware: Option<&Path>,
) -> Result<(PathBuf, Boot), Failure> {
    // The command line has one, or `--ec2`.
    let what = arguments.what.as_deref().unwrap_or(Path::new(""));
    let disk = arguments.disk.clone().unwrap_or_else(|| folder.path("disk.img"));
    let bytes = u64::from(arguments.disk_size) * GIB_BYTES;
    let kept = disk.exists();
    if closure::is_system(what) {
        let system = closure::System::read(what)?;
        if !kept {
            system.write_disk(&disk, bytes, folder)?;
        }
        return Ok((disk, system.boot()));
    }
    // What the image's derivation leaves is a folder with the disk in it.
    let image = if what.is_dir() { what.join("disk.img") } else { what.to_path_buf() };
    let kind = image.metadata().map_err(|error| Failure {
        cures: vec![
            "Name a disk image, or the store path of a system (`nix build` prints it).".to_owned(),
        ],
        ..Failure::local(&format!("{}: neither an image nor a system", what.display()), &error)
    })?;
    if kind.file_type().is_block_device() || !kind.is_file() {
        let error = io::Error::from(io::ErrorKind::InvalidInput);
        return Err(Failure::local(&format!("{}: not a file", image.display()), &error));
    }
    if !kept {
        files::copy_sparse(&image, &disk, bytes)?;
    }
    let (code, variables) = machine::find_firmware(firmware)?;
    let mine = folder.path("variables.fd");
    files::copy(&variables, &mine)?;
    Ok((disk, Boot::Firmware { code, variables: mine }))
}

fn start(machine: &Machine) -> Result<Child, Failure> {
    let mut command = Command::new(QEMU);
    command.args(machine.arguments());
    if let Serial::File(path) = &machine.serial {
        let what = format!("cannot write {}", path.display());
        File::create(path).map_err(|error| Failure::local(&what, &error))?;
        command.stdin(Stdio::null()).stdout(Stdio::null());
    }
    command.spawn().map_err(|error| Failure {
        cures: vec![format!("Install QEMU: {QEMU} has to be in PATH.")],
        ..Failure::local(&format!("cannot start {QEMU}"), &error)
    })
}

fn announce(
    machine: &Machine,
    answers: &Path,
    pid: u32,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let Machine { disk, monitor, .. } = machine;
    if let Serial::File(console) = &machine.serial {
        screen.json(&Said::Started { pid, disk, metadata: answers, monitor, console })?;
    } else {
        let metadata = answers.display();
        screen.complain(&format!(
            "The console follows; C-a x ends the guest, C-a h tells more.\n\
             Metadata, read anew at each question: {metadata}\n"
        ))?;
    }
    screen.flush()?;
    Ok(())
}

/// Waits for QEMU's end; SIGTERM and SIGHUP press the guest's power button meanwhile.
fn wait(child: &mut Child, monitor: &Path) -> Result<Option<i32>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::local("cannot start", &error))?;
    let monitor = monitor.to_owned();
    let _guard = runtime.enter();
    let mut term = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    // QEMU, in the foreground too, gets a terminal's interrupt itself and ends by it.
    let mut interrupt = signal(SignalKind::interrupt())?;
    std::thread::scope(|scope| {
        let (sender, ended) = tokio::sync::oneshot::channel();
        scope.spawn(move || sender.send(child.wait()));
        runtime.block_on(async {
            tokio::pin!(ended);
            loop {
                tokio::select! {
                    status = &mut ended => {
                        let status = status.map_err(io::Error::other).and_then(|status| status);
                        let status = status.map_err(|e| Failure::local("wait for QEMU", &e))?;
                        return Ok(status.code());
                    }
                    _ = term.recv() => stop(&monitor),
                    _ = hangup.recv() => stop(&monitor),
                    _ = interrupt.recv() => {}
                }
            }
        })
    })
}

/// Asks the guest to go. If that fails it is said, and QEMU is waited for all the same.
fn stop(monitor: &Path) {
    if let Err(failure) = monitor::press_power(monitor) {
        eprint!("{}", failure.lines());
    }
}
