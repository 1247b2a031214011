//! Damaged, foreign and lying model files, through `wane logits` and `wane convert`.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{at, copy, interrupted_when, model, refused, repository};

/// `wane logits` on a model that must be refused with a sentence that holds `words`.
#[track_caller]
fn logits(model: &str, words: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (ids, out) = (at(folder.path(), "ids.json"), at(folder.path(), "out"));
    std::fs::write(&ids, "[1, 2, 3]").unwrap();
    refused(&["logits", "--model", model, "--tokens", &ids, "--out", &out], words)
}

/// The weights of a copy replaced by what `edit` makes of them.
#[track_caller]
fn weights(edit: impl FnOnce(&mut Vec<u8>), words: &[&str]) {
    let folder = copy();
    let path = folder.path().join("model.safetensors");
    let mut content = std::fs::read(&path).unwrap();
    edit(&mut content);
    std::fs::write(&path, content).unwrap();
    logits(folder.path().to_str().unwrap(), words);
}

/// The header of the weights edited as text, padded to what the file says.
#[track_caller]
fn header(from: &str, to: &str, words: &[&str]) {
    weights(
        |content| {
            let length = u64::from_le_bytes(content[..8].try_into().unwrap()) as usize;
            let text = String::from_utf8(content[8..8 + length].to_vec()).unwrap();
            assert!(text.contains(from), "{text}");
            let edited = text.replacen(from, to, 1);
            content
                .splice(..8 + length, (edited.len() as u64).to_le_bytes().into_iter().chain(edited.bytes()));
        },
        words,
    );
}

#[test]
fn safetensors() {
    for cut in [0, 4, 8, 100, 5000] {
        weights(|content| content.truncate(cut), &["model.safetensors"]);
    }
    weights(|content| content.truncate(content.len() - 1), &["model.safetensors"]);
    for length in [0, 1, 1 << 20, 1 << 40, u64::MAX] {
        weights(|content| content[..8].copy_from_slice(&length.to_le_bytes()), &["model.safetensors"]);
    }
    weights(|content| content[8] = b'x', &["model.safetensors"]);
    header("model.norm.weight", "model.norm.wait", &["model.norm.wei"]);
    header("\"shape\":[16]", "\"shape\":[4,4]", &["[16]", "[4, 4]"]);
    header("\"shape\":[16]", "\"shape\":[17]", &["model.safetensors"]);
    header("\"dtype\":\"F32\"", "\"dtype\":\"I32\"", &["I32", "F32"]);
    weights(
        |content| {
            let end = content.len();
            content[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
        },
        &["not finite", "tensor model."],
    );
}

#[test]
fn configurations() {
    let edits: [(&str, &str, &[&str]); 8] = [
        ("\"llama\"", "\"gpt9\"", &["config.json", "gpt9"]),
        ("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 2", &["model.layers.1", "missing"]),
        ("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 0", &["config.json", "num_hidden_layers"]),
        ("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 1e30", &["config.json", "num_hidden_layers"]),
        ("\"hidden_size\": 16", "\"hidden_size\": 999999999999", &["config.json", "hidden_size"]),
        ("\"hidden_size\": 16", "\"hidden_size\": 32", &["32", "[4096, 16]"]),
        ("\"vocab_size\"", "\"vocabulary\"", &["config.json", "vocab_size"]),
        ("{", "", &["config.json"]),
    ];
    for (from, to, words) in edits {
        let folder = copy();
        let path = folder.path().join("config.json");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        logits(folder.path().to_str().unwrap(), words);
    }
}

#[test]
fn missing_and_foreign_files() {
    let folder = copy();
    let path = folder.path().to_str().unwrap();
    let generate = |words: &[&str]| refused(&["generate", "--model", path, "--prompt", "a"], words);
    std::fs::write(folder.path().join("tokenizer.json"), "{\"version\": 1").unwrap();
    generate(&["tokenizer.json"]);
    std::fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    generate(&["no tokenizer", "tokenizer.json"]);
    std::fs::rename(folder.path().join("model.safetensors"), folder.path().join("other.safetensors"))
        .unwrap();
    logits(path, &["model.safetensors", "No such file"]);
    let index = "{\"weight_map\": {\"model.norm.weight\": \"gone.safetensors\"}}";
    std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    logits(path, &["gone.safetensors"]);
    let index = "{\"weight_map\": {\"model.norm.weight\": \"../../etc/passwd\"}}";
    std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    logits(path, &["index.json", "file name"]);
    logits(&at(folder.path(), "other.safetensors"), &["config.json"]);
    std::fs::remove_file(folder.path().join("config.json")).unwrap();
    logits(path, &["config.json"]);
    logits(&at(folder.path(), "generation_config.json"), &["generation_config.json", ".gguf"]);
    logits("/nonexistent/model", &["/nonexistent/model", "no such file or directory"]);
    logits("", &["--model"]);
}

/// A GGUF file of texts and nothing else.
fn gguf(tensors: u64, entries: &[(&str, &str)]) -> Vec<u8> {
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    file.extend(tensors.to_le_bytes());
    file.extend((entries.len() as u64).to_le_bytes());
    let text = |file: &mut Vec<u8>, text: &str| {
        file.extend((text.len() as u64).to_le_bytes());
        file.extend(text.as_bytes());
    };
    for (key, value) in entries {
        text(&mut file, key);
        file.extend(8u32.to_le_bytes());
        text(&mut file, value);
    }
    file
}

#[test]
fn gguf_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = at(folder.path(), "m.gguf");
    let check = |content: &[u8], words: &[&str]| {
        std::fs::write(&path, content).unwrap();
        logits(&path, &[&["m.gguf"], words].concat());
        refused(&["generate", "--model", &path, "--prompt", "a"], &["m.gguf"]);
    };
    let llama = gguf(0, &[("general.architecture", "llama")]);
    for cut in 0..llama.len() {
        if cut % 7 == 0 {
            check(&llama[..cut], &[]);
        }
    }
    check(&llama, &["missing"]);
    check(&gguf(0, &[("general.architecture", "gpt9")]), &["gpt9", "llama"]);
    check(&gguf(u64::MAX, &[("general.architecture", "llama")]), &[]);
    let mut lying = llama.clone();
    lying[24..32].copy_from_slice(&u64::MAX.to_le_bytes());
    check(&lying, &[]);
    let mut old = llama;
    old[4] = 1;
    check(&old, &["version 1"]);
    check(b"PK\x03\x04 not a GGUF file", &["GGUF"]);
    std::fs::remove_file(&path).unwrap();
    logits(&path, &["m.gguf", "No such file"]);
}

