//! NVIDIA's own output, byte for byte (fixtures/ruler, made by the unmodified scripts).

use std::sync::Arc;

use super::*;
use crate::ruler::files::Files;
use crate::ruler::haystack::Haystack;
use crate::ruler::sentences::Splitter;
use crate::ruler::words::WordList;
use crate::ruler::{jsonl, pieces, tasks};
use sha2::{Digest, Sha256};
use wane_model::tokenizer::Tokenizer;

const MADE_BY_NVIDIA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/ruler");

fn run(task: &str, context: usize, samples: usize, search: Search) -> crate::Result<Vec<Sample>> {
    let haystack = Haystack::shipped(Splitter::Simple);
    let mut pieces = pieces(Arc::new(Tokenizer::cl100k().unwrap()), &haystack)?;
    let words = WordList::V2_2_0;
    let (template, files) = (&ModelTemplate::base(), &Files::default());
    let (seed, haystack, pieces) = (42, &haystack, &mut pieces);
    let mut request = Request { context, samples, seed, words, search, haystack, files, template, pieces };
    request.collect(tasks::select(&[task])?[0])
}

fn check_file(task: &str) {
    let expected = std::fs::read_to_string(format!("{MADE_BY_NVIDIA}/{task}.jsonl")).unwrap();
    let made: String =
        run(task, 4096, 3, Search::Binary).unwrap().iter().map(|s| jsonl::line(s).unwrap()).collect();
    assert!(made == expected, "{task} differs from NVIDIA's file");
}

#[test]
fn single_1_is_nvidias() {
    check_file("niah_single_1");
    let first = &run("niah_single_1", 4096, 1, Search::Binary).unwrap()[0];
    let hash = format!("{:x}", Sha256::digest(format!("{}{}", first.input, first.answer_prefix)));
    assert_eq!(hash, "67a7f938f1b1a9bdd27237235d18eb16a84b8b758d59eaeab6732705ee0cfc83");
}

#[test]
fn multikey_2_is_nvidias() {
    check_file("niah_multikey_2");
}

#[test]
fn multikey_3_finds_nvidias_size() {
    // 65 needles in the golden run, and the one that is asked for.
    let made = run("niah_multikey_3", 4096, 1, Search::Binary).unwrap();
    let lines = made[0].input.lines().filter(|l| l.starts_with("One of")).count();
    assert!(lines == 66 || lines == 41, "{lines}");
}

#[test]
fn essays_hold_their_needles() {
    for (task, needles) in
        [("niah_single_3", 1), ("niah_multikey_1", 4), ("niah_multivalue", 4), ("niah_multiquery", 4)]
    {
        for search in [Search::Binary, Search::Linear] {
            for sample in run(task, 2048, 2, search).unwrap() {
                assert_eq!(sample.input.matches("One of the special magic").count(), needles, "{task}");
                assert!(sample.length <= 2048 && sample.length > 1000, "{task} {}", sample.length);
                assert!(
                    sample.outputs.iter().all(|o| sample.input.contains(&format!(" is: {o}."))),
                    "{task}"
                );
            }
        }
    }
}

#[test]
fn prompts_speak_of_one_or_many() {
    let find = |name: &str| tasks::select(&[name]).unwrap()[0].needle.unwrap();
    assert_eq!(
        find("niah_single_3").question("a-b"),
        "What is the special magic uuid for a-b mentioned in the provided text?"
    );
    assert_eq!(
        find("niah_multiquery").answer_prefix(&query(&["a-b", "c-d", "e-f"])),
        " The special magic numbers for a-b, c-d, and e-f mentioned in the provided text are"
    );
    assert_eq!(uuid(0xbdd6_40fb_0667_1ad1_1c80_317f_a3b1_799d), "bdd640fb-0667-4ad1-9c80-317fa3b1799d");
}

#[test]
fn a_context_too_small_is_said_not_retried_for_ever() {
    let error = run("niah_single_1", 200, 1, Search::Binary).unwrap_err().to_string();
    assert!(error.contains("context of 200 tokens is too small"), "{error}");
    assert!(
        tasks::select(&["niah_singel_1"]).unwrap_err().to_string().contains("did you mean `niah_single_1`")
    );
}
