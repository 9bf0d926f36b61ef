//! Releases that persons sign, followed by real agents: from a web server, from S3 by way of an
//! instance's tag, from a fleet's ledger, and as user-data names them. They are made and signed by
//! `rollinit release`, as a person at a desk does.

use anyhow::{Context, Result, ensure};
use qemu_tests::apphost::{AGENT, APP, AppHost, Release};
use qemu_tests::aws::{Moto, REGION};
use qemu_tests::contained::Output;
use qemu_tests::fleet::{Fleet, GROUP};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

/// Short, so that a test takes seconds; the way is the same.
const QUICK: &str = "[app.swap]\ndrain = \"5s\"\nbake = \"100ms\"\nwatch = \"0s\"\n";

/// The hosts' own system, among the apps of a group.
const SYSTEM: &str = "system";

/// Exit code of a swap that is refused (docs/cli.md).
const REFUSED: i32 = 12;

/// What a web server has, and how often it said that it is as before.
#[derive(Debug, Default)]
struct Served {
    body: Option<Vec<u8>>,
    version: u32,
    unchanged: u32,
}

/// A web server of one document, with ETags.
pub struct Web {
    address: SocketAddr,
    served: Arc<Mutex<Served>>,
}

impl Web {
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let served: Arc<Mutex<Served>> = Arc::default();
        let shared = Arc::clone(&served);
        // Ends with the tests' process, as its socket does.
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = [0; 4096];
                let length = stream.read(&mut request).unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..length]).to_lowercase();
                let _ = stream.write_all(&answer(&shared, &request));
            }
        });
        Ok(Self { address, served })
    }

    pub fn url(&self) -> String {
        format!("http://{}/web.release", self.address)
    }

    pub fn put(&self, body: Vec<u8>) {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        served.body = Some(body);
        served.version += 1;
    }

    fn unchanged(&self) -> u32 {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).unchanged
    }
}

fn answer(served: &Mutex<Served>, request: &str) -> Vec<u8> {
    let mut served = served.lock().unwrap_or_else(PoisonError::into_inner);
    let etag = format!("\"v{}\"", served.version);
    let (status, body) = match &served.body {
        None => ("404 Not Found", Vec::new()),
        Some(_) if request.contains(&format!("if-none-match: {etag}")) => {
            served.unchanged += 1;
            ("304 Not Modified", Vec::new())
        }
        Some(body) => ("200 OK", body.clone()),
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nETag: {etag}\r\nConnection: close\r\n");
    [format!("{head}Content-Length: {length}\r\n\r\n").into_bytes(), body].concat()
}

/// Where releases are made and signed: a host's cache, and the keys of two persons, of whom alice
/// has two.
pub struct Desk<'h> {
    host: &'h AppHost,
}

impl<'h> Desk<'h> {
    pub fn new(host: &'h AppHost) -> Result<Self> {
        let desk = Self { host };
        let mut lines = String::new();
        for (person, key) in [("alice", "alice"), ("alice", "token"), ("bob", "bob")] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(desk.at(key));
            let made = keygen.stdin(Stdio::null()).status().context("run ssh-keygen")?;
            ensure!(made.success(), "ssh-keygen made no key");
            let public = std::fs::read_to_string(desk.at(&format!("{key}.pub")))?;
            lines.push_str(&format!("{person} {public}"));
        }
        std::fs::write(desk.at("signers"), lines)?;
        Ok(desk)
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.host.host.path(name)
    }

    /// A signed release of the app.
    pub fn release(
        &self,
        path: &str,
        group: &str,
        serial: u64,
        more: &[&str],
        keys: &[&str],
    ) -> Result<Vec<u8>> {
        self.release_of(APP, path, group, serial, more, keys)
    }

    fn release_of(
        &self,
        app: &str,
        path: &str,
        group: &str,
        serial: u64,
        more: &[&str],
        keys: &[&str],
    ) -> Result<Vec<u8>> {
        let (file, serial) = (self.at("release").display().to_string(), serial.to_string());
        let cache = self.host.cache.url();
        let words = ["release", "make", app, path, "-g", group, "-s", &serial, "-c", &cache];
        self.host.host.must(&[&words[..], &["-o", &file], more].concat())?;
        for key in keys {
            let key = self.at(key).display().to_string();
            self.host.host.must(&["release", "sign", &file, "-k", &key])?;
        }
        Ok(std::fs::read(file)?)
    }
}

