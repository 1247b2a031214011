//! Where the documents of a packed batch lie, so that operators can keep them apart.
//!
//! Documents are consecutive ranges of rows and stay within their sequence. Operators treat them as sequences of their
//! own: each run of neighbours of equal length becomes one call on a range of rows, so a document gives to the bit what
//! it gives alone, on every device, at the price of one launch a run. Not here: kernels that take ragged batches whole.

use std::ops::Range;

use crate::{Error, Result};

/// The documents of a packed batch, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Documents {
    groups: Vec<Group>,
    rows: usize,
}

/// Neighbouring documents of equal length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// First row of the batch.
    pub start: usize,
    /// Documents.
    pub count: usize,
    /// Tokens of each.
    pub length: usize,
}

impl Group {
    /// Its rows of the batch.
    pub fn rows(&self) -> Range<usize> {
        self.start..self.start + self.count * self.length
    }
}

impl Documents {
    /// Documents of these lengths, one after the other; empty ones are left out.
    pub fn new(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        let mut rows = 0;
        for length in lengths.into_iter().filter(|length| *length > 0) {
            match groups.last_mut() {
                Some(last) if last.length == length => last.count += 1,
                _ => groups.push(Group { start: rows, count: 1, length }),
            }
            rows += length;
        }
        Self { groups, rows }
    }

    /// Rows of the batch.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Runs of documents of equal length, in order.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Number of documents.
    pub fn len(&self) -> usize {
        self.groups.iter().map(|group| group.count).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Position of every row in its document.
    pub fn positions(&self) -> Vec<i32> {
        let lengths = self.groups.iter().flat_map(|group| std::iter::repeat_n(group.length, group.count));
        lengths.flat_map(|length| 0..length as i32).collect()
    }

    /// Fails unless the documents cover `rows` rows.
    pub(crate) fn expect(&self, op: &'static str, rows: usize) -> Result<()> {
        if self.rows == rows {
            return Ok(());
        }
        Err(Error::shape(op, format!("documents of {rows} rows together"), format!("{} rows", self.rows)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_equal_length_share_a_group_and_positions_restart() {
        let documents = Documents::new([3, 0, 3, 2, 3]);
        let groups: Vec<_> = documents.groups().iter().map(|g| (g.rows(), g.count, g.length)).collect();
        assert_eq!(groups, [(0..6, 2, 3), (6..8, 1, 2), (8..11, 1, 3)]);
        assert_eq!((documents.rows(), documents.len()), (11, 4));
        assert_eq!(documents.positions(), [0, 1, 2, 0, 1, 2, 0, 1, 0, 1, 2]);
        assert!(documents.expect("test", 12).is_err() && Documents::new([]).is_empty());
    }
}
