//! Times the attention kernels on a GPU and checks samples of their results against f64.
//!
//! `cargo run --release --example cuda_attention_bench [causal | restricted | decode | prefill]`, all parts
//! or one; beside it, `reference/torch_attention_speed.py` times PyTorch's `scaled_dot_product_attention` at
//! the shapes of `causal`. On an H100 or H200 both variants of the kernels are timed. Causal rates count half
//! of the T x T products: forward 2 T T d per head, backward 2.5 times that.

use half::bf16;
use wane_kernels::cuda::CudaDevice;
use wane_kernels::kv::PAGE_LEN;
use wane_kernels::ops::attention::{
    Attended, AttentionDims, AttentionSaved, CudaVariant, Pattern, attention,
};
use wane_kernels::ops::block_attention::{CudaPrefill, Reads, decode};
use wane_kernels::testing::noise;
use wane_kernels::{DType, Device, KvView, Page, PagePool, Result, Selection, Tensor};

use std::sync::Arc;

fn random(rows: usize, width: usize, seed: u64, device: &Device) -> Result<Tensor> {
    let values: Vec<bf16> = noise(rows * width, seed).iter().map(|&x| bf16::from_f32(2.0 * x)).collect();
    Tensor::from_bytes(bytemuck::cast_slice(&values), &[rows, width], DType::BF16, device)
}

/// Median over five rounds of the seconds that one call takes.
fn seconds(gpu: &CudaDevice, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    const CALLS: usize = 10;
    (0..3).try_for_each(|_| call())?;
    let mut rounds = Vec::new();
    for _ in 0..5 {
        rounds.push(gpu.time(|| (0..CALLS).try_for_each(|_| call()))? / CALLS as f64);
    }
    rounds.sort_by(f64::total_cmp);
    Ok(rounds[2])
}

/// Inputs and results on the host, for the checks.
struct Host {
    dims: AttentionDims,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    doutput: Vec<f32>,
    output: Vec<f32>,
    lse: Vec<f32>,
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
}

fn relative(got: &[f32], want: &[f64]) -> f64 {
    let difference: f64 = got.iter().zip(want).map(|(&g, w)| (f64::from(g) - w).powi(2)).sum();
    (difference / want.iter().map(|w| w * w).sum::<f64>()).sqrt()
}

impl Host {
    /// Row of head `head` in a matrix of `heads` heads.
    fn row<'a>(&self, matrix: &'a [f32], heads: usize, token: usize, head: usize) -> &'a [f32] {
        &matrix[(token * heads + head) * self.dims.head_dim..][..self.dims.head_dim]
    }

    /// Error of the output at one query of the first sequence.
    fn output_error(&self, query: usize, head: usize) -> f64 {
        let AttentionDims { heads, kv_heads, head_dim, scale, pattern, .. } = self.dims;
        let (mut total, mut want) = (0.0, vec![0.0; head_dim]);
        for key in (0..=query).filter(|&key| pattern.sees(query, key)) {
            let q = self.row(&self.q, heads, query, head);
            let p =
                (f64::from(scale) * dot(q, self.row(&self.k, kv_heads, key, head * kv_heads / heads))).exp();
            total += p;
            let v = self.row(&self.v, kv_heads, key, head * kv_heads / heads);
            want.iter_mut().zip(v).for_each(|(w, &v)| *w += p * f64::from(v));
        }
        want.iter_mut().for_each(|w| *w /= total);
        relative(self.row(&self.output, heads, query, head), &want)
    }

    /// p and ds of one pair, from the forward's statistics.
    fn pair(&self, query: usize, key: usize, head: usize) -> (f64, f64) {
        let AttentionDims { heads, kv_heads, queries, scale, .. } = self.dims;
        let kv_head = head * kv_heads / heads;
        let (q, g) = (self.row(&self.q, heads, query, head), self.row(&self.doutput, heads, query, head));
        let (k, v) = (self.row(&self.k, kv_heads, key, kv_head), self.row(&self.v, kv_heads, key, kv_head));
        let p = (f64::from(scale) * dot(q, k) - f64::from(self.lse[head * queries + query])).exp();
        let delta = dot(g, self.row(&self.output, heads, query, head));
        (p, f64::from(scale) * p * (dot(g, v) - delta))
    }

    /// Errors of dq at one query, and of dk and dv at one key, of the first sequence.
    fn gradient_errors(&self, grads: [&[f32]; 3], query: usize, key: usize, head: usize) -> [f64; 3] {
        let AttentionDims { heads, kv_heads, head_dim, queries, pattern, .. } = self.dims;
        let (kv_head, group) = (head * kv_heads / heads, heads / kv_heads);
        let add = |to: &mut [f64], factor: f64, row: &[f32]| {
            to.iter_mut().zip(row).for_each(|(t, &x)| *t += factor * f64::from(x));
        };
        let [mut dq, mut dk, mut dv] = [0; 3].map(|_| vec![0.0; head_dim]);
        for key in (0..=query).filter(|&key| pattern.sees(query, key)) {
            add(&mut dq, self.pair(query, key, head).1, self.row(&self.k, kv_heads, key, kv_head));
        }
        for head in kv_head * group..(kv_head + 1) * group {
            for query in (key..queries).filter(|&query| pattern.sees(query, key)) {
                let (p, ds) = self.pair(query, key, head);
                add(&mut dk, ds, self.row(&self.q, heads, query, head));
                add(&mut dv, p, self.row(&self.doutput, heads, query, head));
            }
        }
        [
            relative(self.row(grads[0], heads, query, head), &dq),
            relative(self.row(grads[1], kv_heads, key, kv_head), &dk),
            relative(self.row(grads[2], kv_heads, key, kv_head), &dv),
        ]
    }
}

