//! Rollouts over a cluster, as somebody with a laptop asks for them, and what became of them.

use super::haproxy::Front;
use super::{Cluster, GROUP};
use crate::guest::swap::Swapped;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::process::Output;
use std::time::{Duration, Instant};

/// How long a rollout may take until it is where a test wants it. A bound against a hang: on a
/// machine that others use, a host takes a minute for what it does in seconds.
pub const PATIENCE: Duration = Duration::from_secs(400);

/// How `rollinit rollout start --wait` ended.
#[derive(Clone, Debug)]
pub struct Rolled {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it printed with `--json`, line by line.
    pub lines: Vec<Value>,
    /// What it said on standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

/// All hosts run the release.
pub const BLESSED: i32 = 0;
/// It failed on a host, which went back.
pub const FAILED: i32 = 10;

impl Rolled {
    fn new(output: &Output, took: Duration) -> Self {
        let stdout = String::from_utf8_lossy(&output.stdout);
        let lines = stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Self { code: output.status.code(), lines, stderr, took }
    }

    /// # Errors
    /// It ended in another way; the text has all it said.
    pub fn expect(self, code: i32) -> Result<Self> {
        if self.code == Some(code) {
            return Ok(self);
        }
        let lines: Vec<String> = self.lines.iter().map(Value::to_string).collect();
        let (found, lines, said) = (self.code, lines.join("\n"), &self.stderr);
        bail!("exit {found:?} instead of {code}:\n{lines}\n{said}")
    }

    /// Why it ended, in the words of whoever ended it.
    #[must_use]
    pub fn why(&self) -> &str {
        let ended = self.lines.iter().rev().find_map(|line| line["ended"]["text"].as_str());
        ended.unwrap_or(self.stderr.trim())
    }
}

/// What `rollinit rollout status --json` said.
#[derive(Clone, Debug)]
pub struct Group(pub Value);

impl Group {
    fn app(&self, name: &str) -> &Value {
        static NONE: Value = Value::Null;
        self.0["apps"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|app| app["app"] == name)
            .unwrap_or(&NONE)
    }

    /// How an app of the group is: `rolling`, `blessed`, `failed`, …
    #[must_use]
    pub fn state(&self, front: Front) -> &str {
        self.app(front.app)["state"].as_str().unwrap_or("-")
    }

    /// What all hosts of the app ran last: a store path.
    #[must_use]
    pub fn blessed(&self, front: Front) -> Option<&str> {
        self.app(front.app)["blessed"]["path"].as_str()
    }

    /// Who is out.
    #[must_use]
    pub fn out(&self) -> Vec<String> {
        let holders = self.0["out"].as_array().into_iter().flatten();
        holders.filter_map(|holder| Some(holder["host"].as_str()?.to_owned())).collect()
    }

    /// Where releases of the app failed: store paths and hosts.
    #[must_use]
    pub fn failed(&self, front: Front) -> Vec<(String, String)> {
        let failed = self.app(front.app)["failed"].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        failed.map(|failed| (text(&failed["path"]), text(&failed["host"]))).collect()
    }

    /// The hosts of the app, and what each runs.
    #[must_use]
    pub fn runs(&self, front: Front) -> Vec<(String, String)> {
        let hosts = self.app(front.app)["hosts"].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        hosts.map(|host| (text(&host["host"]), text(&host["path"]))).collect()
    }
}

impl Cluster {
    /// Lets a release go over the group and waits for its end.
    ///
    /// # Errors
    /// The command is not there. How the rollout ended, the answer says.
    pub fn roll(&self, front: Front, release: &str, more: &[&str]) -> Result<Rolled> {
        let path = self.releases.path(release)?;
        let mut words = vec!["rollout", "start", front.app, &path, "--wait", "--json"];
        words.extend(more);
        let begun = Instant::now();
        Ok(Rolled::new(&self.attempt(&words)?, begun.elapsed()))
    }

