//! The report: one page, its figures and its tables, from records alone (no model is loaded).
//!
//! - `input`: which files there are and their lines; `load`: samples, malformed input named.
//! - `method`: what a method string says: budget, family, label.
//! - `pairing`: which models are compared, which pairs differ in their training seed alone.
//! - `study`: accuracies, gains and costs of the samples that belong together.
//! - `heads`, `training`: hit rates of heads, records of training runs.
//! - `published`: the rows of arXiv 2605.28640 beside them; `statements`: which statements hold; `seeds`: what
//!   training seeds agree on; `pooling`: what of SnapKV's gain is its pooling's.
//! - `figures`: the figures, from `chart`, `figure`, `drawing`; `svg` and `raster` write them.
//! - `tables`, `sheet`: tables as HTML and Markdown; `sheets`: all of them, made once; `csv`: one tidy file a table.
//! - `page`: `index.html`; `terminal`: the same in a few lines.

mod chart;
mod csv;
mod drawing;
mod figure;
mod figures;
mod heads;
mod input;
mod load;
pub(crate) mod method;
mod numbers;
mod page;
mod pairing;
mod palette;
mod pooling;
mod published;
mod raster;
mod seeds;
mod sheet;
mod sheets;
mod statements;
mod study;
mod svg;
mod tables;
mod terminal;
mod training;

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::memory::record::MemoryRecord;
use crate::{Error, Result};
use sheets::Sheets;
use study::Study;

/// A value, or why there is none.
type OrReason<T> = std::result::Result<T, String>;

/// What to write.
#[derive(Debug, Clone)]
pub struct Options {
    /// The scorer: a metric's name; `task` for each task's own; `protocol` for the one of the prompt form (the
    /// paper's comma scoring for `input`, the task's own for `prefix`).
    pub metric: String,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The page.
    pub page: PathBuf,
    /// Every file, the page included, in the order of writing.
    pub files: Vec<PathBuf>,
    /// Records that the numbers rest on.
    pub records: usize,
    /// What a reader should know about the input: what was skipped or kept apart.
    pub notes: Vec<String>,
    /// The gains in a few lines with bars, for a terminal.
    pub summary: String,
}

/// Reads record files (or folders that hold `records.jsonl` and its like) and writes the report into `folder`.
///
/// # Errors
/// A file that cannot be read or written, a line that is no record, no records at all, a scorer that no record has.
pub fn write(inputs: &[PathBuf], folder: &Path, options: &Options) -> Result<Written> {
    let contents = Contents::read(inputs, &options.metric)?;
    std::fs::create_dir_all(folder).map_err(|e| Error::file("create", folder, e))?;
    let mut files = Vec::new();
    for (name, bytes) in contents.files(&options.metric) {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(|e| Error::file("write", &path, e))?;
        files.push(path);
    }
    Ok(Written {
        page: folder.join("index.html"),
        files,
        records: contents.loaded.samples.len(),
        summary: terminal::summary(&contents.studies),
        notes: contents.notes,
    })
}

/// The record of a memory.
fn memory_record(path: &Path) -> Result<MemoryRecord> {
    let record: MemoryRecord = serde_json::from_slice(&input::read(path)?).map_err(|e| Error::Line {
        path: path.to_owned(),
        line: e.line(),
        message: format!("expected the record of a memory: {e}"),
    })?;
    if record.version > crate::memory::record::VERSION {
        return Err(Error::Invalid(format!(
            "{}: version {} is newer than {}: use a newer wane",
            path.display(),
            record.version,
            crate::memory::record::VERSION
        )));
    }
    Ok(record)
}

/// Everything that was read, as numbers.
#[derive(Debug)]
struct Contents {
    loaded: load::Loaded,
    looks: pairing::Looks,
    studies: Vec<Study>,
    heads: heads::Heads,
    memories: Vec<(PathBuf, MemoryRecord)>,
    /// Those without memory first.
    runs: Vec<training::Run>,
    /// All of the parts' notes.
    notes: Vec<String>,
}

impl Contents {
    fn read(inputs: &[PathBuf], metric: &str) -> Result<Self> {
        let (mut samples, mut hits, mut memories, mut runs) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for path in input::files(inputs)? {
            match input::kind(&path)? {
                input::Kind::Samples => samples.push(path),
                input::Kind::Hits => hits.push(path),
                input::Kind::Memory => memories.push((path.clone(), memory_record(&path)?)),
                input::Kind::Training => runs.push(training::Run::read(&input::read(&path)?, &path)?),
            }
        }
        runs.sort_by_key(training::Run::has_memory);
        let loaded = load::load(samples, metric)?;
        let names = loaded.models.iter().map(|m| pairing::Named { name: &m.name, memory: m.memory });
        let looks = pairing::Looks::of(names);
        let heads = heads::load(&hits, &looks)?;
        let studies = study::build(&loaded, &looks);
        let mut notes: Vec<String> = loaded.notes.iter().chain(&heads.notes).cloned().collect();
        if studies.iter().any(Study::lacks_intervals) {
            notes.push(
                "some gains have no interval (-) and decide nothing: some task has 1 sample that both models have, and an interval needs at least 2".into(),
            );
        }
        Ok(Self { loaded, looks, studies, heads, memories, runs, notes })
    }

    /// Every file of the report: names and contents.
    fn files(&self, metric: &str) -> Vec<(String, Vec<u8>)> {
        let sheets = Sheets::of(self);
        let page = page::html(self, &sheets, metric);
        let mut files = vec![("index.html".to_owned(), page.into_bytes())];
        let figures = figures::all(self);
        let pictures: Vec<Vec<u8>> = figures.par_iter().map(figure::Figure::png).collect();
        for (figure, png) in figures.iter().zip(pictures) {
            files.push((format!("{}.svg", figure.name), figure.svg().into_bytes()));
            files.push((format!("{}.png", figure.name), png));
        }
        let mut texts = vec![("tables.md", sheets.markdown(&self.studies))];
        texts.push(("accuracy.csv", csv::accuracy(&self.studies)));
        texts.push(("gains.csv", csv::gains(&self.studies)));
        if self.studies.iter().any(|study| !study.seeds.is_empty()) {
            texts.push(("seeds.csv", seeds::csv(&self.studies)));
        }
        texts.push(("cost.csv", csv::cost(&self.loaded, &self.studies)));
        texts.push(("published.csv", csv::published()));
        if !self.heads.kinds.is_empty() {
            texts.push(("hits.csv", heads::csv(&self.heads)));
        }
        files.extend(texts.into_iter().map(|(name, text)| (name.to_owned(), text.into_bytes())));
        files
    }
}

#[cfg(test)]
mod tests;
