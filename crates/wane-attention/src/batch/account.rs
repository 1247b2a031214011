//! Bytes: what a decode step touches, and what stays resident.

use super::DecodeBatch;
use crate::Result;
use crate::probe::selection_rows;

/// Bytes that one sequence touched in one decode step, all layers together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepBytes {
    /// Keys and values that were read (a block that several heads of a group read counts once).
    pub keys_values: u64,
    /// Summaries that were read to select.
    pub summaries: u64,
}

impl DecodeBatch {
    /// What each sequence touched in the present step: call it after the last layer and before
    /// [`Self::advance`]. Reads selections back from the device, so it waits for it.
    ///
    /// # Errors
    /// Reading a selection failed.
    pub fn step_bytes(&self) -> Result<Vec<StepBytes>> {
        let row_bytes = 2 * self.config.head_dim() * self.config.pool.dtype().size();
        let mut bytes = vec![StepBytes::default(); self.len()];
        for layer in &self.layers {
            let lens = &layer.schedule.lens()[self.step];
            let lane_heads = lens.len() / self.len();
            let Some(reads) = &layer.last_reads else {
                for (lane, &len) in lens.iter().enumerate() {
                    bytes[lane / lane_heads].keys_values += (len * row_bytes) as u64;
                }
                continue;
            };
            let selected = selection_rows(&reads.selection)?;
            for (lane, (&len, rows)) in
                lens.iter().zip(selected.chunks(selected.len() / lens.len())).enumerate()
            {
                let mut read = vec![false; len.div_ceil(reads.block)];
                rows.iter().flatten().for_each(|&block| read[block as usize] = true);
                let rows: usize = (0..read.len())
                    .filter(|&block| read[block])
                    .map(|block| reads.block.min(len - block * reads.block))
                    .sum();
                let touched = &mut bytes[lane / lane_heads];
                touched.keys_values += (rows * row_bytes) as u64;
                touched.summaries +=
                    layer.selector.as_ref().map_or(0, |selector| selector.summary_bytes(len)) as u64;
            }
        }
        Ok(bytes)
    }

    /// Bytes of each sequence's pages, those reserved for coming steps included.
    pub fn resident_bytes(&self) -> Vec<usize> {
        self.caches.iter().map(crate::SequenceCache::resident_bytes).collect()
    }
}
