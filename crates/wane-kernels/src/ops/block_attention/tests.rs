//! Prefill over selected blocks and decoding over pages, against the reference.

use super::*;
use crate::DType;
use crate::testing::paged::PagedKv;
use crate::testing::{assert_close, device, narrow, noise, noise_activations, tolerance};

const TOLERANCE_F32: f32 = 3e-6;
const TOLERANCE_BF16: f32 = 1e-2;

/// For each row a pseudo-random subset of its `blocks(row)` blocks that contains the last one.
fn random_selection(rows: usize, blocks: impl Fn(usize) -> usize) -> Selection {
    let width = (0..rows).map(&blocks).max().unwrap_or(0);
    let coins = noise(rows * width, 99);
    let (mut indices, mut counts) = (vec![-1; rows * width], vec![0; rows]);
    for row in 0..rows {
        let last = blocks(row) - 1;
        let chosen = (0..=last).filter(|&b| b == last || coins[row * width + b] > 0.3);
        for b in chosen {
            indices[row * width + counts[row] as usize] = b as i32;
            counts[row] += 1;
        }
    }
    Selection {
        indices: Tensor::from_i32(&indices, &[rows, width], &device()).expect("indices"),
        counts: Tensor::from_i32(&counts, &[rows], &device()).expect("counts"),
    }
}

fn host(tensor: &Tensor) -> Vec<f32> {
    tensor.to_f32_vec().expect("floats")
}

fn dims(queries: usize, keys: usize, head_dim: usize) -> AttentionDims {
    AttentionDims {
        batch: 1,
        queries,
        keys,
        heads: 4,
        kv_heads: 2,
        head_dim,
        scale: (head_dim as f32).sqrt().recip(),
        pattern: Pattern::Causal,
    }
}

/// Selections such as a method could make, and worse: per row up to `width` blocks far apart, every ninth row
/// empty, every fifth with -1 and a block that does not exist, and blocks behind the count.
fn scattered_selection(rows: usize, width: usize, blocks: impl Fn(usize) -> usize) -> Selection {
    let (mut indices, mut counts) = (Vec::new(), Vec::new());
    for row in 0..rows {
        let own = blocks(row) - 1;
        let mut list: Vec<i32> = (0..width).map(|i| (own * i / width + row * i % 3) as i32).collect();
        list.retain(|&b| b < own as i32);
        list.push(own as i32);
        list.sort_unstable();
        list.dedup();
        if row % 5 == 0 {
            list.splice(0..1, [-1, 1 << 20]);
        }
        list.truncate(width);
        counts.push(if row % 9 == 4 { 0 } else { list.len() as i32 });
        // Not counted, although it exists.
        list.resize(width, 0);
        indices.extend(list);
    }
    Selection {
        indices: Tensor::from_i32(&indices, &[rows, width], &device()).expect("indices"),
        counts: Tensor::from_i32(&counts, &[rows], &device()).expect("counts"),
    }
}

/// The prefill as it is chosen, and on a GPU by all kernels.
fn prefills(
    tensors: [&Tensor; 3],
    selection: &Selection,
    block: usize,
    dims: AttentionDims,
) -> Vec<(&'static str, Tensor)> {
    let [q, k, v] = tensors;
    let mut outputs = vec![("chosen", prefill(q, k, v, selection, block, dims).expect("prefill"))];
    if matches!(q.device(), Device::Cuda(_)) {
        let by = |variant: CudaPrefill| variant.prefill(tensors, selection, block, dims).expect("prefill");
        outputs.push(("masked", by(CudaPrefill::Masked)));
        outputs.push(("gathered", by(CudaPrefill::Gathered)));
        let passes = gathered::prefill(tensors, selection, block, dims, 50_000).expect("passes");
        outputs.push(("gathered in passes", passes));
    }
    outputs
}