/// What stands about the app's release in `status`.
fn notice(host: &AppHost) -> Result<String> {
    let status = host.host.status()?;
    let notices = status["notices"].as_array().cloned().unwrap_or_default();
    let subject = format!("release {APP}");
    let found = notices.iter().find(|one| one["subject"] == subject.as_str());
    Ok(found.map(Value::to_string).unwrap_or_default())
}

pub fn until_notice(host: &AppHost, words: &[&str]) -> Result<()> {
    let seen = host.host.until(&format!("a notice says {words:?}"), || {
        let notice = notice(host)?;
        Ok(words.iter().all(|word| notice.contains(word)))
    });
    seen.with_context(|| notice(host).unwrap_or_default())
}

fn until_serves(host: &AppHost, version: &str) -> Result<()> {
    let serves = || Ok(host.version().is_ok_and(|now| now == version));
    host.host.until(&format!("{version} serves"), serves).with_context(|| {
        let logs = host.host.rollinit(&["logs", AGENT, "-n", "40"]);
        format!("{:?}\n{logs:?}", notice(host))
    })
}

fn desired(url: &str, signers: &Path, more: &str) -> String {
    desired_of(APP, url, signers, more)
}

fn desired_of(app: &str, url: &str, signers: &Path, more: &str) -> String {
    let signers = signers.display();
    format!(
        "[desired.{app}]\nurl = \"{url}\"\nsigners = \"{signers}\"\nthreshold = 2\nevery = \"1s\"\n\
         {more}\n"
    )
}

