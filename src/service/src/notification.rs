//! What a service says of itself: datagrams in the format of sd_notify(3).

use crate::limits::{NOTIFICATION_BYTES_MAX, STATUS_BYTES_MAX};

/// One datagram, understood. Assignments that mean nothing to us are ignored, as sd_notify(3)
/// demands of receivers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notification {
    /// `READY=1`: it serves now.
    pub ready: bool,
    /// `STOPPING=1`: it is about to end by its own will.
    pub stopping: bool,
    /// `STATUS=…`: a line for humans, control characters as `?`, cut at
    /// [`STATUS_BYTES_MAX`](crate::limits::STATUS_BYTES_MAX).
    pub status: Option<String>,
    /// `MAINPID=…`: the process that counts, if it is not the leader.
    pub main_pid: Option<u32>,
}

impl Notification {
    /// Reads a datagram: newline-separated `NAME=value`. Total: bytes that make no sense say
    /// nothing. Of a datagram above [`NOTIFICATION_BYTES_MAX`] the rest is not looked at.
    #[must_use]
    pub fn parse(datagram: &[u8]) -> Self {
        let mut notification = Self::default();
        let datagram = &datagram[..datagram.len().min(NOTIFICATION_BYTES_MAX)];
        for line in datagram.split(|byte| *byte == b'\n') {
            match line {
                b"READY=1" => notification.ready = true,
                b"STOPPING=1" => notification.stopping = true,
                _ => {
                    if let Some(text) = line.strip_prefix(b"STATUS=") {
                        notification.status = Some(printable(text));
                    } else if let Some(digits) = line.strip_prefix(b"MAINPID=") {
                        notification.main_pid = pid(digits).or(notification.main_pid);
                    }
                }
            }
        }
        notification
    }
}

/// A pid as the kernel gives them: positive, and within `i32`.
fn pid(digits: &[u8]) -> Option<u32> {
    let number: u32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (1..=i32::MAX.unsigned_abs()).contains(&number).then_some(number)
}

fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let clean: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    cut(&clean, STATUS_BYTES_MAX).to_owned()
}

/// The longest start of `text` that fits, cut at a character.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of sd_notify(3), together and apart, against what they mean.
    #[test]
    fn reads_what_it_knows_and_ignores_the_rest() {
        let all = Notification::parse(b"READY=1\nSTATUS=up \x1b[1m\nMAINPID=42\nX_OTHER=1\n");
        assert!(all.ready && !all.stopping);
        assert_eq!(all.status.as_deref(), Some("up ?[1m"));
        assert_eq!(all.main_pid, Some(42));
        for nothing in [&b""[..], b"READY=0", b"ready=1", b"MAINPID=-1", b"MAINPID=0", b"\xff\n="] {
            assert_eq!(Notification::parse(nothing), Notification::default(), "{nothing:?}");
        }
    }

    /// Cut between characters, never within one: 200 three-byte letters do not divide 256.
    #[test]
    fn cuts_long_texts_at_a_character() {
        let text = format!("STATUS={}", "€".repeat(200));
        let status = Notification::parse(text.as_bytes()).status.unwrap();
        assert_eq!(status, "€".repeat(STATUS_BYTES_MAX / 3));
    }
}
