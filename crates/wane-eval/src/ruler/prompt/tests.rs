//! Forms of prompts, the token at the beginning, pairs for fine-tuning.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::ruler::files::Files;
use crate::ruler::haystack::Haystack;
use crate::ruler::sentences::Splitter;
use crate::ruler::size::Search;
use crate::ruler::words::WordList;
use crate::ruler::{pieces, tasks};

fn sample() -> Sample {
    Sample {
        index: 0,
        input: "Q?".into(),
        outputs: vec!["12".into(), "34".into()],
        length: 0,
        length_w_model_temp: 0,
        answer_prefix: " It is".into(),
        token_position_answer: None,
    }
}

#[test]
fn forms() {
    let texts = PromptForm::LIST.map(|f| (f.prompt(&sample()), f.answer(&sample().outputs)));
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(texts, [pair("Q?", "12,34"), pair("Q? It is", " 12,34"), pair("Q? It is", " 12,34")]);
    assert!(PromptForm::LIST.iter().all(|f| PromptForm::parse(f.name()) == Some(*f)));
}

/// Words `<s>`, `a`, `b`; `<s>` is put before every text.
const WITH_FIRST: &str = r#"{"version":"1.0","truncation":null,"padding":null,
    "added_tokens":[{"id":0,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],
    "normalizer":null,"pre_tokenizer":{"type":"Whitespace"},
    "post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
    "pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":1}}],
    "special_tokens":{"<s>":{"id":"<s>","ids":[0],"tokens":["<s>"]}}},
    "decoder":null,"model":{"type":"WordLevel","vocab":{"<s>":0,"a":1,"b":2},"unk_token":"b"}}"#;

#[test]
fn the_first_token_is_there_once() {
    let tokenizer = Tokenizer::from_json(WITH_FIRST.as_bytes(), Path::new("t")).unwrap();
    let base = ModelTemplate::base();
    assert_eq!(encode(&tokenizer, &base, "a b").unwrap(), [0, 1, 2]);
    // A template that spells it out.
    assert_eq!(encode(&tokenizer, &base, "<s>a b").unwrap(), [0, 1, 2]);
    // A chat template decides alone.
    let chat = wane_model::ChatTemplate {
        source: "{{ messages[0].content }}".into(),
        bos_token: None,
        eos_token: None,
    };
    assert_eq!(encode(&tokenizer, &ModelTemplate::own(&chat).unwrap(), "a b").unwrap(), [1, 2]);
}

fn made(samples: usize, form: PromptForm) -> Vec<Pair> {
    let haystack = Haystack::shipped(Splitter::Simple);
    let tokenizer = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/attention");
    let mut pieces = pieces(Arc::new(Tokenizer::open(tokenizer).unwrap()), &haystack).unwrap();
    let mut all = Vec::new();
    for task in tasks::select(&["niah"]).unwrap() {
        let mut request = Request {
            context: 1536,
            samples,
            seed: 7,
            words: WordList::V3_0_1,
            search: Search::Binary,
            haystack: &haystack,
            files: &Files::default(),
            template: &ModelTemplate::base(),
            pieces: &mut pieces,
        };
        pairs(task, &mut request, form, &mut |pair| {
            all.push(pair);
            Ok(())
        })
        .unwrap();
    }
    all
}

#[test]
fn pairs_leave_the_answers_budget_and_do_not_depend_on_their_number() {
    let (few, many) = (made(2, PromptForm::Input), made(5, PromptForm::Input));
    assert_eq!((few.len(), many.len()), (16, 40));
    for pair in &few {
        assert!(many.contains(pair), "{} {}", pair.task, pair.index);
        assert!(pair.prompt_tokens <= 1536 - 128 && pair.prompt_tokens > 400, "{}", pair.prompt_tokens);
        assert!(pair.prompt.ends_with("mentioned in the provided text?"));
        assert!(pair.answer.split(',').all(|a| !a.is_empty() && a.trim() == a && pair.prompt.contains(a)));
        let values = if matches!(pair.task.as_str(), "niah_multivalue" | "niah_multiquery") { 4 } else { 1 };
        assert_eq!(pair.answer.split(',').count(), values);
    }
    let prefix = made(1, PromptForm::Prefix);
    assert!(prefix[0].prompt.ends_with(" is") && prefix[0].answer == format!(" {}", few[0].answer));
}
