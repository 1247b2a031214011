//! The memory scan on the CPU: channels side by side in vectors, time in order.
//!
//! A task owns all tokens of [`LANES`] channels of one sequence. Channels never meet, so the result
//! depends neither on the split nor on the number of threads.

use rayon::prelude::*;

use super::{ScanDims, ScanSaved, Scanned};
use crate::cpu::math::sigmoid;
use crate::cpu::rows::SharedColumns;
use crate::cpu::{Isa, Rows, RowsMut, multiversion};
use crate::{Cols, ColsMut, DType, Device, Result, Tensor};

/// Channels of a task: enough to hide the latency of the recurrence, few enough that three
/// heads of 64 keep several threads busy.
const LANES: usize = 32;

/// Below this many gates the tasks run on the calling thread.
const SERIAL: usize = 8 << 10;

/// Runs `task(sequence, first channel, channels)` for all of them.
fn for_channels(dims: ScanDims, width: usize, task: impl Fn(usize, usize, usize) + Sync + Send) {
    let pieces = width.div_ceil(LANES);
    let run = |i: usize| {
        let first = i % pieces * LANES;
        task(i / pieces, first, LANES.min(width - first));
    };
    if dims.batch * dims.tokens * width <= SERIAL {
        (0..dims.batch * pieces).for_each(run);
    } else {
        (0..dims.batch * pieces).into_par_iter().for_each(run);
    }
}

pub(super) fn scan(
    keys: Cols<'_>,
    values: Cols<'_>,
    gate_logits: Cols<'_>,
    dims: ScanDims,
    initial: Option<&Tensor>,
) -> Result<Scanned> {
    let (rows, width) = (keys.rows(), keys.width);
    let mut out_keys = Tensor::uninit(&[rows, width], DType::F32, &Device::Cpu)?;
    let mut out_values = Tensor::uninit(&[rows, width], DType::F32, &Device::Cpu)?;
    let mut state = match initial {
        Some(initial) => initial.duplicate()?,
        None => Tensor::zeros(&[dims.batch, 2, width], DType::F32, &Device::Cpu)?,
    };
    let op = "decay_scan";
    let inputs = [Rows::new(op, keys)?, Rows::new(op, values)?, Rows::new(op, gate_logits)?];
    let keys_to = SharedColumns::new(RowsMut::new(op, out_keys.cols_mut(0, width))?);
    let values_to = SharedColumns::new(RowsMut::new(op, out_values.cols_mut(0, width))?);
    let states = SharedColumns::new(RowsMut::new(op, state.cols_mut(0, width))?);
    let isa = Isa::current();
    for_channels(dims, width, |sequence, first, n| {
        let task = Task { sequence, tokens: dims.tokens, first, n };
        scan_channels(isa, task, inputs, [&keys_to, &values_to], &states);
    });
    Ok(Scanned { keys: out_keys, values: out_values, state })
}

/// The part of a scan that one thread computes.
#[derive(Clone, Copy)]
struct Task {
    sequence: usize,
    tokens: usize,
    first: usize,
    n: usize,
}

multiversion! {
    fn scan_channels(task: Task, inputs: [Rows<'_>; 3], out: [&SharedColumns<'_>; 2], states: &SharedColumns<'_>) {
        // A constant width lets the compiler keep the state in registers.
        if task.n == LANES {
            scan_lanes::<LANES>(task, inputs, out, states);
        } else {
            for i in 0..task.n {
                scan_lanes::<1>(Task { first: task.first + i, n: 1, ..task }, inputs, out, states);
            }
        }
    }
}

