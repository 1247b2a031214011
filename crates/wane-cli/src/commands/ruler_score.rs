//! `wane ruler score` and `wane ruler predictions`: NVIDIA's prediction files, both ways.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use wane_eval::ruler::data::DataSet;
use wane_eval::ruler::predictions::{self, TaskPredictions, TaskScore};
use wane_eval::ruler::{Metric, jsonl};
use wane_eval::runner::store;

/// Arguments of `score`.
#[derive(Debug, clap::Args)]
pub(crate) struct ScoreArgs {
    /// JSONL with `pred` and `outputs`, or a folder of TASK.jsonl
    path: PathBuf,
    /// `task` (each task's own), string_match_all, string_match_part, string_match_mean or comma_set
    #[arg(long, default_value = "task")]
    scorer: String,
    /// Folder for summary.csv and submission.csv, as NVIDIA's evaluate.py writes them
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Arguments of `predictions`.
#[derive(Debug, clap::Args)]
pub(crate) struct PredictionsArgs {
    /// Folder of `wane eval --out`, or its records.jsonl
    records: PathBuf,
    /// Folder to write to: MODEL/METHOD/TASK.jsonl
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The data set that was measured: gives prompts and indices
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Scores a file or a folder.
pub(crate) fn score(args: &ScoreArgs) -> anyhow::Result<()> {
    let scorer = Metric::choose(&args.scorer)?;
    let mut tasks = Vec::new();
    let mut scores: Vec<TaskScore> = Vec::new();
    if args.path.is_dir() {
        tasks = predictions::read_folder(&args.path)?;
        scores.extend(
            tasks
                .iter()
                .map(|t| predictions::score_lines(t.task.name, scorer.unwrap_or(t.task.metric), &t.lines)),
        );
    } else {
        let lines = predictions::read(&args.path)?;
        // With a scorer any file will do.
        let (name, metric) = match (predictions::task_of(&args.path), scorer) {
            (Ok(task), _) => (task.name.to_owned(), scorer.unwrap_or(task.metric)),
            (Err(_), Some(metric)) => {
                (args.path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), metric)
            }
            (Err(error), None) => return Err(error.into()),
        };
        scores.push(predictions::score_lines(&name, metric, &lines));
        if let Ok(task) = predictions::task_of(&args.path) {
            tasks.push(TaskPredictions { task, lines });
        }
    }
    table(&scores)?;
    let Some(folder) = &args.out else { return Ok(()) };
    create(folder)?;
    write(&folder.join(predictions::summary_name(&scores)), &predictions::summary_csv(&scores))?;
    if !tasks.is_empty() {
        write(&folder.join("submission.csv"), &predictions::submission_csv(&tasks))?;
    }
    Ok(())
}

/// Tasks, scores, empty predictions, and the mean that RULER reports.
fn table(scores: &[TaskScore]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let width = scores.iter().map(|s| s.task.len()).max().unwrap_or(0).max(4);
    writeln!(out, "{:width$}  {:>6}  {:>9}  scorer", "task", "score", "nulls")?;
    for score in scores {
        let nulls = format!("{}/{}", score.nulls, score.predictions);
        writeln!(out, "{:width$}  {:>6.2}  {nulls:>9}  {}", score.task, score.score, score.metric.name())?;
    }
    if scores.len() > 1 {
        let mean = scores.iter().map(|s| s.score).sum::<f64>() / scores.len() as f64;
        writeln!(out, "{:width$}  {mean:>6.2}  {:>9}  of {} tasks", "mean", "", scores.len())?;
    }
    out.flush()?;
    Ok(())
}

/// Writes records as prediction files.
pub(crate) fn predictions(args: &PredictionsArgs) -> anyhow::Result<()> {
    let file = if args.records.is_dir() { args.records.join(store::FILE) } else { args.records.clone() };
    anyhow::ensure!(
        file.is_file(),
        "{}: no such file; name the folder that `wane eval --out` wrote",
        file.display()
    );
    let records = store::read(&file)?;
    anyhow::ensure!(!records.is_empty(), "{}: no finished records in it", file.display());
    let data = args.data.as_deref().map(|folder| DataSet::open::<&str>(folder, &[])).transpose()?;
    for ((model, method), tasks) in predictions::of_records(&records, data.as_ref())? {
        let folder = args.out.join(model.replace('/', "_")).join(method.replace('/', "_"));
        create(&folder)?;
        for task in tasks {
            let lines = task.lines.iter().map(jsonl::line).collect::<Result<String, _>>()?;
            write(&folder.join(format!("{}.jsonl", task.task.name)), &lines)?;
        }
    }
    if data.is_none() {
        eprintln!("without --data, `input` is empty and `index` is the sample's number");
    }
    Ok(())
}

fn create(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

/// Writes a file whole or not at all, and names it.
pub(super) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let written = std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    written.with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("{}", path.display());
    Ok(())
}
