//! Integers for several operators (page tables, lengths, row numbers), gathered on the host and copied to
//! the device at once: each part is then a slice of one tensor.

use wane_kernels::{Device, Tensor};

use crate::Result;

// Parts start at multiples of 256 bytes.
const ALIGNMENT: usize = 64;

/// What will be copied.
#[derive(Debug, Default)]
pub(crate) struct Words {
    words: Vec<i32>,
}

/// Where a part lies.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    start: usize,
    shape: Vec<usize>,
}

/// All parts on the device.
#[derive(Debug)]
pub(crate) struct Uploaded(Tensor);

impl Words {
    /// Takes the elements of a tensor of this shape.
    pub(crate) fn push(&mut self, shape: &[usize], values: impl IntoIterator<Item = i32>) -> Part {
        let start = self.words.len();
        self.words.extend(values);
        assert_eq!(self.words.len() - start, shape.iter().product::<usize>(), "elements of {shape:?}");
        self.words.resize(self.words.len().next_multiple_of(ALIGNMENT), 0);
        Part { start, shape: shape.to_vec() }
    }

    /// As [`Self::push`], one dimension of `count` equal values.
    pub(crate) fn push_equal(&mut self, value: usize, count: usize) -> Part {
        self.push(&[count], std::iter::repeat_n(value as i32, count))
    }

    /// One copy of everything.
    pub(crate) fn upload(&self, device: &Device) -> Result<Uploaded> {
        Ok(Uploaded(Tensor::from_i32(&self.words, &[self.words.len()], device)?))
    }
}

impl Uploaded {
    /// A part, I32 of its shape.
    pub(crate) fn part(&self, part: &Part) -> Result<Tensor> {
        let end = part.start + part.shape.iter().product::<usize>();
        Ok(self.0.slice(part.start, end)?.reshape(&part.shape)?)
    }
}
