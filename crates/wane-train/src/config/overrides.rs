//! `--set KEY=VALUE`: one setting replaced on the command line, so that one file serves several seeds and sizes.
//!
//! `KEY` is the dotted path of the file (`model.init`, `joint.every`, `stages.0.full`), `VALUE` is TOML; what is
//! no TOML value is taken as text, so paths need no quotes.

use std::path::Path;

use toml::{Table, Value};

use super::RunConfig;
use super::parse::explain;
use crate::{Error, Result};

impl RunConfig {
    /// Reads a configuration file, replaces the settings that `overrides` names, and checks the result.
    ///
    /// # Errors
    /// As [`RunConfig::load`]; an override that is no `key=value`, names an unknown key or has a value of another
    /// type.
    pub fn load_with(path: &Path, overrides: &[String]) -> Result<Self> {
        if overrides.is_empty() {
            return Self::load(path);
        }
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        // The file by itself first: its errors name lines.
        Self::read(&text, path)?;
        let mut table: Table = toml::from_str(&text).map_err(|e| Error::setting(e.message()))?;
        for text in overrides {
            replace(&mut table, text)?;
        }
        let config: Self = Value::Table(table)
            .try_into()
            .map_err(|e: toml::de::Error| Error::setting(format!("--set: {}", explain(e.message()))))?;
        config.check()?;
        Ok(config)
    }
}

fn replace(table: &mut Table, text: &str) -> Result<()> {
    let wrong = |what: &str| Error::setting(format!("--set {text}: {what}"));
    let (key, value) = text.split_once('=').ok_or_else(|| wrong("expected KEY=VALUE"))?;
    let (key, value) = (key.trim(), value.trim());
    let value = match toml::from_str::<Table>(&format!("value = {value}")) {
        Ok(mut parsed) if parsed.len() == 1 => {
            parsed.remove("value").unwrap_or_else(|| Value::String(String::new()))
        }
        _ => Value::String(value.to_owned()),
    };
    let mut parts = key.split('.').peekable();
    let mut place = Place::Table(table);
    while let Some(part) = parts.next() {
        let slot = match place {
            Place::Table(table) => match parts.peek() {
                None => {
                    table.insert(part.to_owned(), value);
                    return Ok(());
                }
                Some(_) => table.entry(part.to_owned()).or_insert_with(|| Value::Table(Table::new())),
            },
            Place::Array(items) => {
                let length = items.len();
                let slot = part.parse::<usize>().ok().and_then(|i| items.get_mut(i));
                let slot = slot.ok_or_else(|| {
                    wrong(&format!("`{part}` is no entry of that list (0 to {})", length.saturating_sub(1)))
                })?;
                if parts.peek().is_none() {
                    *slot = value;
                    return Ok(());
                }
                slot
            }
        };
        place = match slot {
            Value::Table(table) => Place::Table(table),
            Value::Array(items) => Place::Array(items),
            _ => return Err(wrong(&format!("`{part}` is no table"))),
        };
    }
    Err(wrong("the key is empty"))
}

enum Place<'a> {
    Table(&'a mut Table),
    Array(&'a mut Vec<Value>),
}
