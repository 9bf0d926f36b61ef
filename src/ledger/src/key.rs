//! What a key may be: the same for every engine, so that records can move.

use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use rollout::LedgerError;

/// Checks a key: `/`-separated names of letters, digits and `-_.:@`, none of them `.` or `..`.
pub(crate) fn check(engine: &str, key: &str) -> Result<(), LedgerError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@".contains(&byte);
    let is_name = |name: &str| !name.is_empty() && name != "." && name != "..";
    let is_key = key.len() <= KEY_BYTES_MAX
        && key.split('/').all(|name| is_name(name) && name.bytes().all(fits));
    if is_key {
        return Ok(());
    }
    Err(LedgerError {
        step: format!("use the key `{}` in {engine}", key.escape_debug()),
        reason: format!("a key is names with `/` between them, {KEY_BYTES_MAX} bytes at most"),
        cure: "use letters, digits, `-`, `_`, `.`, `:` and `@`".to_owned(),
    })
}

/// Checks a folder: a key with a `/` at its end.
pub(crate) fn check_folder(engine: &str, folder: &str) -> Result<(), LedgerError> {
    check(engine, folder.strip_suffix('/').unwrap_or(""))
}

/// Checks a value's size.
pub(crate) fn check_value(engine: &str, key: &str, value: &[u8]) -> Result<(), LedgerError> {
    if value.len() <= VALUE_BYTES_MAX {
        return Ok(());
    }
    Err(LedgerError {
        step: format!("write {key} to {engine}"),
        reason: format!("{} bytes, and {VALUE_BYTES_MAX} is the most", value.len()),
        cure: "see what made the record so large".to_owned(),
    })
}

/// A text that no call ever returns again, here or on another host: 128 bits that the kernel's
/// seeds of the standard library's hash maps give. 32 letters.
pub(crate) fn unique() -> String {
    format!("{:016x}{:016x}", cloud::retry::chance(), cloud::retry::chance())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn what_is_unique_has_one_length_and_no_double() {
        let all: HashSet<String> = (0..10_000).map(|_| unique()).collect();
        assert_eq!(all.len(), 10_000);
        assert!(all.iter().all(|text| text.len() == 32));
    }
}
