//! Names of swaps: four letters that a person can read out over the telephone.

use std::fs::File;
use std::io::{self, Read as _};

/// Crockford's base 32: no I, L, O, U.
const LETTERS: [u8; 32] = *b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Bits of one letter.
const LETTER_BITS: u32 = 5;

/// Letters of a name: a million names, of which a host remembers a few thousand at most.
const LENGTH: usize = 4;

/// A name that is not `taken`: a random one, or the next free one after it.
///
/// # Errors
/// No randomness is to be had, or every name is taken.
pub fn fresh(taken: impl Fn(&str) -> bool) -> io::Result<String> {
    let mut seed = [0; 4];
    File::open("/dev/urandom")?.read_exact(&mut seed)?;
    from_seed(u32::from_ne_bytes(seed), taken)
        .ok_or_else(|| io::Error::other("every name of a swap is taken"))
}

fn from_seed(seed: u32, taken: impl Fn(&str) -> bool) -> Option<String> {
    let names = 1_u32 << (LETTER_BITS * u32::try_from(LENGTH).unwrap_or(0));
    (0..names).map(|count| name(seed.wrapping_add(count))).find(|name| !taken(name))
}

/// The lowest bits of a number as letters.
fn name(number: u32) -> String {
    let letter = |place: usize| {
        let shift = LETTER_BITS * u32::try_from(LENGTH - 1 - place).unwrap_or(0);
        let index = usize::try_from(number >> shift).unwrap_or(0) % LETTERS.len();
        char::from(LETTERS[index])
    };
    (0..LENGTH).map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Known numbers, and each of the lowest million has a name of its own.
    #[test]
    fn numbers_and_names() {
        assert_eq!(name(0), "0000");
        assert_eq!(name(31), "000Z");
        assert_eq!(name(u32::MAX), "ZZZZ");
        let names: HashSet<String> = (0..1 << 20).map(name).collect();
        assert_eq!(names.len(), 1 << 20);
    }

    /// What is taken is passed over; when all is taken, that is said.
    #[test]
    fn taken_names_are_passed_over() {
        let taken = |name: &str| name != "0007";
        assert_eq!(from_seed(0, taken).as_deref(), Some("0007"));
        assert_eq!(from_seed(0, |_| true), None);
        assert_eq!(fresh(|_| false).expect("randomness").len(), LENGTH);
    }
}
