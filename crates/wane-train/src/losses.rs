//! Mean losses of a batch by kind of target.

use crate::data::HostBatch;
use crate::data::batch::TargetKind;

/// Sums over targets; `add` as many batches as belong together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LossSums {
    weighted: (f64, f64),
    text: (f64, f64),
    context: (f64, f64),
    answer: (f64, f64),
}

impl LossSums {
    /// Adds the losses of every target of `batch`, in its order.
    pub fn add(&mut self, batch: &HostBatch, losses: &[f32]) {
        for ((loss, weight), kind) in losses.iter().zip(&batch.weights).zip(&batch.kinds) {
            let (loss, weight) = (f64::from(*loss), f64::from(*weight));
            if weight > 0.0 {
                self.weighted.0 += weight * loss;
                self.weighted.1 += weight;
            }
            let sums = match kind {
                TargetKind::Text => &mut self.text,
                TargetKind::Context => &mut self.context,
                TargetKind::Answer => &mut self.answer,
                TargetKind::Padding => continue,
            };
            sums.0 += loss;
            sums.1 += 1.0;
        }
    }

    /// The sums as numbers, to be added to those of other processes.
    pub fn to_values(&self) -> [f64; 8] {
        let [(a, b), (c, d), (e, f), (g, h)] = [self.weighted, self.text, self.context, self.answer];
        [a, b, c, d, e, f, g, h]
    }

    /// From [`LossSums::to_values`].
    pub fn from_values([a, b, c, d, e, f, g, h]: [f64; 8]) -> Self {
        Self { weighted: (a, b), text: (c, d), context: (e, f), answer: (g, h) }
    }

    /// The mean that training minimizes.
    pub fn weighted(&self) -> f64 {
        self.weighted.0 / self.weighted.1
    }

    /// Mean over text tokens, if there were any.
    pub fn text(&self) -> Option<f64> {
        mean(self.text)
    }

    /// Mean over tokens of generated samples outside the answers, if there were any.
    pub fn context(&self) -> Option<f64> {
        mean(self.context)
    }

    /// Mean over answer tokens, if there were any.
    pub fn answer(&self) -> Option<f64> {
        mean(self.answer)
    }
}

fn mean((sum, count): (f64, f64)) -> Option<f64> {
    (count > 0.0).then(|| sum / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_kept_apart_and_padding_counts_nowhere() {
        use TargetKind::{Answer, Context, Padding, Text};
        let batch = HostBatch {
            rows: 1,
            tokens: 4,
            ids: vec![0; 4],
            targets: vec![0; 4],
            weights: vec![1.0, 0.5, 2.0, 0.0],
            kinds: vec![Text, Context, Answer, Padding],
            starts: vec![vec![]],
        };
        let mut sums = LossSums::default();
        sums.add(&batch, &[3.0, 2.0, 1.0, f32::NAN]);
        assert_eq!((sums.text(), sums.context(), sums.answer()), (Some(3.0), Some(2.0), Some(1.0)));
        assert_eq!(sums.weighted(), (3.0 + 1.0 + 2.0) / 3.5);
        assert_eq!(LossSums::default().answer(), None);
    }
}
