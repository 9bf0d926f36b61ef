//! Random moments that can be had again.

use anyhow::{Context, Result};
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `SplitMix64` (Steele, Lea, Flood 2014): small, and every seed is a good one.
pub struct Random(u64);

impl Random {
    /// From `ROLLINIT_SEED`, else from the clock; says which.
    pub fn seeded(test: &str) -> Result<Self> {
        let seed = match std::env::var("ROLLINIT_SEED") {
            Ok(text) => text.parse().with_context(|| format!("ROLLINIT_SEED is {text:?}"))?,
            Err(_) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                u64::from(now.subsec_nanos()) ^ now.as_secs()
            }
        };
        println!("{test}: ROLLINIT_SEED={seed}");
        Ok(Self(seed))
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    /// Waits for less than `end_us` microseconds, whatever happens meanwhile.
    pub fn wait(&mut self, end_us: u64) {
        let (_never, nothing) = mpsc::channel::<()>();
        let _ = nothing.recv_timeout(Duration::from_micros(self.below(end_us)));
    }
}
