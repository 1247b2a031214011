//! The report: one page, its figures and its tables, from records alone (no model is loaded).
//!
//! - `load`: record files into slim samples, malformed input named.
//! - `method`: what a method string says: budget, family, label.
//! - `study`: accuracies, gains and costs of the samples that belong together.
//! - `published`: the rows of arXiv 2605.28640 beside them.
//! - `figure`, `svg`: accuracy against budget, small multiples.
//! - `tables`, `sheet`: tables as HTML and Markdown; `csv`: one tidy file a table.
//! - `findings`: what the gains say, in sentences made of numbers; `page`: `index.html`.
//!
//! Does not do: PNG; hit rates and gates, which records do not hold.

mod csv;
mod figure;
mod findings;
mod load;
mod method;
mod page;
mod published;
mod sheet;
mod study;
mod svg;
mod tables;

use std::path::{Path, PathBuf};

use crate::{Error, Result};
use study::Study;

/// A value, or why there is none.
type OrReason<T> = std::result::Result<T, String>;

/// What to write.
#[derive(Debug, Clone)]
pub struct Options {
    /// The scorer: a metric's name, or `task` for each task's own.
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
}

/// Reads record files (or folders that hold `records.jsonl`) and writes the report into `folder`.
///
/// # Errors
/// A file that cannot be read or written, a line that is no record, no records at all, a scorer that no record has.
pub fn write(inputs: &[PathBuf], folder: &Path, options: &Options) -> Result<Written> {
    let loaded = load::load(inputs, &options.metric)?;
    let studies = study::build(&loaded);
    let mut texts = vec![("index.html".to_owned(), page::html(&loaded, &studies, &options.metric))];
    texts.extend(files(&loaded, &studies));
    std::fs::create_dir_all(folder).map_err(|e| Error::file("create", folder, e))?;
    let mut files = Vec::new();
    for (name, text) in texts {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|e| Error::file("write", &path, e))?;
        files.push(path);
    }
    let page = folder.join("index.html");
    Ok(Written { page, files, records: loaded.samples.len(), notes: loaded.notes })
}

/// Figures and tables beside the page: names and contents.
fn files(loaded: &load::Loaded, studies: &[Study]) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for (number, study) in studies.iter().enumerate() {
        for figure in figure::figures(study) {
            files.push((format!("{}.svg", figure.file_name(number)), figure.standalone()));
        }
    }
    let mut markdown = String::from("# wane report\n");
    for (number, study) in studies.iter().enumerate() {
        markdown.push_str(&format!("\n## Records {}: {}\n", number + 1, study.setup.summary()));
        for sheet in tables::all(loaded, study, number) {
            markdown.push('\n');
            markdown.push_str(&sheet.markdown());
        }
    }
    files.push(("tables.md".to_owned(), markdown));
    files.push(("accuracy.csv".to_owned(), csv::accuracy(studies)));
    files.push(("gains.csv".to_owned(), csv::gains(studies)));
    files.push(("cost.csv".to_owned(), csv::cost(loaded, studies)));
    files.push(("published.csv".to_owned(), csv::published()));
    files
}

#[cfg(test)]
mod tests;
