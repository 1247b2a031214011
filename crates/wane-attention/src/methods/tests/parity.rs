//! The indices that the original Quest, MoBA and SnapKV code selects, at middle budgets
//! (`fixtures/methods`, written by `reference/method_indices.py`). Only on the CPU: the original code
//! ran in f32, and a GPU's bf16 inputs are other numbers.

use std::sync::Arc;

use serde_json::Value;
use wane_kernels::PagePool;
use wane_kernels::testing::{assert_close, device};

use crate::testing::{Tokens, dtype, prefill, step, watch};
use crate::{CacheConfig, DecodeBatch, Observation, Phase, Plan, SequenceCache};

fn cases(json: &str) -> Vec<Value> {
    serde_json::from_str(json).unwrap()
}

fn number(case: &Value, key: &str) -> usize {
    case[key].as_u64().unwrap() as usize
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

/// What our code selects and computes on a case's inputs: observations and the last output row.
fn ours(case: &Value, plan: &str, steps: usize) -> (Vec<Observation>, Vec<f32>) {
    let head_dim = number(case, "head_dim");
    let config = Arc::new(CacheConfig {
        layers: 1,
        heads: number(case, "heads"),
        kv_heads: number(case, "kv_heads"),
        scale: (head_dim as f32).powf(-0.5),
        context: 1024,
        keep_queries: 0,
        pool: PagePool::new(&device(), dtype(), head_dim),
    });
    let length = number(case, "tokens");
    let tokens = Tokens::new(&config, length, number(case, "seed") as u64);
    let mut cache = SequenceCache::new(&Plan::parse(plan).unwrap(), &config, 0).unwrap();
    let recorder = watch(&mut cache);
    let mut output = prefill(&mut cache, &tokens, &[length - steps]).remove(0);
    if steps > 0 {
        let mut batch = DecodeBatch::new(vec![cache], steps).unwrap();
        for _ in 0..steps {
            output = step(&mut batch, &[&tokens]).remove(0);
        }
    }
    let width = config.heads * head_dim;
    let observed = std::mem::take(&mut recorder.lock().unwrap().seen);
    (observed, output.split_off(output.len() - width))
}

#[test]
fn quest_evaluation_code() {
    if !device().is_cpu() {
        return;
    }
    for case in cases(include_str!("../../../../../fixtures/methods/quest_python.json")) {
        let block = number(&case, "block");
        let plan = format!(
            "quest:preset=original_python,dense_layers=0,block={block},k={}",
            number(&case, "token_budget") / block
        );
        let (observed, output) = ours(&case, &plan, 1);
        let selected: Vec<_> = observed[0].indices.iter().map(|head| &head[0]).collect();
        assert_eq!(serde_json::json!(selected), case["selected"], "seed {}", case["seed"]);
        assert_close("output", &output, &floats(&case["output"]), 2e-5);
    }
}

#[test]
fn quest_kernels() {
    if !device().is_cpu() {
        return;
    }
    for case in cases(include_str!("../../../../../fixtures/methods/quest_kernels.json")) {
        let (block, k) = (number(&case, "block"), number(&case, "page_budget"));
        let plan = format!("quest:preset=original,dense_layers=0,block={block},k={k}");
        let (observed, _) = ours(&case, &plan, 1);
        let selected: Vec<_> = observed[0].indices.iter().map(|head| &head[0]).collect();
        assert_eq!(serde_json::json!(selected), case["selected"], "seed {}", case["seed"]);
    }
}

#[test]
fn moba_naive() {
    if !device().is_cpu() {
        return;
    }
    for case in cases(include_str!("../../../../../fixtures/methods/moba.json")) {
        let (block, k) = (number(&case, "block"), number(&case, "topk"));
        let (observed, output) = ours(&case, &format!("moba:preset=original,block={block},k={k}"), 0);
        assert_eq!(observed[0].phase, Phase::Prefill);
        assert_eq!(serde_json::json!(observed[0].indices), case["selected"], "seed {}", case["seed"]);
        assert_close("last output", &output, &floats(&case["last_output"]), 2e-5);
    }
}

#[test]
fn snapkv() {
    if !device().is_cpu() {
        return;
    }
    for case in cases(include_str!("../../../../../fixtures/methods/snapkv.json")) {
        let pool = if case["pooling"] == "maxpool" { "max" } else { "avg" };
        let plan = format!(
            "snapkv:preset=original,k={},window={},kernel={},pool={pool}",
            number(&case, "capacity"),
            number(&case, "window"),
            number(&case, "kernel")
        );
        let (observed, _) = ours(&case, &plan, 0);
        let theirs: Vec<Vec<i32>> = serde_json::from_value(case["retained"].clone()).unwrap();
        let Some(observed) = observed.first() else {
            // Nothing to evict: the original keeps everything too.
            assert!(theirs.iter().all(|kept| kept.len() == number(&case, "tokens")));
            continue;
        };
        assert_eq!(observed.phase, Phase::AfterPrefill);
        for (head, theirs) in theirs.iter().enumerate() {
            let ours = &observed.indices[head][0];
            if pool == "avg" {
                assert_eq!(ours, theirs, "seed {}, head {head}", case["seed"]);
            } else {
                assert_equal_up_to_ties(ours, theirs, &floats(&case["scores"][head]));
            }
        }
    }
}

/// Where the sets differ, the pooled scores are the same.
fn assert_equal_up_to_ties(ours: &[i32], theirs: &[i32], scores: &[f32]) {
    assert_eq!(ours.len(), theirs.len());
    let only = |a: &[i32], b: &[i32]| -> Vec<f32> {
        let mut found: Vec<f32> = a.iter().filter(|i| !b.contains(i)).map(|&i| scores[i as usize]).collect();
        found.sort_by(f32::total_cmp);
        found
    };
    let (a, b) = (only(ours, theirs), only(theirs, ours));
    assert!(a.len() <= 7, "at most one plateau of the kernel's width may differ: {a:?}");
    assert_close("tied scores", &a, &b, 1e-6);
}
