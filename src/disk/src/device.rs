//! Block devices: what is there, how large, and which partition is which.
//!
//! From `/sys/class/block`, a directory each; a partition's is inside that of its disk. The kernel
//! knows a partition's UUID but shows it only since 6.9, so tables are read from the disks.

use crate::superblock::{self, Superblock};
use crate::table::{self, Table};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Devices looked at; a server has a dozen.
const DEVICES_MAX: usize = 1024;

/// `size` and `start` in sysfs count these, whatever the disk's own sectors are.
const SYSFS_SECTOR_BYTES: u64 = 512;

/// A disk or a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Below `/dev`: `nvme0n1p1`.
    pub name: String,
    /// Its node.
    pub path: PathBuf,
    /// Size in bytes; 0 for a drive without a medium.
    pub bytes: u64,
    /// The serial number of its disk, without spaces around: `vol0123456789abcdef0` on EC2.
    pub serial: Option<String>,
    /// What it is of its disk; none for a whole disk.
    pub partition: Option<Partition>,
    /// The disk that it is a partition of.
    pub disk: Option<Disk>,
}

/// The disk of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Its node.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its logical sector in bytes.
    pub sector_bytes: u64,
}

/// Which partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    /// From 1.
    pub number: u32,
    /// PARTUUID as the kernel's `root=PARTUUID=` takes it, in lower case.
    pub uuid: Option<String>,
    /// PARTLABEL.
    pub label: Option<String>,
    /// The type's UUID, in lower case; see [`table::EFI_SYSTEM`].
    pub kind: Option<String>,
}

impl Device {
    /// The superblocks on it; usually one or none.
    ///
    /// # Errors
    /// Those of opening and reading it; `ENOMEDIUM` for a drive without one.
    pub fn superblocks(&self) -> io::Result<Vec<Superblock>> {
        superblock::probe(&File::open(&self.path)?, self.bytes)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} MiB", self.path.display(), self.bytes / (1024 * 1024))?;
        let partition = self.partition.as_ref();
        if let Some(uuid) = partition.and_then(|partition| partition.uuid.as_ref()) {
            write!(f, " PARTUUID={uuid}")?;
        }
        if let Some(label) = partition.and_then(|partition| partition.label.as_ref()) {
            write!(f, " PARTLABEL={}", label.escape_debug())?;
        }
        match (&self.serial, partition) {
            (Some(serial), None) => write!(f, " serial {}", serial.escape_debug()),
            _ => Ok(()),
        }
    }
}

/// Every block device, by name. A disk that cannot be read has partitions without UUID.
///
/// # Errors
/// Those of reading `/sys/class/block`; `ENOENT` without `/sys`.
pub fn devices() -> io::Result<Vec<Device>> {
    devices_in(Path::new("/sys/class/block"), Path::new("/dev"))
}

fn devices_in(class: &Path, nodes: &Path) -> io::Result<Vec<Device>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(class)?.take(DEVICES_MAX) {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        // One that went meanwhile is not there.
        let Ok(directory) = fs::canonicalize(class.join(&name)) else { continue };
        found.push(device(name, &directory, nodes));
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    number_partitions(&mut found);
    Ok(found)
}

/// A device as sysfs shows it; what its disk's table says comes later.
fn device(name: String, directory: &Path, nodes: &Path) -> Device {
    let size = |directory: &Path| bytes_at(directory, "size");
    let number = number(&directory.join("partition"));
    let parent = directory.parent().filter(|_| number.is_some());
    let disk = parent.and_then(|parent| {
        Some(Disk {
            path: nodes.join(parent.file_name()?),
            bytes: size(parent),
            sector_bytes: self::number(&parent.join("queue/logical_block_size"))?,
        })
    });
    let number = number.and_then(|number| u32::try_from(number).ok());
    let partition = number.map(|number| Partition { number, ..Partition::default() });
    Device {
        path: nodes.join(&name),
        bytes: size(directory),
        serial: serial(parent.unwrap_or(directory)),
        name,
        partition,
        disk,
    }
}

/// Names the partitions by their disks' tables, each of which is read once.
fn number_partitions(devices: &mut [Device]) {
    let mut last: Option<(PathBuf, Option<Table>)> = None;
    for device in devices {
        let (Some(disk), Some(partition)) = (&device.disk, &mut device.partition) else { continue };
        if last.as_ref().is_none_or(|(path, _)| *path != disk.path) {
            let sectors = disk.bytes / disk.sector_bytes.max(1);
            let file = File::open(&disk.path).ok();
            let table = file.and_then(|file| table::read(&file, disk.sector_bytes, sectors));
            last = Some((disk.path.clone(), table));
        }
        match last.as_ref().and_then(|(_, table)| table.as_ref()) {
            Some(Table::Gpt(entries)) => {
                let entry = entries.iter().find(|entry| entry.number == partition.number);
                if let Some(entry) = entry {
                    partition.uuid.clone_from(&entry.uuid);
                    partition.label.clone_from(&entry.label);
                    partition.kind.clone_from(&entry.kind);
                }
            }
            Some(Table::Dos(signature)) => {
                partition.uuid = Some(format!("{signature:08x}-{:02x}", partition.number));
            }
            None => {}
        }
    }
}