#[test]
fn pth_files() {
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = (at(folder.path(), "m.pth"), at(folder.path(), "out"));
    let fixture = repository().join("fixtures/ratplus/attention");
    let (whole, sizes) = (std::fs::read(fixture.join("model.pth")).unwrap(), fixture.join("sizes.json"));
    let convert = |content: &[u8], sizes: Option<&Path>, words: &[&str]| {
        std::fs::write(&path, content).unwrap();
        let mut args = vec!["convert", &path, "--out", &out];
        args.extend(sizes.into_iter().flat_map(|sizes| ["--config", sizes.to_str().unwrap()]));
        refused(&args, words);
    };
    for cut in (0..whole.len()).step_by(whole.len() / 13) {
        convert(&whole[..cut], Some(&sizes), &["m.pth"]);
    }
    // A pickle that would run a program: it is no archive, and no pickle runs anything.
    convert(b"cos\nsystem\n(S'touch owned'\ntR.", Some(&sizes), &["m.pth"]);
    // The same inside an archive: another function's name at the place of the tensor builder's.
    let name = b"_rebuild_tensor_v2";
    let place = whole.windows(name.len()).position(|window| window == name).unwrap();
    let mut foreign = whole.clone();
    foreign[place..place + name.len()].copy_from_slice(b"_rebuild_tensor_v9");
    convert(&foreign, Some(&sizes), &["m.pth"]);
    convert(&whole, None, &["m.pth", "--config"]);
    let own = folder.path().join("sizes.json");
    for (content, words) in [
        ("{\"num_heads\": 4", &["sizes.json"][..]),
        ("{\"num_heads\": 0}", &["num_heads 0"]),
        ("{\"num_heads\": 7}", &["num_heads 7", "48"]),
        ("{\"num_heads\": 4, \"d_model\": 17}", &["d_model", "17"]),
        ("{\"d_model\": 32}", &["num_heads"]),
    ] {
        std::fs::write(&own, content).unwrap();
        convert(&whole, Some(&own), words);
    }
    convert(&whole, Some(&folder.path().join("gone.json")), &["gone.json"]);
    assert!(!folder.path().join("out").exists());
}

#[test]
fn conversions() {
    let (a, folder) = (model("a"), tempfile::tempdir().unwrap());
    refused(&["convert", &a, "--out", &a], &["--out", "another directory"]);
    let out = at(folder.path(), "out");
    refused(&["convert", &a, "--out", &out, "--gate-bias", "wide"], &["--gate-bias", "spread"]);
    refused(&["convert", &a, "--out", &out, "--dtype", "f16"], &["f16", "bf16"]);
    refused(&["convert", &a, "--out", &out, "--tokenizer", "/nonexistent.json"], &["/nonexistent.json"]);
    assert!(!folder.path().join("out").exists());
}

/// A copy of model `a` with an embedding of 256 MB of zeros, which take no room on the disk.
fn large() -> TempDir {
    const TOKENS: u64 = 4_000_000;
    let folder = copy();
    let config_path = folder.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&config_path).unwrap()).unwrap();
    config["vocab_size"] = json!(TOKENS);
    std::fs::write(config_path, config.to_string()).unwrap();
    let path = folder.path().join("model.safetensors");
    let content = std::fs::read(&path).unwrap();
    let length = u64::from_le_bytes(content[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&content[8..8 + length]).unwrap();
    header["model.embed_tokens.weight"]["shape"][0] = json!(TOKENS);
    let mut end = 0;
    for (name, tensor) in header.as_object_mut().unwrap() {
        if name != "__metadata__" {
            let shape = tensor["shape"].as_array().unwrap();
            let start = end;
            end += 4 * shape.iter().map(|n| n.as_u64().unwrap()).product::<u64>();
            tensor["data_offsets"] = json!([start, end]);
        }
    }
    let header = header.to_string();
    let file = std::fs::File::create(&path).unwrap();
    let beginning = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    std::io::Write::write_all(&mut &file, &beginning).unwrap();
    file.set_len(beginning.len() as u64 + end).unwrap();
    folder
}

#[test]
fn ctrl_c_leaves_nothing_of_a_conversion() {
    let (source, folder) = (large(), tempfile::tempdir().unwrap());
    let out = at(folder.path(), "out");
    let command = ["convert", source.path().to_str().unwrap(), "--out", &out];
    let begun = || std::fs::read_dir(&out).is_ok_and(|mut entries| entries.next().is_some());
    let output = interrupted_when(&command, Duration::from_secs(60), begun);
    assert_eq!(output.status.code(), Some(130), "{}", super::text(&output.stderr));
    assert!(super::text(&output.stderr).contains("stopped by Ctrl-C: "), "{}", super::text(&output.stderr));
    assert!(!Path::new(&out).exists(), "something is left");
}
