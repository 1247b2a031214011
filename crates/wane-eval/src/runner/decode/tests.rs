//! Batches of answers of different lengths: what a batch says is what each sequence says alone.

use std::cell::Cell;

use wane_attention::Plan;
use wane_kernels::transfers::counted;
use wane_model::decoder::{CacheOptions, DEFAULT_CHUNK};

use super::*;
use crate::hits::run::tests::{MEMORY, decoder};

// The model's context.
const CONTEXT: usize = 1536;

/// Prompts (lengths) under a plan, and what `greedy_batch` takes for them.
fn read(
    decoder: &Decoder,
    plan: &str,
    examples: &[(usize, usize)],
) -> (Vec<SequenceCache>, Vec<(u32, usize, u32)>) {
    let plan = Plan::parse(plan).unwrap();
    let config = decoder.cache_config(CacheOptions { dtype: None, context: Some(CONTEXT), keep_queries: 0 });
    let read = |(i, &(len, most)): (usize, &(usize, usize))| {
        let ids: Vec<u32> = (0..len).map(|t| (1 + (t * 37 + i * 911) % 4000) as u32).collect();
        let mut cache = SequenceCache::new(&plan, &config, i as u32).unwrap();
        let logits = decoder.prefill(&mut cache, &ids, DEFAULT_CHUNK).unwrap();
        let first = next_tokens(&logits, &greedy(), &[(i as u32, 0)]).unwrap()[0];
        (cache, (i as u32, most, first))
    };
    examples.iter().enumerate().map(read).unzip()
}

#[test]
fn a_batch_of_mixed_lengths_says_what_each_sequence_says_alone() {
    // The third has room for its 5 tokens and no more, and ends long before a quarter has.
    let examples = [
        (60, 24),
        (40, 1),
        (CONTEXT - 5, 5),
        (33, 24),
        (90, 0),
        (70, 2),
        (50, 17),
        (81, 24),
        (45, 9),
        (64, 24),
        (30, 13),
        (35, 24),
    ];
    for (memory, plan) in [
        (None, "dense"),
        (Some(MEMORY), "snapkv:k=32,window=8"),
        (None, "quest:block=8,k=3,selector=random"),
        (Some(MEMORY), "streaming:first=2,window=20"),
    ] {
        let decoder = decoder(memory);
        let (caches, starts) = read(&decoder, plan, &examples);
        let alone: Vec<Decoded> = caches
            .iter()
            .zip(&starts)
            .map(|(cache, &start)| {
                greedy_batch(&decoder, vec![cache.clone()], &[start], &|| false).unwrap().unwrap()
            })
            .collect();
        let (ids, bytes) = greedy_batch(&decoder, caches, &starts, &|| false).unwrap().unwrap();
        for (i, (want, touched)) in alone.iter().enumerate() {
            assert_eq!((&ids[i], bytes[i]), (&want[0], touched[0]), "{plan}: example {i}");
            assert!(ids[i].len() <= examples[i].1);
        }
        assert!(ids[0].len() > 17, "{plan}: an answer of {} tokens shows nothing", ids[0].len());
    }
}

#[test]
fn many_departures_are_few_rebuilds_and_a_stop_is_heard_at_every_step() {
    let decoder = decoder(None);
    let examples: Vec<(usize, usize)> = (0..24).map(|i| (20 + i, 1 + i)).collect();
    let (caches, starts) = read(&decoder, "dense", &examples);
    let calls = Cell::new(0);
    let count = || {
        calls.set(calls.get() + 1);
        false
    };
    let (copies, decoded) =
        counted(|| greedy_batch(&decoder, caches.clone(), &starts, &count).unwrap().unwrap());
    let steps = decoded.0.iter().map(Vec::len).max().unwrap();
    assert_eq!(steps, 24, "no answer ends early");
    // Each step but the last draws tokens: a copy up (on a CPU) and one down. The rest is tables.
    let builds = copies.uploads - copies.downloads;
    assert_eq!(builds, 9, "24 rows, 18, 13, 9, 6, 4, 3, 2, 1");
    for stop_at in [1, 2, 7, calls.get()] {
        let left = Cell::new(stop_at);
        let stop = || {
            left.set(left.get() - 1);
            left.get() == 0
        };
        assert!(greedy_batch(&decoder, caches.clone(), &starts, &stop).unwrap().is_none(), "{stop_at}");
    }
}
