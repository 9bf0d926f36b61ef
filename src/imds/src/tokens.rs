//! Session tokens: a file that all serving processes share, a line a token.

use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The tokens beside a file of answers.
#[derive(Clone, Debug)]
pub struct Tokens(PathBuf);

impl Tokens {
    /// Those of `state`.
    pub fn beside(state: &Path) -> Self {
        Self(state.with_extension("tokens"))
    }

    /// Makes one that lasts for `ttl_s` from `now`.
    pub fn make(&self, ttl_s: u64, now: SystemTime) -> io::Result<String> {
        const NUMBERS: usize = 4;
        let mut token = String::new();
        for _ in 0..NUMBERS {
            // Each is keyed by the kernel's random numbers.
            let number = RandomState::new().build_hasher().finish();
            let _ = write!(token, "{number:016x}");
        }
        token.push_str("==");
        let end = now.checked_add(Duration::from_secs(ttl_s)).unwrap_or(now);
        let mut file = OpenOptions::new().create(true).append(true).open(&self.0)?;
        file.write_all(format!("{token} {}\n", seconds(end)).as_bytes())?;
        Ok(token)
    }

    /// Whether `token` was made here and lasts.
    pub fn is_good(&self, token: &str, now: SystemTime) -> bool {
        let known = std::fs::read_to_string(&self.0).unwrap_or_default();
        known.lines().filter_map(|line| line.split_once(' ')).any(|(made, end)| {
            made == token && end.parse::<u64>().is_ok_and(|end| seconds(now) < end)
        })
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lasts_as_long_as_it_was_made_for_and_no_longer_than_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let tokens = Tokens::beside(&folder.path().join("imds.json"));
        let now = SystemTime::now();
        let token = tokens.make(60, now).expect("made");
        assert_ne!(token, tokens.make(60, now).expect("made"));
        assert!(tokens.is_good(&token, now + Duration::from_secs(58)));
        assert!(!tokens.is_good(&token, now + Duration::from_secs(61)));
        assert!(!tokens.is_good("", now) && !tokens.is_good(&token[1..], now));
        std::fs::remove_file(folder.path().join("imds.tokens")).expect("removed");
        assert!(!tokens.is_good(&token, now));
    }
}
