//! Where every lane's next rows go and how long it is at each of the coming steps. It depends on
//! nothing that is computed, so it is worked out before decoding begins and lies on the device:
//! a step takes its row of the table and waits for nobody.

use wane_kernels::{Device, Tensor};

use crate::Result;
use crate::cache::ring::Rows;

/// The coming steps of all lanes of one layer.
#[derive(Debug, Clone)]
pub struct Schedule {
    starts: Vec<Vec<usize>>,
    lens: Vec<Vec<usize>>,
    // I32 [steps, lanes] each.
    device_starts: Tensor,
    device_lens: Tensor,
}

impl Schedule {
    /// `steps` steps from the present state of the lanes.
    pub(crate) fn new(mut lanes: Vec<Rows>, steps: usize, device: &Device) -> Result<Self> {
        let (mut starts, mut lens) = (Vec::with_capacity(steps), Vec::with_capacity(steps));
        for _ in 0..steps {
            starts.push(lanes.iter_mut().map(Rows::place).collect::<Vec<_>>());
            lens.push(lanes.iter().map(|rows| rows.len).collect::<Vec<_>>());
        }
        let upload = |table: &[Vec<usize>]| -> Result<Tensor> {
            let words: Vec<i32> = table.iter().flatten().map(|&x| x as i32).collect();
            Ok(Tensor::from_i32(&words, &[steps, lanes.len()], device)?)
        };
        let (device_starts, device_lens) = (upload(&starts)?, upload(&lens)?);
        Ok(Self { starts, lens, device_starts, device_lens })
    }

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

    /// I32 [lanes]: rows written at `step`.
    pub(crate) fn starts_at(&self, step: usize) -> Result<Tensor> {
        Ok(self.device_starts.slice(step, step + 1)?.reshape(&[self.device_starts.width()])?)
    }

    /// I32 [lanes]: lengths at `step`.
    pub(crate) fn lens_at(&self, step: usize) -> Result<Tensor> {
        Ok(self.device_lens.slice(step, step + 1)?.reshape(&[self.device_lens.width()])?)
    }
}
