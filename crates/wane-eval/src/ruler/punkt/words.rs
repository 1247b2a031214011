//! Words of a line, as Punkt cuts them: punctuation apart, full stops kept with their word.
//!
//! Does not do: lines; a line break is never inside a word.

/// Single signs that end a word.
pub(super) fn is_non_word(c: char) -> bool {
    matches!(c, ')' | '"' | ';' | '}' | ']' | '*' | ':' | '@' | '\'' | '(' | '{' | '[' | '?' | '!')
        || is_quote(c)
}

/// Curly quotes and guillemets.
pub(super) fn is_quote(c: char) -> bool {
    matches!(c, '\u{2018}' | '\u{2019}' | '\u{201c}' | '\u{201d}' | '\u{ab}' | '\u{bb}')
}

/// Signs that no word begins with; they stand alone.
fn stands_alone(c: char) -> bool {
    matches!(c, '(' | '"' | '`' | '{' | '[' | ':' | ';' | '&' | '#' | '*' | '@' | ')' | '}' | ']' | '-' | ',')
}

/// Hands over the words of a line, until `take` says that it has enough; returns whether it did.
pub(super) fn each<'a>(line: &'a str, take: &mut dyn FnMut(&'a str) -> bool) -> bool {
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let len = match several(rest) {
            0 if stands_alone(first) => first.len_utf8(),
            0 => word(rest, first.len_utf8()),
            len => len,
        };
        if take(&rest[..len]) {
            return true;
        }
        rest = rest[len..].trim_start();
    }
    false
}

/// The length of a word whose first character is `first` bytes long.
fn word(text: &str, first: usize) -> usize {
    let mut end = first;
    while let Some(c) = text[end..].chars().next() {
        let rest = &text[end..];
        let comma = c == ',' && ends(&rest[1..]);
        if comma || ends(rest) {
            break;
        }
        end += c.len_utf8();
    }
    end
}

/// Whether a word ends before this text.
fn ends(text: &str) -> bool {
    text.chars().next().is_none_or(|c| c.is_whitespace() || is_non_word(c)) || several(text) > 0
}

/// The length of a run of hyphens or stops at the beginning, or of stops with white space between; 0 if
/// there is none.
fn several(text: &str) -> usize {
    for sign in [b'-', b'.'] {
        let run = text.bytes().take_while(|b| *b == sign).count();
        if run > 1 {
            return run;
        }
    }
    // (.\s){2,}. with one white space between.
    let (mut at, mut pairs) = (0, 0);
    while text[at..].starts_with('.') {
        let space = text[at + 1..].chars().next().filter(|c| c.is_whitespace());
        match space {
            Some(space) if text[at + 1 + space.len_utf8()..].starts_with('.') => {
                at += 1 + space.len_utf8();
                pairs += 1;
            }
            _ => break,
        }
    }
    if pairs >= 2 { at + 1 } else { 0 }
}
