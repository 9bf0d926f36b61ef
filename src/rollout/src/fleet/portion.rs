//! How many hosts may be out at once: a number, or a share of the group.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A number of hosts or a share of them: `2`, `25%`. Never nothing: with no host out at all,
/// nothing would ever roll.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Portion {
    /// So many hosts.
    Hosts(u16),
    /// So many of a hundred, rounded down, but one at least.
    Percent(u8),
}

impl Portion {
    /// How many hosts of `members` that is.
    #[must_use]
    pub fn of(self, members: usize) -> usize {
        match self {
            Self::Hosts(hosts) => usize::from(hosts).max(1),
            Self::Percent(percent) => (members.saturating_mul(usize::from(percent)) / 100).max(1),
        }
    }
}

impl Default for Portion {
    /// One host: the slowest way, and the one that harms fewest.
    fn default() -> Self {
        Self::Hosts(1)
    }
}

/// A text that is no [`Portion`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a number of hosts; write 1 to 999, or 1% to 100%")]
pub struct PortionError(String);

impl FromStr for Portion {
    type Err = PortionError;

    fn from_str(text: &str) -> Result<Self, PortionError> {
        let wrong = || PortionError(text.chars().take(20).collect());
        let (digits, percent) = match text.strip_suffix('%') {
            Some(digits) => (digits, true),
            None => (text, false),
        };
        if digits.is_empty()
            || digits.len() > 3
            || !digits.bytes().all(|byte| byte.is_ascii_digit())
        {
            return Err(wrong());
        }
        let number: u16 = digits.parse().map_err(|_| wrong())?;
        match (percent, number) {
            (_, 0) | (true, 101..) => Err(wrong()),
            (true, number) => u8::try_from(number).map(Self::Percent).map_err(|_| wrong()),
            (false, number) => Ok(Self::Hosts(number)),
        }
    }
}

impl TryFrom<String> for Portion {
    type Error = PortionError;

    fn try_from(text: String) -> Result<Self, PortionError> {
        text.parse()
    }
}

impl From<Portion> for String {
    fn from(portion: Portion) -> Self {
        portion.to_string()
    }
}

impl fmt::Display for Portion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hosts(hosts) => write!(f, "{hosts}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portion_reads_back_and_is_never_nothing() {
        for text in ["1", "2", "999", "1%", "25%", "100%"] {
            let portion: Portion = text.parse().expect(text);
            assert_eq!(portion.to_string(), text);
            for members in 0..12 {
                assert!(portion.of(members) >= 1, "{text} of {members}");
            }
        }
        for text in ["", "0", "0%", "101%", "-1", "1000", "1.5", "1 %", "%", "+1", "two"] {
            assert!(text.parse::<Portion>().is_err(), "{text}");
        }
        let quarter: Portion = "25%".parse().expect("a share");
        assert_eq!([1, 3, 4, 7, 8, 40].map(|members| quarter.of(members)), [1, 1, 1, 1, 2, 10]);
    }
}
