//! The contract that every registered method keeps; hand-checkable cases and parity with the
//! original code are in the submodules.

mod by_hand;
mod parity;
mod random;

use std::sync::Arc;

use wane_kernels::DType;
use wane_kernels::testing::assert_close;

use super::METHODS;
use crate::testing::{
    HEADS, KV_HEADS, LAYERS, Recorder, Tokens, attend, config, config_with, prefill, start, step, tolerance,
    visible, watch,
};
use crate::{CacheConfig, DecodeBatch, Observation, Phase, Plan, SequenceCache, Unit};

const PROMPT: usize = 61;
const STEPS: usize = 12;

/// A method at a middle budget, and the same method with room for everything.
const CASES: &[[&str; 3]] = &[
    ["dense", "dense", "dense"],
    ["dilated", "dilated:d=4,window=3,initial=2", "dilated:d=1"],
    ["moba", "moba:block=8,k=3", "moba:block=8,k=99"],
    ["quest", "quest:block=8,k=3", "quest:block=8,k=99"],
    ["snapkv", "snapkv:k=24,window=8", "snapkv:k=999,window=8"],
    ["streaming", "streaming:first=2,window=20", "streaming:first=2,window=999"],
];

/// Other settings and compositions.
const MORE: &[&str] = &[
    "dilated:d=16",
    "dilated:d=none,window=9,initial=3",
    "moba:block=8,k=3,selector=random,seed=5",
    "moba:block=8,k=3,selector=random_pure",
    "moba:block=8,k=1,preset=original",
    "moba:block=8,k=3,share=group_mean,dense_layers=1",
    "moba:block=8,k=2,count_forced=false",
    "quest:block=5,k=4,share=q_head",
    "quest:block=8,k=3,selector=random,seed=5",
    "quest:block=8,k=3,selector=random_pure,share=q_head",
    "quest:block=8,k=2,count_forced=false,local=2",
    "quest:block=8,k=4,preset=original,dense_layers=1",
    "quest:block=8,k=4,preset=original_python,dense_layers=0",
    "quest:block=8,k=9,preset=original_python,dense_layers=0",
    "snapkv:k=24,window=8,pool=max,kernel=3,share=group_sum,dense_layers=1",
    "snapkv:k=24,window=8,share=q_head",
    "snapkv:k=24,window=8,selector=random",
    "snapkv:k=24,window=8,selector=random_pure",
    "moba:block=8,k=3+snapkv:k=24,window=8+quest:block=4,k=3",
    "snapkv:k=24,window=8,share=q_head+quest:block=4,k=3",
    "snapkv:k=24,window=8+streaming:first=2,window=10",
    "moba:block=8,k=3+streaming:first=2,window=10",
];

fn all_plans() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case[1]).chain(MORE.iter().copied())
}

/// Outputs of a prompt and its steps, `[layer]`, and what was observed.
struct Run {
    prompt: Vec<Vec<f32>>,
    steps: Vec<Vec<Vec<f32>>>,
    observed: Vec<Observation>,
    retained: Vec<Option<Vec<Vec<i32>>>>,
}

fn run(plan: &str, config: &Arc<CacheConfig>, tokens: &Tokens, chunks: &[usize], sequence: u32) -> Run {
    let mut cache = SequenceCache::new(&Plan::parse(plan).unwrap(), config, sequence).unwrap();
    let recorder = watch(&mut cache);
    let prompt = prefill(&mut cache, tokens, chunks);
    let retained =
        (0..config.layers).map(|layer| cache.retained(layer).unwrap().map(<[_]>::to_vec)).collect();
    let mut batch = DecodeBatch::new(vec![cache], STEPS).unwrap();
    let steps = (0..STEPS).map(|_| step(&mut batch, &[tokens])).collect();
    let observed = std::mem::take(&mut recorder.lock().unwrap().seen);
    Run { prompt, steps, observed, retained }
}

#[test]
fn every_method_has_a_case() {
    assert!(CASES.iter().map(|case| case[0]).eq(METHODS.iter().map(|entry| entry.name)));
}

#[test]
fn full_budget_equals_dense() {
    let config = config(KV_HEADS, 128);
    let tokens = Tokens::new(&config, PROMPT + STEPS, 1);
    let dense = run("dense", &config, &tokens, &[PROMPT], 0);
    for [_, _, full] in CASES {
        let got = run(full, &config, &tokens, &[PROMPT], 0);
        assert_eq!(got.prompt, dense.prompt, "{full}: prompt");
        assert_eq!(got.steps, dense.steps, "{full}: steps");
    }
}

