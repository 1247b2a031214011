//! The learning rate over a run: linear warm-up from 0, then one of three shapes.
//!
//! With `p` the progress after the warm-up in [0, 1]: cosine `end + (1 - end)(1 + cos(pi p)) / 2`;
//! linear `1 - (1 - end) p`; constant then linear: 1 until the last `decay` of the steps, then linear to `end`.

use crate::config::{Schedule, Shape};

impl Schedule {
    /// Steps of warm-up in a run of `steps`.
    pub fn warmup_steps(&self, steps: u64) -> u64 {
        self.warmup_steps.unwrap_or_else(|| (self.warmup * steps as f64).round() as u64)
    }

    /// The factor on every peak learning rate at `step` (from 0) of `steps`.
    ///
    /// The first step is already above 0: warm-up step `i` has the factor `(i + 1) / warm-up steps`.
    pub fn factor(&self, step: u64, steps: u64) -> f64 {
        let warmup = self.warmup_steps(steps);
        if step < warmup {
            return (step + 1) as f64 / warmup as f64;
        }
        let rest = steps.saturating_sub(warmup).max(1) as f64;
        let progress = ((step - warmup) as f64 / rest).min(1.0);
        let end = self.end;
        match self.shape {
            Shape::Constant => 1.0,
            Shape::Cosine => end + (1.0 - end) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            Shape::Linear => 1.0 - (1.0 - end) * progress,
            Shape::ConstantLinear => {
                let start = steps as f64 * (1.0 - self.decay);
                let decayed = (step as f64 - start).max(0.0) / (steps as f64 - start).max(1.0);
                1.0 - (1.0 - end) * decayed.min(1.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(shape: Shape) -> Schedule {
        Schedule { shape, warmup: 0.1, warmup_steps: None, end: 0.1, decay: 0.4 }
    }

    #[test]
    fn warms_up_from_the_first_step() {
        let s = schedule(Shape::Cosine);
        assert!((s.factor(0, 100) - 0.1).abs() < 1e-12);
        assert!((s.factor(9, 100) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn each_shape_has_its_middle_and_its_end() {
        // 10 steps of warm-up, then 90: step 55 is the middle.
        assert!((schedule(Shape::Cosine).factor(55, 100) - 0.55).abs() < 1e-12);
        assert!((schedule(Shape::Linear).factor(55, 100) - 0.55).abs() < 1e-12);
        // The last 40 of 100 steps decay: step 80 is the middle.
        let s = schedule(Shape::ConstantLinear);
        assert_eq!(s.factor(60, 100), 1.0);
        assert!((s.factor(80, 100) - 0.55).abs() < 1e-12);
        assert!((s.factor(100, 100) - 0.1).abs() < 1e-12);
        assert_eq!(schedule(Shape::Constant).factor(99, 100), 1.0);
    }
}
