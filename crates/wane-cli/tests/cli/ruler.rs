//! `wane ruler`: scores, comparisons, pairs for fine-tuning, templates.

use std::path::Path;
use std::process::Stdio;

use super::{at, copy, model, refusal, refused, repository, wane, works};

fn fixture(name: &str) -> String {
    at(&repository(), &format!("fixtures/ruler/{name}"))
}

#[test]
fn scores_are_nvidias() {
    let folder = tempfile::tempdir().unwrap();
    let (predictions, out) = (fixture("predictions"), at(folder.path(), "out"));
    let table = works(&["ruler", "score", &predictions, "--out", &out]);
    assert!(table.contains("niah_multivalue   54.17        1/6  string_match_all"), "{table}");
    let file = |folder: &str, name: &str| std::fs::read_to_string(Path::new(folder).join(name)).unwrap();
    for name in ["summary.csv", "submission.csv"] {
        assert_eq!(file(&out, name), file(&predictions, name));
    }
    let one = fixture("predictions/niah_multivalue.jsonl");
    works(&["ruler", "score", &one, "--out", &out]);
    assert_eq!(
        file(&out, "summary-niah_multivalue.csv"),
        "0,1\nTasks,niah_multivalue\nScore,54.17\nNulls,1/6\n"
    );
    let comma = works(&["ruler", "score", &one, "--scorer", "comma_set"]);
    assert!(comma.contains("comma_set"), "{comma}");
    refused(
        &["ruler", "score", &one, "--scorer", "coma_set"],
        &["unknown scorer", "did you mean `comma_set`"],
    );
    let odd = folder.path().join("mine.jsonl");
    std::fs::write(&odd, "{\"pred\": \"a\", \"outputs\": [\"a\"]}\n").unwrap();
    let odd = odd.to_str().unwrap();
    refused(&["ruler", "score", odd], &["no task is called `mine`", "--scorer"]);
    assert!(works(&["ruler", "score", odd, "--scorer", "string_match_part"]).contains("100.00"));
    std::fs::write(odd, "{\"pred\": 1, \"outputs\": [\"a\"]}\n").unwrap();
    let part = ["ruler", "score", odd, "--scorer", "string_match_part"];
    refused(&part, &["mine.jsonl, line 1: field `pred`: expected a text, got 1"]);
    refused(&["ruler", "score", folder.path().to_str().unwrap()], &["no TASK.jsonl"]);
    refused(&["ruler", "predictions", folder.path().to_str().unwrap(), "--out", &out], &["records.jsonl"]);
}

#[test]
fn a_full_disk_is_no_panic() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = wane(&["ruler", "score", &fixture("predictions")])
        .stdout(Stdio::from(full))
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    refusal("full", &output, &["No space left"]);
}

#[test]
fn check_says_where_data_differ() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (at(folder.path(), "a"), at(folder.path(), "b"));
    let model = model("a");
    let make = |out: &str, seed: &str, context: &str| {
        let args = ["ruler", "generate", "--task", "niah_single_1,niah_multikey_2", "--samples", "3"];
        let more = ["--tokenizer", &model, "--context", context, "--seed", seed, "--out", out];
        works(&[&args[..], &more].concat());
    };
    make(&a, "3", "512");
    make(&b, "3", "512");
    let same = works(&["ruler", "check", &a, &b]);
    assert!(same.contains("niah_single_1: 3 samples, identical"), "{same}");
    assert!(same.contains("6 of 6 samples equal in 2 data sets"), "{same}");
    std::fs::remove_dir_all(Path::new(&b).join("niah_multikey_2")).unwrap();
    let file = Path::new(&b).join("niah_single_1/validation.jsonl");
    let changed = std::fs::read_to_string(&file).unwrap().replacen("\"length\": ", "\"length\": 1", 1);
    std::fs::write(&file, changed).unwrap();
    let output = wane(&["ruler", "check", &a, &b]).output().unwrap();
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(found.contains("2 of 3 samples equal; sample 0: `length` differs: "), "{found}");
    assert!(found.contains("by field: length 1") && found.contains("niah_multikey_2: not in "), "{found}");
    assert_eq!(output.status.code(), Some(1));
    refusal("check", &output, &["2 of 2 data sets differ"]);
    refused(&["ruler", "check", &a, "/nonexistent"], &["/nonexistent"]);
}

