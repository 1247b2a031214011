//! Samples fit, are the tokenizer's own ids, and their answers are in their context.

use super::*;
use crate::ruler::haystack::shipped_text;
use crate::ruler::tasks::TASKS;
use std::sync::OnceLock;
use wane_model::tokenizer::{SpecialTokens, Tokenizer};

const EOS: u32 = 100_257;

/// Letters, digits and punctuation apart, like a small BPE of ours: one token each run up to three letters.
struct Small;

impl Encode for Small {
    fn encode(&self, text: &str) -> crate::Result<Vec<u32>> {
        let (mut ids, bytes, mut i) = (Vec::new(), text.as_bytes(), 0);
        while i < bytes.len() {
            let start = i;
            i += 1;
            let letters = bytes[start].is_ascii_alphabetic()
                || (bytes[start] == b' ' && bytes.get(i).is_some_and(u8::is_ascii_alphabetic));
            while letters && i < bytes.len() && i - start < 3 && bytes[i].is_ascii_alphabetic() {
                i += 1;
            }
            ids.push(bytes[start..i].iter().fold(1, |sum, b| sum * 256 + u32::from(*b)));
        }
        Ok(ids)
    }
    fn name(&self) -> String {
        "small".into()
    }
}

fn small_text(ids: &[u32]) -> String {
    ids.iter()
        .flat_map(|id| id.to_be_bytes().into_iter().skip_while(|b| *b == 0).skip(1).collect::<Vec<_>>())
        .map(char::from)
        .collect()
}

fn samplers() -> &'static [NeedleSampler; 2] {
    static BOTH: OnceLock<[NeedleSampler; 2]> = OnceLock::new();
    BOTH.get_or_init(|| {
        let text = &shipped_text()[..100_000];
        let make = |t: Arc<dyn Encode>| NeedleSampler::new(t, text, Options::new(None, EOS)).unwrap();
        [make(Arc::new(Tokenizer::cl100k().unwrap())), make(Arc::new(Small))]
    })
}

fn shapes() -> impl Iterator<Item = Shape> {
    TASKS.iter().filter_map(|t| t.needle)
}

#[test]
fn sizes_are_kept_and_nearly_filled() {
    for sampler in samplers() {
        for shape in shapes() {
            for (index, size) in [300, 301, 512, 1024, 2000, 4096].into_iter().enumerate() {
                let sample = sampler.sample(&shape, size, 1, index as u64).unwrap();
                let len = sample.ids.len();
                assert!(len <= size && len + 130 > size, "{} {size}: {len}", shape.task);
                assert_eq!(sample.weights.len(), len);
                assert_eq!(
                    sample,
                    sampler.sample(&shape, size, 1, index as u64).unwrap(),
                    "not a function of (seed, index)"
                );
                assert_ne!(sample, sampler.sample(&shape, size, 2, index as u64).unwrap());
            }
        }
    }
}

#[test]
fn ids_are_the_tokenizers_own_and_answers_are_right() {
    let sampler = &samplers()[1];
    assert_eq!(sampler.pieces.grain(), super::super::pieces::Grain::Fine);
    let (mut forms, mut most) = ([0, 0], 0);
    for shape in shapes() {
        for index in 0..40 {
            let sample = sampler.sample(&shape, 200 + 60 * index, 9, index as u64).unwrap();
            let first = sample.answers[0].start;
            let prompt = small_text(&sample.ids[..first]);
            assert_eq!(Small.encode(&prompt).unwrap(), sample.ids[..first], "{prompt}");
            assert!(prompt.starts_with(&shape.head()));
            most = most.max(sample.answers.len());
            let mut last = 0;
            for range in &sample.answers {
                let question = small_text(&sample.ids[last..range.start]);
                let question = &question[question.rfind("What ").unwrap()..];
                let answer = small_text(&sample.ids[range.start..range.end - 1]);
                assert_eq!(sample.ids[range.end - 1], EOS);
                assert!(sample.weights[range.clone()].iter().all(|w| *w == 1.0));
                forms[usize::from(answer.starts_with(' '))] += 1;
                for value in answer.trim().split(',') {
                    let end = prompt
                        .find(&format!(" is: {value}."))
                        .unwrap_or_else(|| panic!("{value} in {prompt}"));
                    let key = &prompt[prompt[..end].rfind(" for ").unwrap() + 5..end];
                    assert!(question.contains(key), "{key} in {question}");
                }
                last = range.end;
            }
            let weighted = sample.weights.iter().filter(|w| **w == 1.0).count();
            assert_eq!(weighted, sample.answers.iter().map(Range::len).sum::<usize>());
        }
    }
    assert!(forms[0] > 300 && forms[1] > 300 && most == 12, "{forms:?} {most}");
}

#[test]
fn whole_samples_equal_one_tokenization_under_cl100k() {
    let sampler = &samplers()[0];
    let tokenizer = Tokenizer::cl100k().unwrap();
    for shape in shapes() {
        for index in 0..6 {
            let sample = sampler.sample(&shape, 400 + 300 * index, 3, index as u64).unwrap();
            let prompt = &sample.ids[..sample.answers[0].start];
            let text = tokenizer.decode(prompt, SpecialTokens::Keep).unwrap();
            assert_eq!(tokenizer.encode(&text).unwrap(), prompt, "{text}");
        }
    }
}

#[test]
fn the_number_of_needles_is_exact_and_small_sizes_get_fewer() {
    let sampler =
        NeedleSampler { options: Options { max_questions: 1, ..Options::new(None, EOS) }, ..fresh() };
    for shape in shapes().filter(|s| s.hay != Hay::Needle) {
        let count = |size| {
            let sample = sampler.sample(&shape, size, 5, 1).unwrap();
            small_text(&sample.ids[..sample.answers[0].start]).matches("One of the special").count()
        };
        assert_eq!(count(2000), shape.keys * shape.values, "{}", shape.task);
        assert_eq!(count(10), shape.values, "{}", shape.task);
    }
}

fn fresh() -> NeedleSampler {
    NeedleSampler::new(Arc::new(Small), &shipped_text()[..50_000], Options::new(None, EOS)).unwrap()
}
