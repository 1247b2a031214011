//! One case per method that can be checked with pencil and paper: one layer, one head of two
//! elements that matter, blocks of two positions.

use std::sync::Arc;

use wane_kernels::PagePool;
use wane_kernels::testing::device;

use crate::testing::{Recorder, Tokens, dtype, prefill, step, watch};
use crate::{CacheConfig, DecodeBatch, Phase, Plan, SequenceCache};

fn one_head() -> Arc<CacheConfig> {
    let pool = PagePool::new(&device(), dtype(), 8);
    Arc::new(CacheConfig { layers: 1, heads: 1, kv_heads: 1, scale: 1.0, context: 16, keep_queries: 0, pool })
}

fn tokens(q: &[[f32; 2]], k: &[[f32; 2]]) -> Tokens {
    // The values are small integers, exact in any dtype; six zeros make a head of a usual width.
    let wide =
        |rows: &[[f32; 2]]| vec![rows.iter().flat_map(|&[a, b]| [a, b, 0., 0., 0., 0., 0., 0.]).collect()];
    Tokens { q: wide(q), k: wide(k), v: wide(k), len: q.len() }
}

/// Runs a prompt and the remaining tokens as steps; returns what was observed and the last output.
fn observe(plan: &str, prompt: usize, tokens: &Tokens) -> (Recorder, Vec<f32>) {
    let mut cache = SequenceCache::new(&Plan::parse(plan).unwrap(), &one_head(), 0).unwrap();
    let recorder = watch(&mut cache);
    let mut last = prefill(&mut cache, tokens, &[prompt]).remove(0);
    let steps = tokens.len - prompt;
    let mut batch = DecodeBatch::new(vec![cache], steps.max(1)).unwrap();
    for _ in 0..steps {
        last = step(&mut batch, &[tokens]).remove(0);
    }
    let seen = std::mem::take(&mut recorder.lock().unwrap().seen);
    (Recorder { seen }, last)
}

fn selected(recorder: &Recorder, phase: Phase) -> Vec<Vec<i32>> {
    recorder.of(phase).iter().flat_map(|o| o.indices[0].clone()).collect()
}

#[test]
fn quest_reads_the_block_with_the_largest_bound() {
    // Blocks: {(1,0),(0,1)} bound of (1,-1): max(1,0) + max(0,-1) = 1; {(2,3),(2,3)}: 2 - 3 = -1;
    // {(3,5),(0,0)}: 3 + 0 = 3, though its best key reaches 0 only; {(1,-1)}: the newest.
    let k = [[1., 0.], [0., 1.], [2., 3.], [2., 3.], [3., 5.], [0., 0.], [1., -1.]];
    let q = [[0., 0.], [0., 0.], [0., 0.], [0., 0.], [0., 0.], [0., 0.], [1., -1.]];
    let choose = |plan| selected(&observe(plan, 6, &tokens(&q, &k)).0, Phase::Decode);
    assert_eq!(choose("quest:block=2,k=3"), [[0, 2, 3]]);
    assert_eq!(choose("quest:block=2,k=2,first=0"), [[2, 3]]);
    assert_eq!(choose("quest:block=2,k=3,first=0"), [[0, 2, 3]]);
    // Nothing forced: bounds are 1, -1, 3, 2.
    assert_eq!(choose("quest:block=2,k=2,preset=original_python,dense_layers=0"), [[0, 2, 3]]);
}

#[test]
fn quest_ties_go_to_the_lower_block() {
    let k = [[1., 1.]; 9];
    let q = [[1., 1.]; 9];
    let choose = |plan| selected(&observe(plan, 8, &tokens(&q, &k)).0, Phase::Decode);
    assert_eq!(choose("quest:block=2,k=3"), [[0, 1, 4]]);
    assert_eq!(choose("quest:block=2,k=2,first=0"), [[0, 4]]);
}

