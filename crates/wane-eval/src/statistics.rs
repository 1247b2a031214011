//! Intervals: Wilson's for a share, the paired bootstrap for a difference between two models on the
//! same samples (Efron and Tibshirani 1993), resampled within each task.
//!
//! Does not do: corrections for many comparisons.

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
    let mut means: Vec<f64> = (0..resamples.max(1) as u32)
        .map(|resample| {
            let mean = |(task, differences): (usize, &&Vec<f64>)| {
                let n = differences.len();
                let mut sum = 0.0;
                for block in 0..n.div_ceil(4) {
                    let words = philox(
                        [block as u32, task as u32, resample, 0x626f],
                        [seed as u32, (seed >> 32) as u32],
                    );
                    for word in &words[..4.min(n - 4 * block)] {
                        sum += differences[((u64::from(*word) * n as u64) >> 32) as usize];
                    }
                }
                sum / n as f64
            };
            tasks.iter().enumerate().map(mean).sum::<f64>() / count
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[((means.len() - 1) as f64 * share).round() as usize];
    Gain { value, ends: Some([at(0.025), at(0.975)]) }
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
