//! Disks of a guest: a root that grows, comes late or is damaged, and volumes with data.

use anyhow::{Context, Result, ensure};
use qemu_tests::aws::Moto;
use qemu_tests::guest::view::View;
use qemu_tests::guest::{Boot, Disk, End, Guest, LATER, PATIENCE, disk, image};
use qemu_tests::guests;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

const MIB: u64 = 1024 * 1024;

/// Programs of the guest.
const BIN: &str = "/run/current-system/sw/bin";

/// Runs a tool of this machine; what it prints.
fn tool(words: &[&str], file: &Path) -> Result<String> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new(words[0]);
    let output = command.args(&words[1..]).arg(file).env("PATH", path).output();
    let output = output.with_context(|| format!("{words:?}; `cargo xtask setup` brings it"))?;
    let [said, complained] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    ensure!(output.status.success(), "{words:?}: {}: {said}{complained}", output.status);
    Ok(said)
}

/// The last partition of a disk, for e2fsprogs: `FILE?offset=BYTES`.
fn last_partition(disk: &Path) -> Result<PathBuf> {
    let table: Value = serde_json::from_str(&tool(&["sfdisk", "--json"], disk)?)?;
    let partitions = table["partitiontable"]["partitions"].as_array().context("no partitions")?;
    let starts = partitions.iter().filter_map(|partition| partition["start"].as_u64());
    let start = starts.max().context("no partition")?;
    Ok(format!("{}?offset={}", disk.display(), start * 512).into())
}

fn up(boot: &Boot) -> Result<Guest> {
    let mut guest = boot.start()?;
    guest.agent.hello(PATIENCE)?;
    Ok(guest)
}

/// What a program of the guest prints; it must succeed.
fn done(guest: &mut Guest, words: &[&str]) -> Result<String> {
    let program = format!("{BIN}/{}", words[0]);
    let words: Vec<&str> = std::iter::once(&*program).chain(words[1..].iter().copied()).collect();
    let output = guest.agent.run(&words)?;
    ensure!(output.code == Some(0), "{words:?}: {output:?}");
    Ok(output.stdout)
}

/// The size of what is mounted at a place of the guest, in MiB.
fn size_mib(guest: &mut Guest, place: &str) -> Result<u64> {
    let text = done(guest, &["df", "-m", "-P", place])?;
    let size = text.lines().nth(1).and_then(|line| line.split_ascii_whitespace().nth(1));
    size.and_then(|size| size.parse().ok()).with_context(|| format!("df says {text}"))
}

fn power_off(guest: &mut Guest) -> Result<()> {
    guest.agent.rollinit_last(&["poweroff"])?;
    ensure!(guest.ended(PATIENCE)? == End::PowerOff, "it was asked to power off");
    Ok(())
}

/// Proof: the disk was enlarged by a GiB and its file system has errors recorded and a wrong count.
/// Found by its label, it is checked and mended, partition and file system take the room while the
/// system comes up, and Debian's own tools find table and file system sound afterwards. The second
/// boot, by UUID, finds nothing to do.
pub fn root_grows(name: &str) -> Result<()> {
    let mut boot = guests::boot(name)?;
    let disk = disk::copy(name, &boot.image.disk())?;
    let before = fs::metadata(&disk)?.len();
    File::options().write(true).open(&disk)?.set_len(before + 1024 * MIB)?;
    let root = last_partition(&disk)?;
    tool(&["debugfs", "-w", "-R", "ssv free_blocks_count 1"], &root)?;
    tool(&["debugfs", "-w", "-R", "ssv state 2"], &root)?;
    boot.drive = Some(disk.display().to_string());
    boot.words = vec!["root=LABEL=rollinit".to_owned()];
    let mut guest = up(&boot)?;
    let size = size_mib(&mut guest, "/")?;
    ensure!(size > 1024, "the root has {size} MiB");
    let console = guest.console.so_far();
    for said in ["root: checking /dev/nvme0n1", "was mended", "partition", "ext4 grown from"] {
        ensure!(console.contains(said), "stage 1 did not say `{said}`:\n{console}");
    }
    power_off(&mut guest)?;
    let verified = tool(&["sfdisk", "--verify"], &disk)?;
    ensure!(verified.contains("No errors detected"), "{verified}");
    tool(&["e2fsck", "-f", "-n"], &last_partition(&disk)?)?;

    let uuid = tool(&["dumpe2fs", "-h"], &last_partition(&disk)?)?;
    let uuid = uuid.lines().find_map(|line| line.strip_prefix("Filesystem UUID:"));
    boot.words = vec![format!("root=UUID={}", uuid.context("no UUID")?.trim().to_uppercase())];
    let mut guest = up(&boot)?;
    ensure!(size_mib(&mut guest, "/")? == size, "its size changed again");
    let console = guest.console.so_far();
    ensure!(!console.contains("grown") && !console.contains("checking"), "{console}");
    power_off(&mut guest)
}

