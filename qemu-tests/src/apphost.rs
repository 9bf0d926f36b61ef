//! A contained rollinit with apps: a store of its own, releases, a binary cache, the agent.
//!
//! Releases are made and signed by Debian's Nix in a store of the test's own, and uploaded to a
//! cache in a folder that a server of ours serves. The host's store is a folder too, and lies on
//! `/nix` in the mount namespace of the contained rollinit alone: the machine's own is not touched.
//! A release's programs are copies of the test app, which reads from `arguments` beside them what
//! each is to be.

use crate::cache::Server;
use crate::contained::{Contained, Output, PATIENCE, Place};
use crate::free_port::free_port;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use sys::clock::monotonic_ns;
use sys::poll::{self, PollFd, PollFlags};
use sys::watch::Watch;

/// The one app.
pub const APP: &str = "web";

/// The agent's service.
pub const AGENT: &str = "rollinit-agent";

/// Profiles of apps, below the host's root.
const PROFILES: &str = "nix/var/nix/profiles/rollinit";

/// Name of the key that signs releases.
const KEY: &str = "test-1";

/// A contained rollinit with the app `web`, whose first release is `web-1`.
#[derive(Debug)]
pub struct AppHost {
    /// PID 1, the supervisor and the command line.
    pub host: Contained,
    /// Where the app listens, on 127.0.0.1.
    pub port: u16,
    /// The store path of the first release.
    pub first: String,
    /// Where releases are fetched from, with faults on purpose.
    pub cache: Rc<Server>,
    /// The key that signs them, as a configuration names it.
    key: String,
}

/// A release: programs in `bin`, each with the words that the test app gets.
#[derive(Debug)]
pub struct Release<'a> {
    /// Its name: `web-2`.
    pub name: &'a str,
    /// Words of the web server, after those every release has.
    pub serve: &'a [&'a str],
    /// Other programs: name and words.
    pub programs: &'a [(&'a str, &'a [&'a str])],
}

impl AppHost {
    /// A host whose app has `more` at the end of its definition, with a release that serves well.
    ///
    /// # Errors
    /// No programs, no Nix, no privilege; the text names which.
    pub fn prepare(more: &str) -> Result<Self> {
        let host = Contained::prepare()?;
        for folder in ["nix/store", PROFILES, "source", "cache", "releases", "state"] {
            std::fs::create_dir_all(host.path(folder)).context("make a folder")?;
        }
        let secret = host.path("secret-key");
        let key = nix_store(&host.path("source"), &["--generate-binary-cache-key", KEY])
            .arg(&secret)
            .arg(host.path("public-key"))
            .status()
            .context("run nix-store: is Debian's nix-bin there?")?;
        ensure!(key.success(), "nix-store made no key");
        let cache = Rc::new(Server::start(&host.path("cache")).context("start a cache")?);
        let key = std::fs::read_to_string(host.path("public-key"))?;
        let mut this = Self { host, port: free_port()?, first: String::new(), cache, key };
        this.first = this.release(&Release { name: "web-1", serve: &[], programs: &[] })?;
        this.copy(&this.first, &format!("local?root={}", this.host.path("").display()))?;
        this.define(more)?;
        Ok(this)
    }

    /// A further host of the same app, which has the first release and gets others from the same
    /// cache. Releases are made by the first host alone.
    ///
    /// # Errors
    /// As [`AppHost::prepare`].
    pub fn beside(&self, more: &str) -> Result<Self> {
        let host = Contained::prepare()?;
        for folder in ["nix/store", PROFILES, "state"] {
            std::fs::create_dir_all(host.path(folder)).context("make a folder")?;
        }
        let (cache, key) = (Rc::clone(&self.cache), self.key.clone());
        let this = Self { host, port: free_port()?, first: self.first.clone(), cache, key };
        self.copy(&this.first, &format!("local?root={}", this.host.path("").display()))?;
        this.define(more)?;
        Ok(this)
    }