fn training(gpu: &Arc<CudaDevice>, device: &Device, name: &str, dims: AttentionDims) -> Result<()> {
    for variant in [CudaVariant::Portable, CudaVariant::Hopper] {
        if variant.serves(gpu, dims) {
            train_by(variant, gpu, device, name, dims)?;
        }
    }
    Ok(())
}

fn train_by(
    variant: CudaVariant,
    gpu: &Arc<CudaDevice>,
    device: &Device,
    name: &str,
    dims: AttentionDims,
) -> Result<()> {
    let AttentionDims { batch, queries, heads, kv_heads, head_dim, .. } = dims;
    let tokens = batch * queries;
    let q = random(tokens, heads * head_dim, 1, device)?;
    let k = random(tokens, kv_heads * head_dim, 2, device)?;
    let v = random(tokens, kv_heads * head_dim, 3, device)?;
    let doutput = random(tokens, heads * head_dim, 4, device)?;
    let attended = variant.attention(&q, &k, &v, dims)?;
    let saved = AttentionSaved { q: &q, k: &k, v: &v, attended: &attended };
    let grads = variant.backward(&doutput, saved, dims)?;

    let Attended { output, lse } = &attended;
    let host = |tensor: &Tensor| tensor.to_f32_vec();
    let [q_host, k_host, v_host, doutput_host] = [host(&q)?, host(&k)?, host(&v)?, host(&doutput)?];
    let checked = Host {
        dims,
        q: q_host,
        k: k_host,
        v: v_host,
        doutput: doutput_host,
        output: host(output)?,
        lse: host(lse)?,
    };
    let gradients = [host(&grads.dq)?, host(&grads.dk)?, host(&grads.dv)?];
    let finite = gradients.iter().chain([&checked.output]).all(|values| values.iter().all(|x| x.is_finite()));
    let (mut worst, mut worst_gradients) = (0.0f64, [0.0f64; 3]);
    for sample in 0..24 {
        let (query, head) = ((sample * 7919 + 163) % queries, (sample * 5) % heads);
        worst = worst.max(checked.output_error(query, head));
        let gradients = [&gradients[0][..], &gradients[1], &gradients[2]];
        let errors = checked.gradient_errors(gradients, query, (sample * 6007 + 63) % queries, head);
        worst_gradients.iter_mut().zip(errors).for_each(|(w, e)| *w = w.max(e));
    }

    let forward = seconds(gpu, || variant.attention(&q, &k, &v, dims).map(drop))?;
    let both = seconds(gpu, || variant.backward(&doutput, saved, dims).map(drop))?;
    let products = 2.0 * (batch * heads * head_dim) as f64 * (queries * queries) as f64;
    println!(
        "{variant:?} {name} T {queries} d {head_dim} heads {heads}/{kv_heads} batch {batch}: forward {:.0} us, backward {:.0} us, dense rate {:.0} / {:.0} TFLOP/s; errors {worst:.1e}, dq dk dv {worst_gradients:.4?}, finite {finite}",
        forward * 1e6,
        both * 1e6,
        products / forward * 1e-12,
        2.5 * products / both * 1e-12,
    );
    Ok(())
}

