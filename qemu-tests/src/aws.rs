//! AWS for tests: moto in a process of its own, and boto3 to set the scene with.
//!
//! moto is a foreign implementation of both sides: it answers as AWS documents it, and with
//! [`Moto::enforce`] it checks signatures and policies by botocore's own code.

use crate::guest::cleanup::{Held, on_ctrl_c};
use crate::guest::image::target;
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The region in which scenes are set.
pub const REGION: &str = "eu-central-1";

/// How long moto may take to start: Python reads thousands of files on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What moto lacks, and moto.
const SERVER: &str = concat!(
    include_str!("aws/balancers.py"),
    include_str!("aws/nodes.py"),
    include_str!("aws/moto.py")
);

/// For scenes with a load balancer: Python's `BalancedGroup(port, delay)` is an Auto Scaling group
/// `web` of two `instances` and the target group `web` that a load balancer sends to, at that port
/// and with that deregistration delay in seconds; none is in it before `register`.
pub const BALANCED_GROUP: &str = include_str!("aws/balanced_group.py");

/// A running moto; ends when it is dropped.
#[derive(Debug)]
pub struct Moto {
    address: SocketAddr,
    lines: Receiver<String>,
    calls: Arc<Mutex<Vec<String>>>,
    process: Held,
    /// Its end tells moto to end, also if we are killed.
    _input: ChildStdin,
}

/// The Python that `cargo xtask setup` equips.
#[must_use]
pub fn python() -> PathBuf {
    target().join("venv/bin/python3")
}

impl Moto {
    /// Starts one, with nothing in it.
    ///
    /// # Errors
    /// Python or moto is missing (`cargo xtask setup` brings both), or it does not start.
    pub fn start() -> Result<Self> {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// The same, on `address`.
    ///
    /// # Errors
    /// As [`Moto::start`].
    pub fn start_on(address: SocketAddr) -> Result<Self> {
        on_ctrl_c()?;
        let python = python();
        let mut command = Command::new(&python);
        command.args(["-c", SERVER, &address.ip().to_string(), &address.port().to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("start {}; `cargo xtask setup` makes it", python.display()))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let process = Held::new(child);
        let output = BufReader::new(output.context("moto's output")?);
        let (sender, lines) = channel();
        let calls: Arc<Mutex<Vec<String>>> = Arc::default();
        let record = Arc::clone(&calls);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some(call) = line.strip_prefix("call ") {
                    record.lock().unwrap_or_else(PoisonError::into_inner).push(call.to_owned());
                } else if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let first = lines
            .recv_timeout(PATIENCE)
            .context("moto does not start; its words are above. `cargo xtask setup` installs it")?;
        let address = first.parse().with_context(|| format!("moto says {first:?}"))?;
        Ok(Self { address, lines, calls, process, _input: input.context("moto's input")? })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as an endpoint of all services.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next lifecycle action it is told of: `complete GROUP HOOK INSTANCE RESULT`.
    ///
    /// # Errors
    /// There is none in time.
    pub fn lifecycle_action(&self, patience: Duration) -> Result<String> {
        self.lines.recv_timeout(patience).context("moto was told of no lifecycle action")
    }

    /// The orders to load balancers and to Auto Scaling groups so far, as `aws/nodes.py` writes
    /// them: `DeregisterTargets i-1:4000 web-1 healthy`.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The next orders fail, one for each: `Throttling`, or `InternalFailure` of one that was
    /// carried out all the same. The word stands at the end of the order's line.
    ///
    /// # Errors
    /// moto does not take it.
    pub fn trouble(&self, troubles: &[&str]) -> Result<()> {
        self.post("rollinit/troubles", &serde_json::to_string(troubles)?)
    }

    /// From now on the servers of the HAProxy whose runtime API is `socket` are the nodes of the
    /// load balancers: `INSTANCE:PORT` of a target, and the server that stands for it.
    ///
    /// # Errors
    /// moto does not take it.
    pub fn nodes(&self, socket: &Path, servers: &BTreeMap<String, String>) -> Result<()> {
        let told = serde_json::json!({ "socket": socket, "servers": servers });
        self.post("rollinit/nodes", &told.to_string())
    }

    /// Runs `script` with boto3 against this moto, `client(SERVICE)` and `json` at hand; returns
    /// what it prints.
    ///
    /// # Errors
    /// It fails; the text has its words.
    pub fn python(&self, script: &str) -> Result<String> {
        let prelude = format!(
            "import boto3, json\n\
             def client(service, key='setup', secret='setup'):\n    \
             return boto3.client(service, endpoint_url={:?}, region_name={REGION:?},\n        \
             aws_access_key_id=key, aws_secret_access_key=secret)\n",
            self.url()
        );
        let mut command = Command::new(python());
        let output = command.args(["-c", &format!("{prelude}{script}")]).output()?;
        if !output.status.success() {
            bail!("the scene is not set: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// From now on signatures are checked and policies enforced.
    ///
    /// # Errors
    /// moto does not take it.
    pub fn enforce(&self) -> Result<()> {
        self.control("reset-auth", "0")
    }

    /// As [`Moto::python`], by one who may do everything, though others are checked.
    ///
    /// # Errors
    /// As there.
    pub fn python_unchecked(&self, script: &str) -> Result<String> {
        self.control("reset-auth", "inf")?;
        let printed = self.python(script);
        self.enforce()?;
        printed
    }

    /// Everything is allowed again, and nothing is there.
    ///
    /// # Errors
    /// moto does not take it.
    pub fn reset(&self) -> Result<()> {
        self.control("reset-auth", "inf")?;
        self.control("reset", "")
    }

    fn control(&self, verb: &str, body: &str) -> Result<()> {
        self.post(&format!("moto-api/{verb}"), body)
    }

    fn post(&self, path: &str, body: &str) -> Result<()> {
        let mut stream = TcpStream::connect(self.address)?;
        let head = format!("POST /{path} HTTP/1.0\r\nHost: moto\r\n");
        let length = body.len();
        stream.write_all(format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1);
        ensure!(status == Some("200"), "{path}: {answer}");
        Ok(())
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.process.kill();
    }
}
