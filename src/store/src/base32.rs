//! Nix's own base 32: its alphabet, its order of bits.
//!
//! Not RFC 4648's: the letters e, o, u and t are missing, and the bytes are read as one
//! little-endian number of which the *highest* five bits are written first. 20 bytes (a store
//! path's hash) are 32 characters without a rest, 32 bytes (a SHA-256) are 52 with four spare bits
//! that must be zero, so that each value has one spelling.

/// Nix's digits, in the order of their values.
const ALPHABET: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";

/// Characters that `bytes` bytes take.
#[must_use]
pub const fn length(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

/// Writes `bytes` in base 32.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(length(bytes.len()));
    for place in (0..length(bytes.len())).rev() {
        let (index, shift) = (place * 5 / 8, place * 5 % 8);
        let high = bytes.get(index + 1).copied().unwrap_or(0);
        let pair = u16::from_le_bytes([bytes[index], high]);
        text.push(char::from(ALPHABET[usize::from((pair >> shift) & 31)]));
    }
    text
}

/// Reads exactly `N` bytes from base 32; `None` for another length, a character that is not a
/// digit, or spare bits that are not zero.
#[must_use]
pub fn decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != length(N) {
        return None;
    }
    let mut bytes = [0; N];
    for (place, character) in text.iter().rev().enumerate() {
        let digit = ALPHABET.iter().position(|known| known == character)?;
        let (index, shift) = (place * 5 / 8, place * 5 % 8);
        let [low, high] = (u16::try_from(digit).ok()? << shift).to_le_bytes();
        bytes[index] |= low;
        match bytes.get_mut(index + 1) {
            Some(next) => *next |= high,
            None if high != 0 => return None,
            None => {}
        }
    }
    Some(bytes)
}
