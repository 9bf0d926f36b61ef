//! Credentials from SSM to the files of their services: the whole way, with the real agent, a
//! metadata service, and moto in place of AWS.

use anyhow::{Context, Result, ensure};
use qemu_tests::apphost::AGENT;
use qemu_tests::aws::{Moto, REGION};
use qemu_tests::contained::{Contained, NOBODY, Place};
use serde_json::Value;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Secrets that stand nowhere else.
const FIRST: &str = "s3cr3t-first-8271";
const SECOND: &str = "s3cr3t-second-9914";
const LATE: &str = "s3cr3t-late-3355";
const LOCAL: &str = "s3cr3t-local-6120";
const MANAGED: &str = "s3cr3t-managed-7058";
const ALL: [&str; 5] = [FIRST, SECOND, LATE, LOCAL, MANAGED];

struct Scene {
    host: Contained,
    moto: Moto,
    metadata: imds::Server,
}

impl Scene {
    fn prepare() -> Result<Self> {
        let host = Contained::prepare()?;
        let moto = Moto::start()?;
        let state = host.path("imds.json");
        imds::Instance::default().state().save(&state)?;
        let metadata = imds::listen("127.0.0.1:0".parse()?, &state)?;
        let scene = Self { host, moto, metadata };
        scene.define_agent()?;
        Ok(scene)
    }

    fn define_agent(&self) -> Result<()> {
        let folder = |name: &str| self.host.path(name).display().to_string();
        let program = self.host.program("rollinit-agent").display().to_string();
        for name in ["nix/store", "nix/var/nix/profiles/rollinit", "state"] {
            std::fs::create_dir_all(self.host.path(name))?;
        }
        let (root, state, run, config) =
            (folder(""), folder("state"), folder("run"), folder("agent.toml"));
        let words = ["--root", &root, "--state", &state, "--run", &run, "--config", &config];
        let exec: Vec<&str> = std::iter::once(&*program).chain(words).collect();
        let more = format!(
            "control = \"admin\"\n[[service.listen]]\nname = \"varlink\"\nunix = \"{run}/agent\"\n"
        );
        self.host.define(AGENT, &exec, &more)?;
        let text = format!(
            "[cloud]\nregion = \"{REGION}\"\nendpoint = \"{}\"\nmetadata = \"{}\"\n\
             [credentials]\npoll = \"1s\"\n",
            self.moto.url(),
            self.metadata.url()
        );
        std::fs::write(self.host.path("agent.toml"), text).context("write agent.toml")
    }

    fn put(&self, name: &str, value: &str) -> Result<()> {
        let script = format!(
            "client('ssm').put_parameter(Name={name:?}, Value={value:?}, Type='SecureString', \
             Overwrite=True)"
        );
        self.moto.python(&script).map(drop)
    }

    /// Waits until a service has written down these lines and no others.
    fn noted(&self, file: &str, lines: &[String]) -> Result<()> {
        let path = self.host.path(file);
        let text = || std::fs::read_to_string(&path).unwrap_or_default();
        let expected: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let seen = self.host.until("it notes its credentials", || Ok(text() == expected));
        seen.with_context(|| format!("{file} has {:?}, not {expected:?}", text()))
    }

    /// A secret is in its file and nowhere else: not in the environment of any process, not in
    /// what anybody said, not in a file of the run directory but its own.
    fn nothing_leaks(&self) -> Result<()> {
        let mut places = vec![("log".to_owned(), self.host.said().into_bytes())];
        for words in [&["events", "--json"][..], &["logs", "--json"], &["status", "--json"]] {
            places.push((words[0].to_owned(), self.host.must(words)?.into_bytes()));
        }
        for service in ["web", "job", AGENT] {
            for pid in self.host.processes(service)? {
                for file in ["environ", "cmdline"] {
                    let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                    places.push((format!("{service}'s {file}"), bytes));
                }
            }
        }
        for folder in ["run", "state"] {
            collect(&self.host.path(folder), &mut places)?;
        }
        for (place, bytes) in places {
            let found = ALL.iter().find(|secret| {
                bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
            });
            ensure!(found.is_none(), "{found:?} is in {place}");
        }
        Ok(())
    }
}

/// All files below a folder but credentials' own.
fn collect(folder: &Path, places: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
        if kind.is_dir() && !path.ends_with("run/credentials") {
            collect(&path, places)?;
        } else if kind.is_file() {
            places.push((path.display().to_string(), std::fs::read(&path)?));
        }
    }
    Ok(())
}

fn line(what: &str, name: &str, value: &str) -> String {
    format!("{what} {name} {value}")
}

