//! Rows and batches on the host, before they go to the device.

use wane_kernels::Documents;

/// What a predicted token is; losses are reported separately for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    /// A token of packed text.
    Text,
    /// A token of a generated sample outside the answers.
    Context,
    /// A token of an answer.
    Answer,
    /// Filling behind the last sample; its weight is 0.
    Padding,
}

/// One row: `tokens` inputs and what follows each.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Inputs and, one further, the last target: `tokens + 1` ids.
    pub ids: Vec<u32>,
    /// Weight of the loss of `ids[i + 1]`.
    pub weights: Vec<f32>,
    /// Kind of `ids[i + 1]`.
    pub kinds: Vec<TargetKind>,
    /// Inputs at which a further document begins: ascending, above 0, below `tokens`.
    pub starts: Vec<usize>,
}

/// Rows of equal length, laid out for the decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct HostBatch {
    /// Number of rows.
    pub rows: usize,
    /// Tokens of each.
    pub tokens: usize,
    /// Inputs [rows * tokens].
    pub ids: Vec<i32>,
    /// Next tokens [rows * tokens].
    pub targets: Vec<i32>,
    /// Loss weights [rows * tokens].
    pub weights: Vec<f32>,
    /// Kinds of the targets [rows * tokens].
    pub kinds: Vec<TargetKind>,
    /// [`Row::starts`] of each row.
    pub starts: Vec<Vec<usize>>,
}

impl HostBatch {
    /// Lays rows of `tokens` one after the other.
    pub fn from_rows(rows: &[Row], tokens: usize) -> Self {
        let mut batch = Self {
            rows: rows.len(),
            tokens,
            ids: Vec::with_capacity(rows.len() * tokens),
            targets: Vec::with_capacity(rows.len() * tokens),
            weights: Vec::with_capacity(rows.len() * tokens),
            kinds: Vec::with_capacity(rows.len() * tokens),
            starts: Vec::with_capacity(rows.len()),
        };
        for row in rows {
            assert_eq!(row.ids.len(), tokens + 1, "a row has one id more than inputs");
            batch.ids.extend(row.ids[..tokens].iter().map(|id| *id as i32));
            batch.targets.extend(row.ids[1..].iter().map(|id| *id as i32));
            batch.weights.extend(&row.weights);
            batch.kinds.extend(&row.kinds);
            batch.starts.push(row.starts.clone());
        }
        batch
    }

    /// Sum of the loss weights.
    pub fn total_weight(&self) -> f64 {
        self.weights.iter().map(|w| f64::from(*w)).sum()
    }

    /// Rows `start..end` as a batch of their own.
    pub fn rows(&self, start: usize, end: usize) -> Self {
        let range = start * self.tokens..end * self.tokens;
        Self {
            rows: end - start,
            tokens: self.tokens,
            ids: self.ids[range.clone()].to_vec(),
            targets: self.targets[range.clone()].to_vec(),
            weights: self.weights[range.clone()].to_vec(),
            kinds: self.kinds[range].to_vec(),
            starts: self.starts[start..end].to_vec(),
        }
    }

    /// Where the documents of all rows lie.
    pub fn documents(&self) -> Documents {
        let mut lengths = Vec::new();
        for starts in &self.starts {
            let mut before = 0;
            for &start in starts.iter().chain([&self.tokens]) {
                lengths.push(start - before);
                before = start;
            }
        }
        Documents::new(lengths)
    }
}
