//! An engine whose calls are counted.

use crate::metrics::Metrics;
use ledger::Engine;
use rollout::{Cas, Entry, Ledger, LedgerError, Token};

/// An engine whose calls are counted.
#[derive(Debug)]
pub struct Counted {
    engine: Engine,
    metrics: Metrics,
}

impl Counted {
    /// Counts the calls of `engine` in `metrics`.
    #[must_use]
    pub fn new(engine: Engine, metrics: Metrics) -> Self {
        Self { engine, metrics }
    }

    fn count<T>(
        &self,
        operation: &'static str,
        answer: Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.metrics.ledger_call(operation, if answer.is_ok() { "ok" } else { "error" });
        answer
    }

    fn count_write(
        &self,
        operation: &'static str,
        answer: Result<Cas, LedgerError>,
    ) -> Result<Cas, LedgerError> {
        let result = match &answer {
            Ok(Cas::Applied(_)) => "ok",
            Ok(Cas::Lost) => "lost",
            Ok(Cas::Unknown(_)) => "unknown",
            Err(_) => "error",
        };
        self.metrics.ledger_call(operation, result);
        answer
    }
}

impl Ledger for Counted {
    async fn get(&self, key: &str) -> Result<Option<Entry>, LedgerError> {
        self.count("get", self.engine.get(key).await)
    }

    async fn cas(
        &self,
        key: &str,
        expected: Option<&Token>,
        value: &[u8],
    ) -> Result<Cas, LedgerError> {
        self.count_write("cas", self.engine.cas(key, expected, value).await)
    }

    async fn remove(&self, key: &str, expected: &Token) -> Result<Cas, LedgerError> {
        self.count_write("remove", self.engine.remove(key, expected).await)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Entry)>, LedgerError> {
        self.count("list", self.engine.list(prefix).await)
    }
}
