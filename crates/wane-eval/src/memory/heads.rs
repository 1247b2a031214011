//! Sums over sequences and needles for the heads of one layer, and what they come to.

use std::ops::Range;

use wane_model::decoder::MemoryTrace;

use super::record::{BINS, DISTANCES, HeadMemory};

/// Sums of one layer.
#[derive(Debug)]
pub(super) struct Sums {
    layer: usize,
    heads: usize,
    head_dim: usize,
    tokens: f64,
    // By channel.
    gates: Vec<f64>,
    logarithms: Vec<f64>,
    // [head][bin]
    bins: Vec<[f64; BINS]>,
    // [distance]
    needles: [f64; DISTANCES.len()],
    // [head][distance]: product, weight, key share, value share.
    reach: Vec<[[f64; 4]; DISTANCES.len()]>,
}

impl Sums {
    pub(super) fn new(layer: usize, heads: usize, head_dim: usize) -> Self {
        let channels = heads * head_dim;
        Self {
            layer,
            heads,
            head_dim,
            tokens: 0.0,
            gates: vec![0.0; channels],
            logarithms: vec![0.0; channels],
            bins: vec![[0.0; BINS]; heads],
            needles: [0.0; DISTANCES.len()],
            reach: vec![[[0.0; 4]; DISTANCES.len()]; heads],
        }
    }

    /// Adds one sequence.
    pub(super) fn add(&mut self, trace: &MemoryTrace, needles: &[Range<usize>]) {
        let width = self.heads * self.head_dim;
        for row in trace.gates.chunks_exact(width) {
            self.tokens += 1.0;
            for (channel, &gate) in row.iter().enumerate() {
                self.gates[channel] += f64::from(gate);
                self.logarithms[channel] += f64::from(gate.max(1e-30)).ln();
                let bin = ((gate * BINS as f32) as usize).min(BINS - 1);
                self.bins[channel / self.head_dim][bin] += 1.0;
            }
        }
        needles.iter().for_each(|needle| self.follow(trace, needle));
    }

    /// Follows one needle's tokens through the recurrence.
    fn follow(&mut self, trace: &MemoryTrace, needle: &Range<usize>) {
        let width = self.heads * self.head_dim;
        let tokens = trace.gates.len() / width;
        let last = needle.end - 1;
        // What the needle left, by channel: product of later gates, weight, part of k~, part of v~.
        let mut state = vec![[1.0f64, 0.0, 0.0, 0.0]; width];
        for t in needle.start..tokens.min(last + DISTANCES[DISTANCES.len() - 1] + 1) {
            let row = t * width;
            for (channel, [product, weight, key, value]) in state.iter_mut().enumerate() {
                let gate = f64::from(trace.gates[row + channel]);
                if t > last {
                    *product *= gate;
                }
                let own = if t <= last { 1.0 - gate } else { 0.0 };
                *weight = gate * *weight + own;
                *key = gate * *key + own * f64::from(trace.keys[row + channel]);
                *value = gate * *value + own * f64::from(trace.values[row + channel]);
            }
            let Some(place) = t.checked_sub(last).and_then(|d| DISTANCES.iter().position(|x| *x == d)) else {
                continue;
            };
            self.needles[place] += 1.0;
            for head in 0..self.heads {
                let channels = head * self.head_dim..(head + 1) * self.head_dim;
                let mean = |part: usize| {
                    state[channels.clone()].iter().map(|s| s[part]).sum::<f64>() / self.head_dim as f64
                };
                let share = |part: usize, whole: &[f32]| {
                    let whole = &whole[row + channels.start..row + channels.end];
                    let both = state[channels.clone()].iter().zip(whole);
                    let along: f64 = both.map(|(s, x)| s[part] * f64::from(*x)).sum();
                    along / whole.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().max(1e-30)
                };
                let all = [mean(0), mean(1), share(2, &trace.memory_keys), share(3, &trace.memory_values)];
                for (sum, x) in self.reach[head][place].iter_mut().zip(all) {
                    *sum += x;
                }
            }
        }
    }

    /// The heads of the layer.
    pub(super) fn finish(&self) -> Vec<HeadMemory> {
        let tokens = self.tokens.max(1.0);
        let head = |head: usize| {
            let channels = head * self.head_dim..(head + 1) * self.head_dim;
            let gates: Vec<f64> = self.gates[channels.clone()].iter().map(|sum| sum / tokens).collect();
            let mut half_lives: Vec<f64> =
                self.logarithms[channels].iter().map(|sum| 0.5f64.ln() / (sum / tokens).min(-1e-9)).collect();
            half_lives.sort_by(f64::total_cmp);
            let at = |share: f64| half_lives[((half_lives.len() - 1) as f64 * share).round() as usize];
            let list = |part: usize| -> Vec<f64> {
                let means = self.reach[head].iter().zip(self.needles);
                means.map(|(sums, needles)| round(sums[part] / needles.max(1.0))).collect()
            };
            HeadMemory {
                layer: self.layer,
                head,
                mean_gate: round(gates.iter().sum::<f64>() / gates.len() as f64),
                gates: self.bins[head].map(|n| round(n / tokens / self.head_dim as f64)).to_vec(),
                half_lives: [0.1, 0.25, 0.5, 0.75, 0.9].map(|share| round(at(share))),
                copying: round(gates.iter().filter(|g| **g < 0.1).count() as f64 / gates.len() as f64),
                product: list(0),
                weight: list(1),
                key_share: list(2),
                value_share: list(3),
            }
        };
        (0..self.heads).map(head).collect()
    }
}

/// Five significant digits: the file is small, and more would not be reproduced on another device.
fn round(x: f64) -> f64 {
    format!("{x:.4e}").parse().unwrap_or(x)
}
