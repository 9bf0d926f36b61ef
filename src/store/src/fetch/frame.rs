//! The first bytes of a zstd frame, read for one thing: how much memory it will ask for.

use crate::error::Fault;

/// Bytes of a frame's header at most, its magic number included.
pub(crate) const HEADER_BYTES_MAX: usize = 18;

/// The first four bytes of a frame.
const MAGIC: u32 = 0xFD2F_B528;

/// The first four bytes of a frame that carries no data, less its four free bits.
const SKIPPABLE: u32 = 0x184D_2A50;

/// The smallest window that a frame can declare, in bytes.
const WINDOW_BYTES_MIN: u64 = 1 << 10;

/// The window in bytes that a frame beginning with `head` asks for: `limit` if it does not begin
/// with data and so cannot be known yet.
pub(crate) fn window(head: &[u8], limit: u64) -> Result<u64, Fault> {
    let damaged = |what: &str| Fault::Damaged(what.to_owned());
    let Some((magic, rest)) = head.split_first_chunk::<4>() else {
        return Err(damaged("it has not even the first bytes of a zstd frame"));
    };
    let magic = u32::from_le_bytes(*magic);
    if magic & !0xF == SKIPPABLE {
        return Ok(limit);
    }
    if magic != MAGIC {
        return Err(damaged("it is not zstd, as its narinfo says"));
    }
    let Some((descriptor, rest)) = rest.split_first() else {
        return Err(damaged("its zstd frame ends in its header"));
    };
    if descriptor & 0x08 != 0 {
        return Err(damaged("its zstd frame uses a reserved bit"));
    }
    let declared = if descriptor & 0x20 == 0 {
        rest.first().map(|byte| described(*byte))
    } else {
        content_size(*descriptor, rest)
    };
    let asked_bytes = declared.ok_or_else(|| damaged("its zstd frame ends in its header"))?;
    if asked_bytes > limit {
        return Err(Fault::Window { asked_bytes, limit_bytes: limit });
    }
    Ok(asked_bytes.max(WINDOW_BYTES_MIN))
}

/// The smallest power of two, as an exponent, that holds a window of `bytes`.
pub(crate) fn exponent(bytes: u64) -> u32 {
    bytes.max(WINDOW_BYTES_MIN).checked_next_power_of_two().unwrap_or(1 << 63).trailing_zeros()
}

/// A window as one byte: 5 bits of exponent, 3 of mantissa.
fn described(byte: u8) -> u64 {
    let base = WINDOW_BYTES_MIN << (byte >> 3);
    base + base / 8 * u64::from(byte & 7)
}

/// The content size of a frame whose window is all of it.
fn content_size(descriptor: u8, rest: &[u8]) -> Option<u64> {
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let length = [1, 2, 4, 8][usize::from(descriptor >> 6)];
    let mut bytes = [0; 8];
    bytes[..length].copy_from_slice(rest.get(dictionary..dictionary + length)?);
    let offset = if length == 2 { 256 } else { 0 };
    u64::from_le_bytes(bytes).checked_add(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 8 << 20;

    /// The claim is about what zstd itself writes: frames of each shape, made by it.
    #[test]
    fn the_window_of_real_frames_is_read() {
        let text = vec![b'x'; 300_000];
        let whole = zstd::bulk::compress(&text, 3).expect("compress");
        assert_eq!(window(&whole, LIMIT).expect("one segment"), 300_000);
        let short = zstd::bulk::compress(&text[..100], 3).expect("compress");
        assert_eq!(window(&short, LIMIT).expect("one segment"), WINDOW_BYTES_MIN);
        let middle = zstd::bulk::compress(&text[..1000], 3).expect("compress");
        assert_eq!(window(&middle, LIMIT).expect("two bytes, offset 256"), WINDOW_BYTES_MIN);
        for log in [10, 21, 23] {
            let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).expect("encoder");
            encoder.window_log(log).expect("window");
            std::io::Write::write_all(&mut encoder, &text).expect("write");
            let streamed = encoder.finish().expect("finish");
            assert_eq!(window(&streamed, LIMIT).expect("streamed"), 1 << log);
        }
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).expect("encoder");
        encoder.window_log(24).expect("window");
        std::io::Write::write_all(&mut encoder, &text).expect("write");
        let wide = window(&encoder.finish().expect("finish"), LIMIT).expect_err("too wide");
        assert!(matches!(wide, Fault::Window { asked_bytes, .. } if asked_bytes == 1 << 24));
    }

    #[test]
    fn every_prefix_and_every_descriptor_is_answered() {
        for descriptor in 0..=u8::MAX {
            let frame = [&MAGIC.to_le_bytes()[..], &[descriptor], &[0xFF; 13]].concat();
            for length in 0..=frame.len() {
                let _ = window(&frame[..length], LIMIT);
            }
        }
        assert!(window(b"nix-archive", LIMIT).is_err());
        assert_eq!(window(&[0x5A, 0x2A, 0x4D, 0x18, 0, 0, 0, 0], LIMIT).expect("skip"), LIMIT);
    }

    #[test]
    fn exponents_hold_their_windows() {
        assert_eq!((exponent(1), exponent(1 << 21), exponent((1 << 21) + 1)), (10, 21, 22));
    }
}
