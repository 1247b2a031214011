//! Where every lane's next rows go and how long it is at each of the coming steps. It depends on
//! nothing that is computed, so it is worked out before decoding begins and lies on the device:
//! a step takes its row of the table and waits for nobody.

use std::sync::Mutex;

use wane_kernels::Tensor;

use crate::Result;
use crate::cache::ring::Rows;
use crate::cache::words::{Part, Uploaded, Words};

/// The coming steps of all lanes of one layer.
#[derive(Debug)]
pub struct Schedule {
    starts: Vec<Vec<usize>>,
    lens: Vec<Vec<usize>>,
    // I32 [steps, lanes] each.
    device_starts: Tensor,
    device_lens: Tensor,
    // Number of blocks of a size, repeated so often.
    blocks: Mutex<Vec<([usize; 2], Tensor)>>,
}

/// A schedule that is not on the device yet.
#[derive(Debug)]
pub(crate) struct Coming {
    starts: Vec<Vec<usize>>,
    lens: Vec<Vec<usize>>,
    device_starts: Part,
    device_lens: Part,
}

impl Coming {
    /// `steps` steps from the present state of the lanes, to be uploaded with `words`.
    pub(crate) fn new(mut lanes: Vec<Rows>, steps: usize, words: &mut Words) -> Self {
        let (mut starts, mut lens) = (Vec::with_capacity(steps), Vec::with_capacity(steps));
        for _ in 0..steps {
            starts.push(lanes.iter_mut().map(Rows::place).collect::<Vec<_>>());
            lens.push(lanes.iter().map(|rows| rows.len).collect::<Vec<_>>());
        }
        let mut push = |table: &[Vec<usize>]| {
            words.push(&[steps, lanes.len()], table.iter().flatten().map(|&x| x as i32))
        };
        let (device_starts, device_lens) = (push(&starts), push(&lens));
        Self { starts, lens, device_starts, device_lens }
    }

    /// Rows of each lane with the newest one, `[step][lane]`.
    pub(crate) fn lens(&self) -> &[Vec<usize>] {
        &self.lens
    }

    /// The schedule, once its words are on the device.
    pub(crate) fn placed(self, uploaded: &Uploaded) -> Result<Schedule> {
        Ok(Schedule {
            device_starts: uploaded.part(&self.device_starts)?,
            device_lens: uploaded.part(&self.device_lens)?,
            starts: self.starts,
            lens: self.lens,
            blocks: Mutex::default(),
        })
    }
}

impl Schedule {
    /// The row that each lane writes, `[step][lane]`.
    pub fn starts(&self) -> &[Vec<usize>] {
        &self.starts
    }

    /// Rows of each lane with the newest one, `[step][lane]`.
    pub fn lens(&self) -> &[Vec<usize>] {
        &self.lens
    }

    /// The largest length at any step.
    pub fn max_len(&self) -> usize {
        self.lens.last().map_or(0, |lens| lens.iter().copied().max().unwrap_or(0))
    }

    /// I32 [steps, lanes * repeat]: the blocks of `block` rows of each lane at every step, `repeat` times.
    /// Layers with one schedule share it.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn blocks(&self, block: usize, repeat: usize) -> Result<Tensor> {
        let mut known = self.blocks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, blocks)) = known.iter().find(|(key, _)| *key == [block, repeat]) {
            return Ok(blocks.clone());
        }
        let lens = self.lens.iter().flatten().flat_map(|&len| std::iter::repeat_n(len, repeat));
        let values: Vec<i32> = lens.map(|len| len.div_ceil(block) as i32).collect();
        let shape = [self.lens.len(), self.device_lens.width() * repeat];
        let blocks = Tensor::from_i32(&values, &shape, self.device_lens.device())?;
        known.push(([block, repeat], blocks.clone()));
        Ok(blocks)
    }

    /// I32 [lanes]: rows written at `step`.
    pub(crate) fn starts_at(&self, step: usize) -> Result<Tensor> {
        Ok(self.device_starts.slice(step, step + 1)?.reshape(&[self.device_starts.width()])?)
    }

    /// I32 [lanes]: lengths at `step`.
    pub(crate) fn lens_at(&self, step: usize) -> Result<Tensor> {
        Ok(self.device_lens.slice(step, step + 1)?.reshape(&[self.device_lens.width()])?)
    }
}
