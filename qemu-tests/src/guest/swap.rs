//! Swaps in a guest, as the QEMU tests and the demo ask for them, and what became of them.

use super::agent::{Kill, Output};
use super::view::View;
use super::{Boot, Guest, PATIENCE, image};
use crate::cache::Server;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::PathBuf;

/// Exit codes of `rollinit swap` (docs/cli.md).
pub const COMMITTED: i64 = 0;
/// A swap failed, and the previous release serves.
pub const ROLLED_BACK: i64 = 10;
/// Refused before anything was touched.
pub const REFUSED: i64 = 12;

/// Where the test releases write down each request (`guests/releases.nix`).
const SERVED: &str = "/tmp/served";

/// The releases of `guests/releases.nix` and their cache, as `cargo xtask image` leaves them.
#[derive(Clone, Debug)]
pub struct Releases {
    folder: PathBuf,
}

impl Releases {
    /// # Errors
    /// They were not built; the text has the command.
    pub fn open() -> Result<Self> {
        let folder = image::target().join("cache");
        let built = folder.join("files/nix-cache-info").exists();
        ensure!(built, "no binary cache in {}; write: cargo xtask image", folder.display());
        Ok(Self { folder })
    }

    /// The store path of a release.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn path(&self, name: &str) -> Result<String> {
        let link = std::fs::read_link(self.folder.join("result").join(name));
        let path = link.with_context(|| format!("no release `{name}` in guests/releases.nix"))?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// The folder that a server of the cache has as its root.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.folder.join("files")
    }

    /// Serves the cache on loopback.
    ///
    /// # Errors
    /// Those of bind(2).
    pub fn serve(&self) -> Result<Server> {
        Server::start(&self.files()).context("serve the binary cache")
    }
}

/// A guest that swaps, and the cache it fetches from.
#[derive(Debug)]
pub struct Host {
    /// The guest.
    pub guest: Guest,
    /// Its binary cache.
    pub cache: Server,
    /// What can be swapped in.
    pub releases: Releases,
}

/// How one `rollinit swap` or `rollback` ended.
#[derive(Clone, Debug)]
pub struct Swapped {
    /// Its exit code.
    pub code: Option<i64>,
    /// What it printed with `--json`, line by line.
    pub progress: Vec<Value>,
    /// Whether it came to the kill that was asked for.
    pub killed: bool,
    /// What it said on standard error.
    pub stderr: String,
}

impl Swapped {
    fn new((output, killed): (Output, bool)) -> Self {
        let lines = output.stdout.lines();
        let progress = lines.filter_map(|line| serde_json::from_str(line).ok()).collect();
        Self { code: output.code, progress, killed, stderr: output.stderr }
    }

    /// What a command that swaps printed with `--json`.
    #[must_use]
    pub fn read(output: Output) -> Self {
        Self::new((output, false))
    }

    /// The last thing said of a step: its text, and how long it took in milliseconds.
    #[must_use]
    pub fn step(&self, step: &str) -> Option<(&str, u64)> {
        let last = self.progress.iter().rfind(|progress| progress["step"] == step)?;
        Some((last["text"].as_str()?, last["elapsed_ms"].as_u64()?))
    }

    /// The steps it came to, in order, each with how long it took in milliseconds.
    #[must_use]
    pub fn steps(&self) -> Vec<(&str, u64)> {
        let mut steps: Vec<(&str, u64)> = Vec::new();
        // What is still to come is announced, too.
        let begun = self.progress.iter().filter(|progress| progress["state"] != "pending");
        for progress in begun {
            let (step, elapsed_ms) = (&progress["step"], &progress["elapsed_ms"]);
            let (step, elapsed_ms) =
                (step.as_str().unwrap_or(""), elapsed_ms.as_u64().unwrap_or(0));
            match steps.iter_mut().find(|(known, _)| *known == step) {
                Some((_, known_ms)) => *known_ms = elapsed_ms,
                None => steps.push((step, elapsed_ms)),
            }
        }
        steps
    }

    /// Why it did not end as it should.
    #[must_use]
    pub fn reason(&self) -> String {
        let outcome = self.progress.last().map_or(&Value::Null, |progress| &progress["outcome"]);
        let step = outcome["failed_at"].as_str().unwrap_or("-");
        format!("{step}: {}", outcome["reason"].as_str().unwrap_or("-"))
    }

