//! Decode batches: sequences that come and go, memory states, bytes by hand.

mod transfers;

use wane_kernels::Tensor;
use wane_kernels::testing::device;

use super::{DecodeBatch, StepBytes};
use crate::testing::{HEAD_DIM, HEADS, KV_HEADS, LAYERS, Tokens, config, dtype, start, step, tolerance};
use crate::{Qkv, SequenceCache};

#[test]
fn sequences_leave_and_the_others_do_not_notice() {
    let config = config(KV_HEADS, 256);
    let prompts = [70, 33, 50];
    let tokens: Vec<Tokens> = (0..3).map(|i| Tokens::new(&config, 100, i)).collect();
    for plan in ["dense", "quest:block=8,k=3", "snapkv:k=24,window=8+quest:block=4,k=3", "dilated:d=4"] {
        let caches =
            |_| (0..3).map(|i| start(plan, &config, &tokens[i], prompts[i], i as u32).0).collect::<Vec<_>>();
        let all: Vec<&Tokens> = tokens.iter().collect();
        let mut together = DecodeBatch::new(caches(()), 20).unwrap();
        let want: Vec<_> = (0..20).map(|_| step(&mut together, &all)).collect();
        // Four steps reserved, the middle one leaves after 3 steps, the first after 10.
        let mut batch = DecodeBatch::new(caches(()), 4).unwrap();
        let mut members = vec![0, 1, 2];
        for (i, want) in want.iter().enumerate() {
            for (at, member) in [(3, 1), (10, 0)] {
                if i == at {
                    let place = members.iter().position(|&m| m == member).unwrap();
                    let gone = batch.retire(&[place]).unwrap();
                    members.remove(place);
                    assert_eq!(
                        (gone[0].sequence(), gone[0].position()),
                        (member as u32, prompts[member] + at)
                    );
                }
            }
            let now: Vec<&Tokens> = members.iter().map(|&m| &tokens[m]).collect();
            let got = step(&mut batch, &now);
            for layer in 0..LAYERS {
                let width = got[layer].len() / members.len();
                for (place, &member) in members.iter().enumerate() {
                    let (got, want) =
                        (&got[layer][place * width..][..width], &want[layer][member * width..][..width]);
                    wane_kernels::testing::assert_close(plan, got, want, tolerance());
                }
            }
        }
        assert_eq!(batch.sequences(), [2]);
        assert!(batch.retire(&[1]).is_err() && batch.retire(&[0, 0]).is_err());
        drop((together, batch));
        assert_eq!(config.pool.bytes_in_use(), 0, "{plan}");
    }
}

#[test]
fn memory_states_follow_their_sequences() {
    let config = config(KV_HEADS, 256);
    let tokens = Tokens::new(&config, 60, 1);
    let state = |x: f32| Tensor::from_f32(&[x, x + 0.5, -x, 1.0], &[1, 2, 2], &device()).unwrap();
    let caches: Vec<SequenceCache> = (0..3)
        .map(|i| {
            let (mut cache, _) = start("snapkv:k=24,window=8", &config, &tokens, 40 + i, i as u32);
            (0..LAYERS).for_each(|layer| cache.set_memory_state(layer, state((10 * layer + i) as f32)));
            cache
        })
        .collect();
    let mut batch = DecodeBatch::new(caches, 4).unwrap();
    let memory = batch.memory_state(1).unwrap().clone();
    assert_eq!(memory.shape(), [3, 2, 2]);
    assert_eq!(memory.to_f32_vec().unwrap()[..8], [10.0, 10.5, -10.0, 1.0, 11.0, 11.5, -11.0, 1.0]);
    let changed: Vec<f32> = memory.to_f32_vec().unwrap().iter().map(|x| x * 2.0).collect();
    batch.set_memory_state(1, Tensor::from_f32(&changed, &[3, 2, 2], &device()).unwrap());
    let gone = batch.retire(&[0]).unwrap();
    assert_eq!(gone[0].memory_state(1).unwrap().to_f32_vec().unwrap(), [20.0, 21.0, -20.0, 2.0]);
    assert_eq!(batch.memory_state(1).unwrap().to_f32_vec().unwrap()[..4], [22.0, 23.0, -22.0, 2.0]);
    let rest = batch.finish().unwrap();
    assert_eq!(rest[1].memory_state(0).unwrap().to_f32_vec().unwrap(), [2.0, 2.5, -2.0, 1.0]);
}

/// Runs one step layer by layer and asks for its bytes.
fn bytes(plan: &str, prompt: usize) -> StepBytes {
    let config = config(KV_HEADS, 256);
    let tokens = Tokens::new(&config, prompt + 1, 1);
    let (cache, _) = start(plan, &config, &tokens, prompt, 0);
    let mut batch = DecodeBatch::new(vec![cache], 1).unwrap();
    for layer in 0..LAYERS {
        let [q, k, v] = tokens.rows(layer, prompt, prompt + 1);
        batch.decode_layer(layer, Qkv { q: &q, k: &k, v: &v }).unwrap();
    }
    batch.step_bytes().unwrap()[0]
}

#[test]
fn bytes_of_a_step_by_hand() {
    let lanes = LAYERS * KV_HEADS;
    // Bytes of one row of keys and values, and of a block's minimum and maximum in f32.
    let (row, summary) = (2 * HEAD_DIM * dtype().size(), 2 * HEAD_DIM * 4);
    let of = |keys_values: usize, summaries: usize| StepBytes {
        keys_values: keys_values as u64,
        summaries: summaries as u64,
    };
    assert_eq!(bytes("dense", 60), of(61 * lanes * row, 0));
    assert_eq!(bytes("streaming:first=4,window=16", 60), of(20 * lanes * row, 0));
    assert_eq!(bytes("snapkv:k=24,window=8", 60), of(25 * lanes * row, 0));
    assert_eq!(bytes("dilated:d=4,window=3", 60), of((15 + 3) * lanes * row, 0));
    // 61 rows are 8 blocks, the last of 5 rows; the summaries hold two f32 rows per block.
    assert_eq!(bytes("quest:block=8,k=3", 60), of((8 + 8 + 5) * lanes * row, 8 * lanes * summary));
    assert_eq!(
        bytes("quest:block=8,k=3,dense_layers=1", 60),
        of((21 + 61) * KV_HEADS * row, 8 * KV_HEADS * summary)
    );
    assert_eq!(bytes("quest:block=8,k=8", 60), of(61 * lanes * row, 0));
    // Each of two heads of a group reads two blocks besides the newest: their union is counted.
    let shared = bytes("quest:block=8,k=3,first=0,share=q_head", 60);
    assert!(
        (21 * lanes * row..=(21 + 16) * lanes * row).contains(&(shared.keys_values as usize)),
        "{shared:?}"
    );
    assert!(HEADS / KV_HEADS == 2 && shared.keys_values > (21 * lanes * row) as u64, "{shared:?}");
}
