//! The group's records on the ledger: read, changed by compare-and-swap, and settled by reading
//! when an answer got lost.

use super::Fleet;
use rollout::fleet::{Group, Refusal, Status, keys};
use rollout::{Cas, Ledger, LedgerError, Token};
use std::collections::BTreeSet;
use std::time::Duration;

/// Tries of a change before whoever wants it is told: each loses against somebody who was faster.
const TRIES: u32 = 8;

/// Between two of them.
const PAUSE: Duration = Duration::from_millis(200);

/// The group's record with its version, and what all its hosts say.
pub type Look = (Option<(Group, Token)>, Vec<Status>);

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

    /// The group's record with its version, and what all its hosts say.
    ///
    /// # Errors
    /// The ledger does not answer, or with what is no record.
    pub(super) async fn look(&self) -> Result<Look, RecordError> {
        let record = self.record().await?;
        let entries = self.engine().await?.list(&keys::hosts(&self.group)?).await?;
        let (mut statuses, mut unread) = (Vec::new(), BTreeSet::new());
        for (key, entry) in entries {
            match Status::read(&entry.value) {
                Ok(status) => statuses.push(status),
                Err(error) => {
                    // There is a look each second.
                    if !self.unread.borrow().contains(&key) {
                        tracing::warn!("{key}: {error}");
                    }
                    unread.insert(key);
                }
            }
        }
        self.unread.replace(unread);
        Ok((record, statuses))
    }

    /// Writes the group's record in place of that of a version.
    ///
    /// # Errors
    /// Nothing was written.
    pub(super) async fn write(&self, expected: &Token, group: &Group) -> Result<Cas, RecordError> {
        let (key, bytes) = (keys::record(&self.group)?, group.write()?);
        Ok(self.engine().await?.cas(&key, Some(expected), &bytes).await?)
    }

    /// Writes what this host says of itself. What cannot be written is said again sooner or later.
    pub(super) async fn say(&self, status: Status) {
        let _turn = self.saying.lock().await;
        match self.try_say(&status).await {
            Ok(Cas::Applied(_)) if status.leaves() => self.left.notify_one(),
            Ok(Cas::Applied(_)) => {}
            Ok(Cas::Lost) => tracing::warn!("another host calls itself {} too", status.host),
            Ok(Cas::Unknown(why)) => tracing::warn!("what this host says of itself: {why}"),
            Err(error) => tracing::warn!("what this host says of itself: {error}"),
        }
    }

    /// Removes what a host said that has been silent for long. If it says something now, that
    /// stays.
    pub(super) async fn forget(&self, host: &str, beat: u64) {
        let forgotten = async {
            let key = keys::host(&self.group, host)?;
            let engine = self.engine().await?;
            let Some(entry) = engine.get(&key).await? else { return Ok(()) };
            if Status::read(&entry.value)?.beat == beat {
                engine.remove(&key, &entry.token).await?;
                tracing::info!("{host} was silent for a day; its record in the group is removed");
            }
            Ok::<_, RecordError>(())
        };
        if let Err(error) = forgotten.await {
            tracing::warn!("the record of {host}, which is gone: {error}");
        }
    }

    async fn try_say(&self, status: &Status) -> Result<Cas, RecordError> {
        let key = keys::host(&self.group, &status.host)?;
        let engine = self.engine().await?;
        let token = engine.get(&key).await?.map(|entry| entry.token);
        let bytes = status.write()?;
        Ok(engine.cas(&key, token.as_ref(), &bytes).await?)
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

#[cfg(test)]
mod tests;