/// The heart of the contract: what is computed is softmax attention over what the probe is told,
/// and what the probe is told obeys the budget and contains the newest position.
#[test]
fn outputs_are_attention_over_what_is_observed() {
    for kv_heads in [1, KV_HEADS, HEADS] {
        let config = config(kv_heads, 128);
        let tokens = Tokens::new(&config, PROMPT + STEPS, 2);
        for plan in all_plans() {
            check_outputs(plan, &config, &tokens);
        }
    }
}

fn check_outputs(plan: &str, config: &Arc<CacheConfig>, tokens: &Tokens) {
    let name = format!("{plan} with {} KV heads", config.kv_heads);
    let got = run(plan, config, tokens, &[PROMPT], 0);
    let d = config.head_dim();
    for layer in 0..LAYERS {
        let find = |phase, position| {
            got.observed.iter().find(|o| (o.phase, o.layer, o.position) == (phase, layer, position))
        };
        let everything: Vec<usize> = (0..PROMPT + STEPS).collect();
        let mut want = Vec::new();
        for position in 0..PROMPT {
            for head in 0..HEADS {
                let mut seen: Vec<usize> = match find(Phase::Prefill, 0) {
                    Some(o) => visible(o.unit, &o.indices[head][position], &everything),
                    None => (0..PROMPT).filter(|&j| pattern_sees(plan, position, j)).collect(),
                };
                seen.retain(|&j| j <= position);
                assert!(plan.starts_with("dilated") || seen.contains(&position), "{name}: own position");
                want.extend(attend(config, tokens, [layer, position, head], &seen));
            }
        }
        assert_close(&format!("{name}: prompt, layer {layer}"), &got.prompt[layer], &want, tolerance());
        for i in 0..STEPS {
            let position = PROMPT + i;
            let mut want = Vec::with_capacity(HEADS * d);
            for head in 0..HEADS {
                let mut rows: Vec<usize> = match &got.retained[layer] {
                    Some(kept) => kept[head * kept.len() / HEADS].iter().map(|&j| j as usize).collect(),
                    None => (0..PROMPT).collect(),
                };
                rows.extend(PROMPT..=position);
                let seen = match find(Phase::Decode, position) {
                    Some(o) => visible(o.unit, &o.indices[head][0], &rows),
                    None => rows,
                };
                assert!(plan.contains("original_python") || seen.contains(&position), "{name}: newest");
                want.extend(attend(config, tokens, [layer, position, head], &seen));
            }
            assert_close(
                &format!("{name}: step {i}, layer {layer}"),
                &got.steps[i][layer],
                &want,
                tolerance(),
            );
        }
    }
}

/// What a prompt's query sees when no selection is observed.
fn pattern_sees(plan: &str, position: usize, key: usize) -> bool {
    let near = |window| key <= position && position - key <= window;
    match plan {
        "dilated:d=4,window=3,initial=2" => {
            key <= position && ((key + 1).is_multiple_of(4) || near(3) || key < 2)
        }
        "dilated:d=16" => key <= position && ((key + 1).is_multiple_of(16) || near(0)),
        "dilated:d=none,window=9,initial=3" => key <= position && (near(9) || key < 3),
        _ => key <= position,
    }
}

/// Keys and values stored as bf16: the prompt already sees what later steps will read.
#[test]
fn pages_may_be_bf16() {
    for kv_heads in [1, KV_HEADS] {
        let config = config_with(kv_heads, 128, DType::BF16);
        let tokens = Tokens::new(&config, PROMPT + STEPS, 2).with_cached(DType::BF16);
        for plan in all_plans() {
            check_outputs(plan, &config, &tokens);
        }
    }
}

#[test]
fn budgets_are_respected_exactly() {
    let config = config(KV_HEADS, 128);
    let tokens = Tokens::new(&config, PROMPT + STEPS, 3);
    for (plan, k) in [
        ("quest:block=8,k=3", 3),
        ("quest:block=8,k=3,share=q_head,selector=random", 3),
        ("quest:block=8,k=2,count_forced=false,local=2", 5),
        ("moba:block=8,k=3", 3),
        ("moba:block=8,k=3,selector=random_pure", 3),
        ("moba:block=8,k=1,preset=original", 1),
    ] {
        let got = run(plan, &config, &tokens, &[PROMPT], 0);
        for o in &got.observed {
            let Unit::Block(block) = o.unit else { panic!("{plan}: unit") };
            for (head, query) in
                o.indices.iter().flat_map(|rows| rows.iter().enumerate()).map(|(i, r)| (r, i))
            {
                let position = o.position + query;
                let newest = (position / block) as i32;
                assert_eq!(head.len(), k.min(newest as usize + 1), "{plan}: {head:?}");
                assert!(head.is_sorted_by(|a, b| a < b) && head.last() == Some(&newest), "{plan}: {head:?}");
                if !plan.contains("pure") && !plan.contains("original") {
                    assert_eq!(head[0], 0, "{plan}: first block");
                }
            }
        }
        assert!(!got.observed.is_empty(), "{plan}");
    }
    let got = run("snapkv:k=24,window=8", &config, &tokens, &[PROMPT], 0);
    for kept in got.retained.iter().flatten().flatten() {
        assert_eq!(kept.len(), 24);
        assert!(kept.is_sorted_by(|a, b| a < b));
        assert!(kept.ends_with(&(PROMPT as i32 - 8..PROMPT as i32).collect::<Vec<_>>()));
    }
}

