//! Hugging Face directories: what is read, what is refused, what is written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use wane_kernels::{DType, Device, QuantKind, QuantMatrix, Tensor, Weight};

use super::directory::parse_safetensors;
use super::save::write_weights;
use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/transformers").join(name)
}

/// A copy of a fixture that a test may damage.
fn copy(name: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture(name).join(file), directory.path().join(file)).unwrap();
    }
    directory
}

fn error(directory: &Path) -> String {
    open(directory).map(|_| ()).unwrap_err().to_string()
}

/// Rewrites the weights of a directory.
fn change(directory: &Path, edit: impl FnOnce(&mut BTreeMap<String, Weight>)) {
    let mut model = open(directory).unwrap();
    for weight in model.weights.values_mut() {
        *weight = Weight::Dense(weight.dense().unwrap().duplicate().unwrap());
    }
    edit(&mut model.weights);
    write_weights(&directory.join("model.safetensors"), &model.weights, SaveDtype::F32).unwrap();
}

fn f32_weight(shape: &[usize], value: f32) -> Weight {
    let values = vec![value; shape.iter().product()];
    Weight::Dense(Tensor::from_f32(&values, shape, &Device::Cpu).unwrap())
}

#[test]
fn stored_types_are_kept_and_mapped() {
    let f32_model = open(&fixture("llama")).unwrap();
    assert!(f32_model.weights.values().all(|weight| weight.dtype() == Some(DType::F32)));
    let bf16_model = open(&fixture("qwen3")).unwrap();
    assert!(bf16_model.weights.values().all(|weight| weight.dtype() == Some(DType::BF16)));
    assert!(f32_model.tokenizer.is_none() && f32_model.chat_template.is_none());
}

#[test]
fn damage_is_named() {
    let directory = copy("llama");
    let path = directory.path();
    assert!(error(Path::new("/nowhere/x")).contains("/nowhere/x"));

    change(path, |weights| drop(weights.remove("model.norm.weight")));
    assert!(error(path).contains("model.norm.weight") && error(path).contains("missing"));
    let directory = copy("llama");
    let path = directory.path();
    change(path, |weights| {
        weights.insert("model.norm.weight".into(), f32_weight(&[63], 1.0));
    });
    assert!(error(path).contains("[64]") && error(path).contains("[63]"), "{}", error(path));
    let directory = copy("llama");
    let path = directory.path();
    change(path, |weights| {
        weights.insert("model.layers.0.self_attn.q_proj.bias".into(), f32_weight(&[64], 1.0));
    });
    assert!(error(path).contains("q_proj.bias") && error(path).contains("no place"));
    let directory = copy("llama");
    let path = directory.path();
    change(path, |weights| {
        weights.insert("model.norm.weight".into(), f32_weight(&[64], f32::INFINITY));
    });
    assert!(error(path).contains("model.norm.weight") && error(path).contains("not finite at element 0"));

    std::fs::write(path.join("config.json"), "{\"model_type\": \"gpt9\"}").unwrap();
    assert!(error(path).contains("gpt9"));
    std::fs::remove_file(path.join("config.json")).unwrap();
    assert!(error(path).contains("config.json"));
    assert!(error(&fixture("llama/model.safetensors")).contains("config.json"));
}

