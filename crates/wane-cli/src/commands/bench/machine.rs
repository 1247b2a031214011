//! The machine's two rates, measured when a benchmark starts.

use serde::Serialize;
use wane_kernels::probe;

/// Memory that the read probe passes over: larger than the caches of a few cores, about what a small
/// model's decode step reads.
const PROBE_BYTES: usize = 256 << 20;

/// Threads, instructions and rates.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Machine {
    threads: usize,
    instructions: &'static str,
    flops_per_second: f64,
    bytes_per_second: f64,
}

/// Work that takes at least a certain time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Floor {
    /// Floating point operations.
    Flops(f64),
    /// Bytes read or written once.
    Bytes(f64),
}

impl Machine {
    /// Runs the probes, half a second.
    pub(super) fn probe() -> Self {
        Self {
            threads: rayon::current_num_threads(),
            instructions: probe::instruction_set(),
            flops_per_second: probe::multiply_adds_per_second(),
            bytes_per_second: probe::bytes_read_per_second(PROBE_BYTES),
        }
    }

    /// Seconds that `floor` takes at least.
    pub(super) fn seconds(&self, floor: Floor) -> f64 {
        match floor {
            Floor::Flops(flops) => flops / self.flops_per_second,
            Floor::Bytes(bytes) => bytes / self.bytes_per_second,
        }
    }

    /// One line.
    pub(super) fn describe(&self) -> String {
        format!(
            "{} threads, {}: {:.0} GFLOP/s f32, {:.1} GB/s read (probed in this run)",
            self.threads,
            self.instructions,
            self.flops_per_second / 1e9,
            self.bytes_per_second / 1e9
        )
    }
}

impl Floor {
    /// The work in words.
    pub(super) fn describe(self) -> String {
        match self {
            Self::Flops(flops) => format!("{} GFLOP", significant(flops / 1e9)),
            Self::Bytes(bytes) => format!("{} MB", significant(bytes / 1e6)),
        }
    }
}

/// Three significant digits, or all digits before the point.
pub(super) fn significant(x: f64) -> String {
    let decimals = if x > 0.0 { (2.0 - x.log10().floor()).clamp(0.0, 6.0) as usize } else { 0 };
    format!("{x:.decimals$}")
}