#[test]
fn chunks_of_a_prompt_do_not_matter() {
    let config = config(KV_HEADS, 128);
    let tokens = Tokens::new(&config, PROMPT + STEPS, 4);
    for plan in all_plans() {
        let whole = run(plan, &config, &tokens, &[PROMPT], 0);
        for chunks in [&[16, 45][..], &[7, 20, 31, 3], &[60, 1]] {
            let parts = run(plan, &config, &tokens, chunks, 0);
            for layer in 0..LAYERS {
                assert_close(plan, &parts.prompt[layer], &whole.prompt[layer], tolerance());
            }
            assert_eq!(parts.retained, whole.retained, "{plan} in {chunks:?}");
            for (a, b) in parts.steps.iter().flatten().zip(whole.steps.iter().flatten()) {
                assert_close(plan, a, b, tolerance());
            }
            let prompt_blocks = |run: &Run, layer: usize, head: usize| -> Vec<Vec<i32>> {
                let of_layer = run.observed.iter().filter(|o| o.phase == Phase::Prefill && o.layer == layer);
                of_layer.flat_map(|o| o.indices[head].clone()).collect()
            };
            for (layer, head) in (0..LAYERS).flat_map(|layer| (0..HEADS).map(move |head| (layer, head))) {
                assert_eq!(prompt_blocks(&parts, layer, head), prompt_blocks(&whole, layer, head), "{plan}");
            }
        }
    }
}

#[test]
fn a_pattern_gives_the_same_in_prefill_and_steps() {
    let config = config(KV_HEADS, 128);
    let tokens = Tokens::new(&config, PROMPT + STEPS, 5);
    for plan in all_plans().filter(|plan| plan.starts_with("d")) {
        let whole = {
            let mut cache = SequenceCache::new(&Plan::parse(plan).unwrap(), &config, 0).unwrap();
            prefill(&mut cache, &tokens, &[PROMPT + STEPS])
        };
        let parts = run(plan, &config, &tokens, &[PROMPT], 0);
        for layer in 0..LAYERS {
            let width = whole[layer].len() / (PROMPT + STEPS);
            let mut got = parts.prompt[layer].clone();
            parts.steps.iter().for_each(|step| got.extend_from_slice(&step[layer]));
            assert_eq!(got.len(), width * (PROMPT + STEPS));
            assert_close(plan, &got, &whole[layer], tolerance());
        }
    }
}

#[test]
fn selections_do_not_depend_on_batch_or_threads() {
    let config = config(KV_HEADS, 128);
    // The second prompt is too short to evict anything.
    let prompts = [PROMPT, 20, 70];
    let tokens: Vec<Tokens> = (0..3).map(|i| Tokens::new(&config, 70 + STEPS, 10 + i)).collect();
    for plan in all_plans() {
        let alone: Vec<Vec<Observation>> = (0..3)
            .map(|i| {
                let (cache, recorder) = start(plan, &config, &tokens[i], prompts[i], i as u32);
                let mut batch = DecodeBatch::new(vec![cache], STEPS).unwrap();
                (0..STEPS).for_each(|_| drop(step(&mut batch, &[&tokens[i]])));
                std::mem::take(&mut recorder.lock().unwrap().seen)
            })
            .collect();
        for threads in [1, 4] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let together = pool.install(|| {
                let (caches, recorders): (Vec<_>, Vec<_>) =
                    (0..3).map(|i| start(plan, &config, &tokens[i], prompts[i], i as u32)).unzip();
                let mut batch = DecodeBatch::new(caches, STEPS).unwrap();
                let all: Vec<&Tokens> = tokens.iter().collect();
                (0..STEPS).for_each(|_| drop(step(&mut batch, &all)));
                recorders
            });
            for (i, recorder) in together.iter().enumerate() {
                let seen: &Recorder = &recorder.lock().unwrap();
                assert_eq!(seen.seen, alone[i], "{plan}: sequence {i}, {threads} threads");
            }
        }
    }
}

