//! Names as they come from a network: they end up in files and in the kernel, so they are what
//! names may be and nothing else.

use crate::limits::{LABEL_BYTES_MAX, NAME_BYTES_MAX};

/// A host's or domain's name in lower case and without the root's dot; none if it is none.
///
/// Letters, digits, `-` and `_` in labels of 1 to 63 bytes (RFC 1123, and the underscore that
/// Active Directory has).
#[must_use]
pub fn domain(text: &str) -> Option<String> {
    let text = text.trim_end_matches('\0');
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(fine)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (text.len() <= NAME_BYTES_MAX && text.split('.').all(label)).then(|| text.to_ascii_lowercase())
}

/// What the kernel is to be called: the first label (hostname(7)).
#[must_use]
pub fn host_label(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server may say, and what would be a second line of resolv.conf or worse.
    #[test]
    fn only_names_are_names() {
        assert_eq!(
            domain("Ip-10-0-1-5.EC2.internal.").as_deref(),
            Some("ip-10-0-1-5.ec2.internal")
        );
        assert_eq!(domain("a_b\0").as_deref(), Some("a_b"));
        let long = "a".repeat(64);
        let longer = "a.".repeat(200);
        for wrong in
            ["", ".", "..", "a..b", "a b", "a\nnameserver 6.6.6.6", "-a", "a-", "é", &long, &longer]
        {
            assert_eq!(domain(wrong), None, "{wrong:?}");
        }
        assert_eq!(host_label("ip-10-0-1-5.ec2.internal"), "ip-10-0-1-5");
    }
}
