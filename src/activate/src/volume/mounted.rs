//! A volume's mount: made, grown, and taken away.

use super::settings::Volume;
use crate::report::{Problem, Report};
use disk::Device;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use sys::{detach, mount};

/// What a data volume need not do, and the option that says that it shall.
const RESTRICTIONS: [(&str, &str); 2] = [("nodev", "dev"), ("nosuid", "suid")];

/// Processes that are named when a volume is busy.
const HOLDERS_MAX: usize = 5;

const MIB: u64 = 1024 * 1024;

/// Whether this very disk is mounted there already: the task was killed, or is started twice.
///
/// # Errors
/// Something else is mounted there.
pub fn is_mounted(volume: &Volume, name: &str, device: &Device) -> Result<bool, Problem> {
    let mounts = detach::mounted().map_err(|error| {
        Problem::new(name, format!("read the list of mounts: {error}"), "mount /proc")
    })?;
    if !mounts.iter().any(|mounted| mounted.path == volume.mount_point) {
        return Ok(false);
    }
    let number = |path: &Path| fs::metadata(path);
    let there = number(&volume.mount_point).map(|found| found.dev()).ok();
    let ours = number(&device.path).map(|found| found.rdev()).ok();
    let list = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    if (there.is_some() && there == ours) || is_listed(&list, &device.path, &volume.mount_point) {
        return Ok(true);
    }
    let place = volume.mount_point.display();
    let message = format!("something else is mounted on {place}");
    Err(Problem::new(name, message, "unmount that, or set another mountPoint"))
}

/// Whether the last mount at `place` is of `device`, by its name in proc_mounts(5): files of a
/// btrfs have numbers that are not their disk's.
fn is_listed(list: &str, device: &Path, place: &Path) -> bool {
    let mut mounts = list.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some((words.next()?, words.next()?))
    });
    let last = mounts.rfind(|(_, there)| Path::new(there) == place);
    last.is_some_and(|(source, _)| Path::new(source) == device)
}

/// Mounts it; its directory is made if it is missing.
///
/// # Errors
/// The directory cannot be made, or the kernel refuses.
pub fn mount(
    volume: &Volume,
    name: &str,
    device: &Device,
    report: &mut Report,
) -> Result<(), Problem> {
    let place = &volume.mount_point;
    fs::create_dir_all(place).map_err(|error| {
        let cure = "put it where directories can be made";
        Problem::new(name, format!("make {}: {error}", place.display()), cure)
    })?;
    let hidden = fs::read_dir(place).map(Iterator::count).unwrap_or(0);
    if hidden > 0 {
        let shown = place.display();
        report.say(format_args!("{name}: {hidden} names that were in {shown} are hidden by it"));
    }
    let words = options(&volume.options);
    let failed = |error: io::Error| {
        let (device, place) = (device.path.display(), place.display());
        let message = format!("mount {device} on {place} ({words}): {error}");
        Problem::new(name, message, "see the kernel's log; is the file system's module there?")
    };
    let options = mount::Options::parse(words.as_bytes()).map_err(failed)?;
    mount::mount(&device.path, place, &volume.file_system, &options).map_err(failed)
}

/// The mount's options: those that are asked for, and the restrictions that nobody lifted.
fn options(asked: &[String]) -> String {
    let is_asked = |word: &str| asked.iter().any(|option| option == word);
    let lifts = |option: &&String| RESTRICTIONS.iter().any(|(_, lifted)| option == lifted);
    let kept = RESTRICTIONS.iter().filter(|(_, lifted)| !is_asked(lifted));
    let mut words: Vec<&str> = kept.map(|(word, _)| *word).collect();
    words.extend(asked.iter().filter(|option| !lifts(option)).map(String::as_str));
    words.join(",")
}

