//! `[system]` of `agent.toml`: how long a new system may take to come up, and what that means.
//!
//! Read once, when the agent starts.

use super::duration;
use serde::Deserialize;
use std::ops::Range;
use std::time::Duration;
use toml::Spanned;

/// What the section says; with its defaults, what counts without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// Boots that a new generation gets before the loader falls back.
    pub tries: u32,
    /// Time from the kernel's start in which a boot has to be blessed.
    pub bless_within: Duration,
    /// How long it has to have been up for that, without a break.
    pub bless_after: Duration,
    /// Services that have to be up for that, beside those that are always asked about.
    pub bless_when: Vec<String>,
    /// Generations that stay on the boot partition.
    pub keep: usize,
}

/// A new system that panics is not given a second chance to: the host is back sooner.
const TRIES_DEFAULT: u32 = 1;

/// A host that is not up after ten minutes will not be after twenty.
const BLESS_WITHIN_DEFAULT: Duration = Duration::from_secs(600);

/// What goes wrong at once goes wrong in the first seconds.
const BLESS_AFTER_DEFAULT: Duration = Duration::from_secs(10);

/// The running one, the one before it, and one more.
const KEEP_DEFAULT: usize = 3;

/// Fewer generations leave no way back.
const KEEP_MIN: usize = 2;

/// More than a menu shows.
const KEEP_MAX: usize = 20;

/// Services that may be named.
const SERVICES_MAX: usize = 64;

impl Default for System {
    fn default() -> Self {
        Self {
            tries: TRIES_DEFAULT,
            bless_within: BLESS_WITHIN_DEFAULT,
            bless_after: BLESS_AFTER_DEFAULT,
            bless_when: Vec::new(),
            keep: KEEP_DEFAULT,
        }
    }
}

/// The section as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct SystemTable {
    tries: Option<Spanned<u64>>,
    bless_within: Option<Spanned<String>>,
    bless_after: Option<Spanned<String>>,
    bless_when: Option<Spanned<Vec<String>>>,
    keep: Option<Spanned<u64>>,
}

impl SystemTable {
    /// What it says.
    ///
    /// # Errors
    /// Where it makes no sense, and what to write instead.
    pub fn read(self) -> Result<System, (Range<usize>, String)> {
        let mut system = System::default();
        if let Some(value) = self.tries {
            let max = rollout::slot::TRIES_MAX;
            system.tries = number(&value, 1, u64::from(max))?;
        }
        if let Some(value) = self.keep {
            system.keep = number(&value, KEEP_MIN as u64, KEEP_MAX as u64)?;
        }
        if let Some(value) = self.bless_within {
            let read = duration(value.get_ref());
            system.bless_within = read.map_err(|error| (value.span(), error))?;
        }
        if let Some(value) = self.bless_after {
            let read = duration(value.get_ref());
            system.bless_after = read.map_err(|error| (value.span(), error))?;
        }
        if let Some(value) = self.bless_when {
            if value.get_ref().len() > SERVICES_MAX {
                return Err((value.span(), format!("more than {SERVICES_MAX} services")));
            }
            system.bless_when = value.into_inner();
        }
        Ok(system)
    }
}

fn number<T: TryFrom<u64>>(
    value: &Spanned<u64>,
    min: u64,
    max: u64,
) -> Result<T, (Range<usize>, String)> {
    let fits = (min..=max).contains(value.get_ref());
    let number = T::try_from(*value.get_ref()).ok().filter(|_| fits);
    number.ok_or_else(|| (value.span(), format!("a number from {min} to {max} is due")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<System, (Range<usize>, String)> {
        toml::from_str::<SystemTable>(text).expect("a table").read()
    }

    /// What is not said has its default; what is said is checked, with its place.
    #[test]
    fn the_section_is_read() {
        assert_eq!(read(""), Ok(System::default()));
        let text = "tries = 3\nbless-within = \"90s\"\nbless-after = \"3s\"\n\
                    bless-when = [\"web\"]\nkeep = 2";
        let expected = System {
            tries: 3,
            bless_within: Duration::from_secs(90),
            bless_after: Duration::from_secs(3),
            bless_when: vec!["web".to_owned()],
            keep: 2,
        };
        assert_eq!(read(text), Ok(expected));
        for (text, at) in [("tries = 0", 8), ("keep = 1", 7), ("bless-within = \"soon\"", 15)] {
            let (span, _) = read(text).expect_err("it makes no sense");
            assert_eq!(span.start, at, "{text}");
        }
    }
}
