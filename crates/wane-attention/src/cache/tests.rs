//! The cache: pages and their counts, the ring, what is refused.

use wane_kernels::kv::PAGE_LEN;
use wane_kernels::ops::block_summary::{GroupReduce, group_scores};
use wane_kernels::ops::cast::cast;
use wane_kernels::ops::top_k::{Forced, top_k};
use wane_kernels::ops::window_scores::{Pooling, pool, window_scores};
use wane_kernels::testing::device;
use wane_kernels::{DType, Tensor};

use super::ring::{Ring, RingRule, Rows};
use super::{Chunk, Qkv, SequenceCache};
use crate::probe::selection_rows;
use crate::testing::{
    HEAD_DIM, HEADS, KV_HEADS, LAYERS, Tokens, config, dtype, prefill, start, step, tolerance,
};
use crate::{DecodeBatch, Plan};

const PROMPT: usize = 5 * PAGE_LEN + 7;

#[test]
fn a_ring_holds_what_its_rule_says_after_every_row() {
    for initial in [0, 1, 3] {
        for window in [0, 1, 4] {
            for dilation in [None, Some(1), Some(2), Some(5)] {
                let rule = RingRule { initial, window, dilation };
                for prompt in [1, 2, 7, 20] {
                    let held = rule.held(prompt);
                    let mut rows = Rows { len: held.len(), ring: Some(Ring::new(rule, prompt)) };
                    for seen in prompt..prompt + 30 {
                        assert_eq!(rows.numbers(), rule.held(seen), "{rule:?} after {seen}");
                        assert_eq!(rows.len, rule.held(seen).len(), "{rule:?} after {seen}");
                        rows.place();
                    }
                }
            }
        }
    }
}

#[test]
fn eviction_gives_pages_back_layer_by_layer() {
    let config = config(KV_HEADS, 1024);
    let page = config.pool.page_bytes();
    assert_eq!(page, 2 * PAGE_LEN * HEAD_DIM * dtype().size());
    let tokens = Tokens::new(&config, PROMPT + 1, 1);
    for (plan, pages) in [
        ("dense", 6),
        ("snapkv:k=128,window=8", 2),
        ("streaming:first=4,window=60", 1),
        ("dilated:d=4,window=3", 2),
    ] {
        config.pool.reset_peak();
        let (cache, _) = start(plan, &config, &tokens, PROMPT, 0);
        assert_eq!(config.pool.bytes_in_use(), LAYERS * KV_HEADS * pages * page, "{plan}");
        assert_eq!(cache.resident_bytes(), config.pool.bytes_in_use(), "{plan}");
        let dense = 6 * KV_HEADS * page;
        let peak = if plan == "dense" { 2 * dense } else { dense + 2 * pages * KV_HEADS * page };
        assert_eq!(config.pool.peak_bytes(), peak, "{plan}");
        assert_eq!(cache.position(), PROMPT, "{plan}: the true position");
        drop(cache);
        assert_eq!(config.pool.bytes_in_use(), 0, "{plan}");
    }
}

#[test]
fn forks_share_pages_until_they_write() {
    let config = config(KV_HEADS, 1024);
    let page = config.pool.page_bytes();
    let tokens = Tokens::new(&config, PROMPT + 1, 2);
    let (parent, _) = start("dense", &config, &tokens, PROMPT, 0);
    let alone = config.pool.bytes_in_use();
    let fork = parent.fork(&Plan::parse("quest:block=16,k=4").unwrap()).unwrap();
    assert_eq!(config.pool.bytes_in_use(), alone);
    let batch = DecodeBatch::new(vec![fork], 1).unwrap();
    assert_eq!(
        config.pool.bytes_in_use(),
        alone + LAYERS * KV_HEADS * page,
        "one page of each lane is copied"
    );
    assert_eq!(batch.resident_bytes(), [alone]);
    drop(batch);
    assert_eq!(config.pool.bytes_in_use(), alone);
}

#[test]
fn a_prompt_that_goes_on_after_a_fork_leaves_the_fork_as_it_is() {
    let config = config(KV_HEADS, 1024);
    let page = config.pool.page_bytes();
    let tokens = Tokens::new(&config, PROMPT + PAGE_LEN, 4);
    let (mut parent, _) = start("dense", &config, &tokens, PROMPT, 0);
    let alone = config.pool.bytes_in_use();
    let fork = parent.fork(&Plan::parse("quest:block=16,k=4").unwrap()).unwrap();
    let keys = fork.keys(0).unwrap().to_f32_vec().unwrap();
    for layer in 0..LAYERS {
        let [q, k, v] = tokens.rows(layer, PROMPT, PROMPT + PAGE_LEN);
        parent.prefill_layer(layer, Qkv { q: &q, k: &k, v: &v }, Chunk::Last).unwrap();
    }
    // The page that was not full is copied, and one comes behind it.
    assert_eq!(config.pool.bytes_in_use(), alone + LAYERS * KV_HEADS * 2 * page);
    assert_eq!(fork.keys(0).unwrap().to_f32_vec().unwrap(), keys);
    let all = parent.keys(0).unwrap().to_f32_vec().unwrap();
    assert_eq!(all[..keys.len()], keys);
    assert_eq!(
        all,
        Tensor::to_f32_vec(&cast(&tokens.rows(0, 0, PROMPT + PAGE_LEN)[1], DType::F32).unwrap()).unwrap()
    );
    drop(parent);
    assert_eq!(config.pool.bytes_in_use(), alone);
}

