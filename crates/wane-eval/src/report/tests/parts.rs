//! Hit rates, memories and training runs in a report: small made-up records, numbers checked by hand.

use std::path::{Path, PathBuf};

use super::{QUEST, contains, lines, pair};
use crate::hits::record::{HeadHits, HeadUnit, Hits, Measured};
use crate::memory::record::{BINS, HeadMemory, MemoryRecord, ModelMemory};
use crate::report::{Options, Written, write};
use crate::ruler::prompt::PromptForm;
use crate::runner::identity::Cell;
use crate::runner::store::tests::{identity, with};

/// Ten examples; head 0 hits `best` of them, head 1 one.
/// In the caption of the statements about hit rates.
const HITS_STATEMENTS: &str = "Hit rates have no intervals: a statement holds if it does in every task";

fn hits(model: &str, task: &str, best: usize) -> Hits {
    let head = |head: usize, hits: usize| HeadHits {
        head,
        hits,
        recall: 5.0,
        mass: 2.5,
        source_mass: [3.0, 1.0][head],
        rank: 12.0,
        ..HeadHits::default()
    };
    let (cell, origin) = identity(model, QUEST);
    Hits {
        cell: Cell { task: task.into(), ..cell },
        origin: with(origin, |o| (o.context, o.recipe.prompt_form) = (4096, PromptForm::Input)),
        first_sample: 0,
        samples: 12,
        measured: Measured::DecodeSteps,
        unit: HeadUnit::QueryHead,
        examples: 10,
        free_examples: 8,
        unaligned: 2,
        without_steps: 0,
        whole: 0,
        steps: 60,
        steps_range: [6, 6],
        chance: 0.5,
        free_chance: 0.4,
        chance_recall: 2.0,
        candidates: 80.0,
        first_correct: 9,
        correct: 8,
        heads: vec![head(0, best), head(1, 1)],
    }
}

fn text(all: &[Hits]) -> String {
    all.iter().map(|h| serde_json::to_string(h).unwrap() + "\n").collect()
}

fn memory() -> MemoryRecord {
    let head = |layer: usize| HeadMemory {
        layer,
        head: 0,
        mean_gate: 0.5,
        gates: vec![1.0 / BINS as f64; BINS],
        half_lives: [0.2, 0.5, 2.0, 8.0, 32.0],
        copying: 0.25,
        product: vec![1.0, 0.5],
        weight: vec![0.9, 0.5],
        key_share: vec![0.8, 0.4],
        value_share: vec![0.7, 0.35],
    };
    MemoryRecord {
        version: 1,
        distances: vec![0, 8],
        models: vec![ModelMemory {
            model: "memory".into(),
            model_hash: "hash of memory".into(),
            tokenizer: "t".into(),
            device: "cpu".into(),
            source: "niah_single_1".into(),
            needles_are: "values".into(),
            sequences: 3,
            tokens: 300,
            needles: 3,
            needles_at: vec![3, 3],
            unaligned: 1,
            heads: vec![head(0), head(1)],
        }],
    }
}

/// A run of 20 steps of 1000 tokens, solved from step 10 on.
const RUN: &str = r#"{
  "version": "0.1.0", "status": "finished", "device": "cpu", "parameters": 2000000, "total_flops": 1e12,
  "seconds": 10.0, "tokens_per_second": 2000000.0, "utilization": null, "steps": 20000,
  "curve": [{"step": 1000, "loss": 4.0, "answer_loss": 4.0, "text_loss": null}, {"step": 20000, "loss": 1.0, "answer_loss": 0.5, "text_loss": 3.0}],
  "validations": [
    {"step": 5000, "text_loss": 3.0, "tasks": [{"task": "niah_single_1", "answer_loss": 1.0, "solved": 0.25, "samples": 32}]},
    {"step": 10000, "text_loss": 3.0, "tasks": [{"task": "niah_single_1", "answer_loss": 1.0, "solved": 0.75, "samples": 32}],
     "memory": {"layers": [{"mean_gate": 0.6, "half_lives": [0.3, 1.5, 60.0], "copying": 0.125}]}}],
  "config": {"name": "small-memory", "seed": 1, "model": {"backbone": "memory"}, "training": {"sequence": 500, "batch": 2}}
}"#;

fn report(files: &[(&str, &str)]) -> (tempfile::TempDir, crate::Result<Written>) {
    let folder = tempfile::tempdir().unwrap();
    let mut inputs: Vec<PathBuf> = Vec::new();
    for (name, text) in files {
        inputs.push(folder.path().join(name));
        std::fs::write(&inputs[inputs.len() - 1], text).unwrap();
    }
    let out = folder.path().join("out");
    let written = write(&inputs, &out, &Options { metric: "protocol".into() });
    (folder, written)
}

fn file(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join("out").join(name)).unwrap()
}