    /// The same of a store path; `look` is called again and again meanwhile.
    ///
    /// # Errors
    /// As [`Cluster::roll`], and what `look` says.
    pub fn roll_path(
        &self,
        front: Front,
        path: &str,
        mut look: impl FnMut() -> Result<()>,
    ) -> Result<Rolled> {
        let words = ["rollout", "start", front.app, path, "--wait", "--json"];
        let (mut command, begun) = (self.command(&words), Instant::now());
        let waiting = std::thread::spawn(move || command.output());
        while !waiting.is_finished() {
            look()?;
        }
        let output = waiting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok(Rolled::new(&output.context("run rollinit")?, begun.elapsed()))
    }

    /// Lets a release go over the group, and does not wait.
    ///
    /// # Errors
    /// It is refused; the text has the words.
    pub fn begin(&self, front: Front, release: &str, more: &[&str]) -> Result<()> {
        let path = self.releases.path(release)?;
        let mut words = vec!["rollout", "start", front.app, &path];
        words.extend(more);
        self.rollinit(&words).map(drop)
    }

    /// What the ledger says of the group.
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn group(&self) -> Result<Group> {
        let text = self.rollinit(&["rollout", "status", "--json"])?;
        let value = serde_json::from_str(&text);
        Ok(Group(value.with_context(|| format!("rollout status --json printed {text:?}"))?))
    }

    /// Asks until `wanted` holds. Each question is a whole command, which paces it.
    ///
    /// # Errors
    /// It does not hold in time; the text has `what` and the last answer.
    pub fn until(&self, what: &str, wanted: impl Fn(&Group) -> bool) -> Result<Group> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let group = self.group();
            match group {
                Ok(group) if wanted(&group) => return Ok(group),
                Ok(group) if Instant::now() > give_up => {
                    bail!("{GROUP} never came to this: {what}; it is: {:#}", group.0)
                }
                Err(error) if Instant::now() > give_up => {
                    return Err(error.context(what.to_owned()));
                }
                _ => {}
            }
        }
    }

    /// The steps of the newest swap of an app on a host, each with its time in milliseconds.
    ///
    /// # Errors
    /// There was none, or the host does not answer.
    pub fn steps(&mut self, number: u8, front: Front) -> Result<Vec<(String, u64)>> {
        let agent = &mut self.host(number)?.guest()?.agent;
        let text = agent.rollinit(&["swaps", front.app, "--json"])?;
        let swaps: Value = serde_json::from_str(text.lines().next().unwrap_or_default())?;
        let id = swaps["swaps"][0]["swap"].as_str();
        let id = id.with_context(|| format!("no swap of {} in {text:?}", front.app))?;
        let (output, _) = agent.attempt(&["swaps", "--follow", id, "--json"], None)?;
        let swapped = Swapped::read(output);
        Ok(swapped.steps().into_iter().map(|(step, ms)| (step.to_owned(), ms)).collect())
    }

    /// What a shell line prints on all hosts that live, one after the other.
    ///
    /// # Errors
    /// It fails on one.
    pub fn everywhere(&mut self, line: &str) -> Result<String> {
        let mut text = String::new();
        for host in self.hosts.iter_mut().filter(|host| host.lives()) {
            text.push_str(&host.shell(line)?);
        }
        Ok(text)
    }

    /// How many different ids of a load the hosts that live served, and how many of them one host
    /// served more than once.
    ///
    /// # Errors
    /// A host does not answer as it should.
    pub fn served(&mut self, load: &str) -> Result<(u64, u64)> {
        let ids = format!("awk '$4 ~ /^{load}-/ {{ print $4 }}' /tmp/served | sort");
        let all = self.everywhere(&format!("{ids} -u | wc -l"))?;
        let twice = self.everywhere(&format!("{ids} | uniq -d | wc -l"))?;
        Ok((sum(&all), sum(&twice)))
    }

    /// How many requests of users a version was asked, on all hosts that live.
    ///
    /// # Errors
    /// A host does not answer as it should.
    pub fn users(&mut self, version: &str) -> Result<u64> {
        let program =
            format!("$1 == \"{version}\" && $3 != \"/up\" {{ users++ }} END {{ print users + 0 }}");
        Ok(sum(&self.everywhere(&format!("awk '{program}' /tmp/served"))?))
    }
}

fn sum(text: &str) -> u64 {
    text.split_ascii_whitespace().filter_map(|word| word.parse::<u64>().ok()).sum()
}