    /// Adds to the agent's configuration, which it reads when it starts.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn configure(&self, more: &str) -> Result<()> {
        let path = self.host.path("agent.toml");
        let config = std::fs::read_to_string(&path)?;
        std::fs::write(path, format!("{config}{more}")).context("write agent.toml")
    }

    /// Writes the definitions and the agent's configuration.
    fn define(&self, more: &str) -> Result<()> {
        let (host, first, port) = (&self.host, &self.first, self.port);
        let health = "path = \"/up\", every = \"50ms\", passes = 2, timeout = \"2s\"";
        let app = format!(
            "[app]\nclosure = \"{first}\"\n[app.listen]\nhttp = \"127.0.0.1:{port}\"\n\
             [app.health]\nhttp = {{ {health}, deadline = \"4s\" }}\n{more}\n"
        );
        std::fs::write(host.definitions().join(format!("{APP}.toml")), app)?;
        let folder = |name: &str| host.path(name).display().to_string();
        let program = host.program("rollinit-agent").display().to_string();
        let exec = [
            &*program,
            "--root",
            &folder(""),
            "--state",
            &folder("state"),
            "--run",
            &folder("run"),
            "--config",
            &folder("agent.toml"),
        ];
        let more = format!(
            "control = \"admin\"\n[[service.listen]]\nname = \"varlink\"\nunix = \"{}\"\n\
             mode = \"0666\"\n[service.restart]\npolicy = \"always\"\nbackoff-min = \"50ms\"\n\
             backoff-max = \"50ms\"\n",
            folder("run/agent")
        );
        host.define(AGENT, &exec, &more)?;
        let config = format!(
            "caches = [\"{}\"]\nkeys = [\"{}\"]\n[fetch]\ngive-up-after = \"2s\"\n",
            self.cache.url(),
            self.key.trim()
        );
        std::fs::write(host.path("agent.toml"), config).context("write agent.toml")
    }

    /// Makes a release, signs it and uploads it; its store path.
    ///
    /// # Errors
    /// Nix refuses it.
    pub fn release(&self, release: &Release<'_>) -> Result<String> {
        let folder = self.host.path("releases").join(release.name);
        for name in ["bin", "arguments"] {
            std::fs::create_dir_all(folder.join(name)).context("make a folder")?;
        }
        let served = self.host.path("served").display().to_string();
        let mut serve = vec!["web", "--version", release.name, "--served", &served];
        serve.extend(release.serve);
        for (name, words) in release.programs.iter().copied().chain([("serve", &*serve)]) {
            std::fs::copy(self.host.program("rollinit-testapp"), folder.join("bin").join(name))?;
            let lines: String = words.iter().map(|word| format!("{word}\n")).collect();
            std::fs::write(folder.join("arguments").join(name), lines)?;
        }
        let path = self.add(&folder)?;
        let cache = self.host.path("cache").display().to_string();
        let secret = self.host.path("secret-key").display().to_string();
        self.copy(&path, &format!("file://{cache}?compression=zstd&secret-key={secret}"))?;
        Ok(path)
    }

    fn add(&self, folder: &Path) -> Result<String> {
        let added = nix_store(&self.host.path("source"), &["--add"]).arg(folder).output()?;
        ensure!(added.status.success(), "nix-store --add: {added:?}");
        Ok(String::from_utf8(added.stdout)?.trim().to_owned())
    }

    fn copy(&self, path: &str, to: &str) -> Result<()> {
        let source = format!("local?root={}", self.host.path("source").display());
        let copied = Command::new("nix")
            .args(["--extra-experimental-features", "nix-command", "copy", "--no-check-sigs"])
            .args(["--from", &source, "--to", to, path])
            .env("HOME", self.host.path(""))
            .output()
            .context("run nix: is Debian's nix-bin there?")?;
        ensure!(copied.status.success(), "nix copy --to {to}: {copied:?}");
        Ok(())
    }

    /// Starts PID 1 and waits until the app serves and the agent listens.
    ///
    /// # Errors
    /// They do not.
    pub fn settle(&mut self) -> Result<()> {
        self.host.start(Place::Subreaper)?;
        self.host.wait_state(APP, "running")?;
        self.host.wait_state(AGENT, "running")?;
        self.host.until("the app answers", || Ok(self.version().is_ok()))
    }

    /// `rollinit WORDS`, begun and not waited for.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn begin(&self, words: &[&str]) -> Result<Child> {
        let mut command = self.host.command()?;
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().with_context(|| format!("run {command:?}"))
    }

    /// `rollinit swap web PATH WORDS`.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn swap(&self, path: &str, words: &[&str]) -> Result<Output> {
        let mut all = vec!["swap", APP, path];
        all.extend(words);
        self.host.rollinit(&all)
    }

    /// `rollinit swaps --json`: newest first.
    ///
    /// # Errors
    /// It fails or prints no JSON.
    pub fn swaps(&self) -> Result<Vec<Value>> {
        let text = self.host.must(&["swaps", "--json"])?;
        let value: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        value["swaps"].as_array().cloned().with_context(|| text)
    }

    /// Waits until the newest swap is over; its outcome's word.
    ///
    /// # Errors
    /// It is never over.
    pub fn outcome(&self) -> Result<String> {
        let mut kind = None;
        self.host.until("the swap is over", || {
            // While the agent is away nobody answers.
            let Ok(swaps) = self.swaps() else { return Ok(false) };
            let newest = swaps.first().context("a swap")?;
            let is_over = !newest["ended_ms"].is_null();
            kind = newest["outcome"]["kind"].as_str().filter(|_| is_over).map(str::to_owned);
            Ok(kind.is_some())
        })?;
        kind.context("an outcome")
    }

    /// Kills the agent, whichever it is now. False if there is none at this moment.
    ///
    /// # Errors
    /// It never ran.
    pub fn kill_agent(&self) -> Result<bool> {
        const KILL: u8 = 9;
        Ok(self.host.group(&format!("services/{AGENT}.0"))?.signal(KILL)? > 0)
    }

    /// The version that a user is answered by now.
    ///
    /// # Errors
    /// Nobody answers, or not with 200.
    pub fn version(&self) -> Result<String> {
        let answer = self.get("/")?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer")?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{answer}");
        let version = body.split_whitespace().find_map(|word| word.strip_prefix("version="));
        Ok(version.with_context(|| answer.clone())?.to_owned())
    }

    fn get(&self, path: &str) -> Result<String> {
        let mut answer = String::new();
        self.ask(path)?.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Sends a request; the connection, from which the answer may be read.
    ///
    /// # Errors
    /// Nobody takes it.
    pub fn ask(&self, path: &str) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let head = "host: test\r\nx-id: test-1\r\nconnection: close";
        stream.write_all(format!("GET {path} HTTP/1.1\r\n{head}\r\n\r\n").as_bytes())?;
        Ok(stream)
    }

    /// Requests that versions answered so far: a line `VERSION PID PATH ID` each.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn served(&self) -> Result<String> {
        match std::fs::read_to_string(self.host.path("served")) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            read => read.context("read what was served"),
        }
    }

    /// The agent's record of the app's swaps.
    #[must_use]
    pub fn record(&self) -> PathBuf {
        self.host.path(&format!("state/swaps/{APP}.swaps"))
    }

    /// Begins to count how often the agent writes its record of the app's swap.
    ///
    /// # Errors
    /// The agent never made its folder.
    pub fn records(&self) -> Result<Records> {
        let record = self.record();
        let folder = record.parent().context("the folder of records")?;
        let watch = Watch::open(folder).with_context(|| format!("watch {}", folder.display()))?;
        Ok(Records { watch, seen: 0 })
    }

    /// What the app's profile link points to.
    ///
    /// # Errors
    /// It is no link, or two.
    pub fn profile(&self) -> Result<String> {
        let folder = self.host.path(PROFILES);
        let generation = std::fs::read_link(folder.join(APP)).context("read the profile")?;
        let path = std::fs::read_link(folder.join(generation)).context("read the generation")?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// The roots of ours: name and path.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn roots(&self) -> Result<Vec<(String, String)>> {
        let folder = self.host.path("nix/var/nix/gcroots/rollinit");
        let mut roots = Vec::new();
        if !folder.exists() {
            return Ok(roots); // none was ever made
        }
        for entry in std::fs::read_dir(folder).context("read the roots")? {
            let entry = entry?;
            let path = std::fs::read_link(entry.path())?.to_string_lossy().into_owned();
            roots.push((entry.file_name().to_string_lossy().into_owned(), path));
        }
        roots.sort();
        Ok(roots)
    }

    /// Sides of the app that have processes.
    #[must_use]
    pub fn sides(&self) -> Vec<u32> {
        let is_live = |side: &u32| {
            let group = self.host.group(&format!("services/{APP}.{side}"));
            group.is_ok_and(|group| group.populated().unwrap_or(false))
        };
        (0..2).filter(is_live).collect()
    }
}

/// How often a swap's record was written: each time by a rename, none of which is missed.
#[derive(Debug)]
pub struct Records {
    watch: Watch,
    seen: usize,
}

impl Records {
    /// Waits until it was written so often; false if the caller's swap is over before that.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn reach(&mut self, count: usize, caller: &mut Child) -> Result<bool> {
        /// Between two looks whether the swap is over: of that no descriptor tells.
        const LOOK_NS: u64 = 20_000_000;
        loop {
            let is_over = caller.try_wait()?.is_some();
            self.seen += self.watch.arrivals(&format!("{APP}.swaps"))?;
            if self.seen >= count || is_over {
                return Ok(self.seen >= count);
            }
            let mut fds = [PollFd::new(&self.watch, PollFlags::IN)];
            poll::until(&mut fds, Some(monotonic_ns() + LOOK_NS))?;
        }
    }
}

/// Debian's `nix-store` on a store below a folder of ours.
fn nix_store(root: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("nix-store");
    command.args(words).env("NIX_REMOTE", format!("local?root={}", root.display()));
    command.env("HOME", root);
    command
}
