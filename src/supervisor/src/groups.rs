//! Services' cgroups: made and limited here, so that PID 1 never writes a limit (one that
//! reclaims memory would do so in the writer).
//!
//! Files: Documentation/admin-guide/cgroup-v2.rst of the kernel.

use service::Place;
use service::definition::Limits;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use sys::cgroup::{Group, Root};

/// Controllers that limits need, in the words of `cgroup.subtree_control`.
const CONTROLLERS: [&str; 4] = ["pids", "memory", "cpu", "io"];

/// Bytes read of `memory.current` and `cpu.stat`.
const COUNTER_BYTES_MAX: u64 = 4096;

/// The tree below PID 1's root.
#[derive(Debug)]
pub struct Groups {
    root: Option<Root>,
    /// Controllers whose absence was said.
    missing: BTreeSet<&'static str>,
    /// Keys whose group was made and limited in this supervisor's life and not stopped since.
    ready: BTreeSet<String>,
}

/// What a service costs now; a figure is absent without its controller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Processes in the group.
    pub processes: Option<u64>,
    /// `memory.current`, in bytes.
    pub memory_bytes: Option<u64>,
    /// `usage_usec` of `cpu.stat`, in nanoseconds.
    pub cpu_ns: Option<u64>,
}

/// Where the processes of a key's runs are, below PID 1's root. The keys of an app's sides end in
/// the number that other groups get.
#[must_use]
pub fn path(key: &str, place: Place<'_>) -> String {
    match place {
        Place::Side { .. } => format!("services/{key}"),
        Place::Service | Place::Task { .. } => format!("services/{key}.0"),
    }
}

/// The service, app or task in whose group the process of this cgroup path lives. Wherever
/// the root of our tree lies within the hierarchy; a foreign group that looks like one of ours
/// only takes rights away.
#[must_use]
pub fn service_of(cgroup: &str) -> Option<&str> {
    let mut parts = cgroup.split('/');
    parts.by_ref().find(|part| *part == "services")?;
    let (service, side) = parts.next()?.rsplit_once('.')?;
    matches!(side, "0" | "1").then_some(service)
}

impl Groups {
    /// Opens the tree, makes `services` and turns on the controllers that the kernel offers there.
    /// Without a cgroup2 tree services run in PID 1's own group, which is said.
    #[must_use]
    pub fn open(root: &Path) -> Self {
        let opened = Root::open(root).and_then(|root| {
            let services = root.make("services")?;
            for group in [root.group("")?, services] {
                for controller in CONTROLLERS {
                    // Absent, or not to be had here: said when a limit needs it.
                    let _ = group.write("cgroup.subtree_control", &format!("+{controller}"));
                }
            }
            Ok(root)
        });
        let root = opened.inspect_err(|error| {
            tracing::error!(
                "{}: no cgroup tree: {error}; services run without cgroups, so what they leave \
                 behind is neither counted nor killed (mount cgroup2 and give PID 1 --cgroup)",
                root.display()
            );
        });
        Self { root: root.ok(), missing: BTreeSet::new(), ready: BTreeSet::new() }
    }

    /// A group for the key's next run; returns where it is, empty without a tree. That of the run
    /// before is used again, limits and all, unless it may have been killed.
    ///
    /// # Errors
    /// Those of mkdir(2), and of a limit that the kernel refuses.
    pub fn prepare(&mut self, key: &str, place: Place<'_>, limits: &Limits) -> io::Result<String> {
        let Some(root) = &self.root else { return Ok(String::new()) };
        let path = path(key, place);
        if self.ready.contains(key) {
            return Ok(path);
        }
        let group = match root.renew(&path) {
            // Somebody is left in it. Better limits that were written before than no start.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => root.make(&path)?,
            renewed => renewed?,
        };
        for controller in write_limits(&group, limits)? {
            if self.missing.insert(controller) {
                tracing::warn!(
                    "{}: the kernel offers no {controller} controller here: limits that need it \
                     are not in force",
                    root.path().display()
                );
            }
        }
        self.ready.insert(key.to_owned());
        Ok(path)
    }

    /// The key's run is being stopped: PID 1 may kill its group, which no run can be born into
    /// after that.
    pub fn spoil(&mut self, key: &str) {
        self.ready.remove(key);
    }

