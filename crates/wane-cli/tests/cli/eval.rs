//! `wane eval`: data made elsewhere, chat templates, folders of other runs, interruptions.

use std::collections::HashSet;
use std::path::Path;

use wane_eval::runner::record::Record;
use wane_eval::runner::store;

use super::{at, copy, interrupted, model, refusal, refused, text, wane, with_file_limit, works};

/// `wane eval` of a tiny model on one task with more arguments.
fn arguments<'a>(model: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let fixed = ["--context", "512", "--max-new-tokens", "4", "--tasks", "niah_single_1"];
    [&["eval", "--model", model, "--out", out][..], &fixed, more].concat()
}

/// The same on a data set.
fn on_data<'a>(model: &'a str, out: &'a str, data: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["eval", "--model", model, "--out", out, "--max-new-tokens", "4", "--data", data][..], more].concat()
}

fn records(folder: &Path) -> Vec<Record> {
    store::read(&folder.join("records.jsonl")).unwrap()
}

/// Every example of `samples` samples under `methods` methods is there once.
#[track_caller]
fn complete(folder: &Path, samples: usize, methods: usize) {
    let records = records(folder);
    let keys: HashSet<_> = records.iter().map(Record::key).collect();
    assert_eq!((records.len(), keys.len()), (samples * methods, samples * methods));
}

/// Samples of two tasks for the tiny models.
fn generate(out: &str, tokenizer: &str, context: &str) {
    let tasks = "niah_single_1,niah_multikey_2";
    let fixed = ["ruler", "generate", "--task", tasks, "--samples", "3", "--seed", "9"];
    works(&[&fixed[..], &["--tokenizer", tokenizer, "--context", context, "--out", out]].concat());
}

#[test]
fn what_cannot_be_measured() {
    let folder = tempfile::tempdir().unwrap();
    let (a, out) = (model("a"), at(folder.path(), "out"));
    refused(&arguments(&a, &out, &["--samples", "0"]), &["--samples must be at least 1"]);
    refused(&arguments(&a, &out, &["--scorer", "coma_set"]), &["unknown scorer `coma_set`", "comma_set"]);
    refused(&arguments(&a, &out, &["--prompt-form", "talk"]), &["talk", "input", "prefix", "chat"]);
    refused(&arguments(&a, &out, &["--prompt-form", "chat"]), &["no chat template", "--template"]);
    let named = ["--prompt-form", "chat", "--template", "meta-llama"];
    refused(&arguments(&a, &out, &named), &["`meta-llama`", "did you mean `meta-llama3`"]);
    refused(&["eval", "--model", &a, "--out", &out, "--context", "513"], &["--context 513", "at most 512"]);
    std::fs::write(folder.path().join("file"), "").unwrap();
    refused(&arguments(&a, &at(folder.path(), "file/out"), &[]), &["cannot create", "file/out"]);
    std::fs::create_dir_all(folder.path().join("odd/records.jsonl")).unwrap();
    refused(&arguments(&a, &at(folder.path(), "odd"), &[]), &["records.jsonl", "directory"]);
}

#[test]
fn a_folder_of_another_run_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (a, out) = (model("a"), at(folder.path(), "out"));
    works(&arguments(&a, &out, &["--samples", "2"]));
    let kept = std::fs::read(folder.path().join("out/records.jsonl")).unwrap();
    refused(&arguments(&a, &out, &["--samples", "2"]), &["holds 2 records", "--resume"]);
    for other in [["--seed", "7"], ["--prompt-form", "input"], ["--wordlist", "2.2.0"]] {
        let args = [&arguments(&a, &out, &["--resume"])[..], &other].concat();
        refused(&args, &["records of another run", "--out"]);
    }
    assert_eq!(std::fs::read(folder.path().join("out/records.jsonl")).unwrap(), kept);
    // More samples and another model are the same run.
    works(&arguments(&a, &out, &["--samples", "3", "--resume"]));
    let said = works(&arguments(&model("b"), &out, &["--samples", "3", "--resume"]));
    // The table is of all records, those of earlier runs first.
    let row = |line: usize| said.lines().nth(line).unwrap_or_default();
    assert!(row(1).starts_with("a  dense ") && row(1).ends_with(" 3"), "{said}");
    assert!(row(2).starts_with("b  dense ") && row(2).ends_with(" 3"), "{said}");
    complete(&folder.path().join("out"), 3, 2);
}

