//! Every instruction set computes the scores.

use super::*;
use crate::testing::paged::PagedKv;
use crate::testing::{assert_close, noise_tensor};
use crate::{Device, Tensor};

#[test]
fn every_instruction_set_agrees() {
    for head_dim in [40, 64] {
        let paged = PagedKv::noise(&Device::Cpu, DType::F32, 2, head_dim, &[130, 63]);
        let mut summary = Tensor::uninit(&[2, 9, 2, head_dim], DType::F32, &Device::Cpu).expect("summary");
        update_min_max(paged.view(), 16, &[0; 2], &mut summary).expect("update");
        let q = noise_tensor(&[1, 4 * head_dim], 1, &Device::Cpu);
        let want = quest::quest_scores(Isa::Portable, &q, &summary, paged.view(), 16).expect("scores");
        let queries = noise_tensor(&[101, 4 * head_dim], 2, &Device::Cpu);
        let means = noise_tensor(&[2, 70, head_dim], 3, &Device::Cpu);
        let want_means = mean_scores_of(Isa::Portable, &queries, &means).expect("scores");
        for isa in Isa::available() {
            let got = quest::quest_scores(isa, &q, &summary, paged.view(), 16).expect("scores");
            assert_close("quest, first lane", &got.f32s()[..18], &want.f32s()[..18], 1e-6);
            assert_close("quest, second lane", &got.f32s()[18..22], &want.f32s()[18..22], 1e-6);
            let got = mean_scores_of(isa, &queries, &means).expect("scores");
            assert_close("means", got.f32s(), want_means.f32s(), 1e-6);
        }
    }
}
