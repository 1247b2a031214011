//! Punkt's learned tables, in the layout of NLTK's `punkt_tab`: four text files. They belong to NLTK's
//! data, which is not shipped; they are read from where the user has them.
//!
//! Does not do: pickled models, archives.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{Error, Result};

const ABBREVIATIONS: &str = "abbrev_types.txt";
const COLLOCATIONS: &str = "collocations.tab";
const STARTERS: &str = "sent_starters.txt";
const CONTEXTS: &str = "ortho_context.tab";

/// Where the tables may lie below the folder that a user names.
const BELOW: [&str; 5] = [
    "",
    "english",
    "punkt_tab/english",
    "tokenizers/punkt_tab/english",
    "llama_index/core/_static/nltk_cache/tokenizers/punkt_tab/english",
];

/// What Punkt learned of a language.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    abbreviations: HashSet<String>,
    /// Second words by first words.
    collocations: HashMap<String, HashSet<String>>,
    starters: HashSet<String>,
    contexts: HashMap<String, u32>,
    hash: String,
}

impl Tables {
    /// Reads the tables in a folder, or below it at NLTK's usual places.
    ///
    /// # Errors
    /// No tables there; a file that is missing, cannot be read or has a line of another form.
    pub fn read(folder: &Path) -> Result<Self> {
        let Some(place) = Self::find(folder) else {
            return Err(Error::Invalid(format!(
                "{}: no Punkt tables in it: expected {ABBREVIATIONS}, {COLLOCATIONS}, {STARTERS} and {CONTEXTS} \
                 there or in {}; NLTK's punkt_tab has them, and so has PyPI's llama-index-core",
                folder.display(),
                BELOW[1..].join(", ")
            )));
        };
        let mut hash = Sha256::new();
        let mut open = |name: &str| -> Result<(PathBuf, String)> {
            let path = place.join(name);
            let text = std::fs::read_to_string(&path).map_err(|e| Error::file("read", &path, e))?;
            hash.update(text.as_bytes());
            Ok((path, text))
        };
        let lines = |text: &str| text.lines().map(str::to_owned).collect();
        let mut tables = Self { abbreviations: lines(&open(ABBREVIATIONS)?.1), ..Self::default() };
        let (path, text) = open(COLLOCATIONS)?;
        for (i, line) in text.lines().enumerate() {
            let (first, second) = pair(&path, i, line)?;
            tables.collocations.entry(first.to_owned()).or_default().insert(second.to_owned());
        }
        tables.starters = lines(&open(STARTERS)?.1);
        let (path, text) = open(CONTEXTS)?;
        for (i, line) in text.lines().enumerate() {
            let (word, bits) = pair(&path, i, line)?;
            let bits = bits.parse().map_err(|_| Error::Line {
                path: path.clone(),
                line: i + 1,
                message: format!("expected a word, a tab and a number, got the number `{bits}`"),
            })?;
            tables.contexts.insert(word.to_owned(), bits);
        }
        tables.hash = format!("{:x}", hash.finalize());
        Ok(tables)
    }

    fn find(folder: &Path) -> Option<PathBuf> {
        BELOW.iter().map(|below| folder.join(below)).find(|place| place.join(CONTEXTS).is_file())
    }

    /// SHA-256 of the files' text, in hexadecimal.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    pub(super) fn is_abbreviation(&self, word: &str) -> bool {
        self.abbreviations.contains(word)
    }

    pub(super) fn is_collocation(&self, first: &str, second: &str) -> bool {
        self.collocations.get(first).is_some_and(|seconds| seconds.contains(second))
    }

    pub(super) fn is_starter(&self, word: &str) -> bool {
        self.starters.contains(word)
    }

    pub(super) fn context(&self, word: &str) -> u32 {
        self.contexts.get(word).copied().unwrap_or(0)
    }
}

fn pair<'a>(path: &Path, i: usize, line: &'a str) -> Result<(&'a str, &'a str)> {
    let wrong = || Error::Line {
        path: path.to_owned(),
        line: i + 1,
        message: format!("expected two fields and a tab between, got `{line}`"),
    };
    line.split_once('\t').filter(|(_, second)| !second.contains('\t')).ok_or_else(wrong)
}
