//! When something is sent again: delays that double, a little apart from everybody else's.

/// Nanoseconds of a millisecond.
pub const NS_PER_MS: u64 = 1_000_000;

/// Nanoseconds of a second.
pub const NS_PER_S: u64 = 1_000_000_000;

/// Random numbers of one seed: SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
/// generators, 2014). Enough for delays and transaction ids, for nothing else.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The row of numbers that begins with this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A transaction id.
    pub fn id(&mut self) -> u32 {
        u32::try_from(self.draw() >> 32).unwrap_or_default()
    }

    /// The delay before try number `tries` (from 1 on), in nanoseconds: doubled each time within
    /// the bounds in milliseconds, and a tenth of it more or less.
    pub fn delay_ns(&mut self, tries: u32, (min_ms, max_ms): (u64, u64)) -> u64 {
        let doubled = min_ms.saturating_mul(1 << tries.saturating_sub(1).min(32));
        let delay_ns = doubled.min(max_ms).saturating_mul(NS_PER_MS);
        let spread_ns = delay_ns / 5;
        delay_ns - spread_ns / 2 + self.draw() % spread_ns.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Delays double, stay within a tenth of their bounds, and differ from seed to seed.
    #[test]
    fn delays() {
        let mut random = Random::new(7);
        for (tries, middle_ms) in [(1, 1000), (2, 2000), (3, 4000), (9, 64_000), (400, 64_000)] {
            let delay_ms = random.delay_ns(tries, (1000, 64_000)) / NS_PER_MS;
            let bounds = middle_ms * 9 / 10 - 1..=middle_ms * 11 / 10;
            assert!(bounds.contains(&delay_ms), "{tries}: {delay_ms}");
        }
        assert_ne!(Random::new(1).id(), Random::new(2).id());
    }
}
