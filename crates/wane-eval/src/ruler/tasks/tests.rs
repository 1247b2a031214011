//! Every task against NVIDIA's own scripts: hashes of their files (fixtures/ruler/nvidia.json), made with the
//! shipped haystack, the Punkt tables of punkt.json and the small question files beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use wane_model::tokenizer::Tokenizer;

use super::{TASKS, select};
use crate::Result;
use crate::ruler::files::Files;
use crate::ruler::haystack::Haystack;
use crate::ruler::punkt::{Punkt, Tables};
use crate::ruler::qa::Questions;
use crate::ruler::sentences::Splitter;
use crate::ruler::size::Search;
use crate::ruler::template::ModelTemplate;
use crate::ruler::words::WordList;
use crate::ruler::{Request, Sample, jsonl, pieces};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn read<T: serde::de::DeserializeOwned>(path: &str) -> T {
    serde_json::from_str(&std::fs::read_to_string(root(path)).unwrap()).unwrap()
}

/// The shipped haystack, cut into sentences by the fixture's tables.
fn haystack() -> Haystack {
    #[derive(serde::Deserialize)]
    struct Fixture {
        tables: BTreeMap<String, String>,
    }
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in read::<Fixture>("fixtures/ruler/punkt.json").tables {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    Haystack::shipped(Splitter::Punkt(Arc::new(Punkt::new(Tables::read(dir.path()).unwrap()))))
}

fn files() -> Files {
    Files {
        squad: Some(Questions::squad(&root("fixtures/ruler/squad.json")).unwrap()),
        hotpotqa: Some(Questions::hotpotqa(&root("fixtures/ruler/hotpotqa.json")).unwrap()),
        english_words: None,
    }
}

fn tokenizer(name: &str) -> Arc<Tokenizer> {
    Arc::new(match name {
        "cl100k" => Tokenizer::cl100k().unwrap(),
        name => Tokenizer::open(&root("models").join(name).to_string_lossy()).unwrap(),
    })
}

fn make(request: &mut Request<'_>, task: &str) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    (select(&[task])?[0].generate)(request, &mut |sample| {
        samples.push(sample);
        Ok(())
    })?;
    Ok(samples)
}

/// Compares the runs whose name begins with `prefix`: at least so many files.
fn compare(prefix: &str, least: usize) {
    let hashes: BTreeMap<String, BTreeMap<String, String>> = read("fixtures/ruler/nvidia.json");
    let (haystack, files) = (haystack(), files());
    let (mut compared, mut wrong) = (0, Vec::new());
    for (run, tasks) in hashes.iter().filter(|(run, _)| run.starts_with(prefix)) {
        let mut parts = run.rsplitn(4, '-');
        let samples = parts.next().unwrap().parse().unwrap();
        let context = parts.next().unwrap().parse().unwrap();
        let mut pieces = pieces(tokenizer(parts.next().unwrap()), &haystack).unwrap();
        let search = Search::parse(parts.next().unwrap()).unwrap();
        for (task, expected) in tasks {
            let mut request = Request {
                context,
                samples,
                seed: 42,
                words: WordList::V3_0_1,
                search,
                haystack: &haystack,
                files: &files,
                template: &ModelTemplate::base(),
                pieces: &mut pieces,
            };
            let made: String = make(&mut request, task)
                .unwrap()
                .iter()
                .map(|s| match search {
                    Search::Linear => {
                        let prompt = [s.input.as_str(), &s.answer_prefix].concat();
                        jsonl::line(&(prompt, &s.outputs, s.length)).unwrap()
                    }
                    Search::Binary | Search::Linear2025 => jsonl::line(s).unwrap(),
                })
                .collect();
            if format!("{:x}", Sha256::digest(made.as_bytes())) != *expected {
                wrong.push(format!("{run} {task}"));
            }
            compared += 1;
        }
    }
    assert!(compared >= least, "only {compared} files for {prefix}");
    assert!(wrong.is_empty(), "differ from NVIDIA's files: {wrong:?}");
}

#[test]
fn binary_search_is_nvidias_of_today() {
    compare("binary-cl100k", TASKS.len());
    compare("binary-attention", 6);
}

#[test]
fn linear_search_is_nvidias_of_2024() {
    compare("linear-cl100k", 5);
}

#[test]
fn linear_2025_search_is_nvidias_of_may_2025() {
    compare("linear-2025-cl100k", 5);
}

#[test]
fn thirteen_tasks_eight_of_needles() {
    assert_eq!((TASKS.len(), select(&["all"]).unwrap().len(), select(&["niah"]).unwrap().len()), (13, 13, 8));
    assert_eq!(TASKS.iter().filter(|t| t.name.starts_with("niah_")).count(), 8);
}

#[test]
fn every_task_says_when_a_context_is_too_small_or_a_file_is_missing() {
    let (haystack, files) = (Haystack::shipped(Splitter::Simple), files());
    let mut pieces = pieces(tokenizer("cl100k"), &haystack).unwrap();
    let mut error = |task: &str, context: usize, samples: usize, files: &Files| {
        let mut request = Request {
            context,
            samples,
            seed: 42,
            words: WordList::V3_0_1,
            search: Search::Binary,
            haystack: &haystack,
            files,
            template: &ModelTemplate::base(),
            pieces: &mut pieces,
        };
        make(&mut request, task).unwrap_err().to_string()
    };
    for task in TASKS {
        for context in [0, 40, 140] {
            let message = error(task.name, context, 1, &files);
            let said =
                format!("a context of {context} tokens is too small, the smallest sample found needs ");
            assert!(message.contains(&said), "{}: {message}", task.name);
            let needed: usize =
                message.split(&said).nth(1).unwrap().split(':').next().unwrap().parse().unwrap();
            assert!(needed > 140, "{}: {message}", task.name);
        }
    }
    assert!(error("qa_1", 4096, 1, &Files::default()).contains("give it by --squad FILE"));
    assert!(error("qa_2", 4096, 1, &Files::default()).contains("give it by --hotpotqa FILE"));
    assert!(error("qa_2", 4096, 9, &files).contains("9 samples asked for, the file has 8 questions"));
    assert!(error("cwe", 131_072, 1, &files).contains("give RULER's english_words.json by --english-words"));
}

#[test]
fn tiny_haystacks_are_repeated() {
    let haystack = Haystack::from_text("t", "One two. Three.", Splitter::Simple).unwrap();
    let files = Files::default();
    let mut pieces = pieces(tokenizer("cl100k"), &haystack).unwrap();
    let mut request = Request {
        context: 2048,
        samples: 1,
        seed: 42,
        words: WordList::V3_0_1,
        search: Search::Binary,
        haystack: &haystack,
        files: &files,
        template: &ModelTemplate::base(),
        pieces: &mut pieces,
    };
    let sample = &make(&mut request, "niah_single_2").unwrap()[0];
    assert!(sample.input.contains("Three. One two. Three. One two."), "{}", sample.input);
    assert!(sample.input.contains(&format!("is: {}.", sample.outputs[0])));
}
