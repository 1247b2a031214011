//! How often forks, batches and retirements copy between host and device: never once per layer.

use std::sync::Arc;

use wane_kernels::testing::device;
use wane_kernels::transfers::{Transfers, counted};
use wane_kernels::{PagePool, Tensor};

use crate::testing::{HEAD_DIM, Tokens, dtype, prefill};
use crate::{CacheConfig, Chunk, DecodeBatch, Plan, Qkv, SequenceCache};

const LAYERS: usize = 6;
const PROMPT: usize = 1100;
const SEQUENCES: usize = 3;

/// Dense sequences with memory states; the model has 8 query and 4 KV heads.
fn parents() -> Vec<SequenceCache> {
    let pool = PagePool::new(&device(), dtype(), HEAD_DIM);
    let config = CacheConfig {
        layers: LAYERS,
        heads: 8,
        kv_heads: 4,
        scale: 0.35,
        context: 4096,
        keep_queries: 64,
        pool,
    };
    let config = Arc::new(config);
    (0..SEQUENCES)
        .map(|i| {
            let mut cache = SequenceCache::new(&Plan::dense(), &config, i as u32).unwrap();
            prefill(&mut cache, &Tokens::new(&config, PROMPT, i as u64), &[PROMPT]);
            for layer in 0..LAYERS {
                let state = Tensor::from_f32(&[(i * LAYERS + layer) as f32; 8], &[1, 2, 4], &device());
                cache.set_memory_state(layer, state.unwrap());
            }
            cache
        })
        .collect()
}

/// (plan, copies of a fork, of a build, of the departure of one sequence of several)
const PLANS: [(&str, u64, u64, u64); 5] = [
    ("dense", 0, 1, 1),
    ("snapkv:k=1024", 1, 1, 1),
    ("snapkv:k=1024,share=q_head", 1, 1, 1),
    ("streaming:window=500", 1, 1, 1),
    // The numbers of blocks; on a GPU every layer's summaries besides.
    ("quest:block=64,k=8", 0, 2, 2),
];

#[test]
fn copies_do_not_grow_with_the_layers_and_nothing_waits() {
    let parents = parents();
    for (text, of_fork, of_build, of_retirement) in PLANS {
        let plan = Plan::parse(text).unwrap();
        let summaries = if text.starts_with("quest") && !device().is_cpu() { LAYERS as u64 } else { 0 };
        let uploads = |uploads: u64| Transfers { uploads, downloads: 0 };
        let mut forks = Vec::new();
        for parent in &parents {
            let (copies, fork) = counted(|| parent.fork(&plan).unwrap());
            assert_eq!(copies, uploads(of_fork), "{text}: fork");
            forks.push(fork);
        }
        let (copies, mut batch) = counted(|| DecodeBatch::new(forks, 2).unwrap());
        assert_eq!(copies, uploads(of_build + summaries), "{text}: build");
        // One more for the rows of the memory that stay.
        let (copies, gone) = counted(|| batch.retire(&[1]).unwrap());
        assert_eq!(copies, uploads(of_retirement + 1 + summaries), "{text}: retire");
        assert_eq!(gone[0].memory_state(2).unwrap().to_f32_vec().unwrap(), [(LAYERS + 2) as f32; 8]);
        let tokens = Tokens::new(batch.config(), 2, 9);
        for layer in 0..LAYERS {
            let [q, k, v] = tokens.rows(layer, 0, 2);
            let qkv = Qkv { q: &q, k: &k, v: &v };
            let (copies, _) = counted(|| batch.decode_layer(layer, qkv).unwrap());
            assert_eq!(copies, uploads(summaries / LAYERS as u64), "{text}: step");
        }
        // Pages for more steps.
        batch.advance().unwrap();
        let (copies, _) = counted(|| batch.advance().unwrap());
        assert_eq!(copies, uploads(of_build + summaries), "{text}: more steps");
        let (copies, rest) = counted(|| batch.finish().unwrap());
        assert_eq!(copies, uploads(0), "{text}: finish");
        assert_eq!(rest[1].memory_state(0).unwrap().to_f32_vec().unwrap(), [(2 * LAYERS) as f32; 8]);
        // Who asks for positions waits, once.
        let (copies, retained) = counted(|| rest[1].retained(0).unwrap().map(<[_]>::len));
        assert_eq!(copies.downloads, u64::from(retained.is_some()), "{text}");
        assert_eq!(counted(|| rest[1].retained(0).unwrap()).0, uploads(0), "{text}");
    }
}

#[test]
fn a_prompt_that_is_evicted_while_read_does_not_wait_either() {
    let config = parents()[0].config().clone();
    let tokens = Tokens::new(&config, 200, 5);
    let mut cache = SequenceCache::new(&Plan::parse("snapkv:k=100").unwrap(), &config, 0).unwrap();
    for layer in 0..LAYERS {
        let [q, k, v] = tokens.rows(layer, 0, 200);
        let qkv = Qkv { q: &q, k: &k, v: &v };
        let (copies, _) = counted(|| cache.prefill_layer(layer, qkv, Chunk::Last).unwrap());
        assert_eq!(copies, Transfers { uploads: 2, downloads: 0 });
    }
}
