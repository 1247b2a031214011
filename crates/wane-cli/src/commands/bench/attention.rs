//! `wane bench attention`: attention alone, over noise.
//!
//! - `dense`: a causal (or dilated) prompt, forward and backward;
//! - `quest`: decoding over pages, a new query each repeat: everything read, against choosing and reading
//!   `1/N` of the blocks;
//! - `moba`: a prompt whose queries read `k` blocks each, against dense.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Result, ensure};
use clap::{Args as ClapArgs, ValueEnum};
use wane_kernels::kv::PAGE_LEN;
use wane_kernels::ops::attention::{AttentionDims, AttentionSaved, Pattern, attention, backward};
use wane_kernels::ops::block_attention::{Reads, decode, prefill};
use wane_kernels::ops::block_summary::{
    GroupReduce, block_means, group_scores, mean_scores, quest_scores, update_min_max,
};
use wane_kernels::ops::paged_kv;
use wane_kernels::ops::top_k::{Forced, top_k};
use wane_kernels::testing::noise_tensor;
use wane_kernels::{DType, Device, KvView, Page, PagePool, Selection, Tensor};
use wane_train::cost::mean_visible;

use super::Options;
use super::machine::Floor;
use super::measure::{Report, time};
use crate::commands::shared::parse_dtype;

/// Which attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A whole prompt, forward and backward
    Dense,
    /// Decoding, Quest against everything
    Quest,
    /// A whole prompt, MoBA against dense
    Moba,
}

/// Arguments.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wane bench attention
  wane bench attention --kind dense --dilation 16 --window 256
  wane bench attention --kind quest --tokens 32768 --heads 64 --k 32
  wane bench attention --kind moba --tokens 16384 --k 32")]
pub(crate) struct Args {
    /// What to time
    #[arg(long, value_enum, default_value_t = Kind::Dense)]
    kind: Kind,
    /// Keys (and queries of a prompt): 4096 dense, 32768 quest, 16384 moba
    #[arg(long, value_name = "N")]
    tokens: Option<usize>,
    /// Query heads: 8 dense, 64 quest, 4 moba
    #[arg(long, value_name = "N")]
    heads: Option<usize>,
    /// Key/value heads; as many as query heads by default
    #[arg(long, value_name = "N")]
    kv_heads: Option<usize>,
    /// Width of a head
    #[arg(long, default_value_t = 64, value_name = "N")]
    head_dim: usize,
    /// Rows of a block
    #[arg(long, default_value_t = 64, value_name = "N")]
    block: usize,
    /// Blocks that a query reads: 1/16 of them (quest), 32 (moba)
    #[arg(long, value_name = "N")]
    k: Option<usize>,
    /// Cached keys and values of quest: f32 or bf16
    #[arg(long, default_value = "f32", value_name = "DTYPE")]
    kv_dtype: String,
    /// Dense: only every N-th earlier token is seen, besides the window
    #[arg(long, value_name = "N")]
    dilation: Option<usize>,
    /// Dense: with --dilation, or alone: earlier tokens that are seen besides the query's own
    #[arg(long, value_name = "N")]
    window: Option<usize>,
    #[command(flatten)]
    options: Options,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<()> {
    let (tokens, heads) = match args.kind {
        Kind::Dense => (4096, 8),
        Kind::Quest => (32_768, 64),
        Kind::Moba => (16_384, 4),
    };
    let heads = args.heads.unwrap_or(heads);
    let kv_heads = args.kv_heads.unwrap_or(heads);
    let tokens = args.tokens.unwrap_or(tokens);
    ensure!(
        tokens > 0 && args.head_dim > 0 && args.block > 0 && kv_heads > 0 && heads.is_multiple_of(kv_heads),
        "expected --tokens, --head-dim and --block above 0 and --heads a multiple of --kv-heads"
    );
    let pattern = match (args.dilation, args.window) {
        (None, None) => Pattern::Causal,
        (dilation, window) => Pattern::Dilated { dilation, window: window.unwrap_or(0), initial: 0 },
    };
    let dims = AttentionDims {
        batch: 1,
        queries: tokens,
        keys: tokens,
        heads,
        kv_heads,
        head_dim: args.head_dim,
        scale: (args.head_dim as f32).powf(-0.5),
        pattern,
    };
    let report = match args.kind {
        Kind::Dense => dense(args, dims)?,
        Kind::Quest => quest(args, dims)?,
        Kind::Moba => moba(args, dims)?,
    };
    report.print(args.options.json)?;
    Ok(())
}

fn shape(dims: AttentionDims) -> String {
    format!("{} tokens, {}/{} heads of {}", dims.keys, dims.heads, dims.kv_heads, dims.head_dim)
}

fn inputs(dims: AttentionDims) -> [Tensor; 3] {
    let make = |heads, seed| noise_tensor(&[dims.keys, heads * dims.head_dim], seed, &Device::Cpu);
    [make(dims.heads, 1), make(dims.kv_heads, 2), make(dims.kv_heads, 3)]
}

/// Products of a prompt in which a query sees `visible` keys on average: two forward, five backward.
fn flops(dims: AttentionDims, visible: f64, products: f64) -> Floor {
    Floor::Flops(2.0 * products * (dims.queries * dims.heads * dims.head_dim) as f64 * visible)
}

fn dense(args: &Args, dims: AttentionDims) -> Result<Report> {
    let mut report = Report::new("attention dense", format!("{}, {:?}", shape(dims), dims.pattern));
    let repeats = args.options.repeats.unwrap_or(7);
    let [q, k, v] = inputs(dims);
    let visible = mean_visible(dims.pattern, dims.keys);
    let forward = time(repeats, 1, |_| {
        black_box(attention(&q, &k, &v, dims)?);
        Ok(())
    })?;
    report.row("forward", forward, Some(flops(dims, visible, 2.0)));
    let attended = attention(&q, &k, &v, dims)?;
    let saved = AttentionSaved { q: &q, k: &k, v: &v, attended: &attended };
    let back = time(repeats.min(3), 1, |_| {
        black_box(backward(&q, saved, dims)?);
        Ok(())
    })?;
    report.row("backward", back, Some(flops(dims, visible, 5.0)));
    Ok(report)
}

/// Pages of noise, one sequence whose KV heads are the lanes.
struct Cached {
    table: Tensor,
    lens: Tensor,
    // The table holds their addresses.
    pages: Vec<Arc<Page>>,
    dims: AttentionDims,
    dtype: DType,
}

impl Cached {
    fn new(dims: AttentionDims, dtype: DType) -> Result<Self> {
        let (lanes, rows) = (dims.kv_heads, dims.keys);
        let pool = PagePool::new(&Device::Cpu, dtype, dims.head_dim);
        let per_lane = rows.div_ceil(PAGE_LEN);
        let pages =
            (0..lanes * per_lane).map(|_| pool.allocate()).collect::<wane_kernels::Result<Vec<_>>>()?;
        let table: Vec<i32> =
            pages.iter().flat_map(|page| [page.address() as i32, (page.address() >> 32) as i32]).collect();
        let cached = Self {
            table: Tensor::from_i32(&table, &[lanes, per_lane, 2], &Device::Cpu)?,
            lens: Tensor::from_i32(&vec![rows as i32; lanes], &[lanes], &Device::Cpu)?,
            pages,
            dims,
            dtype,
        };
        for start in (0..rows).step_by(4096) {
            let many = 4096.min(rows - start);
            let [k, v] = [0, 1].map(|side| {
                noise_tensor(&[many, lanes * dims.head_dim], (2 * start + side) as u64, &Device::Cpu)
            });
            let start = Tensor::from_i32(&vec![start as i32; lanes], &[lanes], &Device::Cpu)?;
            paged_kv::append(cached.view(), &k, &v, &start)?;
        }
        Ok(cached)
    }

