//! The name that was probably meant: smallest edit distance.
//!
//! Does not do: thresholds; the nearest of a short list is always worth a question.

/// The nearest of `names` to what was asked for; empty if there are none.
pub(crate) fn nearest<'a>(asked: &str, names: impl IntoIterator<Item = &'a str>) -> &'a str {
    names.into_iter().min_by_key(|name| distance(name, asked)).unwrap_or_default()
}

/// Levenshtein distance in bytes, case ignored.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let same = x.eq_ignore_ascii_case(&y);
            let next = (corner + usize::from(!same)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = row[j + 1];
            row[j + 1] = next;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn what_was_meant() {
        assert_eq!(nearest("coma_set", ["string_match_all", "comma_set"]), "comma_set");
        assert_eq!(nearest("META-chat", ["base", "meta-chat"]), "meta-chat");
        assert_eq!(nearest("x", []), "");
        assert_eq!((distance("kitten", "sitting"), distance("", "ab")), (3, 2));
    }
}