/// NVMe keeps it at the controller, virtio at the disk.
fn serial(disk: &Path) -> Option<String> {
    let read = |name: &str| fs::read_to_string(disk.join(name)).ok();
    let text = read("device/serial").or_else(|| read("serial"))?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn bytes_at(directory: &Path, name: &str) -> u64 {
    number(&directory.join(name)).unwrap_or(0).saturating_mul(SYSFS_SECTOR_BYTES)
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::tests::gpt_disk;
    use std::os::unix::fs::symlink;

    /// Files by their content, and the links that `/sys/class/block` is made of.
    fn tree(files: &[(&str, &str)], devices: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        let place = |name: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("it has one")).expect("folders");
            path
        };
        for (name, content) in files {
            fs::write(place(name), content).expect("a file");
        }
        for (name, target) in devices {
            symlink(root.path().join(target), place(&format!("class/{name}"))).expect("a link");
        }
        fs::create_dir_all(root.path().join("dev")).expect("a folder");
        root
    }

    /// A disk with a GPT, one with a DOS table, and a drive without a medium, as sysfs shows them.
    #[test]
    fn devices_of_a_machine() {
        let files = [
            ("d/nvme0/nvme0n1/size", "128\n"),
            ("d/nvme0/nvme0n1/queue/logical_block_size", "512\n"),
            ("d/nvme0/nvme0n1/device/serial", "vol0123456789abcdef0  \n"),
            ("d/nvme0/nvme0n1/nvme0n1p2/partition", "2\n"),
            ("d/nvme0/nvme0n1/nvme0n1p2/size", "16\n"),
            ("d/vda/size", "128\n"),
            ("d/vda/serial", "data"),
            ("d/vda/queue/logical_block_size", "512\n"),
            ("d/vda/vda1/partition", "1\n"),
            ("d/vda/vda1/size", "64\n"),
            ("d/sr0/size", "0\n"),
        ];
        let links = [
            ("nvme0n1", "d/nvme0/nvme0n1"),
            ("nvme0n1p2", "d/nvme0/nvme0n1/nvme0n1p2"),
            ("vda", "d/vda"),
            ("vda1", "d/vda/vda1"),
            ("sr0", "d/sr0"),
            ("gone", "d/gone"),
        ];
        let root = tree(&files, &links);
        let nodes = root.path().join("dev");
        fs::write(nodes.join("nvme0n1"), gpt_disk()).expect("a disk");
        let mut dos = vec![0; 128 * 512];
        dos[440..444].copy_from_slice(&0xdead_beef_u32.to_le_bytes());
        dos[510..512].copy_from_slice(&[0x55, 0xaa]);
        fs::write(nodes.join("vda"), dos).expect("a disk");
        let found = devices_in(&root.path().join("class"), &nodes).expect("listed");
        let names: Vec<&str> = found.iter().map(|device| device.name.as_str()).collect();
        assert_eq!(names, ["nvme0n1", "nvme0n1p2", "sr0", "vda", "vda1"]);
        assert_eq!(found[0].serial.as_deref(), Some("vol0123456789abcdef0"));
        assert_eq!((found[0].bytes, &found[0].partition), (64 * 1024, &None));
        let partition = found[1].partition.as_ref().expect("it is one");
        assert_eq!(partition.uuid.as_deref(), Some("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"));
        assert_eq!((partition.number, partition.label.as_deref()), (2, Some("root")));
        assert_eq!(found[1].disk.as_ref().map(|disk| disk.bytes), Some(64 * 1024));
        assert_eq!(found[1].serial, found[0].serial, "a partition has its disk's");
        assert_eq!(found[2].bytes, 0);
        let partition = found[4].partition.as_ref().expect("it is one");
        assert_eq!(partition.uuid.as_deref(), Some("deadbeef-01"));
        assert!(found[1].to_string().ends_with(
            "nvme0n1p2 0 MiB PARTUUID=c12a7328-f81f-11d2-ba4b-00a0c93ec93b PARTLABEL=root"
        ));
        assert!(found[3].to_string().ends_with("vda 0 MiB serial data"));
    }
}
