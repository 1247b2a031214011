//! Every instruction set, and any number of threads.

use super::*;
use crate::ops::attention::Pattern;
use crate::testing::paged::PagedKv;
use crate::testing::{assert_close, noise_tensor};
use crate::{DType, Device};

#[test]
fn every_instruction_set_agrees() {
    for head_dim in [40, 64] {
        for dtype in [DType::F32, DType::BF16] {
            let paged = PagedKv::noise(&Device::Cpu, dtype, 2, head_dim, &[130, 63]);
            let q = noise_tensor(&[1, 4 * head_dim], 1, &Device::Cpu);
            let run = |isa| -> Result<Tensor> {
                with_element!(dtype, "decode", T => decode::decode::<T>(isa, &q, paged.view(), 4, 0.2, Reads::All))
            };
            let want = run(Isa::Portable).expect("decode");
            for isa in Isa::available() {
                let got = run(isa).expect("decode");
                assert_close(&format!("{isa:?} {dtype:?}"), got.f32s(), want.f32s(), 1e-6);
            }
        }
        let dims = AttentionDims {
            batch: 1,
            queries: 101,
            keys: 130,
            heads: 2,
            kv_heads: 1,
            head_dim,
            scale: 0.2,
            pattern: Pattern::Causal,
        };
        let q = noise_tensor(&[101, 2 * head_dim], 2, &Device::Cpu);
        let [k, v] = [3, 4].map(|seed| noise_tensor(&[130, head_dim], seed, &Device::Cpu));
        // The query's own block of 16 and the first one.
        let lists: Vec<i32> = (0..2 * 101).flat_map(|row| [0, (29 + row % 101) / 16]).collect();
        let selection = Selection {
            indices: Tensor::from_i32(&lists, &[2 * 101, 2], &Device::Cpu).expect("indices"),
            counts: Tensor::from_i32(&[2; 2 * 101], &[2 * 101], &Device::Cpu).expect("counts"),
        };
        let sides = [k.f32s(), v.f32s()];
        let want = prefill::prefill(Isa::Portable, &q, sides, &selection, 16, dims).expect("prefill");
        for isa in Isa::available() {
            let got = prefill::prefill(isa, &q, sides, &selection, 16, dims).expect("prefill");
            assert_close(&format!("{isa:?} prefill"), got.f32s(), want.f32s(), 1e-6);
        }
    }
}

#[test]
fn decoding_does_not_depend_on_threads_or_on_the_batch() {
    let lens = [2600, 1025, 70, 64];
    let paged = PagedKv::noise(&Device::Cpu, DType::BF16, 2, 64, &lens);
    let q = noise_tensor(&[2, 4 * 64], 1, &Device::Cpu);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| {
            super::decode(&q, paged.view(), 4, 0.125, Reads::All).expect("decode").f32s().to_vec()
        })
    };
    assert_eq!(run(1), run(3));
    let alone = PagedKv::noise(&Device::Cpu, DType::BF16, 2, 64, &lens[..2]);
    let first = q.slice(0, 1).expect("a row");
    let got = super::decode(&first, alone.view(), 4, 0.125, Reads::All).expect("decode");
    assert_eq!(got.f32s(), &run(1)[..4 * 64]);
}
