//! RULER's metrics, by the names under which records and commands know them.
//!
//! | name | original | score of one prediction |
//! |---|---|---|
//! | `string_match_all` | NVIDIA's needle, vt, cwe, fwe | share of references that occur in it |
//! | `string_match_part` | NVIDIA's qa | 1 if any reference occurs in it |
//! | `string_match_mean` | lm-evaluation-harness' qa | share of references instead of any |
//! | `comma_set` | the RAT+ paper's needles | share of references among its parts between commas, exactly |
//!
//! For the first three a prediction is trimmed, control characters become line breaks, it is trimmed
//! again, and case is ignored (Unicode's full lower case, as Python's). `comma_set` trims parts and
//! references, keeps case and control characters, and counts a repeated reference once while dividing by all.
//!
//! Does not do: penalties for further items; none of the originals has one.

use std::collections::HashSet;

use crate::{Error, Result, nearest};

/// How a prediction is scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// `string_match_all`.
    All,
    /// `string_match_part`.
    Part,
    /// `comma_set`.
    CommaSet,
    /// `string_match_mean`.
    Mean,
}

impl Metric {
    /// Every metric.
    pub const LIST: [Self; 4] = [Self::All, Self::Part, Self::CommaSet, Self::Mean];

    /// The name on the command line and in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "string_match_all",
            Self::Part => "string_match_part",
            Self::CommaSet => "comma_set",
            Self::Mean => "string_match_mean",
        }
    }

    /// The metric of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::LIST.into_iter().find(|m| m.name() == name)
    }

    /// The metric of a name, or none for `task`, which stands for each task's own.
    ///
    /// # Errors
    /// A name that is none of these, with the nearest one.
    pub fn choose(name: &str) -> Result<Option<Self>> {
        if name == "task" {
            return Ok(None);
        }
        let known = || Self::LIST.into_iter().map(Self::name).chain(["task"]);
        Self::parse(name).map(Some).ok_or_else(|| {
            Error::Invalid(format!(
                "unknown scorer `{name}`: did you mean `{}`? Expected one of {}",
                nearest(name, known()),
                known().collect::<Vec<_>>().join(", ")
            ))
        })
    }

    /// The score of one prediction, between 0 and 1; 0 if there are no references.
    pub fn score(self, prediction: &str, references: &[String]) -> f64 {
        if references.is_empty() {
            return 0.0;
        }
        if self == Self::CommaSet {
            let parts: HashSet<&str> = prediction.split(',').map(strip).collect();
            let gold: HashSet<&str> = references.iter().map(|r| strip(r)).collect();
            return gold.intersection(&parts).count() as f64 / references.len() as f64;
        }
        let prediction = postprocess(prediction).to_lowercase();
        let found = references.iter().filter(|r| prediction.contains(&r.to_lowercase())).count();
        match self {
            Self::Part => f64::from(u8::from(found > 0)),
            _ => found as f64 / references.len() as f64,
        }
    }
}

/// NVIDIA's clean-up of a prediction.
pub fn postprocess(prediction: &str) -> String {
    let replaced: String = strip(prediction).chars().map(|c| if c < '\x20' { '\n' } else { c }).collect();
    strip(&replaced).to_owned()
}

/// Python's `str.strip()`, which also takes the separators U+001C to U+001F.
fn strip(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c))
}

/// The mean of scores in percent, rounded to two decimals as Python does.
pub fn percent(scores: &[f64]) -> f64 {
    if scores.is_empty() {
        return 0.0;
    }
    let mean = scores.iter().sum::<f64>() / scores.len() as f64 * 100.0;
    format!("{mean:.2}").parse().unwrap_or(mean)
}

#[cfg(test)]
mod tests;