    fn view(&self) -> KvView<'_> {
        KvView {
            table: &self.table,
            lens: &self.lens,
            max_len: self.dims.keys,
            kv_heads: self.dims.kv_heads,
            head_dim: self.dims.head_dim,
            dtype: self.dtype,
        }
    }

    fn bytes(&self) -> usize {
        self.pages.len() * 2 * PAGE_LEN * self.dims.head_dim * self.dtype.size()
    }
}

fn quest(args: &Args, dims: AttentionDims) -> Result<Report> {
    let AttentionDims { heads, kv_heads, head_dim, keys, scale, .. } = dims;
    let blocks = keys.div_ceil(args.block);
    let k = args.k.unwrap_or((blocks / 16).max(2));
    ensure!((2..=blocks).contains(&k), "--k must be between 2 and the {blocks} blocks, got {k}");
    let cached = Cached::new(dims, parse_dtype(&args.kv_dtype)?)?;
    let kv = cached.view();
    let mut report = Report::new(
        "attention quest",
        format!("one query, {}, {} K/V, block {}, k {k} of {blocks}", shape(dims), args.kv_dtype, args.block),
    );
    let repeats = args.options.repeats.unwrap_or(15);
    let queries: Vec<Tensor> =
        (0..repeats + 2).map(|i| noise_tensor(&[1, heads * head_dim], 7 + i as u64, &Device::Cpu)).collect();
    let mut summary = Tensor::uninit(&[kv_heads, blocks, 2, head_dim], DType::F32, &Device::Cpu)?;
    update_min_max(kv, args.block, &vec![0; kv_heads], &mut summary)?;
    let valid = Tensor::from_i32(&vec![blocks as i32; kv_heads], &[kv_heads], &Device::Cpu)?;
    let forced = Forced { first: 1, local: 1, counted: true };
    // A step also renews the summary of the block that grew.
    let choose = |q: &Tensor, summary: &mut Tensor| -> Result<Selection> {
        update_min_max(kv, args.block, &vec![keys - 1; kv_heads], summary)?;
        let scores = quest_scores(q, summary, kv, args.block)?;
        let scores = group_scores(&scores, heads, kv_heads, 1, GroupReduce::Sum)?;
        Ok(top_k(&scores, &valid, k, forced)?)
    };
    let everything = time(repeats, 2, |call| {
        black_box(decode(&queries[call], kv, heads, scale, Reads::All)?);
        Ok(())
    })?;
    let chosen = queries.iter().map(|q| choose(q, &mut summary)).collect::<Result<Vec<_>>>()?;
    let reading = time(repeats, 2, |call| {
        let reads = Reads::Blocks { selection: &chosen[call], block: args.block };
        black_box(decode(&queries[call], kv, heads, scale, reads)?);
        Ok(())
    })?;
    let choosing = time(repeats, 2, |call| choose(&queries[call], &mut summary).map(drop))?;
    let together = time(repeats, 2, |call| {
        let selection = choose(&queries[call], &mut summary)?;
        let reads = Reads::Blocks { selection: &selection, block: args.block };
        black_box(decode(&queries[call], kv, heads, scale, reads)?);
        Ok(())
    })?;
    let all = cached.bytes() as f64;
    let read = all * k as f64 / blocks as f64;
    let summaries = summary.num_bytes() as f64;
    let faster = everything.median() / together.median();
    report.row("everything", everything, Some(Floor::Bytes(all)));
    report.row("choosing", choosing, Some(Floor::Bytes(summaries)));
    report.row("reading the chosen", reading, Some(Floor::Bytes(read)));
    report.row("together", together, Some(Floor::Bytes(read + summaries)));
    let allowed = all / (read + summaries);
    report.figure("kv_bytes", all, format!("K/V: {:.2} GB", all / 1e9));
    report.figure("times_faster", faster, format!("{faster:.2}x faster than reading everything"));
    report.figure("bytes_allow", allowed, format!("bytes allow {allowed:.2}x"));
    Ok(report)
}