#[test]
fn a_fork_that_evicts_holds_what_it_kept_and_nothing_else() {
    let config = config(KV_HEADS, 2048);
    let page = config.pool.page_bytes();
    let prompt = 1100;
    let tokens = Tokens::new(&config, prompt, 7);
    let (parent, _) = start("dense", &config, &tokens, prompt, 0);
    let alone = config.pool.bytes_in_use();
    let fork = parent.fork(&Plan::parse("snapkv:k=200,window=64,pool=max,kernel=7").unwrap()).unwrap();
    assert_eq!(config.pool.bytes_in_use(), alone + LAYERS * KV_HEADS * 4 * page);
    // The best of those before the window, and the window: chosen apart.
    for layer in 0..LAYERS {
        let (q, k) = (parent.last_queries(layer).unwrap(), parent.keys(layer).unwrap());
        let scores = window_scores(q, &cast(&k, q.dtype()).unwrap(), parent.dims(64, prompt)).unwrap();
        let scores = group_scores(&scores, HEADS, KV_HEADS, 1, GroupReduce::Mean).unwrap();
        let scores = pool(&scores, 7, Pooling::Max).unwrap();
        let before = Tensor::from_i32(&[prompt as i32 - 64; KV_HEADS], &[KV_HEADS], &device()).unwrap();
        let free = Forced { first: 0, local: 0, counted: true };
        let best = selection_rows(&top_k(&scores, &before, 200 - 64, free).unwrap()).unwrap();
        for (got, mut want) in fork.retained(layer).unwrap().unwrap().iter().zip(best) {
            want.extend(prompt as i32 - 64..prompt as i32);
            assert_eq!(*got, want, "layer {layer}");
        }
    }
    drop(parent);
    assert_eq!(config.pool.bytes_in_use(), LAYERS * KV_HEADS * 4 * page);
    drop(fork);
    assert_eq!(config.pool.bytes_in_use(), 0);
}

#[test]
fn what_does_not_fit_is_refused() {
    let config = config(KV_HEADS, 256);
    let tokens = Tokens::new(&config, 60, 3);
    let error = |result: crate::Result<SequenceCache>| result.unwrap_err().to_string();
    let plan = |text| Plan::parse(text).unwrap();

    let (snapkv, _) = start("snapkv:k=24,window=8", &config, &tokens, 60, 0);
    assert_eq!(
        error(snapkv.fork(&Plan::dense())),
        format!("`dense` cannot fork from this cache: `{}` has already rearranged its rows", snapkv.plan())
    );
    assert!(snapkv.fork(snapkv.plan()).is_ok(), "the same plan");
    let (dense, _) = start("dense", &config, &tokens, 40, 0);
    assert!(error(dense.fork(&plan("moba"))).contains("its prompt was read with `dense`, not `moba:"));
    let long = Tokens::new(&config, 100, 3);
    let (dense, _) = start("dense", &config, &long, 100, 0);
    assert_eq!(
        error(dense.fork(&plan("snapkv:k=90,window=80"))),
        "the eviction looks at the prompt's last 80 queries, and 64 were kept: set `keep_queries` to 80 for the prefill"
    );
    assert!(dense.fork(&plan("snapkv:k=90,window=64")).is_ok());
    assert!(error(SequenceCache::new(&plan("quest:budget=1/64"), &config, 0)).contains("`k=0`"));

    let mut snapkv = snapkv;
    let [q, k, v] = tokens.rows(0, 0, 1);
    let more = snapkv.prefill_layer(0, Qkv { q: &q, k: &k, v: &v }, Chunk::Last).unwrap_err().to_string();
    assert_eq!(more, "the prompt of sequence 0 ended at position 60: feed later tokens through decode steps");
    let swapped = snapkv.prefill_layer(0, Qkv { q: &k, k: &q, v: &v }, Chunk::Last).unwrap_err().to_string();
    assert!(
        swapped.starts_with("expected a layer below 2 and q [n, 32], k and v [n, 16], got layer 0"),
        "{swapped}"
    );

    let mut open = SequenceCache::new(&Plan::dense(), &config, 4).unwrap();
    open.prefill_layer(0, Qkv { q: &q, k: &k, v: &v }, Chunk::More).unwrap();
    let message = DecodeBatch::new(vec![open], 1).unwrap_err().to_string();
    assert!(message.starts_with("the prompt of sequence 4 is not complete"), "{message}");
    assert!(DecodeBatch::new(vec![], 1).is_err());
}

#[test]
fn a_dense_conversation_goes_on() {
    let config = config(KV_HEADS, 256);
    let tokens = Tokens::new(&config, 50, 4);
    let (mut cache, _) = start("dense", &config, &tokens, 30, 0);
    let mut whole = SequenceCache::new(&Plan::dense(), &config, 0).unwrap();
    let want = prefill(&mut whole, &tokens, &[50]);
    for (layer, want) in want.iter().enumerate() {
        let [q, k, v] = tokens.rows(layer, 30, 50);
        let got = cache.prefill_layer(layer, Qkv { q: &q, k: &k, v: &v }, Chunk::Last).unwrap();
        let rest = &want[30 * got.width()..];
        wane_kernels::testing::assert_close("second turn", &got.to_f32_vec().unwrap(), rest, tolerance());
    }
    assert_eq!(cache.position(), 50);
    let mut batch = DecodeBatch::new(vec![cache], 1).unwrap();
    assert_eq!(batch.host_positions(), [50]);
    let more = Tokens::new(&config, 51, 5);
    step(&mut batch, &[&more]);
    assert_eq!(batch.finish().unwrap()[0].position(), 51);
}
