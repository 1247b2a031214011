//! `hits.jsonl`, appended line by line; a run that goes on finds out which samples it lacks.
//!
//! Does not do: two writers at a time.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::record::{Hits, parse};
use crate::runner::store::Existing;
use crate::{Error, Result};

/// The file's name in its folder.
pub const FILE: &str = "hits.jsonl";

/// An open folder.
#[derive(Debug)]
pub struct HitStore {
    path: PathBuf,
    lines: Vec<Hits>,
}

impl HitStore {
    /// Opens or creates a folder; a half-written last line is cut off.
    ///
    /// # Errors
    /// No permission; lines that may not be there; a line that is no record of hits.
    pub fn open(folder: &Path, existing: Existing) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|e| Error::file("create", folder, e))?;
        let path = folder.join(FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(Error::file("read", &path, e)),
        };
        let lines = parse(&text, &path)?;
        if !lines.is_empty() && existing == Existing::Refuse {
            return Err(Error::Invalid(format!(
                "{} holds {} lines of hit rates: pass --resume to go on with them, or another --out",
                path.display(),
                lines.len()
            )));
        }
        let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
        // Opening for writing also shows at once whether that is allowed.
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|e| Error::file("write", &path, e))?;
        file.set_len(whole as u64).map_err(|e| Error::file("write", &path, e))?;
        Ok(Self { path, lines })
    }

    /// Appends a line; it is in the file when this returns.
    ///
    /// # Errors
    /// The disk is full, or the like.
    pub fn append(&mut self, hits: Hits) -> Result<()> {
        let mut line = serde_json::to_string(&hits).map_err(|e| Error::Invalid(e.to_string()))?;
        line.push('\n');
        let file = OpenOptions::new().append(true).open(&self.path);
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        written.map_err(|e| Error::file("write", &self.path, e))?;
        self.lines.push(hits);
        Ok(())
    }

    /// All lines, those of earlier runs first.
    pub fn lines(&self) -> &[Hits] {
        &self.lines
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Those of `samples` that no line of the cell of `like` counts, as runs.
    pub(crate) fn missing(&self, like: &Hits, samples: Range<usize>) -> Vec<Range<usize>> {
        let mut runs: Vec<Range<usize>> = Vec::new();
        let there: Vec<&Hits> = self.lines.iter().filter(|line| line.same_cell(like)).collect();
        for sample in samples {
            if there.iter().any(|l| (l.first_sample..l.first_sample + l.samples).contains(&sample)) {
                continue;
            }
            match runs.last_mut() {
                Some(run) if run.end == sample => run.end += 1,
                _ => runs.push(sample..sample + 1),
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::line;
    use super::*;
    use crate::runner::store::tests::with;

    fn ends(runs: &[Range<usize>]) -> Vec<[usize; 2]> {
        runs.iter().map(|run| [run.start, run.end]).collect()
    }

    #[test]
    fn a_killed_run_goes_on_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = HitStore::open(dir.path(), Existing::Refuse).unwrap();
        store.append(line(0, 4)).unwrap();
        store.append(line(6, 2)).unwrap();
        let text = std::fs::read(store.path()).unwrap();
        std::fs::write(store.path(), &text[..text.len() - 9]).unwrap();
        let error = HitStore::open(dir.path(), Existing::Refuse).unwrap_err().to_string();
        assert!(error.contains("holds 1 lines of hit rates: pass --resume"), "{error}");
        let mut store = HitStore::open(dir.path(), Existing::Resume).unwrap();
        assert_eq!(ends(&store.missing(&line(0, 1), 0..10)), [[4, 10]]);
        store.append(line(6, 2)).unwrap();
        assert_eq!(ends(&store.missing(&line(0, 1), 2..10)), [[4, 6], [8, 10]]);
        let other = with(line(0, 1), |hits| hits.cell.task = "niah_multikey_1".into());
        assert_eq!(ends(&store.missing(&other, 0..3)), [[0, 3]]);
        assert_eq!(std::fs::read(store.path()).unwrap(), text);
    }

    #[test]
    fn foreign_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "{\"version\":1}\n").unwrap();
        let error = HitStore::open(dir.path(), Existing::Resume).unwrap_err().to_string();
        assert!(error.contains("line 1: expected a record of hits"), "{error}");
    }
}
