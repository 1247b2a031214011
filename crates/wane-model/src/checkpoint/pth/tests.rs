//! Official files (made by `reference/ratplus_official.py`), and damaged ones.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use wane_kernels::Weight;

use super::{Sizes, check, open, open_bytes, pickle, state_dict};
use crate::config::FfnActivation;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/ratplus").join(name)
}

fn f32s(weight: &Weight) -> Vec<f32> {
    weight.dense().unwrap().to_f32_vec().unwrap()
}

#[test]
fn the_memory_backbone_is_read_and_taken_apart() {
    let path = fixture("ratplus/model.pth");
    let model = open(&path, Some(&fixture("ratplus/sizes.json"))).unwrap();
    let config = &model.config;
    assert_eq!((config.num_attention_heads, config.head_dim, config.num_hidden_layers), (3, 16, 2));
    assert_eq!((config.vocab_size, config.hidden_size, config.intermediate_size), (128, 48, 96));
    assert!(config.memory.is_some() && config.output_gate && !config.tie_word_embeddings);
    assert_eq!(config.ffn_activation, FfnActivation::Gelu);

    // The fused matrix, row range by row range, in the order o, q, k, v, f.
    let data = super::map(&path).unwrap();
    let state = state_dict(&data, &path).unwrap();
    let fused = f32s(&state["backbone.layers.1.seq_layer.in_proj.weight"].weight().unwrap());
    for (i, part) in ["output_gate", "q_proj", "k_proj", "v_proj", "memory_gate"].iter().enumerate() {
        let weight = model.weight(&format!("model.layers.1.self_attn.{part}.weight")).unwrap();
        assert_eq!(f32s(weight), fused[i * 48 * 48..(i + 1) * 48 * 48], "{part}");
    }
}

#[test]
fn a_training_file_of_the_baseline_is_read_and_its_configuration_class_is_not_built() {
    let model = open(&fixture("attention/model.pth"), Some(&fixture("attention/sizes.json"))).unwrap();
    assert!(model.config.memory.is_none() && model.config.output_gate && model.config.tie_word_embeddings);
    assert!(!model.weights.contains_key("lm_head.weight"));
}

#[test]
fn sizes_are_needed_and_checked() {
    let path = fixture("ratplus/model.pth");
    let message = open(&path, None).unwrap_err().to_string();
    assert!(message.contains("num_heads") && message.contains("--config"), "{message}");
    let open_with = |text: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        open(&path, Some(file.path())).map(|_| ()).unwrap_err().to_string()
    };
    assert!(open_with(r#"{"num_heads": 3, "num_layers": 9}"#).contains("the weights have 2"));
    assert!(open_with(r#"{"num_heads": 3, "memory": false}"#).contains("memory is false"));
    assert!(open_with(r#"{"num_heads": 5}"#).contains("does not divide its width 48"));
    assert!(open_with(r#"{"heads": 3}"#).contains("unknown"));
    assert!(open_with(r#"{"num_heads": -3}"#).contains("whole number"));
}

#[test]
fn calls_are_not_executed() {
    // cos\nsystem\n(S... : a call of os.system becomes an opaque value.
    let program = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00echo\x85R.";
    let pickle = pickle::parse(program).unwrap();
    assert_eq!(pickle.node(pickle.root), &pickle::Node::Opaque(Vec::new()));
}

#[test]
fn a_pickle_cannot_reach_below_its_stack() {
    for program in
        [b"(0.".as_slice(), b".", b"K\x01(\x85.", b"a.", b"h\x07.", b"u.", b"(K\x01u.", b"\x80\x02}(NNs."]
    {
        assert!(pickle::parse(program).is_err(), "{program:?}");
    }
}

#[test]
fn a_compressed_or_foreign_archive_is_refused() {
    for content in [b"".as_slice(), b"PK\x05\x06", &[0; 400], b"\x80\x02}q\x00."] {
        assert!(check(content).is_err());
    }
}

#[test]
fn the_file_cut_anywhere_is_an_error() {
    let whole = std::fs::read(fixture("ratplus/model.pth")).unwrap();
    for cut in (0..whole.len()).step_by(whole.len() / 61) {
        let data = Arc::new(whole[..cut].to_vec());
        assert!(open_bytes(data, &Sizes::default(), Path::new("cut.pth")).is_err(), "cut at {cut}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_pickle_panics(program in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = pickle::parse(&program);
    }

    /// Bytes drawn from the instructions that do something.
    #[test]
    fn no_plausible_pickle_panics(program in proptest::collection::vec(
        proptest::sample::select(b"}](.ltuesaqhK\x00\x01\x85\x86\x87RQbNd\x8102ctorch\n_\x93X\x94".to_vec()), 0..60)) {
        let _ = pickle::parse(&program);
    }

    #[test]
    fn no_change_of_a_byte_panics(at in 0usize..240_000, to: u8) {
        let mut content = std::fs::read(fixture("ratplus/model.pth")).unwrap();
        let length = content.len();
        // Half of the changes go to the ends, where headers and lists are.
        let at = if at % 2 == 0 { at % 2000 } else { length - 1 - at % 2000 };
        content[at] = to;
        let _ = check(&content);
    }
}
