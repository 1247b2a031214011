//! Values split alike, differently, across two values, and not to be found.

use std::path::Path;

use super::*;
use crate::ruler::needle::{Hay, Kind};

/// A tokenizer that cuts text at a regular expression; every token is unknown, only offsets matter.
fn cutting(pattern: &str, behavior: &str) -> Tokenizer {
    let json = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {
            "type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": false
        },
        "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": {"?": 0}, "unk_token": "?"}
    });
    Tokenizer::from_json(json.to_string().as_bytes(), Path::new("tokenizer.json")).unwrap()
}

fn shape(queries: usize, values: usize) -> Shape {
    let (hay, key, value) = (Hay::Noise, Kind::Words, Kind::Numbers);
    Shape { task: "test", hay, key, value, keys: queries, values, queries }
}

/// A prompt with these needles, asking for `keys`.
fn sample(shape: &Shape, needles: &[(&str, &str)], keys: &[&str], outputs: &[&str]) -> Sample {
    let lines: Vec<String> = needles.iter().map(|(key, value)| needle(shape.value, key, value)).collect();
    Sample {
        index: 0,
        input: format!("Ä\n{}\n{}", lines.join("\n"), shape.question(&crate::ruler::needle::query(keys))),
        outputs: outputs.iter().map(|&o| o.to_owned()).collect(),
        length: 0,
        length_w_model_temp: 0,
        answer_prefix: String::new(),
        token_position_answer: None,
    }
}

fn aligned(
    tokenizer: &Tokenizer,
    shape: &Shape,
    form: PromptForm,
    sample: &Sample,
) -> std::result::Result<Answer, String> {
    let prompt = tokenizer.encode(&form.prompt(sample)).unwrap();
    align(tokenizer, (shape, form), sample, &prompt).unwrap()
}

/// Numbers of the tokens of the prompt that hold the characters of `text` at its `nth` occurrence.
fn tokens_of(tokenizer: &Tokenizer, sample: &Sample, text: &str, nth: usize) -> Vec<usize> {
    let byte = sample.input.match_indices(text).nth(nth).unwrap().0;
    let start = sample.input[..byte].chars().count();
    let wanted = start..start + text.chars().count();
    let all = tokenizer.encode_with_offsets(&sample.input).unwrap();
    let inside = |r: &Range<usize>| r.start < wanted.end && wanted.start < r.end;
    all.iter().enumerate().filter(|(_, (_, r))| inside(r)).map(|(i, _)| i).collect()
}