/// Proof: at the start there is no disk at all; one is plugged in once stage 1 says that it waits.
/// Its driver is a module that only the disk itself asks for.
pub fn root_late(name: &str) -> Result<()> {
    let mut boot = guests::boot(name)?;
    boot.disk = Disk::Later;
    boot.words = vec!["root=PARTLABEL=rollinit".to_owned()];
    let mut guest = boot.start()?;
    guest.console.expect("rollinit-stage1: waiting for PARTLABEL=rollinit", PATIENCE)?;
    let device = json!({"driver": "virtio-blk-pci", "drive": "root", "bus": LATER, "id": "late"});
    guest.qmp.execute("device_add", device)?;
    guest.agent.hello(PATIENCE)?;
    let modules = guest.agent.read("/proc/modules")?;
    ensure!(modules.contains("virtio_blk"), "how did it find its root?\n{modules}");
    power_off(&mut guest)
}

/// The disks of the guest `volumes`, each a file that the test may look at.
struct Disks {
    data: PathBuf,
    logs: PathBuf,
    foreign: PathBuf,
}

/// Makes the disks and puts them on the guest's command line; `tagged` is the serial number that
/// EC2 will give away.
fn attach(boot: &mut Boot, tagged: &str) -> Result<Disks> {
    let folder = image::target().join("qemu").join(&boot.name);
    fs::create_dir_all(&folder).context("make a folder")?;
    let blank = |name: &str, mib: u64| -> Result<PathBuf> {
        let file = folder.join(format!("{name}.img"));
        File::create(&file).and_then(|file| file.set_len(mib * MIB)).context("make a disk")?;
        Ok(file)
    };
    let (data, foreign) = (blank("data", 256)?, blank("foreign", 64)?);
    let (logs, late, cache) = (blank("logs", 320)?, blank("late", 64)?, blank("cache", 64)?);
    // Smaller than its disk, as if that had been enlarged.
    tool(&["mkfs.xfs", "-q"], &logs)?;
    File::options().write(true).open(&logs)?.set_len(400 * MIB)?;
    tool(&["mke2fs", "-q", "-t", "ext3", "-L", "theirs"], &foreign)?;
    let mut add = |id: &str, file: &Path, device: Option<&str>| {
        let drive = format!("if=none,id={id},format=raw,file={}", file.display());
        boot.devices.extend(["-drive".to_owned(), drive]);
        let device = device.map(|device| format!("{device},drive={id}"));
        boot.devices
            .extend(device.map(|device| ["-device".to_owned(), device]).into_iter().flatten());
    };
    // virtio, since QEMU's NVMe does not tell of a new size.
    add("data", &data, Some("virtio-blk-pci,serial=vol0data"));
    add("logs", &logs, Some("nvme,serial=vol0logs"));
    add("foreign", &foreign, Some("nvme,serial=vol0foreign"));
    add("cache", &cache, Some(&format!("nvme,serial={tagged}")));
    add("late", &late, None);
    Ok(Disks { data, logs, foreign })
}

/// An instance with one volume that is tagged, in moto; the ids of both.
fn scene(moto: &Moto) -> Result<(String, String)> {
    let script = "
ec2 = client('ec2')
instance = ec2.run_instances(ImageId=ec2.describe_images()['Images'][0]['ImageId'],
    MinCount=1, MaxCount=1)['Instances'][0]
zone = instance['Placement']['AvailabilityZone']
volume = ec2.create_volume(AvailabilityZone=zone, Size=1, TagSpecifications=[
    {'ResourceType': 'volume', 'Tags': [{'Key': 'Name', 'Value': 'cache'}]}])['VolumeId']
ec2.attach_volume(Device='/dev/sdf', InstanceId=instance['InstanceId'], VolumeId=volume)
print(instance['InstanceId'], volume)
";
    let said = moto.python(script)?;
    let mut words = said.split_ascii_whitespace().map(str::to_owned);
    Ok((words.next().context("no instance")?, words.next().context("no volume")?))
}

