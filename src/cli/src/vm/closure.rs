//! A disk made of a system's closure: what nixos/lib/image.nix makes in a derivation, for a
//! system that is only a store path. Nix copies and registers the closure, mke2fs takes it over.

use super::files::{self, Folder};
use super::machine::Boot;
use crate::exit::Failure;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where administrators' programs are, which a user's PATH may not have.
const ADMINISTRATORS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Where the root partition begins, as mke2fs counts.
const ROOT_OFFSET_BYTES: u64 = 1 << 20;

/// The end of the disk, for the second partition table.
const TAIL_BYTES: u64 = 1 << 20;

/// "Root partition (x86-64)" of the Discoverable Partitions Specification (uapi-group.org).
const ROOT_KIND: &str = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709";

/// Directories of a root, beside the store, and their modes.
const DIRECTORIES: [(&str, u32); 18] = [
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("var", 0o755),
    ("var/empty", 0o555),
    ("var/lib", 0o755),
    ("var/log", 0o755),
    ("nix/var/nix/profiles/rollinit", 0o755),
    ("nix/var/nix/gcroots/rollinit", 0o755),
    ("nix/var/nix/temproots", 0o755),
];

/// How the command line finds the root, and so what the disk must be called.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Root {
    PartitionUuid(String),
    PartitionLabel(String),
    Uuid(String),
    Label(String),
}

impl Root {
    fn parse(parameters: &str) -> Option<Root> {
        let mut words = parameters.split_ascii_whitespace().rev();
        let (kind, name) = words.find_map(|word| word.strip_prefix("root="))?.split_once('=')?;
        let name = name.to_owned();
        match kind {
            "PARTUUID" => Some(Root::PartitionUuid(name)),
            "PARTLABEL" => Some(Root::PartitionLabel(name)),
            "UUID" => Some(Root::Uuid(name)),
            "LABEL" => Some(Root::Label(name)),
            _ => None,
        }
    }

    /// What sfdisk reads.
    fn table(&self) -> String {
        let named = match self {
            Root::PartitionUuid(uuid) => format!(", uuid={uuid}"),
            Root::PartitionLabel(label) => format!(", name=\"{label}\""),
            Root::Uuid(_) | Root::Label(_) => String::new(),
        };
        format!("label: gpt\nstart={}, type={ROOT_KIND}{named}\n", ROOT_OFFSET_BYTES / 512)
    }

    /// What mke2fs is told of the file system's name.
    fn options(&self) -> Vec<&str> {
        match self {
            Root::Uuid(uuid) => vec!["-U", uuid],
            Root::Label(label) => vec!["-L", label],
            Root::PartitionUuid(_) | Root::PartitionLabel(_) => Vec::new(),
        }
    }
}

/// Whether `path` leads to a system.
pub fn is_system(path: &Path) -> bool {
    ["init", "kernel", "initrd", "kernel-params"].iter().all(|name| path.join(name).exists())
}

/// A system of the store.
#[derive(Debug)]
pub struct System {
    toplevel: PathBuf,
    parameters: String,
    root: Root,
}

impl System {
    /// # Errors
    /// It is none that a disk can be made for.
    pub fn read(path: &Path) -> Result<System, Failure> {
        let unreadable = |error| Failure::local(&format!("cannot read {}", path.display()), &error);
        let toplevel = path.canonicalize().map_err(unreadable)?;
        let parameters = fs::read_to_string(toplevel.join("kernel-params")).map_err(unreadable)?;
        let refuse = |why: &str, cure: &str| Failure {
            cures: vec![cure.to_owned()],
            ..Failure::local(&toplevel.display().to_string(), &io::Error::other(why.to_owned()))
        };
        let root = Root::parse(&parameters).ok_or_else(|| {
            refuse(
                "its root= names a device, which another machine may call otherwise",
                "Give the system root=PARTUUID=..., PARTLABEL=, UUID= or LABEL=.",
            )
        })?;
        if !toplevel.join("volatile-etc").exists() {
            return Err(refuse(
                "it does not make its own /etc at boot",
                "Set rollinit.activate.enable, or boot its image (system.build.image).",
            ));
        }
        Ok(System { toplevel, parameters, root })
    }

    /// What starts it.
    pub fn boot(&self) -> Boot {
        let init = self.toplevel.join("init");
        Boot::Kernel {
            kernel: self.toplevel.join("kernel"),
            initrd: self.toplevel.join("initrd"),
            line: format!("init={} {}", init.display(), self.parameters.trim()),
        }
    }

    /// Makes a disk of `bytes` bytes with the system and its closure. It gets its name when it is
    /// whole.
    ///
    /// # Errors
    /// A tool is missing or fails; its words are on standard error.
    pub fn write_disk(&self, disk: &Path, bytes: u64, folder: &Folder) -> Result<(), Failure> {
        let tree = folder.path("root");
        let store = format!("local?root={}", tree.display());
        let mut copy = program("nix");
        copy.args(["--quiet", "--extra-experimental-features", "nix-command", "copy"]);
        copy.arg("--no-check-sigs");
        run(copy.args(["--to", &store]).arg(&self.toplevel), "Install Nix, or boot an image.")?;
        let part = disk.with_extension("part");
        let made = furnish(&tree, &self.toplevel).and_then(|()| {
            let file = File::create(&part)?;
            file.set_len(bytes)
        });
        made.map_err(|e| Failure::local(&format!("cannot make {}", disk.display()), &e))?;
        self.partition(&part)?;
        self.fill(&part, bytes, &tree)?;
        let moved = fs::rename(&part, disk).and_then(|()| files::remove_tree(&tree));
        moved.map_err(|e| Failure::local(&format!("cannot make {}", disk.display()), &e))
    }

