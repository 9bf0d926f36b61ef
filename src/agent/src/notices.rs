//! The notices of EC2: looked at by the clock, judged by [`machine`], carried out here.

pub mod machine;

use crate::app::Tools;
use crate::ec2::Ec2;
use cloud::auto_scaling::{HookResult, TERMINATING};
use control::agent::Level;
use control::types::ServiceState;
use machine::{Effect, Event, Hook, Machine, Reading, Spot};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How long a hook waits that does not say so: what AWS documents as the default.
const HOOK_PATIENCE: Duration = Duration::from_secs(3_600);

/// How long the last word to all hooks may take: a call and its repetitions.
const LAST_WORD: Duration = Duration::from_secs(10);

/// The watch over the notices of one instance.
#[derive(Debug)]
pub struct Watch {
    ec2: Ec2,
    tools: Rc<Tools>,
    machine: RefCell<Machine>,
    began: Instant,
}

impl Watch {
    /// Looks at nothing yet.
    #[must_use]
    pub fn new(ec2: Ec2, tools: Rc<Tools>) -> Self {
        let machine = RefCell::new(Machine::new(ec2.notices));
        Self { ec2, tools, machine, began: Instant::now() }
    }

    /// Looks, for as long as it is polled.
    pub async fn run(&self) {
        loop {
            let event = match self.look().await {
                Ok(reading) => Event::Read(reading),
                Err(error) => Event::Away(error.to_string()),
            };
            self.step(event).await;
            sleep(self.ec2.notices.poll).await;
        }
    }

    /// The last act of an agent that is told to end: if the host leaves for its group, waits until
    /// everybody else has stopped, and then tells the hooks, so that no other instance is held up.
    pub async fn farewell(&self) {
        let (owed, by) = {
            let machine = self.machine.borrow();
            (machine.owed().to_vec(), machine.leaves_by())
        };
        let (false, Some(by)) = (owed.is_empty(), by) else { return };
        tracing::info!("the host leaves its group: {} hooks wait until services stop", owed.len());
        let by = (self.began + by).checked_sub(LAST_WORD).unwrap_or_else(Instant::now);
        if timeout_at(by, self.tools.supervisor.until_alone()).await.is_err() {
            tracing::warn!("services have not stopped in time; the group is told all the same");
        }
        let told = async {
            for hook in &owed {
                self.complete(hook).await;
            }
        };
        if timeout(LAST_WORD, told).await.is_err() {
            tracing::error!("the group does not take it that this instance is done; it waits");
        }
    }

    async fn look(&self) -> cloud::Result<Reading> {
        let imds = &self.ec2.imds;
        let spot = imds.spot_notice().await?;
        Ok(Reading {
            spot: spot.map(|notice| Spot { action: notice.action, left: notice.remaining }),
            rebalance: imds.rebalance_notice().await?.is_some(),
            group: imds.lifecycle_state().await?,
        })
    }

    /// Steps the machine, carries out what it says, and steps it with what that brings.
    async fn step(&self, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let effects = self.machine.borrow_mut().step(self.began.elapsed(), event);
            for effect in effects {
                if let Some(event) = self.carry_out(effect).await {
                    next = Some(event);
                }
            }
        }
    }

    async fn carry_out(&self, effect: Effect) -> Option<Event> {
        let Tools { standing, console, supervisor, .. } = &*self.tools;
        match effect {
            Effect::Tell { subject, level, text, cure } => {
                standing.set(console, subject.word(), level, &text, cure.as_deref());
            }
            Effect::Clear(subject) => standing.clear(subject.word()),
            Effect::FindHooks => {
                let found = self.find_hooks().await;
                return Some(Event::Hooks(found.map_err(|error| error.to_string())));
            }
            Effect::Heartbeat(hook) => self.heartbeat(&hook).await,
            Effect::Shutdown { kind, within } => {
                if let Some(fleet) = self.tools.fleet() {
                    fleet.leave(&format!("EC2 takes this instance away: {kind}"));
                }
                let asked = supervisor
                    .ask(async |client| match within {
                        Some(within) => client.shutdown_within(kind, within).await,
                        None => client.shutdown(kind).await,
                    })
                    .await;
                if let Err(error) = asked {
                    let cure = "run `rollinit poweroff`";
                    let text = format!("the supervisor does not take the {kind}: {error}");
                    standing.set(console, "power", Level::Error, &text, Some(cure));
                }
            }
        }
        None
    }

    /// The hooks that hold up this instance's end.
    async fn find_hooks(&self) -> cloud::Result<Vec<Hook>> {
        let instance = self.ec2.imds.identity().await?.instance_id;
        let groups = self.ec2.aws.auto_scaling();
        let Some(member) = groups.member(&instance).await? else { return Ok(Vec::new()) };
        let hooks = groups.hooks(&member.group).await?;
        let ending = hooks.into_iter().filter(|hook| hook.transition == TERMINATING);
        Ok(ending
            .map(|hook| Hook {
                group: member.group.clone(),
                name: hook.name,
                patience: hook.heartbeat_timeout_s.map_or(HOOK_PATIENCE, Duration::from_secs),
            })
            .collect())
    }

    async fn heartbeat(&self, hook: &Hook) {
        let Ok(identity) = self.ec2.imds.identity().await else { return };
        let groups = self.ec2.aws.auto_scaling();
        let sent = groups.heartbeat(&hook.group, &hook.name, &identity.instance_id).await;
        if let Err(error) = sent {
            // It may wait for nothing yet; its time then began a moment ago.
            tracing::warn!("{error}");
        }
    }

    async fn complete(&self, hook: &Hook) {
        let Ok(identity) = self.ec2.imds.identity().await else { return };
        let groups = self.ec2.aws.auto_scaling();
        let (group, name) = (&hook.group, &hook.name);
        let told = groups.complete(group, name, &identity.instance_id, HookResult::Continue).await;
        match told {
            Ok(()) => tracing::info!("{group}: hook {name} knows that services have stopped"),
            Err(error) => tracing::error!("{error}; the group waits until the hook's timeout"),
        }
    }
}

/// Whether somebody is still on the way down, beside the process `own`.
pub fn is_anybody_stopping(status: &control::types::Status, own: u32) -> bool {
    status
        .services
        .iter()
        .any(|service| service.state == ServiceState::Stopping && service.pid != Some(own))
}