/// Lets the file system take all of its disk. One that does not grow while it is mounted is said.
///
/// # Errors
/// The kernel refuses.
pub fn grow(
    volume: &Volume,
    name: &str,
    device: &Device,
    report: &mut Report,
) -> Result<(), Problem> {
    let (kind, place) = (&volume.file_system, &volume.mount_point);
    match disk::growth::grow_file_system(kind, place, device.bytes) {
        Ok((before, after)) => {
            if before != after {
                let (before, after) = (before / MIB, after / MIB);
                report.say(format_args!("{name}: grown from {before} to {after} MiB"));
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            report.say(format_args!("{name}: {kind} does not grow while it is mounted"));
            Ok(())
        }
        Err(error) => {
            let message = format!("grow {kind} on {}: {error}", place.display());
            Err(Problem::new(name, message, "it is mounted and small; see the kernel's log"))
        }
    }
}

/// Unmounts it; what is dirty is written out by that.
///
/// # Errors
/// It is busy, with who holds it; PID 1 unmounts it at the very end.
pub fn unmount(volume: &Volume, name: &str, report: &mut Report) -> Result<(), Problem> {
    let place = volume.mount_point.display();
    match detach::unmount(&volume.mount_point) {
        Ok(()) => {
            report.say(format_args!("{name}: unmounted from {place}"));
            Ok(())
        }
        Err(error) => {
            let holders = holders(Path::new("/proc"), &volume.mount_point);
            let held = if holders.is_empty() {
                "nobody that is seen".to_owned()
            } else {
                holders.join(", ")
            };
            let message = format!("unmount {place}: {error}; held by {held}");
            let cure = "let those services say requires = [\"volume-NAME\"]; it stays mounted";
            Err(Problem::new(name, message, cure))
        }
    }
}

/// Processes with a working directory, a root or an open file below `place`: `web (12)`.
fn holders(proc: &Path, place: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(proc).into_iter().flatten().flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        if !pid.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let process = entry.path();
        let mut links = vec![process.join("cwd"), process.join("root")];
        let open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        links.extend(open.map(|entry| entry.path()));
        let below = |link: &PathBuf| fs::read_link(link).is_ok_and(|path| path.starts_with(place));
        if links.iter().any(below) {
            let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
            found.push(format!("{} ({pid})", name.trim_end()));
        }
    }
    found.sort();
    let more = found.len().saturating_sub(HOLDERS_MAX);
    found.truncate(HOLDERS_MAX);
    if more > 0 {
        found.push(format!("{more} more"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// What a volume need not do stays forbidden until somebody asks for it.
    #[test]
    fn options_of_a_mount() {
        let of = |words: &str| options(&words.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(options(&[]), "nodev,nosuid");
        assert_eq!(of("noatime suid data=ordered"), "nodev,noatime,data=ordered");
        assert_eq!(of("dev suid"), "");
    }

    /// The last mount at a place is the one that is seen.
    #[test]
    fn mounts_by_their_names() {
        let list = "/dev/a /data btrfs rw 0 0\n/dev/b /data btrfs rw 0 0\n/dev/a /x ext4 rw 0 0\n";
        let is = |device: &str| is_listed(list, Path::new(device), Path::new("/data"));
        assert!(is("/dev/b") && !is("/dev/a") && !is("/dev/c"));
    }

    /// Who has a file below the place open, or works there, is named.
    #[test]
    fn holders_are_named() {
        let proc = tempfile::tempdir().expect("a folder");
        let process = |pid: &str, name: &str, link: &str, to: &str| {
            let folder = proc.path().join(pid);
            fs::create_dir_all(folder.join("fd")).expect("folders");
            fs::write(folder.join("comm"), format!("{name}\n")).expect("a file");
            symlink(to, folder.join(link)).expect("a link");
        };
        process("12", "postgres", "fd/3", "/data/base/1");
        process("13", "sh", "cwd", "/data");
        process("14", "web", "cwd", "/database");
        process("self", "x", "cwd", "/data");
        assert_eq!(holders(proc.path(), Path::new("/data")), ["postgres (12)", "sh (13)"]);
    }
}
