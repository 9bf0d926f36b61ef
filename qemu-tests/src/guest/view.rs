//! What `rollinit status --json` says, as tests ask it.

use super::agent::Agent;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::time::{Duration, Instant};

/// One reading of `rollinit status --json`.
#[derive(Clone, Debug, PartialEq)]
pub struct View(pub Value);

impl View {
    /// Asks the guest.
    ///
    /// # Errors
    /// As [`Agent::status`].
    pub fn take(agent: &mut Agent) -> Result<Self> {
        agent.status().map(Self)
    }

    /// Asks until `wanted` holds. Each question is a whole command in the guest, which paces it.
    ///
    /// # Errors
    /// It does not hold in time; the text has the last reading.
    pub fn until(
        agent: &mut Agent,
        patience: Duration,
        wanted: impl Fn(&View) -> bool,
    ) -> Result<Self> {
        let give_up = Instant::now() + patience;
        loop {
            let view = Self::take(agent)?;
            if wanted(&view) {
                return Ok(view);
            }
            if Instant::now() > give_up {
                bail!("the status did not become what was waited for: {:#}", view.0);
            }
        }
    }

    /// Waits until every service is as it was asked to be.
    ///
    /// # Errors
    /// As [`View::until`].
    pub fn settled(agent: &mut Agent, patience: Duration) -> Result<Self> {
        Self::until(agent, patience, |view| view.0["host"]["state"] == "running")
    }

    /// The supervisor's pid.
    ///
    /// # Errors
    /// There is none.
    pub fn supervisor_pid(&self) -> Result<u32> {
        pid(&self.0["host"]["supervisor"]["pid"]).context("no supervisor pid in the status")
    }

    /// All that is said of one service; null if there is no such service.
    #[must_use]
    pub fn service(&self, name: &str) -> &Value {
        static NONE: Value = Value::Null;
        let services = self.0["services"].as_array().map_or(&[][..], Vec::as_slice);
        services.iter().find(|service| service["name"] == name).unwrap_or(&NONE)
    }

    /// The names of all services that have a process, and its pid.
    #[must_use]
    pub fn pids(&self) -> Vec<(String, u32)> {
        let services = self.0["services"].as_array().map_or(&[][..], Vec::as_slice);
        let running = services.iter().filter_map(|service| {
            Some((service["name"].as_str()?.to_owned(), pid(&service["pid"])?))
        });
        running.collect()
    }

    /// The pid of a service.
    ///
    /// # Errors
    /// It does not run.
    pub fn pid(&self, name: &str) -> Result<u32> {
        pid(&self.service(name)["pid"]).with_context(|| format!("{name} does not run: {self:?}"))
    }

    /// The same without what may differ after a death of the supervisor: its pid and uptime.
    #[must_use]
    pub fn without_supervisor(&self) -> Value {
        let mut value = self.0.clone();
        value["host"]["supervisor"] = Value::Null;
        value
    }
}

fn pid(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|pid| u32::try_from(pid).ok())
}