/// Proof: what users are answered by, and what stands in `status`. Nothing, a document that nobody,
/// too few, or one person twice signed, one of another group, an expired and a forged one: each is
/// refused by name and changes nothing. A sound one serves. Its serial outlives the agent's death:
/// an older one is refused then. An unchanged one is not sent again; who goes back by hand stays
/// there. A closure whose digest is another than was signed is refused before a byte of it is here.
pub fn signed_from_the_web() -> Result<()> {
    let mut host = AppHost::prepare(QUICK)?;
    let second = host.release(&Release { name: "web-2", serve: &[], programs: &[] })?;
    let third = host.release(&Release { name: "web-3", serve: &[], programs: &[] })?;
    let web = Web::start()?;
    host.configure(&desired(&web.url(), &host.host.path("signers"), "group = \"prod\""))?;
    host.settle()?;
    let desk = Desk::new(&host)?;
    until_notice(&host, &["there is no release at http://"])?;

    let sound = |serial| desk.release(&second, "prod", serial, &[], &["alice", "bob"]);
    let by = |keys| desk.release(&second, "prod", 5, &[], keys);
    for (release, word) in [
        (format!("path = \"{second}\"\n").into_bytes(), "not signed, and 2 of alice, bob"),
        (by(&[])?, "not signed, and 2 of alice, bob"),
        (by(&["bob"])?, "the signatures of bob, and 2 of"),
        (by(&["alice", "token"])?, "alice with 2 keys, which is one person"),
        (desk.release(&second, "staging", 5, &[], &["alice", "bob"])?, "for the group staging"),
        (desk.release(&second, "prod", 5, &["-e", "1s"], &["alice", "bob"])?, "5 expired at"),
        (forged(sound(5)?), "forged: the signature with alice's key"),
    ] {
        // An expired one is sound for a second: it is not put there before that is over.
        if word.contains("expired") {
            std::fs::write(desk.at("release"), &release)?;
            host.host.until("it expires", || Ok(verified(&desk)?.stderr.contains("expired at")))?;
        }
        web.put(release);
        until_notice(&host, &[word])?;
    }
    ensure!(host.version()? == "web-1" && host.swaps()?.is_empty(), "nothing was begun");

    web.put(sound(5)?);
    until_serves(&host, "web-2")?;
    host.host.until("nothing stands any more", || Ok(notice(&host)?.is_empty()))?;
    let before = web.unchanged();
    host.host.until("it is asked by its ETag", || Ok(web.unchanged() > before + 1))?;

    let back = host.swap(&host.first, &[])?;
    ensure!(back.code == Some(0), "{back:?}");
    host.kill_agent()?;
    web.put(desk.release(&third, "prod", 4, &[], &["alice", "bob"])?);
    until_notice(&host, &["the release 4 is old: this host has seen 5"])?;
    ensure!(host.version()? == "web-1", "who went back by hand stays there");

    let lied = desk.release(&third, "prod", 6, &[], &[])?;
    let lied = String::from_utf8(lied)?;
    let (head, tail) = lied.split_once("\"closure-sha256\": \"").context("its digest")?;
    let lied = format!("{head}\"closure-sha256\": \"{}{}", "0".repeat(64), &tail[64..]);
    std::fs::write(desk.at("release"), lied)?;
    let file = desk.at("release").display().to_string();
    for key in ["alice", "bob"] {
        let key = desk.at(key).display().to_string();
        host.host.must(&["release", "sign", &file, "-k", &key])?;
    }
    web.put(std::fs::read(desk.at("release"))?);
    until_notice(&host, &["release 6 of web is not what alice and bob signed"])?;
    ensure!(host.version()? == "web-1", "nothing was begun");
    ensure!(!host.host.path(third.trim_start_matches('/')).exists(), "not a byte of it is here");
    Ok(())
}

/// The serial, changed by somebody who signs nothing.
fn forged(mut release: Vec<u8>) -> Vec<u8> {
    let word = b"\"serial\": 5";
    let at = release.windows(word.len()).position(|window| window == word);
    if let Some(at) = at {
        release[at + word.len() - 1] = b'6';
    }
    release
}

fn verified(desk: &Desk<'_>) -> Result<Output> {
    let file = desk.at("release").display().to_string();
    let signers = desk.at("signers").display().to_string();
    desk.host.host.rollinit(&["release", "verify", &file, "-s", &signers, "-t", "2"])
}

