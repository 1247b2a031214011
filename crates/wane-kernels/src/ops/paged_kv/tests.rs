//! Rows survive a round trip through pages: appended in pieces, gathered, compacted.

use super::*;
use crate::testing::paged::PagedKv;
use crate::testing::{activations, device, noise};

fn host(tensor: &Tensor) -> Vec<f32> {
    tensor.to_f32_vec().expect("floats")
}

/// Noise that bf16 holds exactly, so that every conversion on the way is exact.
fn exact_noise(len: usize, seed: u64) -> Vec<f32> {
    noise(len, seed).iter().map(|x| (x * 128.0).round() / 128.0).collect()
}

/// Two sequences of `kv_heads` heads, 130 rows each, appended in pieces; their keys and values.
fn filled(dtype: DType, kv_heads: usize, head_dim: usize) -> (PagedKv, [Vec<f32>; 2]) {
    let (device, width, lanes) = (device(), kv_heads * head_dim, 2 * kv_heads);
    let mut paged = PagedKv::empty(&device, dtype, [lanes, kv_heads, head_dim], 130);
    let sides = [exact_noise(2 * 130 * width, 31), exact_noise(2 * 130 * width, 32)];
    for (start, end) in [(0, 63), (63, 64), (64, 130)] {
        let piece = |side: &[f32]| {
            let of =
                |sequence: usize| &side[(sequence * 130 + start) * width..(sequence * 130 + end) * width];
            activations(&[of(0), of(1)].concat(), &[2 * (end - start), width], &device)
        };
        let first = Tensor::from_i32(&vec![start as i32; lanes], &[lanes], &device).expect("start");
        append(paged.view(), &piece(&sides[0]), &piece(&sides[1]), &first).expect("append");
    }
    paged.set_lens(&vec![130; lanes]);
    (paged, sides)
}

#[test]
fn appended_rows_are_gathered() {
    for dtype in [DType::F32, DType::BF16] {
        for (kv_heads, head_dim) in [(1, 64), (3, 40), (2, 128)] {
            let (paged, [keys, values]) = filled(dtype, kv_heads, head_dim);
            let width = kv_heads * head_dim;
            for sequence in 0..2 {
                for len in [0, 1, 64, 65, 130] {
                    let (k, v) = gather(paged.view(), sequence, len).expect("gather");
                    assert_eq!((k.shape(), k.dtype()), (&[len, width][..], dtype));
                    let rows = sequence * 130 * width..(sequence * 130 + len) * width;
                    assert_eq!(host(&k), keys[rows.clone()], "keys of {len} rows");
                    assert_eq!(host(&v), values[rows], "values of {len} rows");
                }
            }
        }
    }
}

#[test]
fn compacting_keeps_the_listed_rows() {
    for dtype in [DType::F32, DType::BF16] {
        let (kv_heads, head_dim) = (2, 40);
        let (paged, sides) = filled(dtype, kv_heads, head_dim);
        let keep: [&[i32]; 4] = [&[0, 5, 64, 129], &[1, 2, 3, 100], &[63, 64, 65, 66], &[126, 127, 128, 129]];
        let selection = Selection {
            indices: Tensor::from_i32(&keep.concat(), &[4, 4], &device()).expect("indices"),
            counts: Tensor::from_i32(&[4; 4], &[4], &device()).expect("counts"),
        };
        let mut to = PagedKv::empty(&device(), dtype, [4, kv_heads, head_dim], 4);
        compact(paged.view(), &selection, to.view()).expect("compact");
        to.set_lens(&[4; 4]);
        for sequence in 0..2 {
            let (k, v) = gather(to.view(), sequence, 4).expect("gather");
            for head in 0..kv_heads {
                for (got, side) in [(&k, &sides[0]), (&v, &sides[1])] {
                    let rows = reference::head_rows(side, kv_heads, head_dim, head);
                    let rows = &rows[sequence * 130..][..130];
                    let want = reference::compact(rows, keep[sequence * kv_heads + head]);
                    assert_eq!(reference::head_rows(&host(got), kv_heads, head_dim, head), want);
                }
            }
        }
    }
}

#[test]
fn pages_are_copied_whole() {
    for (dtype, head_dim) in [(DType::F32, 1), (DType::F32, 40), (DType::BF16, 3), (DType::BF16, 128)] {
        let (paged, [keys, _]) = filled(dtype, 1, head_dim);
        let pool = PagePool::new(&device(), dtype, head_dim);
        let copies: Vec<_> = (0..6).map(|_| pool.allocate().expect("a page")).collect();
        // Both lanes' three pages, the last first.
        let words = |address: u64| [address as i32, (address >> 32) as i32];
        let from: Vec<i32> = paged.view().table.to_i32_vec().expect("a table");
        let to: Vec<i32> = copies.iter().flat_map(|page| words(page.address())).collect();
        let pairs: Vec<i32> =
            (0..6).flat_map(|i| [&from[2 * (5 - i)..][..2], &to[2 * (5 - i)..][..2]].concat()).collect();
        copy_pages(&Tensor::from_i32(&pairs, &[6, 2, 2], &device()).expect("pairs"), &pool).expect("copies");
        let table = Tensor::from_i32(&to, &[2, 3, 2], &device()).expect("a table");
        let view = KvView { table: &table, ..paged.view() };
        for (lane, keys) in keys.chunks(130 * head_dim).enumerate() {
            let [copied, original] = [view, paged.view()].map(|view| gather(view, lane, 130).expect("rows"));
            assert_eq!(host(&copied.0), keys, "keys");
            assert_eq!(host(&copied.1), host(&original.1), "values");
        }
        copy_pages(&Tensor::zeros(&[0, 2, 2], DType::I32, &device()).expect("none"), &pool).expect("none");
        copy_pages(&Tensor::zeros(&[2, 2], DType::I32, &device()).expect("pairs"), &pool)
            .expect_err("a shape");
    }
}

#[test]
fn missing_pages_are_errors() {
    let device = device();
    let paged = PagedKv::empty(&device, DType::BF16, [2, 2, 32], 64);
    let rows = activations(&noise(65 * 64, 1), &[65, 64], &device);
    let start = Tensor::from_i32(&[0, 0], &[2], &device).expect("start");
    if device.is_cpu() {
        append(paged.view(), &rows, &rows, &start).expect_err("65 rows in one page");
    }
    gather(paged.view(), 0, 65).expect_err("65 rows in one page");
    gather(paged.view(), 1, 1).expect_err("one sequence only");
}
