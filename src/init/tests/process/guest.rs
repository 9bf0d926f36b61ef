//! One contained PID 1 with a cgroup and a run directory of its own.

use crate::owner::Owner;
use crate::proxy::SOCKET;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use sys::cgroup::{Root, find_mount};

/// Sets the cgroups of parallel tests apart.
static COUNT: AtomicU32 = AtomicU32::new(0);

pub struct Guest {
    init: Child,
    listener: UnixListener,
    cgroup: PathBuf,
    root: Root,
    _run: tempfile::TempDir,
}

impl Guest {
    /// As an ordinary process that is a subreaper.
    pub fn start() -> Self {
        Self::start_by(&[])
    }

    /// As PID 1 of a pid namespace.
    pub fn start_in_namespace() -> Self {
        Self::start_by(&["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"])
    }

    fn start_by(prefix: &[&str]) -> Self {
        let run = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(run.path().join(SOCKET)).unwrap();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let mount = find_mount().expect("a cgroup2 mount");
        let cgroup = mount.join(format!("rollinit-init-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&cgroup).unwrap();
        let root = Root::open(&cgroup).unwrap();
        let mut words: Vec<&str> = prefix.to_vec();
        words.push(env!("CARGO_BIN_EXE_rollinit-init"));
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("--contained");
        command.arg("--supervisor").arg(std::env::current_exe().unwrap());
        command.arg("--run").arg(run.path()).arg("--cgroup").arg(&cgroup);
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let init = command.spawn().unwrap();
        Self { init, listener, cgroup, root, _run: run }
    }

    /// The owner that PID 1 started last; waits for it to come.
    pub fn owner(&self) -> Owner {
        let (stream, _) = self.listener.accept().unwrap();
        Owner::receive(stream)
    }

    /// The owner, attached, after its snapshot.
    pub fn attached(&self) -> (Owner, crate::owner::Snapshot) {
        let mut owner = self.owner();
        owner.attach();
        let snapshot = owner.snapshot();
        (owner, snapshot)
    }

    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Makes `services/NAME` for a run.
    pub fn make_cgroup(&self, name: &str) -> String {
        let path = format!("services/{name}");
        self.root.make(&path).unwrap();
        path
    }

    /// The pid of what was started: PID 1, or the `unshare` above it.
    pub fn pid(&self) -> u32 {
        self.init.id()
    }

    pub fn signal(&self, signal: u8) {
        sys::cgroup::signal_process(self.pid(), signal).unwrap();
    }

    /// Waits for PID 1's own end; its exit status and all it said.
    pub fn ended(mut self) -> (i32, String) {
        let mut said = String::new();
        self.init.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (self.init.wait().unwrap().code().unwrap_or(-1), said)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.init.kill();
        let _ = self.init.wait();
        if let Ok(group) = self.root.group("") {
            let _ = group.kill();
        }
        remove_tree(&self.cgroup);
    }
}

/// Removes cgroups depth first, as soon as their last process is gone.
fn remove_tree(path: &std::path::Path) {
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    for _ in 0..10_000 {
        match std::fs::remove_dir(path) {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                std::thread::yield_now();
            }
            _ => return,
        }
    }
}
