//! The real triple without a VM: `rollinit-init --contained`, its supervisor, and the command line.
//!
//! Each [`Contained`] has folders and a cgroup of its own, and a mount namespace in which
//! `/etc/group` knows the groups `rollinit` and `rollinit-read`. Dropping it kills everything by
//! that cgroup and removes it. Needs root.

mod run;

use crate::guest::image::target;
use anyhow::{Context, Result, bail, ensure};
pub use run::Output;
use run::{remove_tree, run};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use sys::cgroup::{Group, Root};
use tempfile::TempDir;

/// How long anything may take: a bound against a hang, not a budget.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The longest pause between two looks at something that no event tells of. A line of PID 1's or
/// the supervisor's log ends it early.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Lines of the log in a failure's text.
const LOG_LINES_SHOWN: usize = 40;

/// The group whose members may operate, in the namespace's `/etc/group`.
pub const OPERATE_GROUP: u32 = 64_001;

/// The group whose members may read, likewise.
pub const READ_GROUP: u32 = 64_002;

/// A uid that no account of a host has. Its RLIMIT_NPROC counts our processes alone.
pub const NOBODY: u32 = 64_009;

/// The programs of the triple, and the one that services run.
pub const PROGRAMS: [&str; 5] =
    ["rollinit-init", "rollinit-supervisor", "rollinit-agent", "rollinit", "rollinit-testapp"];

/// How PID 1 is contained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An ordinary process that adopts its orphans.
    Subreaper,
    /// PID 1 of a pid namespace.
    PidNamespace,
}

/// Who runs the command line.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// uid, and primary gid.
    pub user: u32,
    /// The one supplementary group, if any.
    pub group: Option<u32>,
}

/// A contained rollinit.
#[derive(Debug)]
pub struct Contained {
    folder: TempDir,
    programs: BTreeMap<&'static str, PathBuf>,
    cgroup: Root,
    place: Place,
    child: Option<Child>,
    log: Arc<Log>,
}

/// What PID 1 and the supervisor said.
#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    changed: Condvar,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The programs under test by name: in the folder `ROLLINIT_BIN` if that is set, else where
/// `cargo xtask build` puts what ships and what only tests run.
///
/// # Errors
/// One is missing; the text names the cure.
fn programs() -> Result<BTreeMap<&'static str, PathBuf>> {
    let folders = match std::env::var_os("ROLLINIT_BIN") {
        Some(folder) => vec![PathBuf::from(folder)],
        None => ["out/bin", "out/test-apps/bin"].map(|name| target().join(name)).to_vec(),
    };
    let find = |name: &'static str| {
        let path = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
        let path = path.with_context(|| {
            format!("{name} is in none of {folders:?}; run `cargo xtask build`")
        })?;
        Ok((name, std::path::absolute(&path)?))
    };
    PROGRAMS.into_iter().map(find).collect()
}