/// Pages of random rows for every lane, and their table.
fn pages(
    device: &Device,
    lanes: usize,
    len: usize,
    head_dim: usize,
) -> Result<(Vec<Arc<Page>>, Tensor, Tensor)> {
    let pool = PagePool::new(device, DType::BF16, head_dim);
    let pages: Vec<Arc<Page>> =
        (0..lanes * len.div_ceil(PAGE_LEN)).map(|_| pool.allocate()).collect::<Result<_>>()?;
    let words: Vec<i32> = pages
        .iter()
        .flat_map(|page| [page.address() as u32 as i32, (page.address() >> 32) as u32 as i32])
        .collect();
    let table = Tensor::from_i32(&words, &[lanes, len.div_ceil(PAGE_LEN), 2], device)?;
    let lens = Tensor::from_i32(&vec![len as i32; lanes], &[lanes], device)?;
    Ok((pages, table, lens))
}

fn decoding(
    gpu: &Arc<CudaDevice>,
    device: &Device,
    sequences: usize,
    len: usize,
    head_dim: usize,
) -> Result<()> {
    let (heads, kv_heads) = (32, 8);
    let (_pages, table, lens) = pages(device, sequences * kv_heads, len, head_dim)?;
    let q = random(sequences, heads * head_dim, 5, device)?;
    let view = KvView { table: &table, lens: &lens, max_len: len, kv_heads, head_dim, dtype: DType::BF16 };
    let dense = seconds(gpu, || decode(&q, view, heads, 0.1, Reads::All).map(drop))?;
    let bytes = (sequences * kv_heads * len * head_dim * 4) as f64;

    let (block, width) = (64, len / 64 / 16);
    let lists: Vec<i32> =
        (0..sequences * kv_heads).flat_map(|_| (0..width as i32).map(|b| b * 16 + b % 16)).collect();
    let selection = Selection {
        indices: Tensor::from_i32(&lists, &[sequences * kv_heads, width], device)?,
        counts: Tensor::from_i32(&vec![width as i32; sequences * kv_heads], &[sequences * kv_heads], device)?,
    };
    let reads = Reads::Blocks { selection: &selection, block };
    let sparse = seconds(gpu, || decode(&q, view, heads, 0.1, reads).map(drop))?;
    println!(
        "decode {sequences} x {len} rows, d {head_dim}, heads {heads}/{kv_heads}: {:.1} us, {:.0} GB/s; 1/16 of the blocks {:.1} us",
        dense * 1e6,
        bytes / dense * 1e-9,
        sparse * 1e6,
    );
    Ok(())
}

/// For every (head, query) the first block, the own, and one of each of `width` - 2 ranges between them,
/// which differs from query to query.
fn scattered(dims: AttentionDims, block: usize, width: usize, device: &Device) -> Result<Selection> {
    let rows = dims.heads * dims.queries;
    let (mut indices, mut counts) = (Vec::with_capacity(rows * width), Vec::with_capacity(rows));
    let ranges = width - 1;
    for (row, draws) in noise(rows * ranges, 1).chunks(ranges).enumerate() {
        let own = row % dims.queries / block;
        let start = indices.len();
        for (i, draw) in draws.iter().enumerate() {
            let (low, high) = (own * i / ranges, own * (i + 1) / ranges);
            if low < high {
                let step = if i == 0 { 0.0 } else { (draw + 1.0) / 2.0 * (high - low) as f32 };
                indices.push((low + step as usize) as i32);
            }
        }
        indices.push(own as i32);
        counts.push((indices.len() - start) as i32);
        indices.resize(start + width, -1);
    }
    Ok(Selection {
        indices: Tensor::from_i32(&indices, &[rows, width], device)?,
        counts: Tensor::from_i32(&counts, &[rows], device)?,
    })
}