/// Proof: real SecureStrings come to two services of different users, each in files that only its
/// own user can read, before its program starts; one whose parameter is not there waits and says
/// for which, and starts when it is made. A new value comes by the poll: one service hears it by
/// SIGHUP in the same run, the other starts again. One that a reload brings is served too. `kill -9` of supervisor and agent tells nobody
/// anything twice. The secrets are in no environment, log, event, memo or other file.
pub fn from_ssm() -> Result<()> {
    let scene = Scene::prepare()?;
    let (web, job) = (scene.host.path("web.notes"), scene.host.path("job.notes"));
    for file in [&web, &job] {
        std::fs::write(file, "")?;
        std::os::unix::fs::chown(file, Some(NOBODY), Some(NOBODY))?;
    }
    let key = scene.host.path("tls.key");
    std::fs::write(&key, LOCAL)?;
    let user = format!("user = \"{NOBODY}\"\ngroup = \"{NOBODY}\"\nkind = \"notify\"\n");
    let more = format!(
        "{user}[service.credentials]\ndatabase = {{ ssm = \"/shop/database\", on-change = \
         \"signal\" }}\ntls = {{ path = \"{}\" }}\n",
        key.display()
    );
    scene.host.define_app("web", &["secrets", web.to_str().context("UTF-8")?], &more)?;
    let more = format!(
        "{user}[service.credentials]\nlate = {{ ssm = \"/shop/late\", on-change = \"restart\" }}\n\
         stripe = {{ ssm = \"/aws/reference/secretsmanager/stripe\" }}\n"
    );
    scene.host.define_app("job", &["secrets", job.to_str().context("UTF-8")?], &more)?;
    scene.put("/shop/database", FIRST)?;
    let script =
        format!("client('secretsmanager').create_secret(Name='stripe', SecretString={MANAGED:?})");
    scene.moto.python(&script)?;
    let mut scene = scene;
    scene.host.start(Place::Subreaper)?;
    scene.host.wait_state("web", "running")?;
    let mut web_lines = vec![line("start", "database", FIRST), line("start", "tls", LOCAL)];
    scene.noted("web.notes", &web_lines)?;
    is_private(&scene.host.path("run/credentials"))?;
    environment_is_named(&scene.host)?;

    let waiting = scene.host.wait_service("job", "says what it waits for", |job| {
        problems(job).contains("the credential late (SSM parameter /shop/late): SSM has no such")
    })?;
    ensure!(waiting["state"] == "blocked", "{waiting}");
    let shown = scene.host.must(&["secrets"])?;
    ensure!(shown.contains("missing ssm /shop/late"), "{shown}");
    scene.put("/shop/late", LATE)?;
    scene.host.wait_state("job", "running")?;
    let managed = line("start", "stripe", MANAGED);
    let mut job_lines = vec![line("start", "late", LATE), managed.clone()];
    scene.noted("job.notes", &job_lines)?;

    scene.put("/shop/database", SECOND)?;
    web_lines.extend([line("hup", "database", SECOND), line("hup", "tls", LOCAL)]);
    scene.noted("web.notes", &web_lines)?;
    ensure!(scene.host.service("web")?["incarnation"] == 1, "it was told, not restarted");
    scene.put("/shop/late", FIRST)?;
    job_lines.extend([line("start", "late", FIRST), managed]);
    scene.noted("job.notes", &job_lines)?;
    // A service that a reload brings has its credential at once, not at the next poll's will.
    let more = "[service.credentials]\nlate = { ssm = \"/shop/late\" }\n";
    scene.host.define_app("newcomer", &["hang"], more)?;
    scene.host.must(&["reload"])?;
    scene.host.wait_state("newcomer", "running")?;
    scene.nothing_leaks()?;
    told_once_over_deaths(&scene, &web_lines)
}

/// Supervisor and agent are killed; the agent brings everything again, and it is what is there.
fn told_once_over_deaths(scene: &Scene, web_lines: &[String]) -> Result<()> {
    let run = |name: &str| Ok::<_, anyhow::Error>(scene.host.service(name)?["incarnation"].clone());
    let before = (run("web")?, run("job")?);
    ensure!(scene.host.kill_supervisor()?, "there was a supervisor");
    let agent = scene.host.wait_state(AGENT, "running")?;
    let pid = agent["pid"].as_u64().context("a pid")?;
    ensure!(scene.host.processes(AGENT)?.contains(&u32::try_from(pid)?));
    scene.host.group(&format!("services/{AGENT}.0"))?.signal(9)?;
    scene.host.wait_service(AGENT, "is back", |now| {
        now["state"] == "running" && now["pid"] != agent["pid"]
    })?;
    // The agent has been round when it brings something new.
    scene.put("/shop/late", SECOND)?;
    scene.host.wait_service("job", "has it", |job| {
        job["state"] == "running" && job["incarnation"] != before.1
    })?;
    scene.noted("web.notes", web_lines)?;
    ensure!(run("web")? == before.0, "it was started again");
    Ok(())
}

fn problems(service: &Value) -> String {
    let list = service["problems"].as_array().cloned().unwrap_or_default();
    list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

/// 0400 and the service's; in a directory that it can list and not write.
fn is_private(root: &Path) -> Result<()> {
    for (path, mode, user, group) in [
        (root.to_owned(), 0o711, 0, 0),
        (root.join("web"), 0o750, 0, NOBODY),
        (root.join("web/database"), 0o400, NOBODY, NOBODY),
        (root.join("web/tls"), 0o400, NOBODY, NOBODY),
    ] {
        let found = std::fs::metadata(&path).with_context(|| path.display().to_string())?;
        let is = (found.mode() & 0o7777, found.uid(), found.gid());
        ensure!(is == (mode, user, group), "{} is {is:?}", path.display());
    }
    Ok(())
}

fn environment_is_named(host: &Contained) -> Result<()> {
    let pid = host.processes("web")?[0];
    let environment = std::fs::read_to_string(format!("/proc/{pid}/environ"))?;
    let named = format!("CREDENTIALS_DIRECTORY={}", host.path("run/credentials/web").display());
    ensure!(environment.split('\0').any(|variable| variable == named), "{environment:?}");
    Ok(())
}
