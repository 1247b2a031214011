//! Pairs of prompt and answer from a file (`wane ruler pairs`) as a source of training samples: one a row,
//! drawn with replacement, as the official fine-tuning draws its rows.
//!
//! Prompt and answer are tokenized apart; the answer is closed by the end token. Everything is encoded once,
//! when the run starts.

use std::path::Path;

use rayon::prelude::*;
use wane_eval::ruler::jsonl;
use wane_eval::ruler::prompt;
use wane_eval::ruler::template::ModelTemplate;
use wane_model::Tokenizer;
use wane_train::data::{Sample, SampleRequest, SampleSource};

/// Tokens that a prompt leaves free for the answer.
const BUDGET: usize = 128;

/// Pairs by task.
#[derive(Debug)]
pub(crate) struct PairSource {
    tasks: Vec<(String, Vec<Sample>)>,
}

impl PairSource {
    /// Reads and encodes a file for rows of `sequence` tokens.
    pub(crate) fn open(file: &Path, tokenizer: &Path, end: u32, sequence: usize) -> anyhow::Result<Self> {
        let tokenizer = Tokenizer::open(&tokenizer.to_string_lossy())?;
        let lines = jsonl::read_with(file, |line| {
            Ok((line.text("task")?, line.text("prompt")?, line.text("answer")?))
        })?;
        let samples = lines
            .par_iter()
            .enumerate()
            .map(|(i, (_, prompt, answer))| {
                let mut ids = prompt::encode(&tokenizer, &ModelTemplate::base(), prompt)?;
                let (start, room) = (ids.len(), sequence.saturating_sub(BUDGET));
                anyhow::ensure!(
                    start <= room,
                    "{}, line {}: a prompt of {start} tokens; with rows of {sequence} at most {room} leave room for \
                     the answer: make the pairs with --context {sequence} and this tokenizer",
                    file.display(),
                    i + 1
                );
                ids.extend(tokenizer.encode(answer)?);
                ids.push(end);
                anyhow::ensure!(
                    ids.len() <= sequence,
                    "{}, line {}: prompt and answer have {} tokens, more than a row of {sequence}",
                    file.display(),
                    i + 1,
                    ids.len()
                );
                let answers = std::iter::once(start..ids.len()).collect();
                Ok(Sample { ids, answers })
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut tasks: Vec<(String, Vec<Sample>)> = Vec::new();
        for ((task, ..), sample) in lines.into_iter().zip(samples) {
            match tasks.iter_mut().find(|(name, _)| *name == task) {
                Some((_, of_task)) => of_task.push(sample),
                None => tasks.push((task, vec![sample])),
            }
        }
        Ok(Self { tasks })
    }
}

impl SampleSource for PairSource {
    fn tasks(&self) -> Vec<String> {
        self.tasks.iter().map(|(name, _)| name.clone()).collect()
    }

    /// The pair that (seed, index) draws; `None` if it is longer than the request allows.
    fn sample(&self, request: &SampleRequest) -> Result<Option<Sample>, String> {
        let samples = &self.tasks[request.task].1;
        let drawn = mix(request.seed ^ mix(request.index)) % samples.len() as u64;
        let sample = &samples[drawn as usize];
        Ok((sample.ids.len() <= request.tokens).then(|| sample.clone()))
    }
}

/// SplitMix64's finalizer (Steele, Lea and Flood 2014): every bit of the result depends on every bit.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(lines: &str, sequence: usize) -> anyhow::Result<PairSource> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pairs.jsonl");
        std::fs::write(&file, lines).unwrap();
        let tokenizer = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/attention"));
        PairSource::open(&file, tokenizer, 0, sequence)
    }

    fn line(task: &str, prompt: &str, answer: &str) -> String {
        format!(
            "{{\"task\": \"{task}\", \"index\": 0, \"prompt\": \"{prompt}\", \"answer\": \"{answer}\"}}\n"
        )
    }

    #[test]
    fn pairs_are_tokenized_apart_and_drawn_by_seed_and_index() {
        let lines: String =
            (0..20).map(|i| line(if i % 2 == 0 { "a" } else { "b" }, "What?", &format!("{i},7"))).collect();
        let source = open(&lines, 200).unwrap();
        assert_eq!(source.tasks(), ["a", "b"]);
        let tokenizer =
            Tokenizer::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/attention")).unwrap();
        let prompt = tokenizer.encode("What?").unwrap();
        let request = |seed, index, task| SampleRequest { seed, index, task, tokens: 200, questions: 1 };
        let mut seen = std::collections::HashSet::new();
        for index in 0..200 {
            let sample = source.sample(&request(3, index, 1)).unwrap().unwrap();
            assert_eq!(source.sample(&request(3, index, 1)).unwrap().unwrap(), sample);
            assert_eq!(sample.ids[..prompt.len()], prompt);
            assert_eq!(&sample.answers[..], std::slice::from_ref(&(prompt.len()..sample.ids.len())));
            assert_eq!(sample.ids.last(), Some(&0));
            let answer = &sample.ids[prompt.len()..sample.ids.len() - 1];
            let text = tokenizer.decode(answer, wane_model::SpecialTokens::Keep).unwrap();
            assert_eq!(tokenizer.encode(&text).unwrap(), answer);
            assert!(text.split(',').next().unwrap().parse::<u32>().unwrap() % 2 == 1, "{text}");
            seen.insert(text);
        }
        assert_eq!(seen.len(), 10);
        let other: Vec<_> = (0..50).map(|i| source.sample(&request(4, i, 1)).unwrap()).collect();
        assert_ne!(other, (0..50).map(|i| source.sample(&request(3, i, 1)).unwrap()).collect::<Vec<_>>());
    }

    #[test]
    fn what_does_not_fit_is_said_at_the_start() {
        let error = open(&line("a", &"word ".repeat(100), "1"), 200).unwrap_err().to_string();
        assert!(error.contains("line 1: a prompt of") && error.contains("--context 200"), "{error}");
        let error = open("{\"task\": \"a\", \"prompt\": \"x\"}\n", 200).unwrap_err().to_string();
        assert!(error.contains("line 1: field `answer`: expected a text, it is missing"), "{error}");
    }
}