#[track_caller]
fn check_prefill(dims: AttentionDims, block: usize, selection: &Selection) {
    let AttentionDims { queries, keys, heads, kv_heads, head_dim, scale, .. } = dims;
    let device = device();
    let q = noise_activations(&[queries, heads * head_dim], 1, &device);
    let k = noise_activations(&[keys, kv_heads * head_dim], 2, &device);
    let v = noise_activations(&[keys, kv_heads * head_dim], 3, &device);
    let lists = selection.indices.to_i32_vec().expect("indices");
    let counts = selection.counts.to_i32_vec().expect("counts");
    let column = |side: &[f32], head: usize| -> Vec<f32> {
        side.chunks(kv_heads * head_dim).flat_map(|row| row[head * head_dim..][..head_dim].to_vec()).collect()
    };
    let (host_q, host_k, host_v) = (host(&q), host(&k), host(&v));
    let columns: Vec<_> =
        (0..kv_heads).map(|head| [&host_k, &host_v].map(|side| column(side, head))).collect();
    let mut want = Vec::new();
    for i in 0..queries {
        for head in 0..heads {
            let kv_head = head / (heads / kv_heads);
            let row = head * queries + i;
            let list = &lists[row * selection.indices.width()..][..counts[row] as usize];
            let rows = reference::rows(list, block, dims.position(i) + 1);
            let query = &host_q[(i * heads + head) * head_dim..][..head_dim];
            let [keys, values] = &columns[kv_head];
            want.extend(reference::attend(query, keys, values, &rows, scale));
        }
    }
    let tolerance = tolerance(&device, TOLERANCE_F32, TOLERANCE_BF16);
    for (name, got) in prefills([&q, &k, &v], selection, block, dims) {
        assert_close(&format!("{name}, block {block}, {dims:?}"), &host(&got), &narrow(&want), tolerance);
    }
}

/// Blocks that the query behind a selection's row can see.
fn visible_blocks(dims: AttentionDims, block: usize) -> impl Fn(usize) -> usize {
    move |row| dims.position(row % dims.queries) / block + 1
}

#[test]
fn prefill_reads_the_selected_blocks() {
    for (queries, keys, head_dim, block) in [
        (1, 1, 64, 16),
        (63, 63, 64, 16),
        (130, 130, 64, 64),
        (97, 130, 40, 24),
        (70, 257, 32, 128),
        (33, 99, 96, 1),
    ] {
        let dims = dims(queries, keys, head_dim);
        let selection = random_selection(dims.heads * queries, visible_blocks(dims, block));
        check_prefill(dims, block, &selection);
    }
}

#[test]
fn prefill_reads_scattered_blocks() {
    for (queries, keys, head_dim, block, width) in [
        (300, 700, 64, 64, 4),
        (333, 333, 128, 16, 5),
        (150, 1300, 96, 1, 7),
        (130, 515, 40, 200, 2),
        (200, 200, 32, 300, 1),
        (1, 520, 64, 32, 6),
    ] {
        let dims = dims(queries, keys, head_dim);
        let selection = scattered_selection(dims.heads * queries, width, visible_blocks(dims, block));
        check_prefill(dims, block, &selection);
        let shared = AttentionDims { heads: 6, kv_heads: 1, ..dims };
        let selection = scattered_selection(6 * queries, width, visible_blocks(dims, block));
        check_prefill(shared, block, &selection);
    }
}

#[test]
fn gathering_passes_cover_every_query_within_the_workspace() {
    for (queries, keys, workspace) in [(300, 700, 1 << 30), (300, 700, 300_000), (97, 97, 2000), (1, 5, 1)] {
        let dims = AttentionDims { heads: 12, kv_heads: 4, ..dims(queries, keys, 64) };
        let mut seen = vec![0; dims.heads * queries];
        for pass in gathered::passes(dims, 5, 16, workspace) {
            assert_eq!((pass.head0 % 3, pass.heads % 3), (0, 0), "whole groups");
            let bytes = (pass.heads * pass.queries * 5) as usize * gathered::entry_bytes(64);
            assert!(bytes <= workspace || (pass.heads, pass.queries) == (3, 1), "{pass:?}");
            let end = dims.position((pass.query0 + pass.queries - 1) as usize) + 1;
            assert_eq!(pass.blocks as usize, end.div_ceil(16), "{pass:?}");
            for head in pass.head0..pass.head0 + pass.heads {
                for query in pass.query0..pass.query0 + pass.queries {
                    seen[head as usize * queries + query as usize] += 1;
                }
            }
        }
        assert!(seen.iter().all(|&times| times == 1), "{queries} queries, {workspace} bytes");
    }
}

