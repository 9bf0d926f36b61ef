//! A change of a record on the ledger: read, change, compare-and-swap, until it is known to be
//! written.
//!
//! A write that nobody answered for is settled by reading: changes bear repetition, so one that
//! finds itself in the record already has nothing left to do. As long as an answer is owing, also
//! what the ledger cannot say now is asked for again, for [`PATIENCE`]; without one, the first
//! error is the end, since nothing was written.

use crate::exit::{Code, Failure};
use rollout::fleet::limits::{RETRY_MS_MAX, RETRY_MS_MIN};
use rollout::fleet::{Group, Migrations, Refusal};
use rollout::{Cas, Ledger};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a write is asked for whose fate is not known. An etcd that elects a leader takes
/// seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Races that may be lost. Each was won by somebody, so the record moves on; a group has a few
/// hundred hosts, and not all write in one second.
const RACES_MAX: usize = 100;

/// Between two races, in milliseconds for each that was lost: the others have as much to write.
const RACE_MS: u64 = 10;

/// A record that is changed by compare-and-swap.
pub trait Kept: Clone + PartialEq {
    /// One that is not there yet.
    fn fresh() -> Self;
    /// From bytes.
    fn read(bytes: &[u8]) -> Result<Self, Refusal>;
    /// As bytes, by `by`.
    fn sealed(self, by: &str) -> Result<(Self, Vec<u8>), Refusal>;
}

impl Kept for Group {
    fn fresh() -> Self {
        Group::new()
    }

    fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        Group::read(bytes)
    }

    fn sealed(mut self, by: &str) -> Result<(Self, Vec<u8>), Refusal> {
        by.clone_into(&mut self.writer);
        let bytes = self.write()?;
        Ok((self, bytes))
    }
}

impl Kept for Migrations {
    fn fresh() -> Self {
        Migrations::default()
    }

    fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        Migrations::read(bytes)
    }

    fn sealed(self, _by: &str) -> Result<(Self, Vec<u8>), Refusal> {
        let bytes = self.write()?;
        Ok((self, bytes))
    }
}

/// Makes `change` in the record of `key`, and returns the record as it is then and what `change`
/// said. `change` may be called again with a newer record, and must find itself done in one that
/// has it.
///
/// # Errors
/// `change` refuses; the ledger cannot be asked; or nobody knows whether it was written.
pub async fn change<R: Kept, T>(
    ledger: &impl Ledger,
    key: &str,
    by: &str,
    mut change: impl FnMut(&mut R) -> Result<T, Refusal>,
) -> Result<(R, T), Failure> {
    let mut owing = Owing::default();
    let mut races = 0;
    loop {
        let entry = match ledger.get(key).await {
            Ok(entry) => entry,
            Err(error) if owing.is_any() => {
                owing.wait(key, error.to_string()).await?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let record = entry.as_ref().map_or_else(|| Ok(R::fresh()), |entry| R::read(&entry.value));
        let record = record?;
        let mut next = record.clone();
        let said = change(&mut next)?;
        if next == record {
            return Ok((record, said));
        }
        let (next, bytes) = next.sealed(by)?;
        match ledger.cas(key, entry.as_ref().map(|entry| &entry.token), &bytes).await {
            Ok(Cas::Applied(_)) => return Ok((next, said)),
            Ok(Cas::Lost) if races < RACES_MAX => {
                races += 1;
                sleep(Duration::from_millis(RACE_MS * races as u64)).await;
            }
            Ok(Cas::Lost) => return Err(out_raced(key)),
            Ok(Cas::Unknown(why)) => {
                owing.begin();
                owing.wait(key, why).await?;
            }
            Err(error) if owing.is_any() => owing.wait(key, error.to_string()).await?,
            Err(error) => return Err(error.into()),
        }
    }
}

/// A write whose answer is owing.
#[derive(Debug, Default)]
struct Owing {
    since: Option<Instant>,
    pause_ms: u64,
}

impl Owing {
    fn is_any(&self) -> bool {
        self.since.is_some()
    }

    fn begin(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    /// Waits, longer each time, or gives up.
    async fn wait(&mut self, key: &str, why: String) -> Result<(), Failure> {
        let waited = self.since.map(|since| since.elapsed()).unwrap_or_default();
        if waited >= PATIENCE {
            return Err(Failure {
                code: Code::Unreachable,
                kind: "unknown",
                message: format!("write {key}: nobody knows whether it was written: {why}"),
                cures: vec![
                    "Give the same command again once the ledger answers: if it was written, \
                     nothing changes."
                        .to_owned(),
                ],
            });
        }
        self.pause_ms = (self.pause_ms * 2).clamp(RETRY_MS_MIN, RETRY_MS_MAX);
        sleep(Duration::from_millis(self.pause_ms)).await;
        Ok(())
    }
}

fn out_raced(key: &str) -> Failure {
    Failure {
        code: Code::Unreachable,
        kind: "ledger",
        message: format!("write {key}: others were faster {RACES_MAX} times; nothing was written"),
        cures: vec!["See who writes to this record so often, and try again.".to_owned()],
    }
}

#[cfg(test)]
mod tests;
