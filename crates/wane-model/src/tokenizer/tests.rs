//! cl100k against published ids, and a small tokenizer of our own.

use std::path::Path;

use super::*;

/// Byte-level with a few merges, a special token and a first token added by its template.
fn small() -> Tokenizer {
    let bytes: Vec<String> = (0..=255u32).map(|byte| format!("<0x{byte:02X}>")).collect();
    let mut vocab: serde_json::Map<String, serde_json::Value> =
        bytes.iter().enumerate().map(|(id, token)| (token.clone(), id.into())).collect();
    for (id, token) in [(256, "\u{2581}"), (257, "a"), (258, "b"), (259, "ab"), (260, "<s>")] {
        vocab.insert(token.into(), id.into());
    }
    let json = serde_json::json!({
        "version": "1.0",
        "truncation": {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": null,
        "added_tokens": [{"id": 260, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true}],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [260], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": true, "vocab": vocab,
            "merges": [["a", "b"]]},
    });
    Tokenizer::from_json(json.to_string().as_bytes(), Path::new("small.json")).unwrap()
}

#[test]
fn a_tokenizer_json_is_run_without_its_truncation() {
    let tokenizer = small();
    assert_eq!(tokenizer.encode("ab abb").unwrap(), [259, 256, 259, 258]);
    assert_eq!(tokenizer.encode_with_special("ab a").unwrap(), [260, 259, 256, 257]);
    assert_eq!(tokenizer.encode("<s>a").unwrap(), [260, 257]);
    assert_eq!(tokenizer.count("ab abb").unwrap(), 4);
    assert_eq!(tokenizer.vocab_size(), 261);
    assert_eq!((tokenizer.token_id("<s>"), tokenizer.token(259)), (Some(260), Some("ab".into())));
}

#[test]
fn decoding_can_leave_special_tokens_out_and_ignores_ids_without_text() {
    let tokenizer = small();
    let ids = [260, 259, 256, 257, 9999];
    assert_eq!(tokenizer.decode(&ids, SpecialTokens::Keep).unwrap(), "<s>ab a");
    assert_eq!(tokenizer.decode(&ids, SpecialTokens::Skip).unwrap(), "ab a");
}

#[test]
fn offsets_count_characters() {
    let tokenizer = small();
    let offsets = tokenizer.encode_with_offsets("aéab").unwrap();
    assert_eq!(offsets, [(257, 0..1), (0xc3, 1..2), (0xa9, 1..2), (259, 2..4)]);
    let cl100k = Tokenizer::cl100k().unwrap();
    let text = "Grüße 👩‍👧 now";
    let characters: Vec<char> = text.chars().collect();
    let offsets = cl100k.encode_with_offsets(text).unwrap();
    assert_eq!(offsets[0].1.start, 0);
    assert_eq!(offsets.last().unwrap().1.end, characters.len());
    for (id, range) in offsets {
        let piece = cl100k.decode(&[id], SpecialTokens::Keep).unwrap();
        if !piece.contains('\u{fffd}') {
            assert_eq!(piece, characters[range].iter().collect::<String>());
        }
    }
}

#[test]
fn streaming_gives_the_same_text_in_whole_characters() {
    let text = "né 👩‍👧 ab  a ü";
    for tokenizer in [small(), Tokenizer::cl100k().unwrap()] {
        let mut stream = tokenizer.stream(SpecialTokens::Keep);
        let mut got = String::new();
        for id in tokenizer.encode(text).unwrap() {
            let piece = stream.push(id).unwrap();
            assert!(!piece.contains('\u{fffd}'), "{piece:?}");
            got += &piece;
        }
        got += &stream.finish().unwrap();
        assert_eq!(got, text);
    }
    // An unfinished character comes out at the end.
    let tokenizer = small();
    let mut stream = tokenizer.stream(SpecialTokens::Keep);
    assert_eq!(stream.push(0xc3).unwrap(), "");
    assert_eq!(stream.finish().unwrap(), "\u{fffd}");
}

#[test]
fn cl100k_has_the_published_ids() {
    let tokenizer = Tokenizer::open("cl100k").unwrap();
    assert_eq!(tokenizer.encode("hello world").unwrap(), [15339, 1917]);
    assert_eq!(tokenizer.encode("tiktoken is great!").unwrap(), [83, 1609, 5963, 374, 2294, 0]);
    assert_eq!(tokenizer.count("tiktoken is great!").unwrap(), 6);
    assert_eq!(tokenizer.decode(&[15339, 1917, 100_257], SpecialTokens::Skip).unwrap(), "hello world");
    assert_eq!(tokenizer.decode(&[100_257], SpecialTokens::Keep).unwrap(), "<|endoftext|>");
    assert_eq!(tokenizer.token_id("<|endoftext|>"), Some(100_257));
    // Special tokens in a text are text.
    assert!(tokenizer.encode("<|endoftext|>").unwrap().len() > 1);
}

#[test]
fn the_hash_names_the_definition() {
    assert_eq!(sha256_hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(small().hash(), small().hash());
    assert_ne!(small().hash(), Tokenizer::cl100k().unwrap().hash());
    let again = Tokenizer::from_json(small().to_json().unwrap().as_bytes(), Path::new("again")).unwrap();
    assert_eq!(again.encode("ab abb").unwrap(), small().encode("ab abb").unwrap());
}

#[test]
fn what_is_no_tokenizer_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let missing = Tokenizer::open(directory.path().to_str().unwrap()).unwrap_err().to_string();
    assert!(missing.contains("tokenizer.json"), "{missing}");
    let file = directory.path().join("tokenizer.json");
    std::fs::write(&file, "{}").unwrap();
    assert!(Tokenizer::open(file.to_str().unwrap()).unwrap_err().to_string().contains("tokenizer.json"));
    assert!(Tokenizer::open("/nowhere/at/all").is_err());
}
