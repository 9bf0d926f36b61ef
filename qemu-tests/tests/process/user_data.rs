//! Zero touch without a VM: a host that knows no app and no cache reads a document and becomes what
//! that says.

use super::releases::{Desk, Web, until_notice};
use anyhow::{Context, Result, ensure};
use qemu_tests::apphost::{APP, AppHost, Release};
use qemu_tests::contained::{Contained, Place};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

const AGENT: &str = "rollinit-agent";

/// A host from an image that has an agent and nothing else, and its releases.
struct Blank {
    host: AppHost,
    second: String,
}

impl Blank {
    fn prepare() -> Result<Self> {
        let host = AppHost::prepare("")?;
        let second = host.release(&Release { name: "web-2", serve: &[], programs: &[] })?;
        std::fs::remove_file(host.host.definitions().join(format!("{APP}.toml")))?;
        let file = host.host.path("user-data");
        let config = format!("[user-data]\nfile = \"{}\"\n", file.display());
        std::fs::write(host.host.path("agent.toml"), config)?;
        Ok(Self { host, second })
    }

    fn contained(&self) -> &Contained {
        &self.host.host
    }

    /// Gives the host this document, with its caches and keys.
    fn give(&self, text: &str) -> Result<()> {
        let key = std::fs::read_to_string(self.contained().path("public-key"))?;
        let cache = self.host.cache.url();
        let text =
            format!("rollinit = 1\ncaches = [\"{cache}\"]\nkeys = [\"{}\"]\n{text}", key.trim());
        let part = self.contained().path("user-data.part");
        std::fs::write(&part, text)?;
        std::fs::rename(&part, self.contained().path("user-data")).context("rename")
    }

    /// An app by this path or release, as `[apps.web]`.
    fn app(&self, closure: &str) -> String {
        let port = self.host.port;
        format!(
            "group = \"shop\"\nenvironment = {{ COLOUR = \"green\" }}\n\
             [apps.{APP}]\n{closure}\n[apps.{APP}.definition]\n\
             listen.http = \"127.0.0.1:{port}\"\nswap.bake = \"100ms\"\nswap.watch = \"0s\"\n\
             health.http = {{ path = \"/up\", every = \"50ms\", passes = 2 }}\n"
        )
    }

    fn start(&mut self) -> Result<()> {
        self.host.host.start(Place::Subreaper)?;
        self.contained().wait_state(AGENT, "running").map(drop)
    }

    /// What stands about user-data in `status`.
    fn notice(&self) -> Result<Value> {
        let status: Value = serde_json::from_str(&self.contained().must(&["status", "--json"])?)?;
        let notices = status["notices"].as_array().cloned().unwrap_or_default();
        Ok(notices.into_iter().find(|one| one["subject"] == "user-data").unwrap_or_default())
    }

    fn until_notice(&self, words: &[&str]) -> Result<()> {
        self.contained().until(&format!("a notice says {words:?}"), || {
            let notice = self.notice()?.to_string();
            Ok(words.iter().all(|word| notice.contains(word)))
        })
    }

    fn until_serves(&self, version: &str) -> Result<()> {
        let serves = || Ok(self.host.version().is_ok_and(|now| now == version));
        self.contained().until(&format!("{version} serves"), serves).with_context(|| {
            let logs = self.contained().rollinit(&["logs", AGENT, "-n", "40"]);
            format!("{:?}\n{logs:?}", self.notice())
        })
    }
}

/// Proof: requests. Without user-data the host says so and stays; a document with a key in it is
/// refused with the cure and without the key; a sound one makes the host fetch from a cache that it
/// did not know, by a key that it did not know, an app that it did not know, which serves users
/// with the variables of the host. After that a reboot, and an agent that is killed, keep what
/// serves, whatever the document says by then.
pub fn zero_touch() -> Result<()> {
    let mut blank = Blank::prepare()?;
    blank.start()?;
    blank.until_notice(&["there is none", "user-data.md"])?;
    let key = format!("AKIA{}", "Q".repeat(16));
    blank.give(&format!("environment = {{ A = \"{key}\" }}\n"))?;
    blank.until_notice(&["line 4, column 22", "access key of AWS", "SSM"])?;
    let status = blank.contained().must(&["status"])?;
    ensure!(status.contains("user-data") && !status.contains(&key), "{status}");

    let second = blank.second.clone();
    blank.give(&blank.app(&format!("path = \"{second}\"")))?;
    blank.until_serves("web-2")?;
    blank.contained().until("nothing stands any more", || Ok(blank.notice()? == Value::Null))?;
    ensure!(blank.host.profile()? == second, "its first generation");
    let pid = blank.contained().service(APP)?["pid"].as_u64().context("it runs")?;
    let environment = std::fs::read_to_string(format!("/proc/{pid}/environ"))?;
    for variable in ["COLOUR=green", "ROLLINIT_GROUP=shop"] {
        ensure!(environment.contains(variable), "{environment}");
    }

    let first = blank.host.first.clone();
    blank.give(&blank.app(&format!("path = \"{first}\"")))?;
    blank.host.kill_agent()?;
    let said = || blank.contained().must(&["logs", AGENT]);
    blank.contained().until("it is read again", || {
        Ok(said()?.contains(&format!("{APP} has a generation and keeps")))
    })?;
    ensure!(blank.host.version()? == "web-2", "releases decide now");
    let history = blank.host.swaps()?;
    ensure!(history.len() == 1, "one swap: {history:?}");
    Ok(())
}

