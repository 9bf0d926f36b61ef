//! RFC 4648's base 64 with padding, strict: each value has one spelling.

/// The digits, in the order of their values.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Characters that `bytes` bytes take, padding included.
#[must_use]
pub const fn length(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

/// Writes `bytes` in base 64.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(length(bytes.len()));
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = (byte(0) << 16) | (byte(1) << 8) | byte(2);
        for place in 0..4_usize {
            if place > group.len() {
                text.push('=');
                continue;
            }
            let [.., digit] = (bits >> (18 - 6 * place)).to_be_bytes();
            text.push(char::from(ALPHABET[usize::from(digit & 63)]));
        }
    }
    text
}

/// Reads exactly `N` bytes from base 64; `None` for another length, a character that is not a
/// digit, wrong padding, or spare bits that are not zero.
#[must_use]
pub fn decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != length(N) {
        return None;
    }
    let (digits, padding) = text.split_at((N * 8).div_ceil(6));
    if padding.iter().any(|character| *character != b'=') {
        return None;
    }
    let mut bytes = [0; N];
    let (mut filled, mut bits, mut count) = (0, 0_u32, 0);
    for character in digits {
        let digit = ALPHABET.iter().position(|known| known == character)?;
        bits = (bits << 6) | u32::try_from(digit).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            let [.., byte] = (bits >> count).to_be_bytes();
            bytes[filled] = byte;
            filled += 1;
            bits &= (1 << count) - 1;
        }
    }
    (bits == 0).then_some(bytes)
}
