//! Options that name the files RULER's samples are made from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use wane_eval::ruler::files::{Files, english_words};
use wane_eval::ruler::haystack::Haystack;
use wane_eval::ruler::punkt::{Punkt, Tables};
use wane_eval::ruler::qa::Questions;
use wane_eval::ruler::sentences::Splitter;

/// What is not shipped, and the user may have.
#[derive(Debug, Default, Args)]
pub(crate) struct FileArgs {
    /// Text for the essay tasks (.txt, or NVIDIA's .json); without it, State of the Union messages
    #[arg(long, value_name = "FILE")]
    pub(crate) haystack: Option<PathBuf>,
    /// NLTK's Punkt tables (punkt_tab), to find sentences as NVIDIA does; without them a simple rule.
    /// If a --haystack is given, NLTK_DATA is looked at too
    #[arg(long, value_name = "DIR")]
    pub(crate) punkt: Option<PathBuf>,
    /// SQuAD v2.0's dev-v2.0.json, for qa_1
    #[arg(long, value_name = "FILE")]
    pub(crate) squad: Option<PathBuf>,
    /// HotpotQA's hotpot_dev_distractor_v1.json, for qa_2
    #[arg(long, value_name = "FILE")]
    pub(crate) hotpotqa: Option<PathBuf>,
    /// RULER's english_words.json, for cwe beyond about 64K tokens
    #[arg(long, value_name = "FILE")]
    pub(crate) english_words: Option<PathBuf>,
}

impl FileArgs {
    /// The haystack, and how its sentences are found.
    pub(crate) fn haystack(&self) -> anyhow::Result<Haystack> {
        let splitter = match &self.punkt {
            Some(folder) => punkt(folder)?,
            None => match std::env::var_os("NLTK_DATA").filter(|_| self.haystack.is_some()) {
                Some(folder) if !folder.is_empty() => punkt(Path::new(&folder))?,
                _ => Splitter::Simple,
            },
        };
        Ok(match &self.haystack {
            Some(path) => Haystack::read(path, splitter)?,
            None => Haystack::shipped(splitter),
        })
    }

    /// The files of single tasks.
    pub(crate) fn files(&self) -> anyhow::Result<Files> {
        Ok(Files {
            squad: self.squad.as_deref().map(Questions::squad).transpose()?,
            hotpotqa: self.hotpotqa.as_deref().map(Questions::hotpotqa).transpose()?,
            english_words: self.english_words.as_deref().map(english_words).transpose()?,
        })
    }
}

fn punkt(folder: &Path) -> anyhow::Result<Splitter> {
    Ok(Splitter::Punkt(Arc::new(Punkt::new(Tables::read(folder)?))))
}