#[test]
fn templates_of_generated_samples() {
    let folder = tempfile::tempdir().unwrap();
    let (a, out, chat) = (model("a"), at(folder.path(), "out"), copy());
    let args =
        ["ruler", "generate", "--task", "niah_single_1", "--samples", "2", "--context", "512", "--out", &out];
    let generate =
        |tokenizer, template| [&args[..], &["--tokenizer", tokenizer, "--template", template]].concat();
    refused(&generate(&a, "own"), &["no chat template", "--template"]);
    refused(&generate("cl100k", "own"), &["cl100k"]);
    refused(&generate(&a, "Phi"), &["did you mean `Phi3`"]);
    std::fs::write(chat.path().join("chat_template.jinja"), "You are it: {{ messages[0].content }} Answer:")
        .unwrap();
    works(&generate(chat.path().to_str().unwrap(), "own"));
    let text = std::fs::read_to_string(Path::new(&out).join("niah_single_1/validation.jsonl")).unwrap();
    // NVIDIA's rewriting to the singular hits the template.
    assert!(text.contains("\"input\": \"You is it: A special magic number is hidden"), "{text}");
    assert!(text.contains("provided text? Answer:\", \"outputs\""), "{text}");
}

#[test]
fn pairs_for_fine_tuning() {
    let folder = tempfile::tempdir().unwrap();
    let a = model("a");
    let make = |name: &str, samples: &str, more: &[&str]| {
        let out = at(folder.path(), name);
        let args = ["ruler", "pairs", "--task", "niah_single_1,niah_multikey_2", "--tokenizer", &a];
        let fixed = ["--context", "384", "--samples", samples, "--seed", "5", "--out", &out];
        works(&[&args[..], &fixed, more].concat());
        std::fs::read_to_string(out).unwrap()
    };
    let (few, many) = (make("few", "2", &[]), make("many", "4", &[]));
    assert_eq!((few.lines().count(), many.lines().count()), (4, 8));
    assert_eq!(few, make("again", "2", &[]));
    // A pair does not depend on how many are made.
    assert!(few.lines().all(|line| many.lines().any(|other| other == line)));
    assert!(
        few.starts_with("{\"task\": \"niah_single_1\", \"index\": 0, \"prompt\": \"A special magic number"),
        "{few}"
    );
    assert!(few.contains("mentioned in the provided text?\", \"answer\": \""), "{few}");
    let prefix = make("prefix", "2", &["--form", "prefix"]);
    assert!(prefix.contains("provided text is\", \"answer\": \" "), "{prefix}");
    let out = at(folder.path(), "x");
    let args = ["ruler", "pairs", "--tokenizer", &a, "--out", &out, "--samples", "1", "--seed"];
    refused(&[&args[..], &["42"]].concat(), &["--seed 42", "another one"]);
    refused(&[&args[..], &["1", "--context", "150"]].concat(), &["context", "too small"]);
    refused(&[&args[..], &["1", "--form", "chat"]].concat(), &["--form chat and --template belong together"]);

    // The trainer takes them; it wants to know the end token.
    let base = copy();
    let settings = "models/attention/tokenizer_config.json";
    std::fs::copy(repository().join(settings), base.path().join("tokenizer_config.json")).unwrap();
    let base = base.path().to_str().unwrap();
    let config = |name: &str, sequence: &str| {
        let pairs = at(folder.path(), "many");
        let output = at(folder.path(), name);
        let text = format!(
            "name = \"sft\"\noutput = \"{output}\"\n[model]\ninit = \"{base}\"\n[data]\n[data.generated]\npairs = \"{pairs}\"\n\
             other_weight = 0.0\n[training]\nsequence = {sequence}\nbatch = 2\nsteps = 2\n[optimizer]\nlr = 1e-3\n"
        );
        let file = at(folder.path(), &format!("{name}.toml"));
        std::fs::write(&file, text).unwrap();
        file
    };
    let said = works(&["train", &config("fits", "384")]);
    assert!(said.contains("2 steps"), "{said}");
    refused(&["train", &config("short", "256")], &["many, line ", ": a prompt of ", "--context 256"]);
}
