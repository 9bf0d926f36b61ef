//! Task `sysctl`: the kernel's settings, from `etc/sysctl.d/*.conf` of the system.
//!
//! Format: sysctl.d(5). Files in the order of their names, later lines win; `#` and `;` begin a
//! comment; `key = value`, with dots or slashes between the parts of a key; `-` before a key says
//! that it may be missing or refuse; `*` in a part of a key stands for any name.

use crate::context::Context;
use crate::files;
use crate::report::{Problem, Report};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Where the kernel's settings are.
const SETTINGS: &str = "/proc/sys";

/// One file of settings in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    /// Relative to `/proc/sys`.
    path: PathBuf,
    value: String,
    /// It may be missing.
    may_fail: bool,
    /// File and line, for messages.
    source: String,
}

/// Makes the kernel's settings those of the system.
pub fn run(context: &Context, report: &mut Report) {
    let mut settings = BTreeMap::new();
    for (name, text) in files::read_folder(context, "etc/sysctl.d", FILE_BYTES_MAX, report) {
        for (line, text) in (1..).zip(text.lines()) {
            let source = format!("{name}:{line}");
            match parse(text, &source) {
                Ok(None) => {}
                Ok(Some(setting)) => {
                    settings.insert(setting.path.clone(), setting);
                }
                Err(message) => {
                    report.problem(&Problem::new(source, message, "write `key = value`"));
                }
            }
        }
    }
    let root = context.path(SETTINGS);
    let mut written = 0;
    for setting in settings.values() {
        for path in expand(&root, &setting.path) {
            match write(&path, &setting.value) {
                Ok(()) => written += 1,
                Err(_) if setting.may_fail => {}
                Err(error) => report.problem(&failed(setting, &path, &error)),
            }
        }
    }
    report.say(format_args!("{written} settings"));
}

fn failed(setting: &Setting, path: &Path, error: &io::Error) -> Problem {
    let (message, cure) = match error.kind() {
        io::ErrorKind::NotFound => (
            "this kernel has no such setting".to_owned(),
            "load its module first (boot.kernelModules), or write `-` before the key",
        ),
        _ => (
            format!("does not take {:?}: {error}", setting.value),
            "see what values Documentation/admin-guide/sysctl of the kernel allows",
        ),
    };
    Problem::new(format_args!("{}: {}", setting.source, path.display()), message, cure)
}

/// Without its line feed some settings refuse an empty value.
fn write(path: &Path, value: &str) -> io::Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::File::options().write(true).open(path)?;
    file.write_all(format!("{value}\n").as_bytes())
}

/// `Ok(None)` for a line that says nothing.
fn parse(line: &str, source: &str) -> Result<Option<Setting>, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with(['#', ';']) {
        return Ok(None);
    }
    let (may_fail, rest) = line.strip_prefix('-').map_or((false, line), |rest| (true, rest));
    let (key, value) = rest.split_once('=').ok_or_else(|| format!("{line:?} has no `=`"))?;
    let path = path_of(key.trim()).ok_or_else(|| format!("{:?} is not a key", key.trim()))?;
    let value = value.trim().to_owned();
    Ok(Some(Setting { path, value, may_fail, source: source.to_owned() }))
}

/// `net.ipv4.conf.eth0/1.forwarding` → `net/ipv4/conf/eth0.1/forwarding`: if the first separator is
/// a dot, dots and slashes change their places (sysctl.d(5)).
fn path_of(key: &str) -> Option<PathBuf> {
    let first = key.find(['.', '/'])?;
    let key = if key.as_bytes()[first] == b'.' {
        let swap = |symbol| match symbol {
            '.' => '/',
            '/' => '.',
            other => other,
        };
        key.chars().map(swap).collect()
    } else {
        key.to_owned()
    };
    let fine = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\0', ' ']);
    key.split('/').all(fine).then(|| PathBuf::from(key))
}

/// The settings that a key with `*` means; the key itself without, so that a missing one is told.
fn expand(root: &Path, key: &Path) -> Vec<PathBuf> {
    let mut paths = vec![root.to_owned()];
    for part in key.components() {
        let part = part.as_os_str().to_string_lossy();
        if !part.contains('*') {
            for path in &mut paths {
                path.push(&*part);
            }
            continue;
        }
        let mut found = Vec::new();
        for folder in paths {
            let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            let names = entries.map(|entry| entry.file_name());
            let names = names.filter(|name| files::matches(&part, &name.to_string_lossy()));
            found.extend(names.map(|name| folder.join(name)));
        }
        found.sort();
        paths = found;
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys as sysctl.d(5) has them; what would leave /proc/sys is no key.
    #[test]
    fn keys() {
        for (key, path) in [
            ("kernel.modprobe", "kernel/modprobe"),
            ("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding"),
            ("net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ] {
            assert_eq!(path_of(key).expect(key), Path::new(path));
        }
        for wrong in ["", "kernel", "kernel..x", "../etc/passwd", "a/../b", "/etc", "a b.c"] {
            assert_eq!(path_of(wrong), None, "{wrong}");
        }
    }

    /// Later files and lines win, a missing key is a problem unless `-` says otherwise, and a
    /// line that is none is named with its place.
    #[test]
    fn settings_of_a_system() {
        let root = tempfile::tempdir().expect("a root");
        let path = |name: &str| root.path().join(name);
        std::fs::create_dir_all(path("proc/sys/net/conf/eth0")).expect("settings");
        std::fs::create_dir_all(path("proc/sys/net/conf/eth1")).expect("settings");
        std::fs::create_dir_all(path("system/etc/sysctl.d")).expect("a system");
        for name in ["net/a", "net/conf/eth0/b", "net/conf/eth1/b"] {
            std::fs::write(path("proc/sys").join(name), "before\n").expect("a setting");
        }
        let first = "# words\n; words\nnet.a = one\nnet.a = two\n-net.none = 1\nnet.missing=1\n";
        std::fs::write(path("system/etc/sysctl.d/10-a.conf"), first).expect("a file");
        let second = "net.conf.*.b=3 4\nnonsense\nnet.a = three \n";
        std::fs::write(path("system/etc/sysctl.d/20-b.conf"), second).expect("a file");
        std::fs::write(path("system/etc/sysctl.d/README"), "x").expect("no file of ours");
        let context = Context {
            root: root.path().to_owned(),
            toplevel: "/system".into(),
            prefix: None,
            words: Vec::new(),
        };
        let mut report = Report::default();
        run(&context, &mut report);
        // A real setting is replaced as a whole; these plain files keep what is behind it.
        let read = |name: &str| std::fs::read_to_string(path("proc/sys").join(name)).expect(name);
        assert_eq!(read("net/a"), "three\n\n");
        assert_eq!(read("net/conf/eth0/b"), "3 4\nre\n");
        assert_eq!(read("net/conf/eth1/b"), "3 4\nre\n");
        let missing = path("proc/sys/net/missing").display().to_string();
        let expected = [
            "20-b.conf:2: \"nonsense\" has no `=` (write `key = value`)".to_owned(),
            format!(
                "10-a.conf:6: {missing}: this kernel has no such setting (load its module first \
                 (boot.kernelModules), or write `-` before the key)"
            ),
        ];
        assert_eq!(report.lines(), expected);
    }
}