#[test]
fn safetensors_cut_or_lying_are_errors() {
    let directory = copy("llama");
    let file = directory.path().join("model.safetensors");
    let whole = std::fs::read(&file).unwrap();
    for cut in (0..whole.len()).step_by(whole.len() / 29) {
        std::fs::write(&file, &whole[..cut]).unwrap();
        assert!(open(directory.path()).is_err(), "cut at {cut}");
    }
    let mut lying = whole;
    lying[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    std::fs::write(&file, &lying).unwrap();
    assert!(error(directory.path()).contains("model.safetensors"));
}

#[test]
fn shards_are_found_through_their_index() {
    let directory = copy("llama");
    let path = directory.path();
    let model = open(path).unwrap();
    let (mut first, mut second) = (model.weights.clone(), BTreeMap::new());
    let last = model.weights.keys().next_back().unwrap().clone();
    second.insert(last.clone(), first.remove(&last).unwrap());
    write_weights(&path.join("a.safetensors"), &first, SaveDtype::F32).unwrap();
    write_weights(&path.join("b.safetensors"), &second, SaveDtype::F32).unwrap();
    drop(model);
    std::fs::remove_file(path.join("model.safetensors")).unwrap();
    let index = |edit: &dyn Fn(&mut serde_json::Map<String, serde_json::Value>)| {
        let mut places = serde_json::Map::new();
        first.keys().for_each(|name| drop(places.insert(name.clone(), "a.safetensors".into())));
        places.insert(last.clone(), "b.safetensors".into());
        edit(&mut places);
        let text = serde_json::json!({ "weight_map": places }).to_string();
        std::fs::write(path.join("model.safetensors.index.json"), text).unwrap();
    };
    index(&|_| {});
    assert_eq!(open(path).unwrap().hash().unwrap(), open(&fixture("llama")).unwrap().hash().unwrap());
    index(&|places| drop(places.insert("ghost".into(), "a.safetensors".into())));
    assert!(error(path).contains("ghost"));
    index(&|places| drop(places.insert("x".into(), "../b.safetensors".into())));
    assert!(error(path).contains("file name"));
    index(&|places| drop(places.insert("x".into(), "c.safetensors".into())));
    assert!(error(path).contains("c.safetensors"));
}

#[test]
fn generation_settings_and_templates_are_read() {
    let directory = copy("llama");
    let path = directory.path();
    std::fs::write(path.join("generation_config.json"), r#"{"eos_token_id": [5, 6], "bos_token_id": 1}"#)
        .unwrap();
    let settings = r#"{"chat_template": [{"name": "tool", "template": "T"}, {"name": "default", "template": "D"}],
        "bos_token": {"content": "<s>"}, "eos_token": "</s>"}"#;
    std::fs::write(path.join("tokenizer_config.json"), settings).unwrap();
    let model = open(path).unwrap();
    assert_eq!((model.config.eos_token_ids, model.config.bos_token_id), (vec![5, 6], Some(1)));
    let template = model.chat_template.unwrap();
    assert_eq!(template.source, "D");
    assert_eq!((template.bos_token.as_deref(), template.eos_token.as_deref()), (Some("<s>"), Some("</s>")));
    std::fs::write(path.join("chat_template.jinja"), "J").unwrap();
    assert_eq!(open(path).unwrap().chat_template.unwrap().source, "J");
}

#[test]
fn f16_and_f64_become_f32() {
    let bytes: Vec<u8> =
        [1.5f32, -2.0, 65504.0].iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes()).collect();
    let tensor = source::SourceTensor::new(source::SourceDtype::F16, vec![3], Arc::new(bytes), 0).unwrap();
    assert_eq!(tensor.weight().unwrap().dense().unwrap().f32s(), [1.5, -2.0, 65504.0]);
    let bytes: Vec<u8> = [0.5f64, 3.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let tensor = source::SourceTensor::new(source::SourceDtype::F64, vec![2], Arc::new(bytes), 0).unwrap();
    assert_eq!(tensor.weight().unwrap().dense().unwrap().f32s(), [0.5, 3.0]);
    // An odd place in the file cannot be mapped as f32; the values are the same.
    let mut bytes = vec![0; 3];
    bytes.extend([1.0f32, 2.0].iter().flat_map(|x| x.to_le_bytes()));
    let tensor = source::SourceTensor::new(source::SourceDtype::F32, vec![2], Arc::new(bytes), 3).unwrap();
    assert_eq!(tensor.weight().unwrap().dense().unwrap().f32s(), [1.0, 2.0]);
}

#[test]
fn saving_rounds_to_bf16_and_decodes_blocks() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("w.safetensors");
    // One row of Q8_0: scale 0.5, values -16..16.
    let mut block = half::f16::from_f32(0.5).to_le_bytes().to_vec();
    block.extend((-16i8..16).map(|x| x as u8));
    let matrix = QuantMatrix::new(QuantKind::Q8_0, [1, 32], Arc::new(block), 0).unwrap();
    let mut weights = BTreeMap::from([("q".to_owned(), Weight::Quantized(matrix))]);
    weights.insert("x".into(), f32_weight(&[2, 3], 1.0 + 1.0 / 512.0));
    for dtype in [SaveDtype::F32, SaveDtype::BF16] {
        write_weights(&file, &weights, dtype).unwrap();
        let read = directory::read_safetensors(&file).unwrap();
        let expected: Vec<f32> = (-16..16).map(|x| x as f32 * 0.5).collect();
        assert_eq!(read["q"].weight().unwrap().dense().unwrap().to_f32_vec().unwrap(), expected);
        let x = read["x"].weight().unwrap().dense().unwrap().to_f32_vec().unwrap();
        assert_eq!(x[0], if dtype == SaveDtype::F32 { 1.0 + 1.0 / 512.0 } else { 1.0 });
        assert_eq!(read["x"].shape, [2, 3]);
    }
}

#[test]
fn nothing_is_left_behind_when_writing_fails() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("model.safetensors");
    std::fs::create_dir(&target).unwrap();
    let weights = BTreeMap::from([("x".to_owned(), f32_weight(&[4], 1.0))]);
    let message = write_weights(&target, &weights, SaveDtype::F32).unwrap_err().to_string();
    assert!(message.contains("cannot write") && message.contains("model.safetensors"), "{message}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no partial file");
    let blocked = directory.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    let model = open(&fixture("llama")).unwrap();
    let saved = save(&blocked.join("model"), &model.config, &model.weights, SaveDtype::F32, (None, None));
    assert!(saved.unwrap_err().to_string().contains("cannot create"));
}

#[test]
fn the_hash_sees_weights_and_configuration() {
    let model = open(&fixture("llama")).unwrap();
    let hash = model.hash().unwrap();
    assert_eq!(hash, open(&fixture("llama")).unwrap().hash().unwrap());
    let directory = copy("llama");
    change(directory.path(), |weights| {
        weights.insert("model.norm.weight".into(), f32_weight(&[64], 1.0));
    });
    assert_ne!(hash, open(directory.path()).unwrap().hash().unwrap());
    let mut changed = model;
    changed.config.rms_norm_eps = 1e-3;
    assert_ne!(hash, changed.hash().unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_safetensors_header_panics(length in 0u64..400, text in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut content = length.to_le_bytes().to_vec();
        content.extend(text);
        let _ = parse_safetensors(Arc::new(content), Path::new("x.safetensors"));
    }

    #[test]
    fn no_plausible_safetensors_header_panics(
        shape in proptest::collection::vec(any::<u64>(), 0..4), start: u64, end: u64,
        dtype in proptest::sample::select(vec!["F32", "BF16", "I64", "F16", "F64", "Z9"]),
    ) {
        let mut header = serde_json::json!({"x": {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}})
            .to_string();
        header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
        let mut content = (header.len() as u64).to_le_bytes().to_vec();
        content.extend(header.as_bytes());
        content.extend([0; 64]);
        let _ = parse_safetensors(Arc::new(content), Path::new("x.safetensors"));
    }
}