#[test]
fn moba_reads_its_own_block_and_the_best_means() {
    // Means: (1,0), (0,3), (2,0), (0,0).
    let k = [[2., 0.], [0., 0.], [0., 4.], [0., 2.], [1., 0.], [3., 0.], [0., 0.], [0., 0.]];
    let q = [[1., 0.], [1., 0.], [1., 0.], [0., 1.], [0., 1.], [1., 0.], [1., 0.], [0., 1.]];
    let (seen, _) = observe("moba:block=2,k=2,preset=original", 8, &tokens(&q, &k));
    let want: [&[i32]; 8] = [&[0], &[0], &[0, 1], &[0, 1], &[1, 2], &[0, 2], &[2, 3], &[1, 3]];
    assert_eq!(selected(&seen, Phase::Prefill), want);
    let (seen, _) = observe("moba:block=2,k=3", 8, &tokens(&q, &k));
    assert_eq!(selected(&seen, Phase::Prefill)[6..], [[0, 2, 3], [0, 1, 3]]);
}

#[test]
fn snapkv_keeps_what_the_window_attends_to() {
    // The window's one query matches position 2; the kernel of 3 smears it over 1..=3, whose
    // equal scores let the lower index win.
    let k = [[0., 0.], [0., 0.], [9., 0.], [0., 0.], [0., 0.], [0., 0.]];
    let q = [[1., 0.]; 6];
    let kept = |plan| selected(&observe(plan, 6, &tokens(&q, &k)).0, Phase::AfterPrefill);
    assert_eq!(kept("snapkv:k=2,window=1,kernel=1"), [[2, 5]]);
    assert_eq!(kept("snapkv:k=3,window=1,kernel=1"), [[0, 2, 5]]);
    assert_eq!(kept("snapkv:k=2,window=1,kernel=3,pool=max"), [[1, 5]]);
    assert_eq!(kept("snapkv:k=4,window=1,kernel=3,pool=max"), [[1, 2, 3, 5]]);
}

#[test]
fn snapkv_keeps_sinks_within_k() {
    let k = [[0., 0.], [1., 0.], [9., 0.], [8., 0.], [7., 0.], [0., 0.]];
    let q = [[1., 0.]; 6];
    let kept = |plan| selected(&observe(plan, 6, &tokens(&q, &k)).0, Phase::AfterPrefill);
    assert_eq!(kept("snapkv:k=3,window=1,kernel=1"), [[2, 3, 5]]);
    assert_eq!(kept("snapkv:k=3,window=1,first=1,kernel=1"), [[0, 2, 5]]);
    assert_eq!(kept("snapkv:k=4,window=1,first=2,kernel=1"), [[0, 1, 2, 5]]);
    assert_eq!(kept("snapkv:k=5,window=2,first=2,kernel=1"), [[0, 1, 2, 4, 5]]);
}

#[test]
fn snapkv_refuses_sinks_that_leave_nothing_to_choose() {
    let refused = Plan::parse("snapkv:k=8,window=4,first=4").unwrap_err().to_string();
    assert!(refused.contains("window and first count within k = 8"), "{refused}");
    assert!(Plan::parse("snapkv:k=9,window=4,first=4").is_ok());
    // Without it the text of earlier records stays as it was.
    assert!(!Plan::parse("snapkv").unwrap().canonical().contains("first"));
}

#[test]
fn streaming_keeps_sinks_and_window() {
    let k = [[0., 0.]; 9];
    let (seen, _) = observe("streaming:first=2,window=3", 6, &tokens(&k, &k));
    assert_eq!(selected(&seen, Phase::Decode), [[0, 1, 4, 5, 6], [0, 1, 5, 6, 7], [0, 1, 6, 7, 8]]);
}

#[test]
fn dilated_keeps_every_third_row() {
    let k = [[0., 0.]; 8];
    let (seen, _) = observe("dilated:d=3,window=1,initial=1", 6, &tokens(&k, &k));
    assert_eq!(selected(&seen, Phase::Decode), [&[0, 2, 5, 6][..], &[0, 2, 5, 6, 7]]);
}

#[test]
fn dense_observes_nothing_and_averages_equal_scores() {
    let k = [[1., 0.], [0., 1.], [1., 1.], [2., 2.]];
    let (seen, last) = observe("dense", 3, &tokens(&[[0., 0.]; 4], &k));
    assert!(seen.seen.is_empty());
    assert_eq!(last[..2], [1.0, 1.0]);
}