#[inline(always)]
fn scan_lanes<const N: usize>(
    task: Task,
    [keys, values, gates]: [Rows<'_>; 3],
    [out_keys, out_values]: [&SharedColumns<'_>; 2],
    states: &SharedColumns<'_>,
) {
    let (mut key_state, mut value_state) = ([0.0f32; N], [0.0f32; N]);
    // SAFETY: this task alone touches these channels of this sequence.
    let (first_key, first_value) = unsafe {
        (states.row(2 * task.sequence, task.first, N), states.row(2 * task.sequence + 1, task.first, N))
    };
    key_state.copy_from_slice(first_key);
    value_state.copy_from_slice(first_value);
    for t in 0..task.tokens {
        let i = task.sequence * task.tokens + t;
        let part = |rows: Rows<'_>| -> [f32; N] {
            std::array::from_fn(|c| rows.row(i)[task.first..task.first + N][c])
        };
        let (k, v, f) = (part(keys), part(values), part(gates));
        for c in 0..N {
            let g = sigmoid(f[c]);
            key_state[c] = k[c] + g * (key_state[c] - k[c]);
            value_state[c] = v[c] + g * (value_state[c] - v[c]);
        }
        // SAFETY: as above.
        unsafe {
            out_keys.row(i, task.first, N).copy_from_slice(&key_state);
            out_values.row(i, task.first, N).copy_from_slice(&value_state);
        }
    }
    first_key.copy_from_slice(&key_state);
    first_value.copy_from_slice(&value_state);
}

pub(super) fn backward(
    dkeys: &Tensor,
    dvalues: &Tensor,
    saved: ScanSaved<'_>,
    dims: ScanDims,
    out: ColsMut<'_>,
) -> Result<Option<Tensor>> {
    let (op, width) = ("decay_scan backward", saved.keys.width);
    // Without an initial state this is the state of zeros, whose gradient nobody reads.
    let mut dinitial = Tensor::uninit(&[dims.batch, 2, width], DType::F32, &Device::Cpu)?;
    let initial = saved.initial.map(|initial| Rows::new(op, initial)).transpose()?;
    let operands = Operands {
        dout: [Rows::new(op, dkeys)?, Rows::new(op, dvalues)?],
        x: [Rows::new(op, saved.keys)?, Rows::new(op, saved.values)?],
        scanned: [Rows::new(op, saved.scanned_keys)?, Rows::new(op, saved.scanned_values)?],
        gates: Rows::new(op, saved.gate_logits)?,
        initial,
    };
    let grads = SharedColumns::new(RowsMut::new(op, out)?);
    let states = SharedColumns::new(RowsMut::new(op, dinitial.cols_mut(0, width))?);
    let isa = Isa::current();
    for_channels(dims, width, |sequence, first, n| {
        let task = Task { sequence, tokens: dims.tokens, first, n };
        backward_channels(isa, task, &operands, &grads, &states);
    });
    Ok(saved.initial.map(|_| dinitial))
}

struct Operands<'a> {
    dout: [Rows<'a>; 2],
    x: [Rows<'a>; 2],
    scanned: [Rows<'a>; 2],
    gates: Rows<'a>,
    initial: Option<Rows<'a>>,
}

multiversion! {
    fn backward_channels(task: Task, operands: &Operands<'_>, grads: &SharedColumns<'_>, states: &SharedColumns<'_>) {
        if task.n == LANES {
            backward_lanes::<LANES>(task, operands, grads, states);
        } else {
            for i in 0..task.n {
                backward_lanes::<1>(Task { first: task.first + i, n: 1, ..task }, operands, grads, states);
            }
        }
    }
}

#[inline(always)]
fn backward_lanes<const N: usize>(
    task: Task,
    operands: &Operands<'_>,
    grads: &SharedColumns<'_>,
    states: &SharedColumns<'_>,
) {
    let width = operands.gates.width;
    // g_{t+1} a_{t+1}, for keys and values.
    let mut carry = [[0.0f32; N]; 2];
    for t in (0..task.tokens).rev() {
        let i = task.sequence * task.tokens + t;
        let part = |rows: Rows<'_>, i: usize| -> [f32; N] {
            std::array::from_fn(|c| rows.row(i)[task.first..task.first + N][c])
        };
        let gate: [f32; N] = part(operands.gates, i).map(sigmoid);
        let mut dgate = [0.0f32; N];
        for (side, carry) in carry.iter_mut().enumerate() {
            let (dy, x) = (part(operands.dout[side], i), part(operands.x[side], i));
            let previous = match (t, operands.initial) {
                (1.., _) => part(operands.scanned[side], i - 1),
                (0, Some(initial)) => part(initial, 2 * task.sequence + side),
                (0, None) => [0.0; N],
            };
            let mut dx = [0.0f32; N];
            for c in 0..N {
                let a = dy[c] + carry[c];
                dx[c] = (1.0 - gate[c]) * a;
                dgate[c] += a * (previous[c] - x[c]);
                carry[c] = gate[c] * a;
            }
            // SAFETY: this task alone touches these channels of this sequence.
            unsafe { grads.row(i, side * width + task.first, N).copy_from_slice(&dx) };
        }
        for c in 0..N {
            dgate[c] *= gate[c] * (1.0 - gate[c]);
        }
        // SAFETY: as above.
        unsafe { grads.row(i, 2 * width + task.first, N).copy_from_slice(&dgate) };
    }
    for (side, carry) in carry.iter().enumerate() {
        // SAFETY: as above.
        unsafe { states.row(2 * task.sequence + side, task.first, N).copy_from_slice(carry) };
    }
}
