//! Mounting the root, and leaving the initramfs for it.

use crate::command_line::{CommandLine, Init};
use crate::voice::Failure;
use disk::superblock::Superblock;
use initrd::image::ROOT_DIRECTORY;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use sys::mount::{self, Options};

/// Mounts that go on to the new root, in this order.
const MOVED: [&str; 4] = ["/dev", "/proc", "/sys", "/run"];

/// Names listed in a failure: enough to see a typing error.
const LISTED_MAX: usize = 8;

/// Kinds of file systems to try, in order: those of `rootfstype=`, else the one whose superblock
/// was found, else all that the kernel has.
///
/// # Errors
/// A [`Failure`] if the kernel does not say what it has.
pub fn kinds(superblock: Option<&Superblock>, line: &CommandLine) -> Result<Vec<String>, Failure> {
    if !line.root_kinds.is_empty() {
        return Ok(line.root_kinds.clone());
    }
    if let Some(found) = superblock {
        // Its one driver takes all three, where it was not told to leave the old ones alone.
        let fallback = found.kind.starts_with("ext").then_some("ext4");
        let mut kinds = vec![found.kind.to_owned()];
        kinds.extend(fallback.filter(|kind| *kind != found.kind).map(str::to_owned));
        return Ok(kinds);
    }
    let list = fs::read_to_string("/proc/filesystems");
    let list = list.map_err(|error| failure("/proc/filesystems", error.to_string(), Vec::new()))?;
    Ok(kinds_of_disks(&list))
}

fn failure(object: &str, cause: String, seen: Vec<String>) -> Failure {
    Failure {
        step: "mount the root",
        object: object.to_owned(),
        cause,
        seen,
        cure:
            "correct root=, rootfstype= or rootflags= on the kernel command line, or add the file \
               system's driver to the modules of the initrd"
                .to_owned(),
    }
}

/// Mounts the root device; returns the kind of its file system.
///
/// # Errors
/// A [`Failure`] if none of the kinds fits.
pub fn mount_root(device: &Path, kinds: &[String], line: &CommandLine) -> Result<String, Failure> {
    let shown = device.display().to_string();
    let options = Options::parse(&line.root_flags)
        .map_err(|error| failure(&shown, format!("rootflags=: {error}"), Vec::new()))?;
    let options = if line.read_only { options.read_only() } else { options };
    let mut tried = Vec::new();
    for kind in kinds {
        match mount::mount(device, Path::new(ROOT_DIRECTORY), kind, &options) {
            Ok(()) => return Ok(kind.clone()),
            Err(error) => tried.push(format!("{kind}: {error}")),
        }
    }
    Err(failure(&shown, "no file system could be mounted".to_owned(), tried))
}

/// The kinds in `/proc/filesystems` that lie on a disk: lines without `nodev`. The kernel's order,
/// but ext4 first: ext2 and ext3, which come before it, would each say that they do not fit.
fn kinds_of_disks(list: &str) -> Vec<String> {
    let kinds = list.lines().filter_map(|line| line.strip_prefix('\t'));
    let mut kinds: Vec<String> = kinds.map(str::to_owned).collect();
    kinds.sort_by_key(|kind| kind != "ext4");
    kinds
}

/// Makes sure that the next program is there and can be run, while there is still a way to say so.
///
/// # Errors
/// A [`Failure`] with what lies where it should be.
pub fn check_init(init: &Init) -> Result<(), Failure> {
    let root = Path::new(ROOT_DIRECTORY);
    let failure = |cause: String| Failure {
        step: "find what to start",
        object: init.path.display().to_string(),
        cause: format!("{cause} (named by {})", init.source),
        seen: vec![list_nearest(root, &init.path)],
        cure: "write init=, or rollinit.system=, with the path of a system that is on this root"
            .to_owned(),
    };
    let file = mount::open_in_root(root, &init.path).map_err(|error| failure(error.to_string()))?;
    let status = fs::File::from(file).metadata().map_err(|error| failure(error.to_string()))?;
    if !status.is_file() || status.permissions().mode() & 0o111 == 0 {
        return Err(failure("it is no program".to_owned()));
    }
    Ok(())
}

/// What lies in the deepest directory of `path` that is there.
fn list_nearest(root: &Path, path: &Path) -> String {
    for directory in path.ancestors().skip(1) {
        let Ok(opened) = mount::open_in_root(root, directory) else { continue };
        return format!("{} holds {}", directory.display(), list(&opened).join(" "));
    }
    "an empty root".to_owned()
}

fn list(directory: &std::os::fd::OwnedFd) -> Vec<String> {
    use std::os::fd::AsRawFd;
    // Through the descriptor: by its path, a link would lead out of the new root.
    let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    if names.len() > LISTED_MAX {
        let more = names.len() - LISTED_MAX;
        names.truncate(LISTED_MAX);
        names.push(format!("and {more} more"));
    }
    if names.is_empty() { vec!["nothing".to_owned()] } else { names }
}

/// Moves the kernel's mounts over, deletes the initramfs, and makes the new root the root.
///
/// # Errors
/// A [`Failure`] at the first step that fails; up to then the initramfs is whole.
pub fn switch() -> Result<(), Failure> {
    let root = Path::new(ROOT_DIRECTORY);
    let step = |step: &'static str, object: &str, cure: &str| {
        let (object, cure) = (object.to_owned(), cure.to_owned());
        move |error: io::Error| Failure {
            step,
            object,
            cause: error.to_string(),
            seen: Vec::new(),
            cure,
        }
    };
    for path in MOVED {
        let to = root.join(path.trim_start_matches('/'));
        // A root that was asked for read-only must have the directory already.
        if !to.is_dir() {
            let cure = "make the directory when the image is built, or boot once without ro";
            fs::create_dir(&to).map_err(step("make a directory of the root", path, cure))?;
        }
    }
    for path in MOVED {
        let to = root.join(path.trim_start_matches('/'));
        mount::move_mount(Path::new(path), &to).map_err(step(
            "move a mount to the root",
            path,
            "report this: it should not happen",
        ))?;
    }
    let cure = "boot stage 1 as /init of an initramfs, not of a disk";
    mount::empty_initramfs().map_err(step("delete the initramfs", "/", cure))?;
    mount::become_root(root).map_err(step("change to the root", ROOT_DIRECTORY, cure))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only what lies on a disk is tried: ext4, then the kernel's order.
    #[test]
    fn kinds_from_the_kernel() {
        let list = "nodev\tsysfs\n\text3\n\text2\n\text4\n\tsquashfs\nnodev\tcgroup2\n\n";
        assert_eq!(kinds_of_disks(list), ["ext4", "ext3", "ext2", "squashfs"]);
    }

    /// The nearest directory that is there is listed, sorted and cut.
    #[test]
    fn nearest_directory() {
        let root = tempfile::tempdir().expect("a directory");
        let store = root.path().join("nix/store");
        fs::create_dir_all(&store).expect("directories");
        let near = list_nearest(root.path(), Path::new("/nix/store/x-system/init"));
        assert_eq!(near, "/nix/store holds nothing");
        for name in 0..10 {
            fs::write(store.join(format!("p{name}")), "").expect("a file");
        }
        let near = list_nearest(root.path(), Path::new("/nix/store/x-system/init"));
        assert_eq!(near, "/nix/store holds p0 p1 p2 p3 p4 p5 p6 p7 and 2 more");
    }
}
