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
        let config: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| {
                1 + text.as_bytes()[..span.start.min(text.len())].iter().filter(|b| **b == b'\n').count()
            });
            Error::Config { path: path.to_owned(), line, message: explain(error.message()) }
        })?;
        config.check()?;
        Ok(config)
    }
}

/// serde's message, shortened to the nearest known name where it lists all of them.
fn explain(message: &str) -> String {
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