#[test]
fn a_fork_equals_a_fresh_run() {
    let config = config(KV_HEADS, 128);
    let tokens = Tokens::new(&config, PROMPT + STEPS, 6);
    for plan in all_plans() {
        let fresh = run(plan, &config, &tokens, &[PROMPT], 7);
        let plan = Plan::parse(plan).unwrap();
        let mut parent = SequenceCache::new(&plan.prefill_plan(), &config, 7).unwrap();
        prefill(&mut parent, &tokens, &[PROMPT]);
        let fork = parent.fork(&plan).unwrap();
        let retained: Vec<_> =
            (0..LAYERS).map(|layer| fork.retained(layer).unwrap().map(<[_]>::to_vec)).collect();
        assert_eq!(retained, fresh.retained, "{plan}");
        // The parent decodes other tokens first: the fork must not see them.
        let other = Tokens::new(&config, PROMPT + STEPS, 99);
        let mut batch = DecodeBatch::new(vec![parent], STEPS).unwrap();
        (0..STEPS).for_each(|_| drop(step(&mut batch, &[&other])));
        let mut batch = DecodeBatch::new(vec![fork], STEPS).unwrap();
        for (i, want) in fresh.steps.iter().enumerate() {
            assert_eq!(&step(&mut batch, &[&tokens]), want, "{plan}: step {i}");
        }
    }
}

#[test]
fn random_draws_differ_by_head_layer_step_and_sequence() {
    let config = config(HEADS, 512);
    let tokens = Tokens::new(&config, 400 + STEPS, 8);
    let steps = |sequence| run_steps("quest:block=4,k=30,selector=random", &config, &tokens, sequence);
    let (first, again, other) = (steps(0), steps(0), steps(1));
    assert_eq!(first, again);
    assert_ne!(first, other);
    let mut rows: Vec<&Vec<i32>> = first.iter().flat_map(|o| o.indices.iter().flatten()).collect();
    let all = rows.len();
    rows.sort();
    rows.dedup();
    assert_eq!(rows.len(), all, "every (layer, head, step) draws for itself");
    let other_seed = run_steps("quest:block=4,k=30,selector=random,seed=1", &config, &tokens, 0);
    assert_ne!(first, other_seed);
    // 28 of 98 to 101 free blocks, 96 draws: each block is drawn about 27 times.
    let drawn = |block: i32| rows.iter().filter(|row| row.contains(&block)).count();
    assert!((1..95).all(|block| (8..=52).contains(&drawn(block))), "uniform draws");
}

fn run_steps(plan: &str, config: &Arc<CacheConfig>, tokens: &Tokens, sequence: u32) -> Vec<Observation> {
    let mut seen = run(plan, config, tokens, &[400], sequence).observed;
    seen.iter_mut().for_each(|o| o.sequence = 0);
    seen
}

#[test]
fn pairs_of_a_prompt_are_those_that_are_read() {
    let pairs = |text: &str, len: usize| {
        let pairs = crate::Plan::parse(text).unwrap().prefill_pairs(0, len).unwrap();
        [pairs.attended, pairs.scored]
    };
    assert_eq!(pairs("dense", 5), [15, 0]);
    assert_eq!(pairs("quest:block=4,k=2", 5), [15, 0]);
    // Blocks of 2, two read: own block up to the query, and one earlier; each block's mean is scored.
    assert_eq!(pairs("moba:block=2,k=2", 6), [1 + 2 + 3 + 4 + 3 + 4, 1 + 1 + 2 + 2 + 3 + 3]);
    // The last block has two queries.
    assert_eq!(pairs("moba:block=3,k=2", 11), [6 + 15 + 15 + 9, 3 + 6 + 9 + 8]);
    assert_eq!(pairs("moba:block=2,k=2,selector=random,seed=0", 6), [17, 0]);
    // Too short to be sparse.
    assert_eq!(pairs("moba:block=4,k=2", 6), [21, 0]);
    // Positions 1, 3, ... and the query's own: 1, 1+1, 1+1, 2+1, ... (own ones that are strided count once).
    assert_eq!(pairs("dilated:d=2", 4), [1 + 1 + 2 + 2, 0]);
    // The window's queries score every key once.
    assert_eq!(pairs("snapkv:k=8,window=2", 20), [210, 40]);
    assert_eq!(pairs("snapkv:k=8,window=2", 8), [36, 0]);
}