fn selected(
    gpu: &Arc<CudaDevice>,
    device: &Device,
    dims: AttentionDims,
    block: usize,
    width: usize,
) -> Result<()> {
    let AttentionDims { queries, heads, kv_heads, head_dim, .. } = dims;
    let q = random(queries, heads * head_dim, 1, device)?;
    let k = random(queries, kv_heads * head_dim, 2, device)?;
    let v = random(queries, kv_heads * head_dim, 3, device)?;
    let selection = scattered(dims, block, width, device)?;
    let by = |variant: CudaPrefill| variant.prefill([&q, &k, &v], &selection, block, dims);
    let difference = if queries <= 4096 {
        let want: Vec<f64> = by(CudaPrefill::Masked)?.to_f32_vec()?.iter().map(|&x| f64::from(x)).collect();
        format!("{:.1e}", relative(&by(CudaPrefill::Gathered)?.to_f32_vec()?, &want))
    } else {
        "not taken".to_owned()
    };
    let dense = seconds(gpu, || attention(&q, &k, &v, dims).map(drop))?;
    let masked = seconds(gpu, || by(CudaPrefill::Masked).map(drop))?;
    let gathered = seconds(gpu, || by(CudaPrefill::Gathered).map(drop))?;
    println!(
        "prefill T {queries} d {head_dim} heads {heads}/{kv_heads}, {width} blocks of {block}: dense {:.0} us, masked {:.0} us, gathered {:.0} us ({:.2} x dense); difference {difference}",
        dense * 1e6,
        masked * 1e6,
        gathered * 1e6,
        gathered / dense,
    );
    Ok(())
}

fn main() -> Result<()> {
    let device = Device::cuda(0)?;
    let Device::Cuda(gpu) = &device else { return Ok(()) };
    println!("{} {}", gpu.name(), gpu.arch());
    let dims = |head_dim: usize, heads: usize, kv_heads: usize, pattern: Pattern| AttentionDims {
        batch: 4,
        queries: 4096,
        keys: 4096,
        heads,
        kv_heads,
        head_dim,
        scale: (head_dim as f32).sqrt().recip(),
        pattern,
    };
    // All parts, or the one that is named.
    let named = std::env::args().nth(1);
    let wanted = |part: &str| named.as_deref().is_none_or(|name| name == part);
    if wanted("causal") {
        for (head_dim, heads, kv_heads) in [(32, 32, 32), (64, 16, 16), (128, 16, 16), (128, 16, 4)] {
            training(gpu, &device, "causal", dims(head_dim, heads, kv_heads, Pattern::Causal))?;
        }
    }
    if wanted("restricted") {
        let strided = Pattern::Dilated { dilation: Some(64), window: 0, initial: 0 };
        let windowed = Pattern::Dilated { dilation: None, window: 64, initial: 0 };
        for head_dim in [64, 128] {
            training(gpu, &device, "dilation 64", dims(head_dim, 16, 16, strided))?;
            training(gpu, &device, "window 64", dims(head_dim, 16, 16, windowed))?;
        }
        let small = AttentionDims { batch: 8, ..dims(64, 4, 4, strided) };
        training(gpu, &device, "dilation 64, batch 8", small)?;
    }
    if wanted("decode") {
        for (sequences, len, head_dim) in
            [(1, 4096, 128), (1, 131_072, 128), (16, 32_768, 128), (16, 32_768, 64)]
        {
            decoding(gpu, &device, sequences, len, head_dim)?;
        }
    }
    if wanted("prefill") {
        for (tokens, head_dim, heads, kv_heads, block, width) in [
            (3150, 64, 4, 4, 64, 16),
            (3150, 64, 4, 4, 16, 64),
            (4096, 64, 4, 4, 64, 16),
            (4096, 128, 32, 8, 64, 16),
            (32_768, 64, 4, 4, 64, 16),
            (32_768, 128, 32, 8, 64, 16),
        ] {
            let prompt = AttentionDims {
                batch: 1,
                queries: tokens,
                keys: tokens,
                ..dims(head_dim, heads, kv_heads, Pattern::Causal)
            };
            selected(gpu, &device, prompt, block, width)?;
        }
    }
    Ok(())
}