impl Contained {
    /// Folders and a cgroup for one that is not started yet.
    ///
    /// # Errors
    /// No programs, no cgroup2 mount, no privilege; the text names which.
    pub fn prepare() -> Result<Self> {
        let programs = programs()?;
        let folder = TempDir::with_prefix("rollinit-").context("make a folder")?;
        // Other users run the command line, and their services' programs lie here.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        for name in ["definitions", "profiles", "run"] {
            std::fs::create_dir(folder.path().join(name)).context("make a folder")?;
        }
        let groups =
            format!("root:x:0:\nrollinit:x:{OPERATE_GROUP}:\nrollinit-read:x:{READ_GROUP}:\n");
        std::fs::write(folder.path().join("group"), groups).context("write a group file")?;
        let mount = sys::cgroup::find_mount().context("no cgroup2 is mounted")?;
        let name = folder.path().file_name().context("a folder has a name")?;
        let cgroup = mount.join(name);
        std::fs::create_dir(&cgroup).with_context(|| format!("make {}", cgroup.display()))?;
        let cgroup = Root::open(&cgroup).context("open the cgroup")?;
        // PID 1's own place: killed with the rest, below whatever happens.
        cgroup.make("init").context("make a cgroup")?;
        let log = Arc::default();
        Ok(Self { folder, programs, cgroup, place: Place::Subreaper, child: None, log })
    }

    /// A path in its folder, for the files of services.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// One of [`PROGRAMS`].
    #[must_use]
    pub fn program(&self, name: &str) -> &Path {
        &self.programs[name]
    }

    /// Where the definitions are.
    #[must_use]
    pub fn definitions(&self) -> PathBuf {
        self.path("definitions")
    }

    /// Where the profiles of apps are.
    #[must_use]
    pub fn profiles(&self) -> PathBuf {
        let of_store = self.path("nix/var/nix/profiles/rollinit");
        if of_store.is_dir() { of_store } else { self.path("profiles") }
    }

    /// The control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path("run/supervisor")
    }

    /// Writes the definition of a service: its `exec`, and lines that follow it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn define(&self, name: &str, exec: &[&str], more: &str) -> Result<()> {
        let path = self.definitions().join(format!("{name}.toml"));
        // A JSON list of strings is one in TOML too.
        let text = format!("[service]\nexec = {}\n{more}\n", serde_json::to_string(exec)?);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }

    /// Writes the definition of a service that runs the test app.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn define_app(&self, name: &str, words: &[&str], more: &str) -> Result<()> {
        let program = self.program("rollinit-testapp");
        let mut exec = vec![program.to_str().context("the path of the programs is not UTF-8")?];
        exec.extend(words);
        self.define(name, &exec, more)
    }

    /// Starts PID 1.
    ///
    /// # Errors
    /// `unshare` is missing, or refused.
    pub fn start(&mut self, place: Place) -> Result<()> {
        const ENTER: &str = "echo $$ > \"$0/init/cgroup.procs\" && exec unshare \"$@\"";
        // A store of the test's own lies where store paths say it does, in this namespace alone.
        const MOUNT: &str = "mount --bind \"$0\" /etc/group \
             && if [ -d \"$1\" ]; then mount --bind \"$1\" /nix; fi && shift && exec \"$@\"";
        self.place = place;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", ENTER]).arg(self.cgroup.path()).arg("--mount");
        if place == Place::PidNamespace {
            command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
        }
        command.args(["--", "/bin/sh", "-c", MOUNT]).arg(self.path("group"));
        command.arg(self.path("nix"));
        command.arg(self.program("rollinit-init")).arg("--contained");
        command.arg("--supervisor").arg(self.program("rollinit-supervisor"));
        command.arg("--definitions").arg(self.definitions());
        command.arg("--profiles").arg(self.profiles());
        command.arg("--run").arg(self.path("run"));
        command.arg("--cgroup").arg(self.cgroup.path());
        let (reader, writer) = std::io::pipe().context("make a pipe")?;
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        self.child = Some(command.spawn().context("start rollinit-init")?);
        drop(command); // it holds the pipe's writing end
        let log = Arc::clone(&self.log);
        std::thread::spawn(move || {
            for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
                log.lock().push(String::from_utf8_lossy(&line).into_owned());
                log.changed.notify_all();
            }
        });
        self.until("rollinit-init is started", || Ok(self.init_pid().is_ok()))
    }

    /// Starts PID 1 and waits until the host runs, degraded or not.
    ///
    /// # Errors
    /// As [`Contained::start`], or it does not come up.
    pub fn settle(&mut self, place: Place) -> Result<()> {
        self.start(place)?;
        let up = |status: &Value| {
            let state = status["host"]["state"].as_str();
            matches!(state, Some("running" | "degraded"))
        };
        self.wait("the host runs", up).map(drop)
    }

    /// The pid of PID 1 as seen from here.
    ///
    /// # Errors
    /// It has ended.
    pub fn init_pid(&self) -> Result<u32> {
        let pid = self.child.as_ref().context("not started")?.id();
        if self.place == Place::Subreaper {
            return Ok(pid);
        }
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        children.trim().parse().with_context(|| format!("one child of unshare: {children:?}"))
    }

    /// Runs `rollinit WORDS` as root.
    ///
    /// # Errors
    /// It cannot be run. How it ends is the caller's business.
    pub fn rollinit(&self, words: &[&str]) -> Result<Output> {
        run(self.command()?.args(words))
    }

    /// Runs `rollinit WORDS` as somebody else.
    ///
    /// # Errors
    /// As [`Contained::rollinit`].
    pub fn rollinit_as(&self, who: Identity, words: &[&str]) -> Result<Output> {
        let mut command = Command::new("setpriv");
        command.arg(format!("--reuid={}", who.user)).arg(format!("--regid={}", who.user));
        match who.group {
            Some(group) => command.arg(format!("--groups={group}")),
            None => command.arg("--clear-groups"),
        };
        let rollinit = self.command()?;
        command.arg(rollinit.get_program()).args(rollinit.get_args());
        run(command.args(words))
    }

    /// The command line, in the namespace where its pid means something: a peer that PID 1 cannot
    /// name has no role.
    ///
    /// # Errors
    /// PID 1 has ended.
    pub fn command(&self) -> Result<Command> {
        let program = self.program("rollinit");
        let mut command = match self.place {
            Place::Subreaper => Command::new(program),
            Place::PidNamespace => {
                let mut command = Command::new("nsenter");
                let target = format!("--target={}", self.init_pid()?);
                command.args([&target, "--pid", "--mount", "--"]).arg(program);
                command
            }
        };
        command.arg("--socket").arg(self.socket());
        Ok(command)
    }

    /// Runs `rollinit WORDS`, which must succeed.
    ///
    /// # Errors
    /// It fails; the text has its words.
    pub fn must(&self, words: &[&str]) -> Result<String> {
        let output = self.rollinit(words)?;
        ensure!(output.code == Some(0), "rollinit {words:?}: {output:?}\n{}", self.said());
        Ok(output.stdout)
    }

    /// Runs `rollinit` with words that end the host. The command line may be killed before it can
    /// answer: it lives in the pid namespace that ends. [`Contained::ended`] tells what came of it.
    ///
    /// # Errors
    /// It cannot be run, or it says that it failed.
    pub fn must_end(&self, words: &[&str]) -> Result<()> {
        let output = self.rollinit(words)?;
        let fine = output.code.is_none_or(|code| code == 0);
        ensure!(fine, "rollinit {words:?}: {output:?}\n{}", self.said());
        Ok(())
    }

    /// `rollinit status --json`.
    ///
    /// # Errors
    /// It fails or prints no JSON.
    pub fn status(&self) -> Result<Value> {
        let text = self.must(&["status", "--json"])?;
        serde_json::from_str(&text).with_context(|| format!("status --json printed {text:?}"))
    }

    /// One service of `rollinit status --json`.
    ///
    /// # Errors
    /// As [`Contained::status`], or there is no such service.
    pub fn service(&self, name: &str) -> Result<Value> {
        service_of(&self.status()?, name)
    }

    /// Waits until the status is as wanted, and returns it.
    ///
    /// # Errors
    /// It does not come to that within [`PATIENCE`]; the text has the last status and the log.
    pub fn wait(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            // Before the socket is there, and while a supervisor is replaced, nobody answers.
            let output = self.rollinit(&["status", "--json"])?;
            if let Ok(status) = serde_json::from_str(&output.stdout)
                && output.code == Some(0)
                && wanted(&status)
            {
                return Ok(status);
            }
            if Instant::now() > give_up {
                bail!("never: {what}; last: {output:?}\n{}", self.said());
            }
            self.pause(LOOK_AGAIN);
        }
    }

    /// Waits until a service is as wanted, and returns it.
    ///
    /// # Errors
    /// As [`Contained::wait`].
    pub fn wait_service(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let of = |status: &Value| service_of(status, name).is_ok_and(|service| wanted(&service));
        service_of(&self.wait(&format!("{name} {what}"), of)?, name)
    }

    /// Waits until a service has the state of this name.
    ///
    /// # Errors
    /// As [`Contained::wait`].
    pub fn wait_state(&self, name: &str, state: &str) -> Result<Value> {
        self.wait_service(name, &format!("is {state}"), |service| service["state"] == state)
    }

    /// Waits until `done` says so, looking again and again.
    ///
    /// # Errors
    /// It does not within [`PATIENCE`], or fails.
    pub fn until(&self, what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
        let give_up = Instant::now() + PATIENCE;
        while !done()? {
            ensure!(Instant::now() < give_up, "never: {what}\n{}", self.said());
            self.pause(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Waits for a line of the log, at most so long.
    pub fn pause(&self, time: Duration) {
        let lines = self.log.lock();
        let before = lines.len();
        drop(self.log.changed.wait_timeout_while(lines, time, |lines| lines.len() == before));
    }

    /// The cgroup of a run, or of the supervisor (`rollinit/supervisor`).
    ///
    /// # Errors
    /// There is none.
    pub fn group(&self, path: &str) -> Result<Group> {
        self.cgroup.group(path).with_context(|| format!("open the cgroup {path}"))
    }

    /// The processes of a service, as seen from here.
    ///
    /// # Errors
    /// It never had any.
    pub fn processes(&self, service: &str) -> Result<Vec<u32>> {
        Ok(self.group(&format!("services/{service}.0"))?.processes()?)
    }

    /// Kills the supervisor, whichever it is now. False if there is none at this moment.
    ///
    /// # Errors
    /// PID 1 never made its cgroup.
    pub fn kill_supervisor(&self) -> Result<bool> {
        const KILL: u8 = 9;
        Ok(self.group("rollinit/supervisor")?.signal(KILL)? > 0)
    }

    /// Waits for the end of PID 1.
    ///
    /// # Errors
    /// It does not end.
    pub fn ended(&mut self) -> Result<ExitStatus> {
        let mut child = self.child.take().context("not started")?;
        let mut status = None;
        let waited = self.until("rollinit-init ends", || {
            status = child.try_wait()?;
            Ok(status.is_some())
        });
        self.child = Some(child);
        waited?;
        status.context("it has ended")
    }

    /// Waits for the end of PID 1, and for these last words of it: they come through a pipe, and
    /// may come later than its end is seen.
    ///
    /// # Errors
    /// It does not end, or says something else.
    pub fn ended_saying(&mut self, words: &str) -> Result<ExitStatus> {
        let status = self.ended()?;
        self.until(&format!("{words:?} is said"), || Ok(self.said().contains(words)))?;
        Ok(status)
    }

    /// The last lines that PID 1 and the supervisor said.
    #[must_use]
    pub fn said(&self) -> String {
        let lines = self.log.lock();
        let tail = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        format!("PID 1 and supervisor said last:\n{}", tail.join("\n"))
    }

    /// Kills everything that is left and removes the cgroup.
    fn clean_up(&mut self) -> Result<()> {
        self.cgroup.group("")?.kill().context("kill what is left")?;
        if let Some(child) = &mut self.child {
            // It may not have come as far as to enter the cgroup.
            child.kill().context("kill rollinit-init")?;
            child.wait().context("wait for rollinit-init")?;
        }
        let group = self.cgroup.group("")?;
        self.until("the cgroup is empty", || Ok(!group.populated()?))?;
        remove_tree(self.cgroup.path())
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        if let Err(error) = self.clean_up() {
            eprintln!("cannot clean up {}: {error:#}", self.cgroup.path().display());
        }
    }
}

/// One service of a status.
///
/// # Errors
/// There is no such service.
pub fn service_of(status: &Value, name: &str) -> Result<Value> {
    let services = status["services"].as_array();
    let found = services.and_then(|all| all.iter().find(|service| service["name"] == name));
    found.cloned().with_context(|| format!("no service {name} in {status}"))
}