    fn partition(&self, disk: &Path) -> Result<(), Failure> {
        const CURE: &str = "Debian and Ubuntu: apt-get install fdisk. Nix: util-linux.";
        let mut command = program("sfdisk");
        command.arg("--quiet").arg(disk).stdin(Stdio::piped());
        let mut child = command.spawn().map_err(|error| missing(&command, &error, CURE))?;
        let table = self.root.table();
        // Dropped, so that sfdisk sees the end. What it could not be told shows in its exit code.
        let told = child.stdin.take().map(|mut input| input.write_all(table.as_bytes()));
        let status = child.wait().map_err(|error| missing(&command, &error, CURE))?;
        match told {
            Some(Ok(())) if status.success() => Ok(()),
            _ => Err(Failure::local("sfdisk", &io::Error::other(status.to_string()))),
        }
    }

    fn fill(&self, disk: &Path, bytes: u64, tree: &Path) -> Result<(), Failure> {
        let own = tree.metadata().map_err(|e| Failure::local("cannot look at the root", &e))?;
        // Every file is ours, and must be root's in the guest: to us in a user namespace it is.
        let mut command = if own.uid() == 0 { program("mke2fs") } else { program("unshare") };
        if own.uid() != 0 {
            command.arg("--map-root-user").arg(place("mke2fs"));
        }
        let kib = (bytes - ROOT_OFFSET_BYTES - TAIL_BYTES) / 1024;
        let offset = format!("offset={ROOT_OFFSET_BYTES},root_owner=0:0");
        command.args(["-q", "-t", "ext4", "-b", "4096", "-m", "0", "-E", &offset]);
        command.args(self.root.options()).arg("-d").arg(tree).arg(disk).arg(format!("{kib}k"));
        run(&mut command, "Debian and Ubuntu: apt-get install e2fsprogs util-linux.")
    }
}

/// What a root has beside the store that Nix wrote: directories, and the links by which the system
/// is this root's first generation.
fn furnish(tree: &Path, toplevel: &Path) -> io::Result<()> {
    for (path, mode) in DIRECTORIES {
        let path = tree.join(path);
        fs::create_dir_all(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
    }
    let nix = tree.join("nix/var/nix");
    symlink(toplevel, nix.join("profiles/system-1-link"))?;
    symlink("system-1-link", nix.join("profiles/system"))?;
    let roots = nix.join("gcroots/profiles");
    if roots.symlink_metadata().is_err() {
        symlink("/nix/var/nix/profiles", roots)?;
    }
    Ok(())
}

/// Where a program is, if its place is one that PATH may lack.
fn place(name: &str) -> PathBuf {
    let mut places = ADMINISTRATORS.iter().map(|folder| Path::new(folder).join(name));
    places.find(|path| path.exists()).unwrap_or_else(|| PathBuf::from(name))
}

fn program(name: &str) -> Command {
    Command::new(place(name))
}

fn missing(command: &Command, error: &io::Error, cure: &str) -> Failure {
    let what = format!("cannot start {}", command.get_program().to_string_lossy());
    Failure { cures: vec![cure.to_owned()], ..Failure::local(&what, error) }
}

fn run(command: &mut Command, cure: &str) -> Result<(), Failure> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status.map_err(|error| missing(command, &error, cure))?;
    if status.success() {
        return Ok(());
    }
    let name = command.get_program().to_string_lossy().into_owned();
    let words: Vec<String> =
        command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let what = format!("{name} {}", words.join(" "));
    Err(Failure::local(&what, &io::Error::other(status.to_string())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is the test's verdict")]
mod tests {
    use super::*;

    #[test]
    fn roots() {
        let parse = |text| Root::parse(text);
        assert_eq!(parse("a root=PARTUUID=1-2 b"), Some(Root::PartitionUuid("1-2".to_owned())));
        assert_eq!(parse("root=LABEL=a root=LABEL=b"), Some(Root::Label("b".to_owned())));
        assert_eq!(parse("root=/dev/sda1"), None);
        assert_eq!(parse("quiet"), None);
        let table = Root::PartitionUuid("1-2".to_owned()).table();
        assert!(table.starts_with("label: gpt\nstart=2048, ") && table.ends_with(", uuid=1-2\n"));
        assert_eq!(Root::Uuid("u".to_owned()).options(), ["-U", "u"]);
    }

    /// A system is refused with the cure before anything is made of it.
    #[test]
    fn refused_systems() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        for name in ["init", "kernel", "initrd"] {
            write(name, "");
        }
        assert!(!is_system(folder.path()));
        write("kernel-params", "root=/dev/vda1\n");
        assert!(is_system(folder.path()));
        let refused = System::read(folder.path()).unwrap_err();
        assert!(refused.cures[0].contains("root=PARTUUID"), "{refused:?}");
        write("kernel-params", "root=LABEL=x rw\n");
        let refused = System::read(folder.path()).unwrap_err();
        assert!(refused.cures[0].contains("rollinit.activate.enable"), "{refused:?}");
        write("volatile-etc", "");
        let Boot::Kernel { line, .. } = System::read(folder.path()).unwrap().boot() else {
            panic!()
        };
        assert!(line.ends_with("/init root=LABEL=x rw"), "{line}");
    }
}