#[test]
fn samples_from_files_give_what_generated_ones_give() {
    let folder = tempfile::tempdir().unwrap();
    let (a, data) = (model("a"), at(folder.path(), "data"));
    let (direct, read) = (at(folder.path(), "direct"), at(folder.path(), "read"));
    generate(&data, &a, "512");
    let direct_args = ["--samples", "3", "--seed", "9", "--context", "512", "--max-new-tokens", "4"];
    let tasks = ["--tasks", "niah_single_1,niah_multikey_2"];
    works(&[&["eval", "--model", &a, "--out", &direct][..], &direct_args, &tasks].concat());
    works(&on_data(&a, &read, &data, &[]));
    let (direct, from_files) = (records(Path::new(&direct)), records(Path::new(&read)));
    assert_eq!((direct.len(), from_files.len()), (6, 6));
    for (d, f) in direct.iter().zip(&from_files) {
        assert_eq!(
            (&d.prediction, &d.references, d.prompt_tokens),
            (&f.prediction, &f.references, f.prompt_tokens)
        );
        assert_eq!((d.origin.context, &d.cell.task, d.sample), (f.origin.context, &f.cell.task, f.sample));
        assert!(
            d.origin.recipe.data.is_none()
                && f.origin.recipe.data.as_ref().is_some_and(|hash| hash.len() == 64)
        );
        assert_eq!(f.origin.recipe.haystack, "data:data");
    }
    // The same data goes on, one task of it is other data, and so is a changed file.
    works(&on_data(&a, &read, &data, &["--resume", "--method", "dense", "quest:block=16,k=4"]));
    complete(Path::new(&read), 6, 2);
    refused(
        &on_data(&a, &read, &data, &["--resume", "--tasks", "niah_single_1"]),
        &["records of another run"],
    );

    // Predictions for NVIDIA's evaluate.py, scored here.
    let predictions = at(folder.path(), "predictions");
    works(&["ruler", "predictions", &read, "--out", &predictions, "--data", &data]);
    let scored = works(&["ruler", "score", &at(Path::new(&predictions), "a/dense")]);
    let percent = |task: &str| {
        let scores: Vec<f64> =
            from_files.iter().filter(|r| r.cell.task == task).map(|r| r.score("string_match_all")).collect();
        format!("{:.2}", 100.0 * scores.iter().sum::<f64>() / scores.len() as f64)
    };
    for task in ["niah_single_1", "niah_multikey_2"] {
        let line = scored.lines().find(|line| line.starts_with(task)).unwrap();
        assert!(line.contains(&percent(task)) && line.contains("string_match_all"), "{line}");
    }
    let lines = std::fs::read_to_string(Path::new(&predictions).join("a/dense/niah_single_1.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 3);
    assert!(
        lines.starts_with("{\"index\": ")
            && lines.contains("\"others\": {}, \"truncation\": -1, \"length\": ")
    );
    assert!(lines.contains("The special magic number for"), "{lines}");
}

#[test]
fn bad_data_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (a, data, out) = (model("a"), at(folder.path(), "data"), at(folder.path(), "out"));
    generate(&data, &a, "512");
    refused(
        &on_data(&a, &out, &data, &["--context", "256"]),
        &["sample 0", "more than the context of 256", "--context"],
    );
    refused(&on_data(&a, &out, &data, &["--samples", "4"]), &["--samples 4", "at most 3"]);
    refused(
        &on_data(&a, &out, &data, &["--tasks", "niah_single_3"]),
        &["has no niah_single_3/validation.jsonl"],
    );
    refused(&on_data(&a, &out, &data, &["--tasks", "niah_singel_1"]), &["did you mean `niah_single_1`"]);
    refused(&on_data(&a, &out, &data, &["--seed", "1"]), &["--seed", "--data"]);
    refused(&on_data(&a, &out, "/nonexistent", &[]), &["/nonexistent"]);
    refused(&on_data(&a, &out, folder.path().to_str().unwrap(), &[]), &["no TASK/validation.jsonl"]);
    let long = at(folder.path(), "long");
    generate(&long, &a, "1024");
    refused(&on_data(&a, &out, &long, &[]), &["--context 1024", "at most 512"]);
    let other = at(folder.path(), "other");
    generate(&other, "cl100k", "400");
    refused(&on_data(&a, &out, &other, &[]), &["another tokenizer", "--any-tokenizer"]);
    works(&on_data(&a, &out, &other, &["--any-tokenizer", "--samples", "1"]));

    let file = folder.path().join("data/niah_single_1/validation.jsonl");
    let good = std::fs::read_to_string(&file).unwrap();
    let out = at(folder.path(), "out2");
    for (bad, words) in [
        (good.replacen("\"outputs\"", "\"output\"", 1), ["line 1: field `outputs`", "it is missing"]),
        (good[..good.len() - 30].to_owned(), ["line 3", "ends within a line"]),
        (format!("{good}{good}"), ["line 4: field `index`", "duplicate"]),
        (String::new(), ["validation.jsonl", "an empty file"]),
    ] {
        std::fs::write(&file, bad).unwrap();
        refused(&on_data(&a, &out, &data, &[]), &words);
    }
    assert!(!Path::new(&out).exists());
}

#[test]
fn chat_prompts() {
    let (folder, chat) = (tempfile::tempdir().unwrap(), copy());
    let source = "{{ '<|user|>' + messages[0].content + '<|end|>' }}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";
    std::fs::write(chat.path().join("chat_template.jinja"), source).unwrap();
    let chat = chat.path().to_str().unwrap();
    let (out, named) = (at(folder.path(), "out"), at(folder.path(), "named"));
    works(&arguments(chat, &out, &["--prompt-form", "chat", "--samples", "1"]));
    let record = &records(Path::new(&out))[0];
    assert!(
        record.origin.recipe.template.as_ref().is_some_and(|name| name.starts_with("own@")),
        "{:?}",
        record.origin.recipe.template
    );
    assert!(record.prompt_tokens + 128 <= 512);
    works(&arguments(
        &model("a"),
        &named,
        &["--prompt-form", "chat", "--samples", "1", "--template", "Phi3"],
    ));
    assert_eq!(records(Path::new(&named))[0].origin.recipe.template.as_deref(), Some("Phi3"));
    // Two models would get different prompts.
    let other = copy();
    std::fs::write(other.path().join("chat_template.jinja"), source.replace("user", "human")).unwrap();
    let (both, other) = (at(folder.path(), "both"), other.path().to_str().unwrap());
    let args = ["eval", "--model", chat, other, "--out", &both, "--tasks", "niah_single_1", "--samples", "1"];
    let more = ["--context", "512", "--max-new-tokens", "1", "--prompt-form", "chat"];
    refused(&[&args[..], &more].concat(), &["another chat template", "--template"]);
}

#[test]
fn ctrl_c_keeps_what_is_finished() {
    // Many, so that the run cannot end before the signal arrives.
    const SAMPLES: usize = 600;
    let folder = tempfile::tempdir().unwrap();
    let (a, out, samples) = (model("a"), at(folder.path(), "out"), SAMPLES.to_string());
    let args = arguments(
        &a,
        &out,
        &["--samples", &samples, "--batch", "1", "--method", "dense", "quest:block=16,k=4"],
    );
    let path = folder.path().join("out/records.jsonl");
    let output = interrupted(&args, &path);
    let kept = std::fs::read(&path).unwrap();
    let finished = records(&folder.path().join("out")).len();
    assert!((3..2 * SAMPLES).contains(&finished), "{finished} records");
    let count = format!("holds {finished} records");
    refusal("Ctrl-C", &output, &["stopped by Ctrl-C", &count, "--resume to go on"]);
    works(&[&args[..], &["--resume"]].concat());
    complete(&folder.path().join("out"), SAMPLES, 2);
    assert!(std::fs::read(&path).unwrap().starts_with(&kept));
}

#[test]
fn a_full_disk_and_half_a_line() {
    const SAMPLES: usize = 8;
    let folder = tempfile::tempdir().unwrap();
    let (a, out, samples) = (model("a"), at(folder.path(), "out"), SAMPLES.to_string());
    let args = arguments(&a, &out, &["--samples", &samples, "--batch", "1"]);
    // A record is longer than a thousand bytes: a few fit, the last one in part.
    let output = with_file_limit(8, &args);
    refusal("full", &output, &["cannot write", "records.jsonl", "File too large"]);
    let path = folder.path().join("out/records.jsonl");
    let full = std::fs::read(&path).unwrap();
    let whole = full.iter().rposition(|b| *b == b'\n').unwrap() + 1;
    assert!(whole < full.len());
    let resumed = [&args[..], &["--resume"]].concat();
    let output = wane(&resumed).output().unwrap();
    let said = format!("ended in a half-written line ({} bytes)", full.len() - whole);
    assert!(output.status.success() && text(&output.stderr).contains(&said), "{}", text(&output.stderr));
    complete(&folder.path().join("out"), SAMPLES, 1);
    assert!(std::fs::read(&path).unwrap().starts_with(&full[..whole]));
    // A line that is broken in the middle is not repaired.
    let mut broken = std::fs::read(&path).unwrap();
    broken[0] = b'[';
    std::fs::write(&path, &broken).unwrap();
    refused(&resumed, &["records.jsonl, line 1", "expected a record"]);
    assert_eq!(std::fs::read(&path).unwrap(), broken);
}