    /// Whether this process lives in the group at `path`.
    #[must_use]
    pub fn holds(&self, path: &str, pid: u32) -> bool {
        let Some(root) = &self.root else { return false };
        let processes = root.group(path).and_then(|group| group.processes());
        processes.is_ok_and(|processes| processes.contains(&pid))
    }

    /// What the group at `path` costs now.
    #[must_use]
    pub fn cost(&self, path: &str) -> Cost {
        let Some(root) = &self.root else { return Cost::default() };
        let directory = root.path().join(path);
        let read = |file: &str| {
            use std::io::Read as _;
            let mut text = String::new();
            let file = std::fs::File::open(directory.join(file)).ok()?;
            file.take(COUNTER_BYTES_MAX).read_to_string(&mut text).ok()?;
            Some(text)
        };
        let group = root.group(path);
        let processes = group.and_then(|group| group.processes()).ok();
        Cost {
            processes: processes.map(|processes| processes.len() as u64),
            memory_bytes: read("memory.current").and_then(|text| text.trim().parse().ok()),
            cpu_ns: read("cpu.stat").and_then(|text| cpu_ns(&text)),
        }
    }
}

/// The line `usage_usec` of `cpu.stat`, in nanoseconds.
fn cpu_ns(text: &str) -> Option<u64> {
    let digits = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
    digits.parse::<u64>().ok()?.checked_mul(1000)
}

/// Not the kernel's default, and wanted everywhere.
const OOM_GROUP: &str = "memory.oom.group";

/// Writes what is limited; returns the controllers that are not there. Without `memory` and
/// `pids` limits nothing is owed, and so nothing is missed, but `pids` has a default.
fn write_limits(group: &Group, limits: &Limits) -> io::Result<BTreeSet<&'static str>> {
    let number = |limit: Option<u64>| limit.map_or_else(|| "max".to_owned(), |n| n.to_string());
    let memory_limited = limits.memory_max_bytes.is_some() || limits.memory_high_bytes.is_some();
    // What a new group has anyhow is not written: each file costs some 25 us.
    let files = [
        ("pids", "pids.max", number(limits.pids_max), limits.pids_max.is_some()),
        ("memory", "memory.high", number(limits.memory_high_bytes), memory_limited),
        ("memory", "memory.max", number(limits.memory_max_bytes), memory_limited),
        (
            "memory swap",
            "memory.swap.max",
            number(limits.swap_max_bytes),
            limits.swap_max_bytes.is_some(),
        ),
        // One process of a service killed for memory leaves a service nobody tested.
        ("memory", OOM_GROUP, "1".to_owned(), memory_limited),
        ("cpu", "cpu.weight", limits.cpu_weight.to_string(), limits.cpu_weight != 100),
    ];
    let mut missing = BTreeSet::new();
    for (controller, file, text, owed) in files {
        if !owed && file != OOM_GROUP {
            continue;
        }
        match group.write(file, &text) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if owed {
                    missing.insert(controller);
                }
            }
            Err(error) => return Err(io::Error::new(error.kind(), format!("{file}: {error}"))),
        }
    }
    Ok(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only a group directly below `services` is a service's, whatever lies above or below it.
    #[test]
    fn peers_are_found_in_their_service() {
        assert_eq!(service_of("/services/web.0"), Some("web"));
        assert_eq!(service_of("/test/x/services/a.b.0/child"), Some("a.b"));
        assert_eq!(service_of("/services/web.1"), Some("web"));
        for host in ["/", "", "/rollinit/supervisor", "/services", "/services/web", "/user.0"] {
            assert_eq!(service_of(host), None, "{host}");
        }
    }

    /// Sides have the groups that their keys name, and none of them is another's.
    #[test]
    fn sides_have_their_groups() {
        let side = Place::Side { app: "web", side: service::Side::One };
        assert_eq!(path("web.1", side), "services/web.1");
        assert_eq!(path("db", Place::Service), "services/db.0");
        let task = Place::Task { app: "web", task: service::Task::Migrate };
        assert_eq!(path("web.migrate", task), "services/web.migrate.0");
        assert_eq!(service_of("/services/web.migrate.0"), Some("web.migrate"));
    }

    /// The kernel counts microseconds.
    #[test]
    fn processor_time_is_in_nanoseconds() {
        assert_eq!(cpu_ns("usage_usec 1500\nuser_usec 1000\n"), Some(1_500_000));
        assert_eq!(cpu_ns("user_usec 1000\n"), None);
    }
}