#[test]
fn prefill_over_every_block_is_dense() {
    let dims = dims(130, 130, 64);
    let device = device();
    let q = noise_activations(&[130, 4 * 64], 1, &device);
    let k = noise_activations(&[130, 2 * 64], 2, &device);
    let v = noise_activations(&[130, 2 * 64], 3, &device);
    let all: Vec<i32> = (0..4 * 130)
        .flat_map(|row| (0..5).map(move |b| if b <= (row % 130) / 32 { b } else { -1 }))
        .collect();
    let counts: Vec<i32> = (0..4 * 130).map(|row| (row % 130) / 32 + 1).collect();
    let selection = Selection {
        indices: Tensor::from_i32(&all, &[4 * 130, 5], &device).expect("indices"),
        counts: Tensor::from_i32(&counts, &[4 * 130], &device).expect("counts"),
    };
    let want = crate::ops::attention::attention(&q, &k, &v, dims).expect("dense").output;
    for (name, got) in prefills([&q, &k, &v], &selection, 32, dims) {
        assert_close(name, &host(&got), &host(&want), tolerance(&device, TOLERANCE_F32, TOLERANCE_BF16));
    }
}

/// Who selects in a decode step.
#[derive(Debug, Clone, Copy)]
enum Select {
    Nothing,
    PerQueryHead(usize),
    PerKvHead(usize),
}

#[track_caller]
fn check_decode(dtype: DType, head_dim: usize, group: usize, lens: &[usize], select: Select) {
    let (device, kv_heads) = (device(), 2);
    let (heads, sequences) = (kv_heads * group, lens.len() / kv_heads);
    let paged = PagedKv::noise(&device, dtype, kv_heads, head_dim, lens);
    let q = noise_activations(&[sequences, heads * head_dim], 5, &device);
    let lane_of = |row: usize| row / heads * kv_heads + row % heads / group;
    let (selection, block) = match select {
        Select::Nothing => (None, 1),
        Select::PerQueryHead(block) => {
            (Some(random_selection(sequences * heads, |row| lens[lane_of(row)].div_ceil(block))), block)
        }
        Select::PerKvHead(block) => {
            (Some(random_selection(lens.len(), |lane| lens[lane].div_ceil(block))), block)
        }
    };
    let scale = 1.7 / (head_dim as f32).sqrt();
    let host_q = host(&q);
    let mut want = Vec::new();
    for row in 0..sequences * heads {
        let lane = lane_of(row);
        let rows = match &selection {
            None => (0..lens[lane]).collect(),
            Some(selection) => {
                let lists = selection.indices.to_i32_vec().expect("indices");
                let selector = if matches!(select, Select::PerKvHead(_)) { lane } else { row };
                let width = selection.indices.width();
                reference::rows(&lists[selector * width..][..width], block, lens[lane])
            }
        };
        let query = &host_q[row * head_dim..][..head_dim];
        want.extend(reference::attend(query, &paged.keys[lane], &paged.values[lane], &rows, scale));
    }
    let reads = match &selection {
        None => Reads::All,
        Some(selection) => Reads::Blocks { selection, block },
    };
    let got = decode(&q, paged.view(), heads, scale, reads).expect("decode");
    let name = format!("{dtype:?} head_dim {head_dim} group {group} lens {lens:?} {select:?}");
    assert_close(&name, &host(&got), &narrow(&want), tolerance(&device, TOLERANCE_F32, TOLERANCE_BF16));
}

#[test]
fn decode_reads_every_row() {
    for dtype in [DType::F32, DType::BF16] {
        for head_dim in [8, 32, 40, 64, 96, 128, 256] {
            check_decode(dtype, head_dim, 1, &[1, 63, 64, 130], Select::Nothing);
        }
        check_decode(dtype, 64, 3, &[257, 200, 5, 64], Select::Nothing);
        check_decode(dtype, 64, 1, &[2600, 1025], Select::Nothing);
    }
}

#[test]
fn decode_reads_selected_blocks() {
    for dtype in [DType::F32, DType::BF16] {
        for block in [1, 16, 24, 64, 128] {
            for select in [Select::PerQueryHead(block), Select::PerKvHead(block)] {
                check_decode(dtype, 64, 4, &[257, 200, 5, 64], select);
                check_decode(dtype, 40, 1, &[130, 2000], select);
            }
        }
    }
}

#[test]
fn decode_rejects_heads_that_do_not_fit() {
    let device = device();
    let paged = PagedKv::noise(&device, DType::BF16, 2, 32, &[5, 5]);
    let q = noise_activations(&[1, 3 * 32], 5, &device);
    decode(&q, paged.view(), 3, 1.0, Reads::All).expect_err("three heads over two");
    decode(&q, paged.view(), 4, 1.0, Reads::All).expect_err("a query of three heads, not four");
}
