//! The known word nearest to an unknown one.

/// The nearest of `known` to `word`, if it is near enough to be a slip: at most a third of its
/// letters differ (insert, drop, change; Levenshtein's distance), case set aside.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = fold(word);
    known
        .into_iter()
        .map(|candidate| (distance(&word, &fold(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Letters without case, and `_` as `-`: the two most common slips cost nothing.
fn fold(word: &str) -> Vec<char> {
    let cap = crate::limits::NAME_BYTES_MAX;
    word.chars().take(cap).map(|c| if c == '_' { '-' } else { c.to_ascii_lowercase() }).collect()
}

fn distance(from: &[char], to: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let change = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distances counted by hand; a slip is found, a different word is not.
    #[test]
    fn finds_slips_and_nothing_else() {
        let letters = |word: &str| word.chars().collect::<Vec<_>>();
        assert_eq!(distance(&letters("kitten"), &letters("sitting")), 3);
        assert_eq!(distance(&letters(""), &letters("abc")), 3);
        let known = ["exec", "environment", "requires"];
        assert_eq!(nearest("enviroment", known), Some("environment"));
        assert_eq!(nearest("Exec", known), Some("exec"));
        assert_eq!(nearest("require", known), Some("requires"));
        assert_eq!(nearest("colour", known), None);
    }
}
