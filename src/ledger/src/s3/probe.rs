//! Whether an endpoint keeps the conditions that the engine rests on.
//!
//! One object beside all entries, `~probe`, is written to in ways that must fail:
//!
//! 1. with `If-None-Match: *` though it is there: 412, or, if it was not, the second time 412;
//! 2. with `If-Match` of an ETag that it does not have: 412;
//! 3. by several at once with the ETag that it has: at most one may succeed. An endpoint that looks
//!    first and writes then lets two. This one is a chance and no proof.
//!
//! Several hosts may do so at the same time: all that they see is more that fails. The object is
//! never removed. Before the first entry is removed, a removal of it with an ETag that it does not
//! have must fail, too.

use super::S3;
use crate::cloud_fault::Asked;
use crate::limits::{PROBE_RACERS, PROBE_TRIES};
use cloud::s3::{Put, PutCondition};
use rollout::LedgerError;
use tokio::task::JoinSet;

/// No key of an entry is called so.
const KEY: &str = "~probe";

const WORDS: &[u8] = b"written by rollinit to see whether this endpoint keeps conditions\n";

/// An ETag that no object has: no hash is so short.
const NO_ETAG: &str = "\"0\"";

impl S3 {
    /// Asks the endpoint once in the life of this handle and its clones.
    ///
    /// # Errors
    /// The endpoint ignores a condition, or it could not be found out.
    pub(crate) async fn probe(&self) -> Result<String, LedgerError> {
        self.0.is_proven.get_or_try_init(|| self.prove()).await?;
        Ok(format!("{} keeps If-None-Match and If-Match", self.name()))
    }

    /// Asks the endpoint once whether it keeps the condition of a removal.
    ///
    /// # Errors
    /// It ignores it, or it could not be found out.
    pub(crate) async fn probe_removal(&self) -> Result<(), LedgerError> {
        self.probe().await?;
        let prove = async || match self.delete(&self.step(), KEY, NO_ETAG).await? {
            Asked::Answered(false) => Ok(()),
            Asked::Answered(true) => {
                Err(self.ignores("If-Match: an object with another ETag was removed"))
            }
            Asked::Unknown(reason) => Err(self.failed(reason)),
        };
        self.0.is_removal_proven.get_or_try_init(prove).await?;
        Ok(())
    }

    async fn prove(&self) -> Result<(), LedgerError> {
        let absent = PutCondition::Absent;
        if self.was_written(&absent).await? && self.was_written(&absent).await? {
            return Err(self.ignores("If-None-Match: an object that was there was written over"));
        }
        if self.was_written(&PutCondition::Unchanged(NO_ETAG)).await? {
            return Err(self.ignores("If-Match: an object with another ETag was written over"));
        }
        let Some(entry) = self.read(&self.step(), KEY).await? else {
            return Err(self.failed("what was written is not there".to_owned()));
        };
        let mut racers = JoinSet::new();
        for _ in 0..PROBE_RACERS {
            let (engine, etag) = (self.clone(), entry.token.0.clone());
            racers.spawn(async move { engine.was_written(&PutCondition::Unchanged(&etag)).await });
        }
        let mut written = 0;
        while let Some(racer) = racers.join_next().await {
            let raced = racer.map_err(|error| self.failed(error.to_string()))?;
            written += usize::from(raced?);
        }
        if written > 1 {
            let what = format!("If-Match: of {PROBE_RACERS} writes at once {written} won");
            return Err(self.ignores(&what));
        }
        Ok(())
    }

    /// A write of the probe may be repeated: if one that was lost on its way was written, the next
    /// one must fail all the more.
    async fn was_written(&self, condition: &PutCondition<'_>) -> Result<bool, LedgerError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.write(&self.step(), KEY, condition, WORDS).await? {
                Asked::Answered(put) => return Ok(matches!(put, Put::Written(_))),
                Asked::Unknown(reason) if tries == PROBE_TRIES => {
                    return Err(self.failed(reason));
                }
                Asked::Unknown(_) => {
                    let pause = cloud::retry::pause(tries, cloud::retry::chance());
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    fn step(&self) -> String {
        format!("probe {}", self.name())
    }

    fn failed(&self, reason: String) -> LedgerError {
        LedgerError { step: self.step(), reason, cure: "ask again".to_owned() }
    }

    fn ignores(&self, what: &str) -> LedgerError {
        LedgerError {
            step: self.step(),
            reason: format!("this endpoint ignores {what}; two hosts could hold one lock"),
            cure: "take AWS S3 itself, a store that has conditional writes, DynamoDB or etcd"
                .to_owned(),
        }
    }
}