/// Proof: a release URL whose document comes late, names the wrong app, and then the right one. The
/// host says each, tries again by itself, and serves what the document names.
pub fn release_url() -> Result<()> {
    let mut blank = Blank::prepare()?;
    let server = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/web/stable.toml", server.local_addr()?);
    let second = blank.second.clone();
    let answers = [
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
        answer(&format!("app = \"api\"\npath = \"{second}\"\n")),
        answer(&format!("app = \"{APP}\"\npath = \"{second}\"\n")),
    ];
    std::thread::spawn(move || {
        for (stream, answer) in server.incoming().zip(answers) {
            let Ok(mut stream) = stream else { return };
            // What it asks for is what the notices show.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    blank.give(&blank.app(&format!("release = \"{url}\"")))?;
    blank.start()?;
    blank.until_notice(&["there is no release at", "stable.toml"])?;
    blank.until_notice(&["release of", "api", "this app's release"])?;
    blank.until_serves("web-2")
}

/// Proof: user-data that names who has to sign. A document that nobody signed is refused by name;
/// one that both signed serves on a host that knew no app, and so does the next one.
pub fn signed_release() -> Result<()> {
    let mut blank = Blank::prepare()?;
    let web = Web::start()?;
    blank.start()?;
    let desk = Desk::new(&blank.host)?;
    let signers = std::fs::read_to_string(desk.at("signers"))?;
    let signers: Vec<&str> = signers.lines().collect();
    let signers = serde_json::to_string(&signers)?;
    let app = blank.app(&format!("release = \"{}\"", web.url()));
    blank.give(&format!("signers = {signers}\nthreshold = 2\n{app}"))?;
    web.put(format!("path = \"{}\"\n", blank.second).into_bytes());
    until_notice(&blank.host, &["the release is not signed, and 2 of alice, bob"])?;
    let both = ["alice", "bob"];
    web.put(desk.release(&blank.second, "shop", 1, &[], &both)?);
    blank.host.kill_agent()?; // rather than wait for the next look
    blank.until_serves("web-2")?;
    web.put(desk.release(&blank.host.first, "shop", 2, &[], &both)?);
    blank.host.kill_agent()?;
    blank.until_serves("web-1")
}

fn answer(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

/// Proof: a program of a closure that only the cache has is fetched and run once, with the host's
/// variables, and then the host ends by itself; a failing one leaves the host up and is told.
pub fn one_program() -> Result<()> {
    for (code, then) in [("3", "stay"), ("0", "power-off")] {
        let mut blank = Blank::prepare()?;
        let note = blank.contained().path("note").display().to_string();
        let job = blank.host.release(&Release {
            name: "job",
            serve: &[],
            programs: &[("job", &["task", "worked", "--note", &note, "--code", code])],
        })?;
        let text = format!("run.exec = [\"{job}/bin/job\"]\nrun.then = \"{then}\"\n");
        blank.give(&format!("group = \"jobs\"\n{text}"))?;
        blank.host.host.start(Place::PidNamespace)?;
        if then == "stay" {
            blank.contained().wait_state("user-data-run", "failed")?;
            let said = || blank.contained().must(&["logs", AGENT]);
            blank.contained().until("it is told", || {
                Ok(said()?.contains("the program failed: exited with code 3"))
            })?;
            ensure!(blank.contained().status()?["host"]["shutdown"] == Value::Null);
        } else {
            blank.host.host.ended()?;
        }
        ensure!(std::fs::read_to_string(&note)? == "worked\n", "it ran once");
    }
    Ok(())
}

/// Proof: a host whose lifetime is over powers itself off, whatever else its user-data asks for.
/// Without a launch to count from, its boot counts: this machine's, which is older than a minute.
pub fn lifetime() -> Result<()> {
    let mut blank = Blank::prepare()?;
    blank.give("lifetime = \"1m\"\n[apps.none]\npath = \"/nix/store/0c5mkq5pxkq1c8h2b4bm3c0qk2gsl5bg-a\"\n")?;
    ensure!(sys::clock::boottime_ns() > 60_000_000_000, "this machine has just been booted");
    blank.host.host.start(Place::PidNamespace)?;
    blank.host.host.ended()?;
    Ok(())
}
