//! Reading the TOML file: errors carry the file, the line and, for an unknown name, the nearest known one.

use std::path::Path;

use super::RunConfig;
use crate::{Error, Result};

impl RunConfig {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// The file cannot be read, is no valid TOML, has unknown or missing keys, or contradicts itself.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        Self::parse(&text, path)
    }

    /// Parses and checks a configuration; `path` is named in errors.
    ///
    /// # Errors
    /// As [`RunConfig::load`], but for reading.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let config = Self::read(text, path)?;
        config.check().map_err(|error| match error {
            Error::Setting(message) => {
                Error::Config { path: path.to_owned(), line: line_of(text, &message), message }
            }
            other => other,
        })?;
        Ok(config)
    }

    /// Parses a configuration without checking its settings against each other.
    pub(super) fn read(text: &str, path: &Path) -> Result<Self> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| {
                1 + text.as_bytes()[..span.start.min(text.len())].iter().filter(|b| **b == b'\n').count()
            });
            Error::Config { path: path.to_owned(), line, message: explain(error.message()) }
        })
    }
}

/// Line of the first setting that `message` names as `table.key` or `tables[i].key`; of its table if the key is not
/// there; 1 if neither is.
fn line_of(text: &str, message: &str) -> usize {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_.[]".contains(c);
    let names = message.split(|c: char| !is_part(c)).map(|word| word.trim_matches('.'));
    let mut found = None;
    for name in names.filter(|name| name.contains('.') || name.starts_with('[')) {
        let (table, key) = match name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
            Some(table) => (table.trim_matches(['[', ']']), ""),
            None => name.rsplit_once('.').unwrap_or((name, "")),
        };
        let (table, index) = match table.split_once('[') {
            Some((table, index)) => (table, index.trim_end_matches(']').parse().unwrap_or(0)),
            None => (table, 0usize),
        };
        match place(text, table, index, key) {
            (_, Some(line)) => return line,
            (Some(line), None) => found = found.or(Some(line)),
            (None, None) => {}
        }
    }
    found.unwrap_or(1)
}

/// Lines of the `index`-th table of that name, and of `key` in it.
fn place(text: &str, table: &str, index: usize, key: &str) -> (Option<usize>, Option<usize>) {
    let (mut header, mut seen, mut is_inside) = (None, 0, false);
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            let name = line.split('#').next().unwrap_or("").trim().trim_matches(['[', ']']);
            let is_it = name == table;
            is_inside = is_it && seen == index;
            seen += usize::from(is_it);
            if is_inside {
                header = Some(number + 1);
            }
        } else if is_inside && line.split('=').next().is_some_and(|name| name.trim() == key) {
            return (header, Some(number + 1));
        }
    }
    (header, None)
}

/// serde's message, shortened to the nearest known name where it lists all of them.
pub(super) fn explain(message: &str) -> String {
    // "unknown field `a`, expected one of `b`, `c`": the names stand between back quotes.
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let is_unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    let Some((wrong, known)) = names.split_first().filter(|_| is_unknown) else {
        return message.to_owned();
    };
    let what = if message.starts_with("unknown field") { "key" } else { "value" };
    let nearest = known
        .iter()
        .copied()
        .max_by(|a, b| strsim::jaro_winkler(wrong, a).total_cmp(&strsim::jaro_winkler(wrong, b)));
    match nearest {
        Some(nearest) if strsim::jaro_winkler(wrong, nearest) > 0.7 => {
            format!("unknown {what} `{wrong}`; did you mean `{nearest}`?")
        }
        _ => format!("unknown {what} `{wrong}`; known: {}", known.join(", ")),
    }
}
