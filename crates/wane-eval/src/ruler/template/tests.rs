//! NVIDIA's generator under model templates, byte for byte (fixtures/ruler/templates, made by
//! reference/ruler_templates.py with the tokenizer of models/attention), and transformers' chat template.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use wane_model::{ChatTemplate, Tokenizer};

use super::*;
use crate::ruler::files::Files;
use crate::ruler::haystack::Haystack;
use crate::ruler::qa::Questions;
use crate::ruler::sentences::Splitter;
use crate::ruler::size::Search;
use crate::ruler::words::WordList;
use crate::ruler::{Request, jsonl, pieces_for, tasks};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/ruler/templates");
const TOKENIZER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/attention");
/// The template of SmolLM2-135M-Instruct.
const SMOLLM2: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
    {{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}\
    {{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

fn smollm2() -> ModelTemplate {
    let template = ChatTemplate { source: SMOLLM2.into(), bos_token: None, eos_token: None };
    ModelTemplate::own(&template).unwrap()
}

/// The essay of the reference program.
fn essay() -> String {
    let sentence = |i: usize| format!("Sentence {i} of this text speaks of {} things that are small.", i * i);
    (1..2000).map(sentence).collect::<Vec<_>>().join(" ")
}

#[test]
fn chat_is_what_transformers_renders() {
    let expected = std::fs::read_to_string(format!("{FOLDER}/smollm2.txt")).unwrap();
    assert_eq!(smollm2().wrap("{task_template}"), expected);
    assert!(smollm2().name().starts_with("own@"));
}

/// What a run of NVIDIA's script in a template gives here, as the lines of its file.
fn made(task: &str, name: &str, context: usize) -> String {
    let tokenizer = Arc::new(Tokenizer::open(TOKENIZER).unwrap());
    let haystack = Haystack::from_text("essay", &essay(), Splitter::Simple).unwrap();
    let base = name.strip_suffix("-reserved").unwrap_or(name);
    let mut template = if base == "own" { smollm2() } else { ModelTemplate::named(base).unwrap() };
    if base != name {
        template = template.reserved(&*tokenizer).unwrap();
        assert!(template.reserved_tokens() > 0 && template.before().is_empty());
    }
    let squad = Path::new(FOLDER).join("../squad.json");
    let mut request = Request {
        context,
        samples: 3,
        seed: 42,
        words: WordList::V3_0_1,
        search: Search::Binary,
        haystack: &haystack,
        files: &Files { squad: Some(Questions::squad(&squad).unwrap()), ..Files::default() },
        template: &template,
        pieces: &mut pieces_for(tokenizer, &haystack, &template).unwrap(),
    };
    let made = request.collect(tasks::select(&[task]).unwrap()[0]).unwrap();
    made.iter().map(|s| jsonl::line(s).unwrap()).collect()
}

#[test]
fn needle_samples_in_templates_are_nvidias() {
    for (task, name, context) in [
        ("niah_single_1", "vicuna-chat", 512),
        ("niah_multikey_2", "meta-llama3", 512),
        ("niah_multivalue", "lwm-chat", 1536),
        ("niah_single_2", "own", 1536),
        ("niah_multivalue", "own", 1536),
        ("niah_multikey_2", "vicuna-chat-reserved", 512),
        ("niah_single_1", "own-reserved", 512),
    ] {
        let made = made(task, name, context);
        let expected = std::fs::read_to_string(format!("{FOLDER}/{task}-{name}.jsonl")).unwrap();
        assert!(made == expected, "{task} in {name} differs from NVIDIA's file:\n{made}\n{expected}");
    }
}

#[test]
fn other_samples_in_templates_are_nvidias() {
    let hashes = std::fs::read_to_string(format!("{FOLDER}/hashes.json")).unwrap();
    let hashes: BTreeMap<String, String> = serde_json::from_str(&hashes).unwrap();
    let runs = [
        ("vt", "vicuna-chat", 2048),
        ("vt", "own-reserved", 2048),
        ("cwe", "lwm-chat", 2048),
        ("fwe", "own", 1024),
        ("fwe", "vicuna-chat-reserved", 1024),
        ("qa_1", "own", 4096),
    ];
    let found = runs.map(|(task, name, context)| {
        (format!("{task}-{name}-{context}"), sha256_hex(made(task, name, context).as_bytes()))
    });
    assert_eq!(BTreeMap::from(found), hashes);
}

#[test]
fn the_singular_hits_the_template() {
    let lwm = ModelTemplate::named("lwm-chat").unwrap();
    assert_eq!(lwm.singular().wrap("T"), "You is a helpful assistant. USER: T ASSISTANT: ");
    let vicuna = ModelTemplate::named("vicuna-chat").unwrap().singular();
    assert!(vicuna.before().contains("polite answer to"));
    assert!(smollm2().singular().before().contains("You is a helpful AI assistant"));
    assert_eq!(ModelTemplate::base().singular(), ModelTemplate::base());
}

#[test]
fn unusable_templates_are_said() {
    let error = ModelTemplate::named("vicuna").unwrap_err().to_string();
    assert!(error.contains("did you mean `vicuna-chat`?") || error.contains("did you mean"), "{error}");
    assert!(error.contains("meta-llama3"), "{error}");
    let chat = |source: &str| ChatTemplate { source: source.into(), bos_token: None, eos_token: None };
    let twice = chat("{{ messages[0].content }}{{ messages[0].content }}");
    assert!(
        ModelTemplate::own(&twice).unwrap_err().to_string().contains("repeats the user's message 2 times")
    );
    assert!(ModelTemplate::own(&chat("{{ raise_exception('no') }}")).is_err());
}
