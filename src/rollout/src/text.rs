//! Texts of people and programs, which are kept on disks and ledgers and so have an end.

/// A text of so many bytes at most; one that was cut ends in `…`.
#[must_use]
pub(crate) fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max.saturating_sub('…'.len_utf8())));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_says_so_and_fits() {
        assert_eq!(cut("whole".to_owned(), 5), "whole");
        assert_eq!(cut("longer".to_owned(), 5), "lo…");
        // No character is cut in two.
        assert_eq!(cut("äöüäöü".to_owned(), 8), "äö…");
        let long = cut("ß".repeat(1_000), 512);
        assert!(long.len() <= 512 && long.ends_with("ß…"), "{} bytes", long.len());
    }
}
