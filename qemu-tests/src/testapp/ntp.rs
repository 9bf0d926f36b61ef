//! `ntp PORT OFFSET-SECONDS`: a time server whose clock is so much ahead of this host's as it was
//! at the start. Its own clock is one that nobody sets. Source of the format: RFC 5905, 7.3.

use super::arguments::Arguments;
use super::{Outcome, at};
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, SystemTime};
use sys::clock::boottime_ns;

/// Bytes of a message without extensions.
const MESSAGE_BYTES: usize = 48;

/// From 1900, where NTP begins to count, to 1970.
const EPOCH: Duration = Duration::from_secs(2_208_988_800);

pub(super) fn run(arguments: &mut Arguments) -> Outcome {
    let port: u16 = arguments.needed("PORT")?;
    let offset = Duration::from_secs(arguments.needed("OFFSET-SECONDS")?);
    arguments.finish()?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).map_err(at("bind"))?;
    let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(at("clock"))?;
    let ahead = EPOCH + started + offset - Duration::from_nanos(boottime_ns());
    println!("serves time on port {port}, {} s ahead", offset.as_secs());
    let mut request = [0; MESSAGE_BYTES];
    loop {
        let (length, client) = socket.recv_from(&mut request).map_err(at("receive"))?;
        if length == MESSAGE_BYTES {
            let now = timestamp(ahead + Duration::from_nanos(boottime_ns()));
            let answer = answer(&request, now);
            socket.send_to(&answer, client).map_err(at("send"))?;
        }
    }
}

/// What a server of stratum 1 says: synchronized, version 4, mode 4; its time three times over.
fn answer(request: &[u8; MESSAGE_BYTES], now: [u8; 8]) -> [u8; MESSAGE_BYTES] {
    let mut answer = [0; MESSAGE_BYTES];
    answer[..4].copy_from_slice(&[0b00_100_100, 1, request[2], 0xec]);
    answer[12..16].copy_from_slice(b"TEST");
    answer[16..24].copy_from_slice(&now);
    // When the client sent its own, as it said.
    answer[24..32].copy_from_slice(&request[40..]);
    answer[32..40].copy_from_slice(&now);
    answer[40..].copy_from_slice(&now);
    answer
}

/// Seconds, and parts of one in 32 bits.
fn timestamp(since_1900: Duration) -> [u8; 8] {
    let part = (u64::from(since_1900.subsec_nanos()) << 32) / 1_000_000_000;
    (since_1900.as_secs() << 32 | part).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client finds its own time where RFC 5905 has it, and half a second is half of 2³².
    #[test]
    fn the_format() {
        let mut request = [0; MESSAGE_BYTES];
        request[40..].copy_from_slice(&[7; 8]);
        let now = timestamp(Duration::from_millis(1500));
        assert_eq!(now, [0, 0, 0, 1, 0x80, 0, 0, 0]);
        let answer = answer(&request, now);
        assert_eq!((answer[0], answer[1], &answer[24..32]), (0x24, 1, &[7; 8][..]));
        assert_eq!((&answer[32..40], &answer[40..]), (&now[..], &now[..]));
    }
}
