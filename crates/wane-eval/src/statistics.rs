//! Intervals: Wilson's for a share, the paired bootstrap for a difference between two models on the
//! same samples (Efron and Tibshirani 1993), resampled within each task.
//!
//! Does not do: corrections for many comparisons.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rustc_hash::FxHashMap;
use wane_kernels::ops::random::philox;

/// An estimate with a 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The estimate.
    pub value: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// A mean difference with a 95 % interval, where the samples allow one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gain {
    /// The estimate.
    pub value: f64,
    /// Lower and upper end; none where a task has fewer than two samples: resampling one sample gives
    /// itself again, an interval without width that nothing supports.
    pub ends: Option<[f64; 2]>,
}

/// Two-sided 95 % of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// Wilson's interval for a share of `n` trials (Wilson 1927). With partial credit it is a little wide.
pub fn wilson(share: f64, n: usize) -> Interval {
    if n == 0 {
        return Interval { value: share, low: 0.0, high: 1.0 };
    }
    let n = n as f64;
    let middle = share + Z * Z / (2.0 * n);
    let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let below = 1.0 + Z * Z / n;
    Interval {
        value: share,
        low: ((middle - half) / below).max(0.0),
        high: ((middle + half) / below).min(1.0),
    }
}

/// The mean over tasks of the mean difference, with the bootstrap's interval. `tasks[t]` holds the
/// differences of task `t`, one a sample; empty tasks are left out.
pub fn paired_bootstrap(tasks: &[Vec<f64>], resamples: usize, seed: u64) -> Gain {
    let tasks: Vec<&Vec<f64>> = tasks.iter().filter(|t| !t.is_empty()).collect();
    if tasks.is_empty() {
        return Gain { value: 0.0, ends: None };
    }
    let count = tasks.len() as f64;
    let value = tasks.iter().map(|t| t.iter().sum::<f64>() / t.len() as f64).sum::<f64>() / count;
    if tasks.iter().any(|t| t.len() < 2) {
        return Gain { value, ends: None };
    }
    let resamples = resamples.max(1);
    let mut means = vec![0.0; resamples];
    for (task, differences) in tasks.iter().enumerate() {
        let n = differences.len();
        let times = draws(Resampling { task: task as u32, n, resamples, seed });
        for (mean, drawn) in means.iter_mut().zip(times.chunks_exact(n)) {
            *mean += weighted_sum(drawn, differences) / n as f64 / count;
        }
    }
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[((means.len() - 1) as f64 * share).round() as usize];
    Gain { value, ends: Some([at(0.025), at(0.975)]) }
}

/// What a task's draws depend on: not on the differences, so that many gains share them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Resampling {
    task: u32,
    n: usize,
    resamples: usize,
    seed: u64,
}

/// [resamples, n]: how often each sample is drawn. Of usual sizes they are made once, since a report asks for
/// the same ones hundreds of times.
fn draws(of: Resampling) -> Arc<[u8]> {
    static MADE: LazyLock<Mutex<FxHashMap<Resampling, Arc<[u8]>>>> = LazyLock::new(Mutex::default);
    let made = || MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = made().get(&of) {
        return known.clone();
    }
    let Resampling { task, n, resamples, seed } = of;
    let mut times = vec![0u8; resamples * n];
    for (resample, times) in times.chunks_exact_mut(n).enumerate() {
        for block in 0..n.div_ceil(4) {
            let words =
                philox([block as u32, task, resample as u32, 0x626f], [seed as u32, (seed >> 32) as u32]);
            for word in &words[..4.min(n - 4 * block)] {
                let drawn = &mut times[((u64::from(*word) * n as u64) >> 32) as usize];
                // 255 times the same sample of more than 255: less likely than 1e-500.
                *drawn = drawn.saturating_add(1);
            }
        }
    }
    let times: Arc<[u8]> = times.into();
    if times.len() <= 1 << 23 {
        made().insert(of, times.clone());
    }
    times
}

/// Sum of times[i] values[i], in four parts so that they are computed side by side.
fn weighted_sum(times: &[u8], values: &[f64]) -> f64 {
    let (times, times_rest) = times.as_chunks::<4>();
    let (values, values_rest) = values.as_chunks::<4>();
    let mut parts = [0.0; 4];
    for (times, values) in times.iter().zip(values) {
        for ((part, times), value) in parts.iter_mut().zip(times).zip(values) {
            *part += f64::from(*times) * value;
        }
    }
    let rest: f64 = times_rest.iter().zip(values_rest).map(|(times, value)| f64::from(*times) * value).sum();
    parts.iter().sum::<f64>() + rest
}

/// The population standard deviation (divided by n, not n - 1), which is what the paper's `+-` over five
/// seeds is; 0 without values.
pub fn population_deviation(values: &[f64]) -> f64 {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt()
}

#[cfg(test)]
mod tests;
