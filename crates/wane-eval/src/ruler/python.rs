//! What Python prints, where a prompt or a count depends on it.
//!
//! Does not do: the escapes of characters that Python calls unprintable, other than control characters.

/// `repr` of a list of strings.
pub(crate) fn list<S: AsRef<str>>(items: &[S]) -> String {
    format!("[{}]", items.iter().map(|s| string(s.as_ref())).collect::<Vec<_>>().join(", "))
}

/// `repr` of a string.
fn string(text: &str) -> String {
    use std::fmt::Write as _;
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{a0}' => out.push_str("\\xa0"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// `a // b` of floats.
pub(crate) fn floor_divide(a: f64, b: f64) -> f64 {
    let whole = (a - a % b) / b;
    let floor = whole.floor();
    if whole - floor > 0.5 { floor + 1.0 } else { floor }
}

#[cfg(test)]
mod tests;
