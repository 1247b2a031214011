//! Times the attention operators on the CPU: `attention`, `backward`, `decode`, `quest`, `moba`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use wane_kernels::kv::PAGE_LEN;
use wane_kernels::ops::attention::{AttentionDims, AttentionSaved, Pattern, attention, backward};
use wane_kernels::ops::block_attention::{Reads, decode, prefill};
use wane_kernels::ops::block_summary::{
    GroupReduce, block_means, group_scores, mean_scores, quest_scores, update_min_max,
};
use wane_kernels::ops::paged_kv;
use wane_kernels::ops::top_k::{Forced, top_k};
use wane_kernels::testing::noise_tensor;
use wane_kernels::{DType, Device, KvView, Page, PagePool, Result, Tensor};

/// Nanoseconds that all threads of this process have run (Linux; elsewhere 0).
fn cpu_ns() -> u64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0 };
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|stat| stat.split(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// Best wall time, and with `WANE_BENCH=cpu` the best processor time instead, which on a machine
/// that is shared with others says more (run it with one thread).
fn best_of(repeats: usize, mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let by_cpu = std::env::var("WANE_BENCH").is_ok_and(|value| value == "cpu");
    let mut best = f64::INFINITY;
    for _ in 0..repeats {
        let (start, before) = (Instant::now(), cpu_ns());
        run()?;
        let elapsed = if by_cpu { (cpu_ns() - before) as f64 / 1e9 } else { start.elapsed().as_secs_f64() };
        best = best.min(elapsed);
    }
    Ok(best)
}

fn dims(tokens: usize, heads: usize, kv_heads: usize, head_dim: usize) -> AttentionDims {
    AttentionDims {
        batch: 1,
        queries: tokens,
        keys: tokens,
        heads,
        kv_heads,
        head_dim,
        scale: (head_dim as f32).sqrt().recip(),
        pattern: Pattern::Causal,
    }
}

fn inputs(dims: AttentionDims) -> [Tensor; 3] {
    let make = |heads, seed| noise_tensor(&[dims.keys, heads * dims.head_dim], seed, &Device::Cpu);
    [make(dims.heads, 1), make(dims.kv_heads, 2), make(dims.kv_heads, 3)]
}

fn time_attention() -> Result<()> {
    for (tokens, heads, kv_heads, head_dim) in [
        (512, 8, 8, 64),
        (4096, 8, 8, 64),
        (4096, 8, 2, 64),
        (2048, 8, 8, 128),
        (2048, 8, 8, 96),
        (2048, 8, 8, 40),
    ] {
        let dims = dims(tokens, heads, kv_heads, head_dim);
        let [q, k, v] = inputs(dims);
        let pairs = (tokens * (tokens + 1) / 2 * heads) as f64;
        let attended = attention(&q, &k, &v, dims)?;
        let s = best_of(5, || attention(&q, &k, &v, dims).map(|x| drop(black_box(x))))?;
        println!(
            "forward  {tokens} x {heads}/{kv_heads} x {head_dim}: {:.1} ms, {:.0} GFLOP/s",
            s * 1e3,
            pairs * 4.0 * head_dim as f64 / s / 1e9
        );
        let saved = AttentionSaved { q: &q, k: &k, v: &v, attended: &attended };
        if tokens <= 2048 {
            let s = best_of(3, || backward(&q, saved, dims).map(|x| drop(black_box(x))))?;
            println!(
                "backward {tokens} x {heads}/{kv_heads} x {head_dim}: {:.1} ms, {:.0} GFLOP/s",
                s * 1e3,
                pairs * 10.0 * head_dim as f64 / s / 1e9
            );
        }
    }
    let dense = dims(4096, 8, 8, 64);
    for (dilation, window) in [(Some(4), 0), (Some(16), 0), (Some(16), 256), (Some(64), 0), (None, 512)] {
        let pattern = Pattern::Dilated { dilation, window, initial: 4 };
        let dims = AttentionDims { pattern, ..dense };
        let [q, k, v] = inputs(dims);
        let s = best_of(3, || attention(&q, &k, &v, dims).map(|x| drop(black_box(x))))?;
        println!("forward 4096 x 8 x 64, {pattern:?}: {:.1} ms", s * 1e3);
    }
    Ok(())
}

/// Pages of noise for `lanes` lanes of `rows` rows, kept alive by the last element.
fn pages(
    lanes: usize,
    rows: usize,
    head_dim: usize,
    dtype: DType,
) -> Result<(Tensor, Tensor, Vec<Arc<Page>>)> {
    let pool = PagePool::new(&Device::Cpu, dtype, head_dim);
    let pages = (0..lanes * rows / PAGE_LEN).map(|_| pool.allocate()).collect::<Result<Vec<_>>>()?;
    let table: Vec<i32> =
        pages.iter().flat_map(|page| [page.address() as i32, (page.address() >> 32) as i32]).collect();
    let table = Tensor::from_i32(&table, &[lanes, rows / PAGE_LEN, 2], &Device::Cpu)?;
    let lens = Tensor::from_i32(&vec![rows as i32; lanes], &[lanes], &Device::Cpu)?;
    let step = 4096.min(rows);
    for start in (0..rows).step_by(step) {
        let k = noise_tensor(&[step, lanes * head_dim], start as u64, &Device::Cpu);
        let start = Tensor::from_i32(&vec![start as i32; lanes], &[lanes], &Device::Cpu)?;
        paged_kv::append(view(&table, &lens, head_dim, dtype), &k, &k, &start)?;
    }
    Ok((table, lens, pages))
}

/// One sequence whose KV heads are the lanes.
fn view<'a>(table: &'a Tensor, lens: &'a Tensor, head_dim: usize, dtype: DType) -> KvView<'a> {
    let max_len = table.dim(1) * PAGE_LEN;
    KvView { table, lens, max_len, kv_heads: table.dim(0), head_dim, dtype }
}

fn time_decode() -> Result<()> {
    let (head_dim, block) = (64, 64);
    for (dtype, lanes, group, rows) in [
        (DType::F32, 8, 1, 262_144usize),
        (DType::F32, 1, 8, 1 << 20),
        (DType::BF16, 8, 1, 262_144),
        (DType::BF16, 8, 4, 262_144),
    ] {
        let (table, lens, _pages) = pages(lanes, rows, head_dim, dtype)?;
        let (kv, heads) = (view(&table, &lens, head_dim, dtype), lanes * group);
        let q = noise_tensor(&[1, heads * head_dim], 7, &Device::Cpu);
        let gigabytes = (lanes * rows * head_dim * 2 * dtype.size()) as f64 / 1e9;
        let dense = best_of(5, || decode(&q, kv, heads, 0.125, Reads::All).map(|x| drop(black_box(x))))?;
        println!(
            "decode {dtype:?} {lanes} lanes x {group} x {rows} rows ({gigabytes:.2} GB): {:.1} ms, {:.1} GB/s",
            dense * 1e3,
            gigabytes / dense
        );
        let blocks = rows / block;
        let mut summary = Tensor::uninit(&[lanes, blocks, 2, head_dim], DType::F32, &Device::Cpu)?;
        let update = best_of(1, || update_min_max(kv, block, &vec![0; lanes], &mut summary))?;
        let valid = Tensor::from_i32(&vec![blocks as i32; lanes], &[lanes], &Device::Cpu)?;
        let forced = Forced { first: 1, local: 1, counted: true };
        let select = || {
            let scores = quest_scores(&q, &summary, kv, block)?;
            let scores = group_scores(&scores, heads, lanes, 1, GroupReduce::Sum)?;
            top_k(&scores, &valid, blocks / 16, forced)
        };
        let selection = select()?;
        let choose = best_of(5, || select().map(|x| drop(black_box(x))))?;
        let reads = Reads::Blocks { selection: &selection, block };
        let sparse = best_of(5, || decode(&q, kv, heads, 0.125, reads).map(|x| drop(black_box(x))))?;
        println!(
            "  quest 1/16: attention {:.2} ms ({:.1}x, {:.1} GB/s), choosing {:.2} ms, together {:.1}x (bytes allow {:.1}x); summary rebuilt in {:.1} ms",
            sparse * 1e3,
            dense / sparse,
            gigabytes / 16.0 / sparse,
            choose * 1e3,
            dense / (sparse + choose),
            1.0 / (1.0 / 16.0 + 1.0 / 64.0 * 4.0 / dtype.size() as f64),
            update * 1e3
        );
    }
    Ok(())
}

fn time_moba() -> Result<()> {
    let (tokens, heads, head_dim, block, k) = (16384, 4, 64, 64, 32);
    let dims = dims(tokens, heads, heads, head_dim);
    let [q, key, v] = inputs(dims);
    let dense = best_of(2, || attention(&q, &key, &v, dims).map(|x| drop(black_box(x))))?;
    let blocks = tokens / block;
    let valid: Vec<i32> = (0..heads * tokens).map(|row| (row % tokens / block + 1) as i32).collect();
    let valid = Tensor::from_i32(&valid, &[heads * tokens], &Device::Cpu)?;
    let forced = Forced { first: 1, local: 1, counted: true };
    let means = block_means(&key, heads, block)?;
    let scores = mean_scores(&q, &means)?;
    let selection = top_k(&scores, &valid, k, forced)?;
    let score = best_of(3, || mean_scores(&q, &means).map(|x| drop(black_box(x))))?;
    let choose = best_of(3, || top_k(&scores, &valid, k, forced).map(|x| drop(black_box(x))))?;
    let sparse = best_of(3, || prefill(&q, &key, &v, &selection, block, dims).map(|x| drop(black_box(x))))?;
    let pairs = |k: usize| (0..blocks).map(|b| (b + 1).min(k)).sum::<usize>() as f64;
    println!(
        "moba {tokens} x {heads} x {head_dim}, block {block}, k {k}: dense {:.0} ms, attention {:.0} ms ({:.2}x, pairs allow {:.2}x), scores {:.1} ms, top-k {:.1} ms, together {:.2}x",
        dense * 1e3,
        sparse * 1e3,
        dense / sparse,
        pairs(blocks) / pairs(k),
        score * 1e3,
        choose * 1e3,
        dense / (sparse + score + choose)
    );
    Ok(())
}

fn main() -> Result<()> {
    for name in std::env::args().skip(1) {
        match name.as_str() {
            "attention" => time_attention()?,
            "decode" | "quest" => time_decode()?,
            "moba" => time_moba()?,
            other => println!("unknown: {other} (attention, decode, quest, moba)"),
        }
    }
    Ok(())
}
