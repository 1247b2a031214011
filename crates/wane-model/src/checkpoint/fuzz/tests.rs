//! Mutated files for as long as asked: a fuzzer for machines without one. Nothing may panic.

use std::path::Path;
use std::time::{Duration, Instant};

use wane_kernels::ops::random::philox;

/// Changes a few places: a byte, a 64-bit number of a kind that breaks size checks, a piece moved
/// or cut out, the end cut off.
fn mutate(content: &mut Vec<u8>, seed: u32) {
    let random = |round: u32| philox([seed, round, 0, 0], [7, 0]);
    for round in 0..1 + random(99)[0] % 4 {
        let [kind, at, from, value] = random(round);
        // Most places near the ends, where headers, lists and pickles are.
        let length = content.len().max(1);
        let span = if kind & 0x100 == 0 { length } else { length.min(4096) };
        let mut at = at as usize % span;
        if kind & 0x200 != 0 {
            at = length - 1 - at;
        }
        let from = from as usize % length;
        match kind % 6 {
            0 | 1 => content.iter_mut().skip(at).take(1).for_each(|byte| *byte = value as u8),
            2 => {
                const NUMBERS: [u64; 8] = [0, 1, 7, u64::MAX, 1 << 63, 0xffff_ffff, 1 << 40, u64::MAX / 2];
                let number = NUMBERS[value as usize % 8].to_le_bytes();
                content.iter_mut().skip(at).zip(number).for_each(|(byte, new)| *byte = new);
            }
            3 => {
                let piece: Vec<u8> = content.iter().skip(from).take(value as usize % 64).copied().collect();
                content.splice(at.min(content.len())..at.min(content.len()), piece);
            }
            4 => drop(content.drain(at.min(content.len())..(at + value as usize % 64).min(content.len()))),
            _ if value % 8 == 0 => content.truncate(at),
            _ => content.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (value % 8)),
        }
    }
}

/// Mutates `file` 2000 times, and on until WANE_FUZZ_SECONDS are over.
fn hammer(file: &[u8], read: fn(&[u8])) -> u32 {
    let seconds = std::env::var("WANE_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let (start, mut seed) = (Instant::now(), 0);
    while seed < 2000 || start.elapsed() < Duration::from_secs(seconds) {
        let mut content = file.to_vec();
        mutate(&mut content, seed);
        read(&content);
        seed += 1;
    }
    eprintln!("{seed} files in {:?}", start.elapsed());
    seed
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)).unwrap()
}

#[test]
fn mutated_gguf() {
    assert!(hammer(&super::super::gguf::tests::sample(), super::gguf) > 0);
}

#[test]
fn mutated_pth() {
    assert!(hammer(&fixture("ratplus/attention/model.pth"), super::pth) > 0);
}

#[test]
fn mutated_safetensors() {
    assert!(hammer(&fixture("transformers/qwen3/model.safetensors"), super::safetensors) > 0);
}