/// Proof: five disks. A blank one gets its file system, its service finds its directory on it, and
/// it grows while that runs; one whose file system is smaller than its disk grows at the mount; one
/// that holds something else stays as it is to the last byte; one that comes after its time is
/// told of and left alone until somebody starts it; one is found by the tag that EC2 knows. Killed,
/// the task leaves the mount and finds it again; stopped, it unmounts after its services, and
/// e2fsck finds the file system clean.
pub fn volumes(name: &str) -> Result<()> {
    let moto = Moto::start()?;
    let (instance_id, volume_id) = scene(&moto)?;
    let mut boot = guests::boot(name)?;
    let instance = imds::Instance { id: instance_id, ..imds::Instance::default() };
    guests::on_ec2(&mut boot, &instance, Some(moto.address()))?;
    let disks = attach(&mut boot, &volume_id.replace('-', ""))?;
    let theirs = fs::read(&disks.foreign)?;
    let mut guest = up(&boot)?;
    let is = |view: &View, service: &str, state: &str| view.service(service)["state"] == state;
    let view = View::until(&mut guest.agent, PATIENCE, |view| {
        ["db", "volume-data", "volume-logs", "volume-tagged"]
            .iter()
            .all(|service| is(view, service, "running"))
            && is(view, "volume-foreign", "failed")
            && is(view, "volume-late", "failed")
    })?;
    let mounts = guest.agent.read("/proc/mounts")?;
    for (place, words) in [
        ("/var/lib/data", "ext4 rw,nosuid,nodev,noatime"),
        ("/srv/logs", "xfs rw,nosuid,nodev"),
        ("/srv/cache", "ext4 rw"),
    ] {
        let line = mounts.lines().find(|line| line.contains(&format!(" {place} ")));
        ensure!(line.is_some_and(|line| line.contains(words)), "{place}: {line:?}");
    }
    ensure!(!mounts.contains("/srv/foreign") && !mounts.contains("/srv/late"), "{mounts}");
    let refused = view.service("volume-foreign").to_string();
    ensure!(refused.contains("ext3 LABEL=theirs") && refused.contains("not touched"), "{refused}");
    grows_while_mounted(&mut guest, &disks)?;
    comes_late(&mut guest)?;
    is_killed_and_stopped(&mut guest, &view)?;
    power_off(&mut guest)?;
    ensure!(fs::read(&disks.foreign)? == theirs, "somebody else's disk was written to");
    ensure!(xfs_bytes(&disks.logs)? == 400 * MIB, "the xfs did not grow with its disk");
    let state = tool(&["dumpe2fs", "-h"], &disks.data)?;
    ensure!(state.contains("Filesystem state:         clean"), "{state}");
    ensure!(!state.contains("needs_recovery"), "it was not unmounted:\n{state}");
    tool(&["e2fsck", "-f", "-n"], &disks.data).map(drop)
}

/// The size that an xfs says it has: blocks and their size (xfs_format.h, `xfs_dsb`).
fn xfs_bytes(disk: &Path) -> Result<u64> {
    use std::io::Read;
    let mut start = [0; 16];
    File::open(disk)?.read_exact(&mut start)?;
    let block_bytes = u32::from_be_bytes(start[4..8].try_into()?);
    Ok(u64::from_be_bytes(start[8..].try_into()?) * u64::from(block_bytes))
}

fn grows_while_mounted(guest: &mut Guest, disks: &Disks) -> Result<()> {
    let before = size_mib(guest, "/var/lib/data")?;
    File::options().write(true).open(&disks.data)?.set_len(512 * MIB)?;
    guest.qmp.execute("block_resize", json!({"device": "data", "size": 512 * MIB}))?;
    let give_up = std::time::Instant::now() + PATIENCE;
    // Each question is a whole command in the guest, which paces it.
    while size_mib(guest, "/var/lib/data")? < before + 200 {
        ensure!(std::time::Instant::now() < give_up, "it did not grow with its disk");
    }
    Ok(())
}

fn comes_late(guest: &mut Guest) -> Result<()> {
    let device = json!({"driver": "nvme", "serial": "vol0late", "drive": "late", "bus": LATER});
    guest.qmp.execute("device_add", device)?;
    guest.console.expect("came too late, and is left alone", PATIENCE)?;
    ensure!(!guest.agent.read("/proc/mounts")?.contains("/srv/late"), "it was touched");
    guest.agent.rollinit(&["start", "volume-late"])?;
    View::until(&mut guest.agent, PATIENCE, |view| {
        view.service("volume-late")["state"] == "running"
    })?;
    ensure!(guest.agent.read("/proc/mounts")?.contains("/srv/late"), "it is not mounted");
    Ok(())
}

fn is_killed_and_stopped(guest: &mut Guest, before: &View) -> Result<()> {
    const KILL: u8 = 9;
    guest.agent.kill(before.pid("volume-data")?, KILL)?;
    View::until(&mut guest.agent, PATIENCE, |view| {
        view.service("volume-data")["state"] == "failed"
    })?;
    guest.agent.rollinit(&["start", "volume-data"])?;
    let after = View::until(&mut guest.agent, PATIENCE, |view| {
        view.service("volume-data")["state"] == "running"
    })?;
    ensure!(after.pid("db")? == before.pid("db")?, "the service on it was touched");
    let log = done(guest, &["cat", "/var/lib/data/db/log"])?;
    ensure!(log == "begun\n", "{log}");
    guest.agent.rollinit(&["stop", "volume-data"])?;
    let view = View::until(&mut guest.agent, PATIENCE, |view| {
        view.service("volume-data")["state"] == "stopped"
    })?;
    ensure!(view.service("db")["state"] != "running", "{}", view.service("db"));
    let mounts = guest.agent.read("/proc/mounts")?;
    ensure!(!mounts.contains("/var/lib/data"), "it is still mounted:\n{mounts}");
    Ok(())
}
