//! Small encodings.

use std::fmt::Write;

/// `text` with everything but unreserved characters (RFC 3986) and those of `kept` as `%XX`.
pub(crate) fn percent_encoded(text: &str, kept: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let letter = char::from(byte);
        if letter.is_ascii_alphanumeric() || "-._~".contains(letter) || kept.contains(letter) {
            encoded.push(letter);
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// A form (`application/x-www-form-urlencoded`) of the fields, in their order.
pub(crate) fn form(fields: &[(String, String)]) -> String {
    let pairs = fields.iter().map(|(name, value)| {
        format!("{}={}", percent_encoded(name, ""), percent_encoded(value, ""))
    });
    pairs.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_unreserved_is_encoded() {
        assert_eq!(percent_encoded("a b/ü~+=", "/"), "a%20b/%C3%BC~%2B%3D");
        let fields = [("Filter.1.Name".to_owned(), "tag:a b".to_owned())];
        assert_eq!(form(&fields), "Filter.1.Name=tag%3Aa%20b");
    }
}
