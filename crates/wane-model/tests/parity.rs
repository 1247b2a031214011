//! The whole model against programs we did not write, on the fixtures that `reference/` makes:
//! `transformers` for every family, the official RAT+ code for both backbones.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};

use wane_attention::{DecodeBatch, Plan, SequenceCache};
use wane_kernels::Device;
use wane_model::checkpoint::{self, Checkpoint, SaveDtype};
use wane_model::decoder::initialize::GateBias;
use wane_model::decoder::{CacheOptions, Decoder, LoadOptions};

/// Largest difference of a logit allowed (issue 2).
const TOLERANCE: f32 = 1e-4;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

struct Expected(Vec<u8>);

impl Expected {
    fn open(directory: &Path) -> Self {
        Self(std::fs::read(directory.join("expected.safetensors")).unwrap())
    }

    fn bytes(&self, name: &str) -> Vec<[u8; 4]> {
        let tensors = safetensors::SafeTensors::deserialize(&self.0).unwrap();
        tensors.tensor(name).unwrap().data().as_chunks::<4>().0.to_vec()
    }

    fn f32s(&self, name: &str) -> Vec<f32> {
        self.bytes(name).into_iter().map(f32::from_le_bytes).collect()
    }

    fn ids(&self, name: &str) -> Vec<u32> {
        self.bytes(name).into_iter().map(u32::from_le_bytes).collect()
    }
}

fn load(checkpoint: &Checkpoint) -> Decoder {
    Decoder::load(checkpoint, &Device::Cpu, LoadOptions { dtype: None }).unwrap()
}

fn assert_close(got: &[f32], expected: &[f32], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let worst = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= TOLERANCE, "{what}: logits differ by {worst}");
    assert!(got.iter().all(|x| x.is_finite()), "{what}");
}

/// Logits of all positions: a prefill in chunks of `chunk`, the positions from `steps` on decoded
/// one by one.
fn by_cache(decoder: &Decoder, ids: &[u32], method: &str, chunk: usize, steps: usize) -> Vec<f32> {
    let plan = Plan::parse(method).unwrap();
    let options = CacheOptions { dtype: None, context: None, keep_queries: 0 };
    let mut cache = SequenceCache::new(&plan, &decoder.cache_config(options), 0).unwrap();
    let mut logits = decoder.prefill_logits(&mut cache, &ids[..steps], chunk).unwrap();
    let mut batch = DecodeBatch::new(vec![cache], ids.len() - steps).unwrap();
    for id in &ids[steps..] {
        logits.extend(decoder.decode(&mut batch, &[*id]).unwrap().to_f32_vec().unwrap());
    }
    logits
}

fn greedy(decoder: &Decoder, prompt: &[u32], tokens: usize) -> Vec<u32> {
    let plan = Plan::parse("dense").unwrap();
    let options = CacheOptions { dtype: None, context: None, keep_queries: 0 };
    let mut cache = SequenceCache::new(&plan, &decoder.cache_config(options), 0).unwrap();
    let mut logits = decoder.prefill(&mut cache, prompt, 512).unwrap();
    let mut batch = DecodeBatch::new(vec![cache], tokens).unwrap();
    let mut generated = Vec::new();
    loop {
        let row = logits.to_f32_vec().unwrap();
        let best = (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best });
        generated.push(best as u32);
        if generated.len() == tokens {
            return generated;
        }
        logits = decoder.decode(&mut batch, &[best as u32]).unwrap();
    }
}

const FAMILIES: [&str; 7] = ["llama", "llama3_rope", "yarn_rope", "mistral", "olmo2", "qwen2", "qwen3"];

#[test]
fn every_family_equals_transformers() {
    for name in FAMILIES {
        let directory = fixtures().join("transformers").join(name);
        let expected = Expected::open(&directory);
        let decoder = load(&checkpoint::open(&directory).unwrap());
        for (ids, logits) in expected.ids("ids").chunks(40).zip(expected.f32s("logits").chunks(40 * 256)) {
            assert_close(&decoder.logits(ids).unwrap(), logits, name);
            assert_close(&by_cache(&decoder, ids, "dense", 7, 23), logits, &format!("{name}, cached"));
        }
        assert_eq!(greedy(&decoder, &expected.ids("prompt"), 64), expected.ids("greedy"), "{name}");
    }
}

#[test]
fn a_saved_model_computes_the_same() {
    for name in FAMILIES {
        let directory = fixtures().join("transformers").join(name);
        let expected = Expected::open(&directory);
        let model = checkpoint::open(&directory).unwrap();
        let out = tempfile::tempdir().unwrap();
        checkpoint::save(out.path(), &model.config, &model.weights, SaveDtype::F32, (None, None)).unwrap();
        let again = checkpoint::open(out.path()).unwrap();
        assert_eq!(again.config, model.config, "{name}");
        let ids = &expected.ids("ids")[..40];
        assert_eq!(load(&again).logits(ids).unwrap(), load(&model).logits(ids).unwrap(), "{name}");
    }
}

#[test]
fn both_backbones_equal_the_official_code() {
    for name in ["ratplus", "attention"] {
        let directory = fixtures().join("ratplus").join(name);
        let expected = Expected::open(&directory);
        let sizes = directory.join("sizes.json");
        let model = checkpoint::open_with(&directory.join("model.pth"), Some(&sizes)).unwrap();
        let decoder = load(&model);
        let ids = expected.ids("ids");
        let logits = expected.f32s("logits");
        assert_close(&decoder.logits(&ids).unwrap(), &logits, name);
        let steps = by_cache(&decoder, &ids, "dense", 5, 16);
        assert_close(&steps[..16 * 128], &logits[..16 * 128], &format!("{name}, prefill"));
        assert_close(&steps[16 * 128..], &expected.f32s("step_logits"), &format!("{name}, steps"));

        let steps = by_cache(&decoder, &ids, "dilated:d=8,window=4,initial=2", 5, 16);
        let (dilated, decoded) = (expected.f32s("dilated_logits"), expected.f32s("dilated_step_logits"));
        assert_close(&steps[..16 * 128], &dilated[..16 * 128], &format!("{name}, dilated prefill"));
        assert_close(&steps[16 * 128..], &decoded, &format!("{name}, dilated steps"));
    }
}

#[test]
fn an_added_memory_that_forgets_at_once_changes_nothing() {
    let directory = fixtures().join("transformers/qwen3");
    let expected = Expected::open(&directory);
    let mut model = checkpoint::open(&directory).unwrap();
    model.add_memory(GateBias::Constant(-30.0)).unwrap();
    let out = tempfile::tempdir().unwrap();
    checkpoint::save(out.path(), &model.config, &model.weights, SaveDtype::F32, (None, None)).unwrap();
    let again = checkpoint::open(out.path()).unwrap();
    assert_eq!(again.config, model.config);
    assert!(again.config.memory.is_some());
    for file in ["modeling_wane.py", "configuration_wane.py"] {
        assert!(out.path().join(file).is_file(), "{file}");
    }
    let ids = &expected.ids("ids")[..40];
    assert_close(
        &by_cache(&load(&again), ids, "dense", 7, 23),
        &expected.f32s("logits")[..40 * 256],
        "no memory",
    );
    model.add_memory(GateBias::Constant(0.0)).unwrap_err();
}