fn moba(args: &Args, dims: AttentionDims) -> Result<Report> {
    let AttentionDims { heads, kv_heads, keys, .. } = dims;
    let blocks = keys.div_ceil(args.block);
    let k = args.k.unwrap_or(32);
    ensure!((2..=blocks).contains(&k), "--k must be between 2 and the {blocks} blocks, got {k}");
    let mut report =
        Report::new("attention moba", format!("{}, block {}, k {k} of {blocks}", shape(dims), args.block));
    let [q, key, v] = inputs(dims);
    let valid: Vec<i32> = (0..heads * keys).map(|row| (row % keys / args.block + 1) as i32).collect();
    let valid = Tensor::from_i32(&valid, &[heads * keys], &Device::Cpu)?;
    let forced = Forced { first: 1, local: 1, counted: true };
    let choose = || -> Result<Selection> {
        let scores = mean_scores(&q, &block_means(&key, kv_heads, args.block)?)?;
        Ok(top_k(&scores, &valid, k, forced)?)
    };
    let repeats = args.options.repeats.unwrap_or(3);
    let dense = time(repeats, 1, |_| {
        black_box(attention(&q, &key, &v, dims)?);
        Ok(())
    })?;
    let choosing = time(repeats, 1, |_| choose().map(drop))?;
    let selection = choose()?;
    let reading = time(repeats, 1, |_| {
        black_box(prefill(&q, &key, &v, &selection, args.block, dims)?);
        Ok(())
    })?;
    let together = time(repeats, 1, |_| {
        black_box(prefill(&q, &key, &v, &choose()?, args.block, dims)?);
        Ok(())
    })?;
    let visible = mean_visible(Pattern::Causal, keys);
    // A query sees its own block up to itself, and k - 1 whole ones (all there are, if fewer).
    let seen: usize = (0..keys).map(|p| p % args.block + 1 + (k - 1).min(p / args.block) * args.block).sum();
    let seen = seen as f64 / keys as f64;
    let faster = dense.median() / together.median();
    report.row("dense", dense, Some(flops(dims, visible, 2.0)));
    report.row("choosing", choosing, Some(flops(dims, blocks as f64, 1.0)));
    report.row("reading the chosen", reading, Some(flops(dims, seen, 2.0)));
    report.row("together", together, Some(flops(dims, seen + blocks as f64 / 2.0, 2.0)));
    report.figure("times_faster", faster, format!("{faster:.2}x faster than dense"));
    let allowed = visible / seen;
    report.figure("pairs_allow", allowed, format!("pairs allow {allowed:.2}x"));
    Ok(report)
}