#[test]
fn hit_rates_have_figures_a_table_and_a_statement() {
    let all = [
        hits("memory", "niah_single_1", 9),
        hits("attention", "niah_single_1", 6),
        hits("memory", "niah_multikey_1", 4),
        hits("attention", "niah_multikey_1", 3),
    ];
    let (folder, written) = report(&[("anything.jsonl", &text(&all))]);
    assert_eq!(written.unwrap().notes, Vec::<String>::new());
    let page = file(folder.path(), "index.html");
    contains(
        &page,
        &[
            "Hit rates of heads",
            HITS_STATEMENTS,
            // Means of both heads, then of both tasks: (9 + 1 + 4 + 1) / 40 and (6 + 1 + 3 + 1) / 40.
            "<td>holds</td><td>37.5 against 27.5 %; more in 2 tasks, as often in 0, less in 0</td>",
            // (28 + 13) / 80 and (19 + 10) / 80.
            "<td>holds</td><td>51.2 against 36.2 %; more in 2 tasks, as often in 0, less in 0</td>",
            "memory: best head (layer 0, head 0) 90.0, tenth 0.0, last 10.0, 10 examples; chance 5.00.",
            "quest:block=64,k=4: every sparse decode step",
            // Best head, ten best, all; by attention, (28 + 13) / 80; chance; recall, its chance, mass; rank 12/8, chance (80/8 + 1)/2.
            "<td>65.0</td><td>37.5</td><td>37.5</td><td>51.2</td><td>5.0</td><td>50.0</td><td>20.0</td><td>25.0</td><td>1.5</td><td>5.5</td><td>20<small>4 not traceable</small></td>",
        ],
    );
    assert!(folder.path().join("out/hits-1-quest-block-64-k-4.png").exists());
    assert_eq!(file(folder.path(), "hits.csv").lines().count(), 1 + 4 * 2);
    contains(
        &file(folder.path(), "hits.csv"),
        &["1,memory,hash of memory,\"quest:", ",niah_single_1,10,0,0,0.900000,0.000000,"],
    );
}

#[test]
fn cut_newer_repeated_and_mixed_hit_rates_are_said() {
    let mut all = text(&[
        hits("memory", "niah_single_1", 9),
        hits("memory", "niah_single_1", 9),
        with(hits("memory", "niah_single_1", 9), |hits| hits.origin.recipe.prompt_form = PromptForm::Prefix),
    ]);
    all.push_str("{\"version\":99,\"measured\":1}\n{\"version\":1,\"mod");
    let (folder, written) = report(&[("hits.jsonl", &all)]);
    contains(
        &written.unwrap().notes.join("\n"),
        &[
            "the last line (line 5) is cut off and was left out",
            "1 lines of hit rates repeat samples",
            "1 lines of hit rates of a newer version than 1 were left out",
            "the hit rates are of 2 kinds, which are kept apart",
        ],
    );
    // One model has its rates, and no table of statements without a row.
    for name in ["index.html", "tables.md"] {
        let text = file(folder.path(), name);
        assert!(text.contains("Hit rates, means over 1 tasks") && !text.contains(HITS_STATEMENTS), "{name}");
    }
    let (_folder, error) = report(&[("hits.jsonl", &(text(&[hits("m", "t", 1)]) + "{}\n{}\n"))]);
    contains(&error.unwrap_err().to_string(), &["hits.jsonl, line 2: expected a record of hit rates"]);
}

#[test]
fn a_memory_has_its_figures() {
    let pretty = serde_json::to_string_pretty(&memory()).unwrap();
    let one_line = serde_json::to_string(&memory()).unwrap();
    for text in [&pretty, &one_line] {
        let (folder, written) = report(&[("memory.json", text)]);
        written.unwrap();
        contains(
            &file(folder.path(), "index.html"),
            &[
                "The memory itself",
                "memory: 10 % of the gates below 0.1, 10 % above 0.9.",
                "memory, head 0: half of the channels below 2.00 tokens, tenths 0.20 and 32.00, 25 % copy",
                "Percent. memory: of k~ 80.0 at 0, 40.0 at 8; of v~ 70.0 at 0, 35.0 at 8.",
                "3 sequences, 300 tokens, 3 needles (values), 1 left out",
            ],
        );
        assert!(folder.path().join("out/reach-1.svg").exists());
    }
    let newer = one_line.replacen("\"version\":1", "\"version\":9", 1);
    let (_folder, error) = report(&[("memory.json", &newer)]);
    contains(&error.unwrap_err().to_string(), &["version 9 is newer than 1: use a newer wane"]);
}

#[test]
fn a_training_run_says_when_tasks_were_learned() {
    let (folder, written) = report(&[("run.json", RUN)]);
    written.unwrap();
    contains(
        &file(folder.path(), "index.html"),
        &[
            "small-memory: half solved at 10 M tokens, 75 % at the end.",
            "small-memory, at the end: a tenth of the channels below 0.30 tokens, half below 1.50, nine tenths below 60.00",
            "small-memory: 0.500 at the end.",
            "wane train small-memory.toml",
        ],
    );
    contains(
        &file(folder.path(), "tables.md"),
        &[
            "| small-memory, half solved | 10 |",
            "| small-memory, 90 % solved | \u{2013} [1] |",
            "[1] not reached",
            "| layer 0 | 0.600 | 0.30 | 1.50 | 60.00 | 12.5 % |",
        ],
    );
    let broken = RUN.replace("\"steps\": 20000,", "");
    let (_folder, error) = report(&[("run.json", &broken)]);
    contains(
        &error.unwrap_err().to_string(),
        &["expected the record of a training run: missing field `steps`"],
    );
}

#[test]
fn everything_fits_on_one_page() {
    let hits = text(&[hits("memory", "niah_single_1", 9)]);
    let memory = serde_json::to_string(&memory()).unwrap();
    let (folder, written) =
        report(&[("a.jsonl", &lines(&pair())), ("b.jsonl", &hits), ("c.json", &memory), ("d.json", RUN)]);
    assert_eq!(written.unwrap().records, 120);
    let page = file(folder.path(), "index.html");
    assert_eq!(super::balance(&page), Vec::<String>::new());
    super::check_links(&page);
    contains(&page, &["href=\"#hit-rates\"", "href=\"#memories\"", "href=\"#training\""]);
}
