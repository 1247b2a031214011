//! Methods, prompts, token ids and settings that make no sense.

use super::{CONTEXT, at, model, refused, works};

/// Bad methods, and what the message must hold.
const BAD_METHODS: [(&str, &[&str]); 11] = [
    ("quest:k=0", &["k=0", "at least 1"]),
    ("quest:block=0", &["block=0", "at least 1"]),
    ("moba:k=0", &["k=0"]),
    ("snapkv:k=64,window=64", &["window=64", "smaller"]),
    ("snapkv:kernel=4", &["kernel=4", "odd"]),
    ("qest:k=4", &["qest", "nearest is `quest`"]),
    ("quest:blok=4", &["blok", "`block`"]),
    ("quest:k=many", &["k=many"]),
    ("quest+quest:k=4", &["quest", "decode"]),
    ("quest+streaming", &["quest", "streaming", "decode"]),
    ("", &["method"]),
];

#[test]
fn methods_are_refused_everywhere_alike() {
    let folder = tempfile::tempdir().unwrap();
    let ids = at(folder.path(), "ids.json");
    std::fs::write(&ids, "[1, 2, 3]").unwrap();
    let (model, out) = (model("a"), at(folder.path(), "out"));
    for (method, words) in BAD_METHODS {
        refused(&["methods", "--expand", method], words);
        refused(&["generate", "--model", &model, "--prompt", "a", "--method", method], words);
        refused(&["ppl", "--model", &model, "--text", &ids, "--method", method], words);
        let trace = ["trace", "--model", &model, "--tokens", &ids, "--prompt-len", "2", "--out", &out];
        refused(&[&trace[..], &["--method", method]].concat(), words);
    }
    assert!(!folder.path().join("out").exists());
    refused(&["methods", "snapvk"], &["snapvk", "`snapkv`"]);
}

#[test]
fn prompts_that_cannot_be_read() {
    let model = model("a");
    let generate = |more: &[&str], words: &[&str]| {
        refused(&[&["generate", "--model", &model], more].concat(), words);
    };
    generate(&["--prompt", ""], &["the prompt is empty"]);
    let long = "word ".repeat(CONTEXT);
    generate(&["--prompt", &long], &["context of 512", "shorten the prompt"]);
    generate(&["--prompt", "a", "--max-new-tokens", "600"], &["--max-new-tokens 600", "at most 512"]);
    generate(&["--prompt", "a", "--chat"], &["no chat template", "--chat"]);
    generate(&["--prompt", "a", "--temperature", "-1"], &["--temperature"]);
    generate(&["--prompt", "a", "--temperature", "NaN"], &["--temperature"]);
    generate(&["--prompt", "a", "--top-p", "0"], &["--top-p"]);
    generate(&["--prompt", "a", "--max-new-tokens", "some"], &["--max-new-tokens"]);
    generate(&["--prompt", "a", "--dtype", "f8"], &["f8", "f32 or bf16"]);
    generate(&["--prompt", "a", "--kv-dtype", "f8"], &["f8", "f32 or bf16"]);
    generate(&["--prompt", "a", "--device", "tpu"], &["tpu", "cpu"]);
    generate(&[], &["--prompt"]);
    // The whole room may be used.
    works(&["generate", "--model", &model, "--prompt", "a", "--max-new-tokens", "512", "--stop", "e"]);
}

#[test]
fn token_ids_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let (ids, out) = (at(folder.path(), "ids.json"), at(folder.path(), "out"));
    let long = format!("[{}0]", "1,".repeat(CONTEXT));
    let bad: [(&str, &[&str]); 10] = [
        ("[1, 4096]", &["token id 4096", "vocabulary of 4096"]),
        ("[1, -1]", &["ids.json", "array of token ids"]),
        ("[1, 4294967296]", &["ids.json", "array of token ids"]),
        ("[1.5]", &["ids.json", "array of token ids"]),
        ("[]", &["ids.json", "no token ids"]),
        ("[[], []]", &["ids.json", "no token ids"]),
        ("[[1, 2], [3]]", &["ids.json", "different lengths"]),
        ("{\"ids\": 3}", &["ids.json", "array of token ids"]),
        ("[1, 2", &["ids.json", "array of token ids"]),
        (&long, &["513 tokens", "context of 512"]),
    ];
    let model = model("a");
    for (content, words) in bad {
        std::fs::write(&ids, content).unwrap();
        refused(&["logits", "--model", &model, "--tokens", &ids, "--out", &out], words);
    }
    std::fs::remove_file(&ids).unwrap();
    refused(&["logits", "--model", &model, "--tokens", &ids, "--out", &out], &["ids.json", "No such file"]);
    std::fs::write(&ids, "[1, 2, 3]").unwrap();
    for len in ["0", "4"] {
        let args = ["trace", "--model", &model, "--tokens", &ids, "--method", "dense", "--out", &out];
        refused(&[&args[..], &["--prompt-len", len]].concat(), &["--prompt-len", "3 tokens"]);
    }
    assert!(!folder.path().join("out").exists());
}

#[test]
fn texts_that_cannot_be_measured() {
    let folder = tempfile::tempdir().unwrap();
    let (book, model) = (at(folder.path(), "book.txt"), model("a"));
    let ppl = |more: &[&str], words: &[&str]| {
        refused(&[&["ppl", "--model", &model, "--text", &book], more].concat(), words);
    };
    ppl(&[], &["book.txt", "No such file"]);
    std::fs::write(&book, b"\xff\xfe\x00").unwrap();
    ppl(&[], &["book.txt", "UTF-8"]);
    std::fs::write(&book, "too short").unwrap();
    ppl(&[], &["book.txt", "fewer than one window of 512"]);
    ppl(&["--context", "3"], &["--context", "at least 4"]);
    std::fs::write(&book, "long enough ".repeat(400)).unwrap();
    ppl(&["--context", "600"], &["600", "context of 512"]);
    ppl(&["--windows", "0"], &["--windows"]);
}

#[test]
fn commands_and_threads() {
    refused(&["generat"], &["generat", "generate"]);
    refused(&["tasks", "--threads", "0"], &["--threads"]);
}
