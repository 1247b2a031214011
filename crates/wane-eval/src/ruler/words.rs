//! The words of RULER's needles: all pairs `adjective-noun` of PyPI `wonderwords`, as a set sorted
//! by code point, 6.2 million of them; the random stream picks by position.
//!
//! The pairs are never built. Adjectives sorted by `adjective-` give runs of pairs in order, as
//! long as no `adjective-` begins another one; the few that do (`left-`, `left-handed-`) are
//! sorted pair by pair together.
//!
//! Does not do: other word lists.

use std::io::Read as _;
use std::sync::OnceLock;

use flate2::read::ZlibDecoder;

/// Which version of the word lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WordList {
    /// wonderwords 2.2.0, in use when the paper was written.
    V2_2_0,
    /// wonderwords 3.0.1, current; four nouns fewer.
    #[default]
    V3_0_1,
}

const DROPPED_IN_3: [&str; 4] = ["abortion", "brocolli", "idiot", "pray"];

static PACKED: &[u8] = include_bytes!("../../data/wonderwords.zlib");

/// The raw lists of one version, in file order, duplicates included.
#[derive(Debug)]
pub struct Lists {
    /// 912 lines.
    pub adjectives: Vec<String>,
    /// 6786 or 6782 lines.
    pub nouns: Vec<String>,
    /// Used by `cwe` only.
    pub verbs: Vec<String>,
}

/// A run of pairs that follow each other in the sorted list.
#[derive(Debug)]
enum Run {
    /// One adjective with every noun.
    Whole(String),
    /// Pairs of adjectives that interleave, as they are.
    Mixed(Vec<String>),
}

/// The sorted list of pairs.
#[derive(Debug)]
pub struct Pairs {
    nouns: Vec<String>,
    runs: Vec<(usize, Run)>,
    len: usize,
}

impl WordList {
    /// Reads `2.2.0` or `3.0.1`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "2.2.0" => Some(Self::V2_2_0),
            "3.0.1" => Some(Self::V3_0_1),
            _ => None,
        }
    }

    /// The version's number.
    pub fn name(self) -> &'static str {
        match self {
            Self::V2_2_0 => "2.2.0",
            Self::V3_0_1 => "3.0.1",
        }
    }

    /// The raw lists.
    pub fn lists(self) -> Lists {
        let mut text = String::new();
        ZlibDecoder::new(PACKED).read_to_string(&mut text).expect("the shipped word lists are whole");
        let mut parts =
            text.split('\0').map(|part| part.lines().map(|l| l.trim_end().to_owned()).collect::<Vec<_>>());
        let mut next = || parts.next().expect("three lists");
        let (adjectives, mut nouns, verbs) = (next(), next(), next());
        if self == Self::V3_0_1 {
            nouns.retain(|noun| !DROPPED_IN_3.contains(&noun.as_str()));
        }
        Lists { adjectives, nouns, verbs }
    }

    /// The sorted pairs, built on first use and kept.
    pub fn pairs(self) -> &'static Pairs {
        static OLD: OnceLock<Pairs> = OnceLock::new();
        static NEW: OnceLock<Pairs> = OnceLock::new();
        match self {
            Self::V2_2_0 => OLD.get_or_init(|| Pairs::new(self.lists())),
            Self::V3_0_1 => NEW.get_or_init(|| Pairs::new(self.lists())),
        }
    }
}

impl Pairs {
    fn new(lists: Lists) -> Self {
        let mut nouns = lists.nouns;
        nouns.sort();
        nouns.dedup();
        let mut heads: Vec<String> = lists.adjectives.into_iter().map(|a| a + "-").collect();
        heads.sort();
        heads.dedup();
        let (mut runs, mut len, mut i) = (Vec::new(), 0, 0);
        while i < heads.len() {
            let mut end = i + 1;
            while end < heads.len() && heads[end].starts_with(&heads[i]) {
                end += 1;
            }
            let (run, size) = if end == i + 1 {
                (Run::Whole(heads[i].clone()), nouns.len())
            } else {
                let mut pairs: Vec<String> = heads[i..end]
                    .iter()
                    .flat_map(|head| nouns.iter().map(move |noun| format!("{head}{noun}")))
                    .collect();
                pairs.sort();
                pairs.dedup();
                let size = pairs.len();
                (Run::Mixed(pairs), size)
            };
            runs.push((len, run));
            len += size;
            i = end;
        }
        Self { nouns, runs, len }
    }

    /// The number of pairs.
    #[allow(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The pair at a position below [`len`](Self::len).
    pub fn get(&self, position: usize) -> String {
        let (start, run) = &self.runs[self.runs.partition_point(|(start, _)| *start <= position) - 1];
        match run {
            Run::Whole(head) => format!("{head}{}", self.nouns[position - start]),
            Run::Mixed(pairs) => pairs[position - start].clone(),
        }
    }
}

#[cfg(test)]
mod tests;
