//! columns on NVIDIA GPUs: one pass, 16 bytes per thread where alignment allows it.

use crate::cuda::{Launch, Module, address, args, device_of};
use crate::{Cols, ColsMut, Result};

static MODULE: Module<'static> = Module::new("columns", include_str!("columns.cu"));

pub(super) fn copy(from: Cols<'_>, to: ColsMut<'_>) -> Result<()> {
    let size = from.tensor.dtype().size();
    let source = address(from.tensor)? + (from.start * size) as u64;
    let target = address(to.tensor)? + (to.start * size) as u64;
    let (width, strides) = (from.width * size, [from.stride() * size, to.stride() * size]);
    let fits = |bytes: usize| {
        [source as usize, target as usize, width, strides[0], strides[1]]
            .iter()
            .all(|x| x.is_multiple_of(bytes))
    };
    let (kernel, bytes) =
        [("copy_16", 16), ("copy_4", 4)].into_iter().find(|k| fits(k.1)).unwrap_or(("copy_2", 2));
    let count = from.rows() * (width / bytes);
    if count == 0 {
        return Ok(());
    }
    device_of(from.tensor)?.launch(
        &MODULE,
        kernel,
        Launch::cover(count, 256),
        args![source, strides[0] as i64, target, strides[1] as i64, (width / bytes) as i32, count as i64],
    )
}
