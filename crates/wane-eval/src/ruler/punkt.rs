//! Punkt (Kiss and Strunk 2006, Computational Linguistics 32): sentence boundaries, decided as NLTK
//! 3.10's `sent_tokenize` decides them. RULER's essay tasks put needles between these sentences.
//!
//! A `.`, `?` or `!` is a candidate if closing punctuation, or white space and another word, follow.
//! The word before it and the word after it decide: known abbreviations, pairs that belong together,
//! words that often begin sentences, and how a word is written elsewhere ([`Tables`]). Closing quotes
//! and brackets behind a boundary go to the sentence before it.
//!
//! Does not do: training; white space other than what `str::is_whitespace` names; digits outside ASCII.

mod tables;
mod words;

use std::ops::Range;

pub use tables::Tables;

/// How a word was seen in training: bits of [`Tables`]' orthographic contexts.
mod seen {
    pub(super) const MIDDLE_UPPER: u32 = 1 << 2;
    pub(super) const ANY_UPPER: u32 = 1 << 1 | 1 << 2 | 1 << 3;
    pub(super) const BEGINNING_LOWER: u32 = 1 << 4;
    pub(super) const ANY_LOWER: u32 = 1 << 4 | 1 << 5 | 1 << 6;
}

/// The splitter.
#[derive(Debug)]
pub struct Punkt {
    tables: Tables,
}

/// A candidate: one of `.?!`.
#[derive(Debug, Clone)]
struct Candidate {
    /// The text before it that counts as its word.
    word: Range<usize>,
    /// Behind the sign.
    end: usize,
    /// Behind what follows: one closing sign, or white space and a word.
    after: usize,
    /// Where the next word begins, if white space and a word follow.
    next: Option<usize>,
}

/// Whether a word may begin a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins {
    Yes,
    No,
    Unknown,
}

/// A word with the first decisions about it.
#[derive(Debug)]
struct Token<'a> {
    text: &'a str,
    /// Small letters; numbers are `##number##`.
    kind: String,
    boundary: bool,
    /// An abbreviation or an ellipsis.
    short: bool,
}

impl Punkt {
    /// A splitter with these tables.
    pub fn new(tables: Tables) -> Self {
        Self { tables }
    }

    /// The tables.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The sentences of a text as byte ranges, without the white space between them.
    pub fn split(&self, text: &str) -> Vec<Range<usize>> {
        let (mut raw, mut start) = (Vec::new(), 0);
        let mut context = String::new();
        candidates(text, &mut |candidate| {
            context.clear();
            context.push_str(&text[candidate.word.clone()]);
            context.push_str(&text[candidate.end - 1..candidate.after]);
            if self.breaks(&context) {
                raw.push(start..candidate.end);
                start = candidate.next.unwrap_or(candidate.end);
            }
        });
        raw.push(start..text.trim_end().len());
        realign(text, raw)
    }

    /// Whether a boundary lies in a context, before its last word.
    fn breaks(&self, context: &str) -> bool {
        let mut before: Option<Token<'_>> = None;
        context.split('\n').any(|line| {
            words::each(line, &mut |word| {
                let token = self.token(word);
                let boundary = before.as_mut().is_some_and(|first| {
                    self.decide(first, &token);
                    first.boundary
                });
                before = Some(token);
                boundary
            })
        })
    }

    /// What the word alone says.
    fn token<'a>(&self, text: &'a str) -> Token<'a> {
        let lower = text.to_lowercase();
        let (mut boundary, mut short) = (false, false);
        if matches!(text, "." | "?" | "!") {
            boundary = true;
        } else if text.len() > 1 && text.bytes().all(|b| b == b'.') {
            short = true;
        } else if text.ends_with('.') && !text.ends_with("..") {
            let stem = text[..text.len() - 1].to_lowercase();
            let tail = stem.rsplit('-').next().unwrap_or("");
            short = self.tables.is_abbreviation(&stem) || self.tables.is_abbreviation(tail);
            boundary = !short;
        }
        let kind = if is_number(&lower) { "##number##".to_owned() } else { lower };
        Token { text, kind, boundary, short }
    }

    /// What the next word adds.
    fn decide(&self, first: &mut Token<'_>, next: &Token<'_>) {
        if !first.text.ends_with('.') {
            return;
        }
        let kind = without_stop(&first.kind);
        let next_kind = next.kind_in_sentence();
        if self.tables.is_collocation(kind, next_kind) {
            first.boundary = false;
            return;
        }
        let initial = is_initial(first.text);
        let upper = next.text.starts_with(char::is_uppercase);
        let starts = || self.begins(next) == Begins::Yes || (upper && self.tables.is_starter(next_kind));
        if first.short && !initial && starts() {
            first.boundary = true;
            return;
        }
        if initial || kind == "##number##" {
            let begins = self.begins(next);
            let always_upper = upper && self.tables.context(next_kind) & seen::ANY_LOWER == 0;
            if begins == Begins::No || (begins == Begins::Unknown && initial && always_upper) {
                first.boundary = false;
            }
        }
    }

    /// What the way a word is written says about where it stands.
    fn begins(&self, token: &Token<'_>) -> Begins {
        if matches!(token.text, ";" | ":" | "," | "." | "!" | "?") {
            return Begins::No;
        }
        let context = self.tables.context(token.kind_in_sentence());
        let has = |bits: u32| context & bits != 0;
        if token.text.starts_with(char::is_uppercase) && has(seen::ANY_LOWER) && !has(seen::MIDDLE_UPPER) {
            Begins::Yes
        } else if token.text.starts_with(char::is_lowercase)
            && (has(seen::ANY_UPPER) || !has(seen::BEGINNING_LOWER))
        {
            Begins::No
        } else {
            Begins::Unknown
        }
    }
}