    /// # Errors
    /// It ended in another way; the text has all it said.
    pub fn expect(self, code: i64) -> Result<Self> {
        if self.code == Some(code) {
            return Ok(self);
        }
        let lines: Vec<String> = self.progress.iter().map(Value::to_string).collect();
        let (lines, found, stderr) = (lines.join("\n"), self.code, &self.stderr);
        anyhow::bail!("exit {found:?} instead of {code}:\n{lines}\n{stderr}")
    }
}

/// What the served log says of one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// How often `/up` was asked before the first user came.
    pub probes_first: u64,
    /// How often `/up` was asked.
    pub probes: u64,
    /// Requests of users.
    pub users: u64,
}

impl Host {
    /// Boots `boot` with the cache and waits until everything in it runs.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start(mut boot: Boot) -> Result<Self> {
        let releases = Releases::open()?;
        let cache = releases.serve()?;
        boot.cache = Some(cache.address());
        let mut guest = boot.start()?;
        guest.agent.hello(PATIENCE)?;
        View::settled(&mut guest.agent, PATIENCE)?;
        Ok(Self { guest, cache, releases })
    }

    /// Swaps an app to a release; `more` are further words.
    ///
    /// # Errors
    /// The guest does not answer.
    pub fn swap(&mut self, app: &str, release: &str, more: &[&str]) -> Result<Swapped> {
        self.swap_killing(app, release, more, None)
    }

    /// The same, with somebody killed in the middle.
    ///
    /// # Errors
    /// As [`Host::swap`], or there was nobody to kill.
    pub fn swap_killing(
        &mut self,
        app: &str,
        release: &str,
        more: &[&str],
        kill: Option<Kill<'_>>,
    ) -> Result<Swapped> {
        let path = self.releases.path(release)?;
        let mut words = vec!["swap", app, &path, "--json"];
        words.extend(more);
        self.guest.agent.attempt(&words, kill).map(Swapped::new)
    }

    /// Takes an app back to its previous generation.
    ///
    /// # Errors
    /// The guest does not answer.
    pub fn rollback(&mut self, app: &str) -> Result<Swapped> {
        self.guest.agent.attempt(&["rollback", app, "--json"], None).map(Swapped::new)
    }

    /// The pid of the agent's process.
    ///
    /// # Errors
    /// It does not run.
    pub fn agent_pid(&mut self) -> Result<u32> {
        View::until(&mut self.guest.agent, PATIENCE, |view| view.pid("rollinit-agent").is_ok())?
            .pid("rollinit-agent")
    }

    /// Runs a shell line in the guest, which must succeed; what it printed.
    ///
    /// # Errors
    /// It does not.
    pub fn shell(&mut self, line: &str) -> Result<String> {
        const PATH: &str = "PATH=/run/current-system/sw/bin";
        let line = format!("export {PATH}; {line}");
        let output = self.guest.agent.run(&["/run/current-system/sw/bin/sh", "-euc", &line])?;
        ensure!(output.code == Some(0), "in the guest: {line}: {output:?}");
        Ok(output.stdout)
    }

    /// What the log of requests says of a version: which is told apart before it is sent here, for
    /// the line is slow.
    ///
    /// # Errors
    /// The guest does not answer as it should.
    pub fn served(&mut self, version: &str) -> Result<Served> {
        let program = "$1 == version && $3 == \"/up\" { probes++; if (!users) first++ } \
                       $1 == version && $3 != \"/up\" { users++ } \
                       END { print first + 0, probes + 0, users + 0 }";
        let text = self.shell(&format!("awk -v version={version} '{program}' {SERVED}"))?;
        let numbers: Vec<u64> =
            text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [probes_first, probes, users] = numbers[..] else {
            anyhow::bail!("awk printed {text:?}");
        };
        Ok(Served { probes_first, probes, users })
    }

    /// How many different ids of the load `name` were served, by whatever version, and how many of
    /// them more than once.
    ///
    /// # Errors
    /// The guest does not answer as it should.
    pub fn ledger(&mut self, name: &str) -> Result<(u64, u64)> {
        let ids = format!("awk '$4 ~ /^{name}-/ {{ print $4 }}' {SERVED} | sort");
        let text = self.shell(&format!("{ids} -u | wc -l; {ids} | uniq -d | wc -l"))?;
        let mut numbers = text.split_ascii_whitespace().filter_map(|word| word.parse().ok());
        let mut next = || numbers.next().with_context(|| format!("wc printed {text:?}"));
        Ok((next()?, next()?))
    }
}
