//! Files that some tasks need and that are not shipped: the user's copies.
//!
//! Does not do: essays; those are the [`haystack`](super::haystack).

use std::path::Path;

use serde::de::{MapAccess, Visitor};

use super::qa::Questions;
use crate::{Error, Result};

/// What the user has.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// SQuAD v2.0's development file, for `qa_1`.
    pub squad: Option<Questions>,
    /// HotpotQA's development file, for `qa_2`.
    pub hotpotqa: Option<Questions>,
    /// The words of RULER's `english_words.json`, for `cwe` at large contexts.
    pub english_words: Option<Vec<String>>,
}

/// Reads the words of RULER's `english_words.json`: the values of a JSON object, in the file's order.
///
/// # Errors
/// A file that cannot be read, or is not an object of strings.
pub fn english_words(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::file("read", path, e))?;
    let Words(words) = serde_json::from_str(&text).map_err(|e| {
        Error::Invalid(format!("{}: expected a JSON object whose values are words: {e}", path.display()))
    })?;
    Ok(words)
}

struct Words(Vec<String>);

impl<'de> serde::Deserialize<'de> for Words {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Words;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Words, A::Error> {
                let mut words = Vec::new();
                // As in a Python dictionary, a key that comes again keeps its place and takes the later value.
                let mut places = std::collections::HashMap::new();
                while let Some((key, word)) = map.next_entry::<String, String>()? {
                    let place = *places.entry(key).or_insert(words.len());
                    if place == words.len() {
                        words.push(word);
                    } else {
                        words[place] = word;
                    }
                }
                Ok(Words(words))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests;