impl Token<'_> {
    /// The kind, without a full stop that ends a sentence.
    fn kind_in_sentence(&self) -> &str {
        if self.boundary { without_stop(&self.kind) } else { &self.kind }
    }
}

fn without_stop(kind: &str) -> &str {
    if kind.len() > 1 { kind.strip_suffix('.').unwrap_or(kind) } else { kind }
}

/// One letter and a full stop.
fn is_initial(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_') && chars.as_str() == "."
}

/// `-?[.,]?\d[\d,.-]*`.
fn is_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let text = text.strip_prefix(['.', ',']).unwrap_or(text);
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b',' | b'.' | b'-'))
}

/// Hands over the candidates of a text. Of several in one word the last counts, unless a word begins
/// with one.
fn candidates(text: &str, take: &mut dyn FnMut(Candidate)) {
    let bytes = text.as_bytes();
    let mut last: Option<Candidate> = None;
    let mut word = 0..0;
    for (at, sign) in bytes.iter().enumerate() {
        if !matches!(sign, b'.' | b'?' | b'!') {
            continue;
        }
        let Some((after, next)) = following(text, at + 1) else { continue };
        let before = &bytes[word.end..at];
        let space = before.iter().rposition(|b| b.is_ascii_whitespace() || *b == 0x0b).filter(|&i| i > 0);
        word = space.map_or(word.start, |i| word.end + i + 1)..at;
        if let Some(last) = last.take().filter(|last| last.word.end <= word.start) {
            take(last);
        }
        last = Some(Candidate { word: word.clone(), end: at + 1, after, next });
    }
    if let Some(last) = last {
        take(last);
    }
}

/// The end of what must follow a candidate, and where the next word begins.
fn following(text: &str, at: usize) -> Option<(usize, Option<usize>)> {
    let rest = &text[at..];
    let first = rest.chars().next()?;
    if words::is_non_word(first) {
        return Some((at + first.len_utf8(), None));
    }
    if !first.is_whitespace() {
        return None;
    }
    let word = rest.trim_start();
    let next = text.len() - word.len();
    let len = word.find(char::is_whitespace).unwrap_or(word.len());
    (len > 0).then_some((next + len, Some(next)))
}

/// Gives closing quotes and brackets to the sentence before them.
fn realign(text: &str, raw: Vec<Range<usize>>) -> Vec<Range<usize>> {
    let mut sentences = Vec::with_capacity(raw.len());
    let mut shift = 0;
    for (i, slice) in raw.iter().enumerate() {
        let sentence = slice.start + shift..slice.end;
        shift = 0;
        let behind = raw.get(i + 1).and_then(|next| Some((next, closing(text.get(next.clone())?)?)));
        if let Some((next, (closing, space))) = behind {
            sentences.push(sentence.start..next.start + closing);
            shift = closing + space;
            continue;
        }
        if sentence.start < sentence.end {
            sentences.push(sentence);
        }
    }
    sentences
}

/// The bytes of closing signs that a text begins with, and of the white space behind them.
fn closing(text: &str) -> Option<(usize, usize)> {
    let is_closing = |c: char| matches!(c, '"' | '\'' | ')' | ']' | '}') || words::is_quote(c);
    let mut end = 0;
    for c in text.chars() {
        if end > 0 && (c.is_whitespace() || text[end..].starts_with("--")) {
            break;
        }
        if !is_closing(c) {
            return None;
        }
        end += c.len_utf8();
    }
    let space = text[end..].len() - text[end..].trim_start().len();
    (end > 0).then_some((end, space))
}

#[cfg(test)]
mod tests;
