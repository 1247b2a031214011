//! Every instruction set against the reference; results do not depend on the number of threads.

use super::super::reference;
use super::lanes::{Kernel, LANES, Lanes, launch};
use super::*;
use crate::Device;
use crate::ops::attention::Pattern;
use crate::testing::{assert_close, narrow, noise_tensor};

struct Exp2<'a>(&'a [f32], &'a mut [f32]);

impl Kernel for Exp2<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        for (from, to) in self.0.chunks_exact(LANES).zip(self.1.chunks_exact_mut(LANES)) {
            // SAFETY: both have sixteen elements.
            unsafe { L::store(to.as_mut_ptr(), L::exp2(L::load(from.as_ptr()))) }
        }
    }
}

#[test]
fn exponentials_are_accurate_and_end_in_zero() {
    let inputs: Vec<f32> = (0..16 * 1000).map(|i| 2.0 - i as f32 * 0.009).collect();
    for isa in Isa::available() {
        let mut outputs = vec![f32::NAN; inputs.len()];
        // SAFETY: the instruction set is available.
        unsafe { launch(isa, Exp2(&inputs, &mut outputs)) };
        for (x, got) in inputs.iter().zip(&outputs) {
            let want = f64::from(*x).exp2();
            let error = if *x < -126.0 { f64::from(*got) } else { f64::from(*got) / want - 1.0 };
            assert!(error.abs() < 3e-7, "{isa:?}: 2^{x} is {got}, want {want}");
        }
        let edges = [0.0, f32::NEG_INFINITY, -126.0, -127.0, f32::MIN, 1.0, -1.0, -2.0];
        let inputs = [edges, edges].concat();
        let mut outputs = [f32::NAN; 16];
        // SAFETY: as above.
        unsafe { launch(isa, Exp2(&inputs, &mut outputs)) };
        assert_eq!(outputs[..8], [1.0, 0.0, f32::MIN_POSITIVE, 0.0, 0.0, 2.0, 0.5, 0.25], "{isa:?}");
    }
}

fn cases() -> Vec<AttentionDims> {
    let dims = AttentionDims {
        batch: 2,
        queries: 131,
        keys: 203,
        heads: 4,
        kv_heads: 2,
        head_dim: 64,
        scale: 0.125,
        pattern: Pattern::Causal,
    };
    vec![
        dims,
        AttentionDims { head_dim: 40, ..dims },
        AttentionDims { head_dim: 112, ..dims },
        AttentionDims { pattern: Pattern::Dilated { dilation: Some(4), window: 9, initial: 3 }, ..dims },
    ]
}

fn inputs(dims: AttentionDims) -> [Tensor; 4] {
    let rows = |rows, heads, seed| noise_tensor(&[rows, heads * dims.head_dim], seed, &Device::Cpu);
    let (queries, keys) = (dims.batch * dims.queries, dims.batch * dims.keys);
    [
        rows(queries, dims.heads, 1),
        rows(keys, dims.kv_heads, 2),
        rows(keys, dims.kv_heads, 3),
        rows(queries, dims.heads, 4),
    ]
}

#[test]
fn every_instruction_set_matches_the_reference() {
    for dims in cases() {
        let [q, k, v, doutput] = inputs(dims);
        let (want, want_lse) = reference::attention(q.f32s(), k.f32s(), v.f32s(), dims);
        let (dq, dk, dv) = reference::backward(doutput.f32s(), [q.f32s(), k.f32s(), v.f32s()], dims);
        for isa in Isa::available() {
            let attended = forward::attention(isa, &q, [k.f32s(), v.f32s()], dims).expect("attention");
            assert_close(&format!("{isa:?} output"), attended.output.f32s(), &narrow(&want), 3e-6);
            assert_close(&format!("{isa:?} lse"), attended.lse.f32s(), &narrow(&want_lse), 3e-6);
            let saved = AttentionSaved { q: &q, k: &k, v: &v, attended: &attended };
            let grads = backward::backward(isa, &doutput, saved, dims).expect("backward");
            for (name, got, want) in [("dq", &grads.dq, &dq), ("dk", &grads.dk, &dk), ("dv", &grads.dv, &dv)]
            {
                assert_close(&format!("{isa:?} {name}"), got.f32s(), &narrow(want), 6e-6);
            }
        }
    }
}

#[test]
fn results_do_not_depend_on_threads_or_on_the_other_queries() {
    for dims in cases() {
        let [q, k, v, doutput] = inputs(dims);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| {
                let attended = attention(&q, &k, &v, dims).expect("attention");
                let saved = AttentionSaved { q: &q, k: &k, v: &v, attended: &attended };
                let grads = super::backward(&doutput, saved, dims).expect("backward");
                [attended.output, grads.dq, grads.dk, grads.dv].map(|tensor| tensor.f32s().to_vec())
            })
        };
        assert_eq!(run(1), run(3), "{dims:?}");

        // The last query of the first sequence alone.
        let row = dims.queries - 1;
        let one = AttentionDims { batch: 1, queries: 1, ..dims };
        let [k, v] = [&k, &v].map(|side| side.slice(0, dims.keys).expect("one sequence"));
        let alone = attention(&q.slice(row, row + 1).expect("a row"), &k, &v, one).expect("attention");
        let all = run(2);
        assert_eq!(alone.output.f32s(), &all[0][row * q.width()..][..q.width()], "{dims:?}");
    }
}
