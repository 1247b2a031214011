//! The memory scan on NVIDIA GPUs: one pass over the data, parallel over channels and time; the
//! tiles of a sequence hand the state on by decoupled look-back (see `decay_scan.cu`).
//!
//! Forward moves 5 elements per token and channel, backward 10; the tiles' maps and states add 2 to
//! 3 percent. Results do not depend on the order in which tiles run.

use super::{ScanDims, ScanSaved, Scanned};
use crate::cuda::{
    Launch, Module, Param, Width, address, args, cols_address, cols_mut_address, device_of, optional_address,
    vector_width,
};
use crate::{Cols, ColsMut, DType, Device, Result, Tensor};

static MODULE: Module<'static> = Module::new("decay_scan", include_str!("decay_scan.cu"));

// As in the instances at the end of `decay_scan.cu`.
const STEPS: usize = 4;
const FORWARD_THREADS: usize = 256;
const BACKWARD_THREADS: usize = 128;

// Up to this many tokens one thread walks through them.
const FEW_TOKENS: usize = 4;

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Board {
    flags: u64,
    maps: u64,
    states: u64,
    chains: i32,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Scan {
    keys: u64,
    values: u64,
    gates: u64,
    out_keys: u64,
    out_values: u64,
    initial: u64,
    state: u64,
    ticket: u64,
    board: Board,
    tokens: i32,
    width: i32,
    strips: i32,
    tiles: i32,
    key_stride: i32,
    value_stride: i32,
    gate_stride: i32,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Backward {
    dkeys: u64,
    dvalues: u64,
    keys: u64,
    values: u64,
    gates: u64,
    scanned_keys: u64,
    scanned_values: u64,
    initial: u64,
    dinitial: u64,
    out: u64,
    ticket: u64,
    board: Board,
    tokens: i32,
    width: i32,
    strips: i32,
    tiles: i32,
    key_stride: i32,
    value_stride: i32,
    gate_stride: i32,
    out_stride: i32,
}

// SAFETY: same fields in the same order as the C++ structures, both laid out by C's rules.
unsafe impl Param for Scan {}
// SAFETY: as above.
unsafe impl Param for Backward {}

// The division of a scan into tiles, and the memory through which tiles talk.
struct Plan {
    strips: usize,
    tiles: usize,
    chains: usize,
    control: Tensor,
    maps: Tensor,
    states: Tensor,
}

impl Plan {
    fn new(dims: ScanDims, width: usize, vector: Width, threads: usize, device: &Device) -> Result<Self> {
        let lanes = if vector.elements == 1 { 32 } else { 8 };
        let strip = lanes * vector.elements;
        let (strips, tiles) = (width.div_ceil(strip), dims.tokens.div_ceil(threads / lanes * STEPS));
        let chains = strips * dims.batch;
        Ok(Self {
            strips,
            tiles,
            chains,
            control: Tensor::zeros(&[1 + tiles * chains], DType::I32, device)?,
            maps: Tensor::uninit(&[tiles * chains, 3, strip], DType::F32, device)?,
            states: Tensor::uninit(&[tiles * chains, 2, strip], DType::F32, device)?,
        })
    }

    fn board(&self) -> Result<Board> {
        Ok(Board {
            flags: address(&self.control)? + 4,
            maps: address(&self.maps)?,
            states: address(&self.states)?,
            chains: self.chains as i32,
        })
    }

    fn launch(&self, threads: usize) -> Launch {
        Launch::new(self.tiles * self.chains, threads)
    }
}

pub(super) fn scan(
    keys: Cols<'_>,
    values: Cols<'_>,
    gate_logits: Cols<'_>,
    dims: ScanDims,
    initial: Option<&Tensor>,
) -> Result<Scanned> {
    let (width, dtype, place) = (keys.width, keys.tensor.dtype(), keys.tensor.device());
    let device = device_of(keys.tensor)?;
    let rows = dims.batch * dims.tokens;
    let scanned = Scanned {
        keys: Tensor::uninit(&[rows, width], dtype, place)?,
        values: Tensor::uninit(&[rows, width], dtype, place)?,
        state: Tensor::uninit(&[dims.batch, 2, width], DType::F32, place)?,
    };
    let mut scan = Scan {
        keys: cols_address(&keys)?,
        values: cols_address(&values)?,
        gates: cols_address(&gate_logits)?,
        out_keys: address(&scanned.keys)?,
        out_values: address(&scanned.values)?,
        initial: optional_address(initial)?,
        state: address(&scanned.state)?,
        ticket: 0,
        board: Board { flags: 0, maps: 0, states: 0, chains: 0 },
        tokens: dims.tokens as i32,
        width: width as i32,
        strips: 0,
        tiles: 0,
        key_stride: keys.stride() as i32,
        value_stride: values.stride() as i32,
        gate_stride: gate_logits.stride() as i32,
    };
    let addresses =
        [scan.keys, scan.values, scan.gates, scan.out_keys, scan.out_values, scan.initial, scan.state];
    let vector =
        vector_width(dtype, &addresses, &[width, keys.stride(), values.stride(), gate_logits.stride()]);
    if dims.tokens <= FEW_TOKENS {
        let launch = Launch::cover(dims.batch * width / vector.elements, 128);
        device.launch(&MODULE, &vector.kernel("steps")?, launch, args![scan, dims.batch as i32])?;
        return Ok(scanned);
    }
    let plan = Plan::new(dims, width, vector, FORWARD_THREADS, place)?;
    scan.ticket = address(&plan.control)?;
    scan.board = plan.board()?;
    (scan.strips, scan.tiles) = (plan.strips as i32, plan.tiles as i32);
    device.launch(&MODULE, &vector.kernel("forward")?, plan.launch(FORWARD_THREADS), args![scan])?;
    Ok(scanned)
}

pub(super) fn backward(
    dkeys: &Tensor,
    dvalues: &Tensor,
    saved: ScanSaved<'_>,
    dims: ScanDims,
    out: ColsMut<'_>,
) -> Result<Option<Tensor>> {
    let (width, dtype, place) = (saved.keys.width, dkeys.dtype(), dkeys.device());
    let dinitial = match saved.initial {
        Some(initial) => Some(Tensor::uninit(initial.shape(), DType::F32, place)?),
        None => None,
    };
    let strides = [saved.keys.stride(), saved.values.stride(), saved.gate_logits.stride(), out.stride()];
    let mut scan = Backward {
        dkeys: address(dkeys)?,
        dvalues: address(dvalues)?,
        keys: cols_address(&saved.keys)?,
        values: cols_address(&saved.values)?,
        gates: cols_address(&saved.gate_logits)?,
        scanned_keys: address(saved.scanned_keys)?,
        scanned_values: address(saved.scanned_values)?,
        initial: optional_address(saved.initial)?,
        dinitial: optional_address(dinitial.as_ref())?,
        out: cols_mut_address(&out)?,
        ticket: 0,
        board: Board { flags: 0, maps: 0, states: 0, chains: 0 },
        tokens: dims.tokens as i32,
        width: width as i32,
        strips: 0,
        tiles: 0,
        key_stride: strides[0] as i32,
        value_stride: strides[1] as i32,
        gate_stride: strides[2] as i32,
        out_stride: strides[3] as i32,
    };
    let addresses = [
        scan.dkeys,
        scan.dvalues,
        scan.keys,
        scan.values,
        scan.gates,
        scan.scanned_keys,
        scan.scanned_values,
        scan.initial,
        scan.out,
    ];
    let vector = vector_width(dtype, &addresses, &[&[width], &strides[..]].concat());
    let plan = Plan::new(dims, width, vector, BACKWARD_THREADS, place)?;
    scan.ticket = address(&plan.control)?;
    scan.board = plan.board()?;
    (scan.strips, scan.tiles) = (plan.strips as i32, plan.tiles as i32);
    let kernel = vector.kernel("backward")?;
    device_of(dkeys)?.launch(&MODULE, &kernel, plan.launch(BACKWARD_THREADS), args![scan])?;
    Ok(dinitial)
}