/// Proof: a group of three whose hosts look at the ledger. One `publish`, and all serve it by one
/// rollout of that name, blessed; only-signed hosts refuse what somebody rolls past the persons. A
/// release of the hosts' own system begins its rollout as well, and no host is swapped to it by hand.
pub fn a_group_by_its_ledger() -> Result<()> {
    let signers = tempfile::NamedTempFile::new().context("a file of signers")?;
    let path = signers.path().to_owned();
    let config =
        desired("ledger:", &path, "only-signed = true") + &desired_of(SYSTEM, "ledger:", &path, "");
    let fleet = Fleet::start_with(3, QUICK, None, |_| config.clone())?;
    let maker = &fleet.hosts[0];
    let desk = Desk::new(maker)?;
    std::fs::copy(desk.at("signers"), &path)?;
    let release = |name| maker.release(&Release { name, serve: &[], programs: &[] });
    let (second, third) = (release("web-2")?, release("web-3")?);
    let signed = desk.release(&second, GROUP, 7, &[], &["alice", "bob"])?;
    std::fs::write(desk.at("release"), signed)?;
    let file = desk.at("release").display().to_string();
    let publish = ["release", "publish", &file, "--ledger", &fleet.ledger];
    maker.host.must(&publish)?;
    for host in &fleet.hosts {
        until_serves(host, "web-2")?;
    }
    for host in &fleet.hosts {
        let swaps = host.swaps()?;
        let id = swaps.first().and_then(|swap| swap["swap"].as_str()).unwrap_or_default();
        ensure!(swaps.len() == 1 && id.starts_with("release-7-"), "{swaps:?}");
    }
    // Whoever can write to the ledger has not signed anything.
    maker.host.until("the one before is blessed, and another may begin", || {
        Ok(fleet.roll(&third, &[])?.code == Some(0))
    })?;
    let said =
        || maker.host.must(&["rollout", "status", "--ledger", &fleet.ledger, "--group", GROUP]);
    maker.host.until("a host says why it does not", || {
        let said_by = |host: &AppHost| host.host.rollinit(&["logs", AGENT]).map(|out| out.stdout);
        let logs = fleet.hosts.iter().map(said_by).collect::<Result<Vec<_>>>()?;
        Ok(logs.iter().any(|log| log.contains("no signed release of web names")))
    })?;
    for host in &fleet.hosts {
        ensure!(host.version()? == "web-2", "{}", said()?);
    }
    let signed = desk.release_of(SYSTEM, &third, GROUP, 9, &[], &["alice", "bob"])?;
    std::fs::write(&file, signed)?;
    maker.host.must(&publish)?;
    a_system_is_rolled(&fleet, &third)
}

/// These hosts have no system of their own: what begins is seen on the ledger, and what is refused
/// on each of them.
fn a_system_is_rolled(fleet: &Fleet, path: &str) -> Result<()> {
    let host = &fleet.hosts[1].host;
    host.until("a rollout of the system goes on", || {
        let status = fleet.status()?;
        let apps = status["apps"].as_array().cloned().unwrap_or_default();
        let system = apps.iter().find(|app| app["app"] == SYSTEM);
        Ok(system.is_some_and(|app| app["rollout"]["id"] == "release-9"))
    })
    .with_context(|| fleet.said())?;
    let mut said = String::new();
    host.until("nobody swaps it by hand", || {
        let output = host.rollinit(&["swap", SYSTEM, path])?;
        said = format!("{output:?}");
        Ok(output.code == Some(REFUSED) && output.stderr.contains("rollinit rollout start system"))
    })
    .with_context(|| said.clone())
}

/// Proof: an instance whose tag names an object in S3 (moto, with signatures of requests) becomes
/// what the object says.
pub fn from_s3_by_a_tag() -> Result<()> {
    let moto = Moto::start()?;
    let mut host = AppHost::prepare(QUICK)?;
    let second = host.release(&Release { name: "web-2", serve: &[], programs: &[] })?;
    let instance = imds::Instance {
        tags: Some(vec![("web-release".to_owned(), "s3://releases/web.release".to_owned())]),
        ..imds::Instance::default()
    };
    let state = host.host.path("imds.json");
    instance.state().save(&state)?;
    let metadata = imds::listen("127.0.0.1:0".parse()?, &state)?;
    host.configure(&format!(
        "[cloud]\nregion = \"{REGION}\"\nendpoint = \"{}\"\nmetadata = \"{}\"\n",
        moto.url(),
        metadata.url()
    ))?;
    host.configure(&desired("tag:web-release", &host.host.path("signers"), ""))?;
    moto.python(
        "client('s3').create_bucket(Bucket='releases', \
         CreateBucketConfiguration=dict(LocationConstraint='eu-central-1'))",
    )?;
    host.settle()?;
    let desk = Desk::new(&host)?;
    until_notice(&host, &["there is no release at s3://releases/web.release"])?;
    desk.release(&second, "default", 1, &[], &["alice", "bob"])?;
    moto.python(&format!(
        "client('s3').upload_file({:?}, 'releases', 'web.release')",
        desk.at("release").display().to_string()
    ))?;
    until_serves(&host, "web-2")
}
