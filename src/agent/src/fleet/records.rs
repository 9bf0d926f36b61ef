//! The group's records on the ledger: read, changed by compare-and-swap, and settled by reading when
//! an answer got lost.

use super::Fleet;
use rollout::fleet::{Group, Refusal, keys};
use rollout::{Cas, Ledger, LedgerError, Token};
use std::time::Duration;

/// Tries of a change before whoever wants it is told: each loses against somebody who was faster.
const TRIES: u32 = 8;

/// Between two of them.
const PAUSE: Duration = Duration::from_millis(200);

/// Why a record was not read or changed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The ledger gave no answer that counts.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The record does not allow it, or is none.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Others were faster, again and again, or no answer came.
    #[error("the record of group {group} could not be changed: {reason}; try again")]
    Unsettled {
        /// The group.
        group: String,
        /// What came of the last try.
        reason: String,
    },
}

impl Fleet {
    /// The group's record as it is now, linearizable, with its version.
    ///
    /// # Errors
    /// The ledger does not answer, or with what is no record.
    pub async fn record(&self) -> Result<Option<(Group, Token)>, RecordError> {
        let key = keys::record(&self.group)?;
        let entry = self.engine().await?.get(&key).await?;
        let Some(entry) = entry else { return Ok(None) };
        Ok(Some((Group::read(&entry.value)?, entry.token)))
    }

    /// Changes the group's record, or makes the first one. `change` is called again on a fresh
    /// record when somebody else was faster, and when an answer got lost: it must bear repetition.
    /// A change that changes nothing is not written.
    ///
    /// # Errors
    /// What `change` refuses; the ledger does not answer.
    pub async fn change(
        &self,
        change: impl Fn(&mut Group) -> Result<(), Refusal>,
    ) -> Result<Group, RecordError> {
        let key = keys::record(&self.group)?;
        let mut reason = "others were faster".to_owned();
        for _ in 0..TRIES {
            let known = self.record().await?;
            let (before, token) = match known {
                Some((group, token)) => (Some(group), Some(token)),
                None => (None, None),
            };
            let mut group = before.clone().unwrap_or_else(Group::new);
            change(&mut group)?;
            if before.as_ref() == Some(&group) {
                return Ok(group);
            }
            self.host().await.clone_into(&mut group.writer);
            let bytes = group.write()?;
            match self.engine().await?.cas(&key, token.as_ref(), &bytes).await? {
                Cas::Applied(_) => return Ok(group),
                Cas::Lost => {}
                Cas::Unknown(why) => reason = why,
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(RecordError::Unsettled { group: self.group.clone(), reason })
    }
}