#[test]
fn single_digits_point_to_themselves() {
    let (tokenizer, shape) = (cutting(".", "Isolated"), shape(1, 1));
    // A distractor carries the same value, and the key also has another needle's beginning.
    let needles = [("blue-sea", "1234"), ("red-fox", "1234"), ("red-fox-cub", "1234")];
    let sample = sample(&shape, &needles, &["red-fox"], &["1234"]);
    let answer = aligned(&tokenizer, &shape, PromptForm::Input, &sample).unwrap();
    let want = tokens_of(&tokenizer, &sample, "1234", 1);
    assert_eq!(want.len(), 4);
    for (i, step) in answer.steps.iter().enumerate() {
        assert_eq!(*step, Step { token: i, sources: vec![vec![want[i]]] });
    }
    assert_eq!(answer.ids.len(), 4);
    // With the answer's prefix a space comes first, which has no source.
    let answer = aligned(&tokenizer, &shape, PromptForm::Prefix, &sample).unwrap();
    assert_eq!(answer.steps.iter().map(|s| s.token).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(answer.steps[0].sources, [[want[0]]]);
}

#[test]
fn groups_that_are_cut_differently_take_every_token_they_touch() {
    // In the prompt ": 12|345|67.", in the answer "123|456|7".
    let tokenizer = cutting(": [0-9]{2}|[0-9]{3}|[0-9]+|.", "Isolated");
    let shape = shape(1, 1);
    let sample = sample(&shape, &[("red-fox", "1234567")], &["red-fox"], &["1234567"]);
    let answer = aligned(&tokenizer, &shape, PromptForm::Input, &sample).unwrap();
    let value = tokens_of(&tokenizer, &sample, "1234567", 0);
    assert_eq!(value.len(), 3);
    let sources: Vec<_> = answer.steps.iter().map(|s| s.sources[0].clone()).collect();
    assert_eq!(sources, [vec![value[0], value[1]], vec![value[1], value[2]], vec![value[2]]]);
}

#[test]
fn separators_are_no_steps_and_every_value_has_its_own_needle() {
    let (tokenizer, shape) = (cutting("[0-9]+|.", "Isolated"), shape(2, 2));
    let needles = [("b-c", "33"), ("a-b", "11"), ("b-c", "44"), ("a-b", "22"), ("a-b", "22")];
    let sample = sample(&shape, &needles, &["b-c", "a-b"], &["33", "44", "11", "22"]);
    let answer = aligned(&tokenizer, &shape, PromptForm::Input, &sample).unwrap();
    assert_eq!(answer.ids.len(), 7, "four values and three commas");
    let steps: Vec<usize> = answer.steps.iter().map(|s| s.token).collect();
    assert_eq!(steps, [0, 2, 4, 6]);
    let at = |text, nth| tokens_of(&tokenizer, &sample, text, nth);
    assert_eq!(answer.steps[0].sources, [at("33", 0)]);
    assert_eq!(answer.steps[1].sources, [at("44", 0)]);
    assert_eq!(answer.steps[3].sources, [at("22", 0), at("22", 1)], "said twice: either will do");
}

#[test]
fn a_token_over_two_values_needs_both() {
    // Whole words: "33,44" is one token of the answer, "33." and "44." are tokens of the prompt.
    let (tokenizer, shape) = (cutting("\\s+", "Removed"), shape(1, 2));
    let sample = sample(&shape, &[("a-b", "33"), ("a-b", "44")], &["a-b"], &["33", "44"]);
    let answer = aligned(&tokenizer, &shape, PromptForm::Input, &sample).unwrap();
    assert_eq!(answer.steps.len(), 1);
    let both = [tokens_of(&tokenizer, &sample, "33", 0), tokens_of(&tokenizer, &sample, "44", 0)].concat();
    assert_eq!(answer.steps[0].sources, [both]);
}

#[test]
fn what_cannot_be_traced_says_why() {
    let shape = shape(1, 1);
    let needles = [("red-fox", "1234567")];
    let sample = sample(&shape, &needles, &["red-fox"], &["1234567"]);
    let why = |tokenizer: &Tokenizer, sample: &Sample| {
        aligned(tokenizer, &shape, PromptForm::Input, sample).unwrap_err()
    };
    // Digits vanish altogether; or only in the prompt, after a colon; or in part.
    let none = why(&cutting("[0-9]", "Removed"), &sample);
    assert!(none.contains("drops characters of the answer"), "{none}");
    let prompt = why(&cutting(": [0-9]+", "Removed"), &sample);
    assert!(prompt.contains("answer token 0 is in no prompt token"), "{prompt}");
    let part = why(&cutting("4", "Removed"), &sample);
    assert!(part.contains("drops characters of the answer"), "{part}");
    let tokenizer = cutting(".", "Isolated");
    let other = Sample { outputs: vec!["7654321".into()], ..sample.clone() };
    assert!(why(&tokenizer, &other).contains("no needle says"));
    let other = Sample { outputs: vec!["1234567".into(); 2], ..sample.clone() };
    assert!(why(&tokenizer, &other).contains("1 keys and 2 answers"));
    let other = Sample { input: "no question".into(), ..sample.clone() };
    assert!(why(&tokenizer, &other).contains("does not end with"));
    let answer = align(&tokenizer, (&shape, PromptForm::Input), &sample, &[5; 900]).unwrap();
    assert!(answer.unwrap_err().contains("not those of its text"));
}

#[test]
fn tokens_before_the_prompt_move_its_places() {
    let (tokenizer, shape) = (cutting("[0-9]+|.", "Isolated"), shape(1, 1));
    let sample = sample(&shape, &[("red-fox", "12")], &["red-fox"], &["12"]);
    let mut prompt = vec![9, 9];
    prompt.extend(tokenizer.encode(&sample.input).unwrap());
    let answer = align(&tokenizer, (&shape, PromptForm::Input), &sample, &prompt).unwrap().unwrap();
    assert_eq!(answer.steps[0].sources, [[tokens_of(&tokenizer, &sample, "12", 0)[0] + 2]]);
}
