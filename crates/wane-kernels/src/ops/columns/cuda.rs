//! Column copies on NVIDIA GPUs: 16 bytes per thread where the alignment allows.

use crate::cuda::{Launch, Module, address, args, device_of};
use crate::{Cols, ColsMut, Result};

static MODULE: Module<'static> = Module::new("columns", include_str!("columns.cu"));

pub(super) fn copy(from: Cols<'_>, to: ColsMut<'_>) -> Result<()> {
    let size = from.tensor.dtype().size();
    let [source, target] =
        [address(from.tensor)? + (from.start * size) as u64, address(to.tensor)? + (to.start * size) as u64];
    let bytes = [from.width, from.stride(), to.stride()].map(|elements| elements * size);
    let aligned = source.is_multiple_of(16)
        && target.is_multiple_of(16)
        && bytes.iter().all(|bytes| bytes.is_multiple_of(16));
    let word = if aligned { 16 } else { size };
    let [units, from_stride, to_stride] = bytes.map(|bytes| (bytes / word) as i64);
    let rows = from.rows();
    device_of(from.tensor)?.launch(
        &MODULE,
        &format!("copy_{word}"),
        Launch::cover(rows * units as usize, 256),
        args![source, target, rows as i64, units, from_stride, to_stride],
    )
}
