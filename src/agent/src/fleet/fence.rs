//! Whether a swap may take its next step.

use super::Fleet;
use crate::app::Tools;
use rollout::fleet::{Group, SwapId, Track};
use rollout::{Failure, Fault};
use std::time::Duration;
use tokio::time::Instant;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// A step of a release that no user has seen: it is not taken either if the group does not roll
    /// that release any more.
    Users,
    /// A step after which there is no way back.
    NoReturn,
}

/// How long a ledger that does not answer is waited for at such a step: nothing is worse for it,
/// and a network that is away for a minute shall fail nothing.
const PATIENCE: Duration = Duration::from_secs(180);

/// Between two questions meanwhile.
const PAUSE: Duration = Duration::from_millis(500);

/// Whether the swap of this id may take its next step on this host: in a fleet the ledger says so.
///
/// # Errors
/// As [`Fleet::may`]; or it goes under a slot of a fleet that this host is not in.
pub async fn fence(tools: &Tools, app: &str, swap: &str, before: Before) -> Result<(), Failure> {
    if let Some(fleet) = tools.fleet() {
        return fleet.may(app, swap, before).await;
    }
    match SwapId::of(swap) {
        SwapId::Slot { .. } => Err(Failure {
            fault: Fault::Host,
            reason: format!("swap {swap} goes under a slot of a fleet that this host is not in"),
            cure: vec!["write ledger and group into [fleet] of agent.toml".to_owned()],
        }),
        SwapId::Install | SwapId::Back | SwapId::Hand => Ok(()),
    }
}

impl Fleet {
    /// Reads the group's record once more: whether the swap of this id may go on. One that goes
    /// under no slot may, and so may every way back.
    ///
    /// # Errors
    /// The slot is not this host's any more, or the ledger does not answer.
    pub async fn may(&self, app: &str, swap: &str, before: Before) -> Result<(), Failure> {
        let SwapId::Slot { fence } = SwapId::of(swap) else { return Ok(()) };
        let host = self.host().await;
        let until = Instant::now() + PATIENCE;
        let mut is_said = false;
        let error = loop {
            match self.record().await {
                Ok(record) => {
                    let group = record.map(|(group, _)| group).unwrap_or_default();
                    return self.judge(&group, host, app, fence, before);
                }
                Err(error) if Instant::now() >= until => break error,
                Err(error) if !std::mem::replace(&mut is_said, true) => {
                    tracing::warn!("{app}: swap {swap} waits for the ledger: {error}");
                }
                Err(_) => {}
            }
            tokio::time::sleep(PAUSE).await;
        };
        let reason =
            format!("this host's slot in group {} cannot be confirmed: {error}", self.group);
        let cure = vec!["rollinit locks".to_owned()];
        Err(Failure { fault: Fault::Host, reason, cure })
    }

    fn judge(
        &self,
        group: &Group,
        host: &str,
        app: &str,
        fence: u64,
        before: Before,
    ) -> Result<(), Failure> {
        let failure = |reason: String| Failure {
            fault: Fault::Fence,
            reason,
            cure: vec!["rollinit rollout status".to_owned()],
        };
        let slot = group.holder(host).filter(|slot| slot.fence == fence);
        let Some(slot) = slot else {
            let text = format!("slot {fence} of group {} is not this host's any more", self.group);
            return Err(failure(text));
        };
        let wanted = group.apps.get(app).and_then(Track::wanted);
        let is_called_for = wanted == Some((slot.path.as_str(), slot.rollout.as_str()));
        if before == Before::Users && !is_called_for {
            let text = format!("group {} does not roll this release any more", self.group);
            return Err(failure(text));
        }
        Ok(())
    }
}
