//! Sentence boundaries. RULER uses NLTK's Punkt for English ([`punkt`](super::punkt)); where its tables
//! are not at hand, the rule here: a sentence ends after `.`, `?` or `!` (and closing quotes or brackets) if white space
//! follows and the next word does not start with a small letter, unless the word before the stop is
//! an initial or one of a few titles and abbreviations.
//!
//! Does not do: other languages; results name the splitter they used.

use std::ops::Range;
use std::sync::Arc;

use super::punkt::Punkt;

/// How sentences are found.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Splitter {
    /// The rule above, named `simple`.
    #[default]
    Simple,
    /// NLTK's, named `punkt-` and the beginning of its tables' SHA-256.
    Punkt(Arc<Punkt>),
}

const ABBREVIATIONS: [&str; 26] = [
    "mr", "mrs", "ms", "dr", "prof", "st", "gen", "col", "gov", "sen", "rep", "rev", "hon", "jr", "sr", "vs",
    "etc", "e.g", "i.e", "no", "u.s", "u.n", "inc", "co", "corp", "ltd",
];

impl Splitter {
    /// The name that results carry.
    pub fn name(&self) -> String {
        match self {
            Self::Simple => "simple".into(),
            Self::Punkt(punkt) => format!("punkt-{}", punkt.tables().hash().get(..8).unwrap_or("unread")),
        }
    }

    /// The sentences of a text as byte ranges, without the white space between them.
    pub fn split(&self, text: &str) -> Vec<Range<usize>> {
        match self {
            Self::Simple => simple(text),
            Self::Punkt(punkt) => punkt.split(text),
        }
    }
}

fn simple(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let (mut sentences, mut start, mut i) = (Vec::new(), 0, 0);
    while i < bytes.len() {
        if !matches!(bytes[i], b'.' | b'?' | b'!') {
            i += 1;
            continue;
        }
        let stop = i;
        while i < bytes.len() && matches!(bytes[i], b'.' | b'?' | b'!' | b'"' | b'\'' | b')' | b']') {
            i += 1;
        }
        let space = text[i..].len() - text[i..].trim_start().len();
        if space == 0 || i + space == bytes.len() {
            continue;
        }
        let next = i + space;
        let small = text[next..].trim_start_matches(['"', '\'', '(']).starts_with(char::is_lowercase);
        if small || (bytes[stop] == b'.' && abbreviated(&text[start..stop])) {
            continue;
        }
        sentences.push(start..i);
        start = next;
        i = next;
    }
    if start < text.trim_end().len() {
        sentences.push(start..text.trim_end().len());
    }
    sentences
}

/// Whether the text before a full stop ends in an initial or an abbreviation.
fn abbreviated(before: &str) -> bool {
    let word = before.rsplit(|c: char| c.is_whitespace() || c == '(' || c == '"').next().unwrap_or("");
    let initial = word.len() == 1 && word.starts_with(|c: char| c.is_uppercase() && c != 'I');
    initial || ABBREVIATIONS.contains(&word.to_lowercase().as_str())
}

#[cfg(test)]
mod tests;
