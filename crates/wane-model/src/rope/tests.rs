//! Frequencies against their definitions (whole models with them: `tests/parity.rs`).

use wane_kernels::Device;

use super::*;

fn rope(scaling: RopeScaling) -> RopeConfig {
    RopeConfig { theta: 10_000.0, scaling }
}

#[test]
fn the_base_is_a_geometric_series() {
    let base = inverse_frequencies(64, &rope(RopeScaling::None));
    assert_eq!((base.len(), base[0]), (32, 1.0));
    assert!((base[16] - 0.01).abs() < 1e-15);
    let linear = inverse_frequencies(64, &rope(RopeScaling::Linear { factor: 4.0 }));
    assert!(base.iter().zip(&linear).all(|(a, b)| (a / b - 4.0).abs() < 1e-12));
}

#[test]
fn llama3_keeps_high_and_divides_low_frequencies() {
    let scaling = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192,
    };
    let (base, scaled) =
        (inverse_frequencies(128, &rope(RopeScaling::None)), inverse_frequencies(128, &rope(scaling)));
    let mut between = 0;
    for (a, b) in base.iter().zip(&scaled) {
        let rotations = 8192.0 * a / TAU;
        let ratio = a / b;
        if rotations > 4.0 {
            assert!((ratio - 1.0).abs() < 1e-12);
        } else if rotations < 1.0 {
            assert!((ratio - 8.0).abs() < 1e-12);
        } else {
            between += 1;
            assert!(ratio > 1.0 && ratio < 8.0);
        }
    }
    assert!(between > 3);
}

#[test]
fn yarn_runs_from_kept_to_divided() {
    let scaling = |truncate| RopeScaling::Yarn {
        factor: 4.0,
        beta_fast: 32.0,
        beta_slow: 1.0,
        original_max_position_embeddings: 4096,
        attention_factor: 1.25,
        truncate,
    };
    let base = inverse_frequencies(128, &rope(RopeScaling::None));
    for truncate in [true, false] {
        let scaled = inverse_frequencies(128, &rope(scaling(truncate)));
        let ratios: Vec<f64> = base.iter().zip(&scaled).map(|(a, b)| a / b).collect();
        assert!((ratios[0] - 1.0).abs() < 1e-12 && (ratios[63] - 4.0).abs() < 1e-12);
        assert!(ratios.is_sorted());
    }
    assert_ne!(
        inverse_frequencies(128, &rope(scaling(true))),
        inverse_frequencies(128, &rope(scaling(false)))
    );
    assert_eq!(attention_factor(&rope(scaling(true))), 1.25);
}

#[test]
fn the_table_holds_scaled_cosines_and_sines() {
    let path = std::path::Path::new("config.json");
    let text = r#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 16, "intermediate_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 2,
        "rope_scaling": {"rope_type": "yarn", "factor": 2.0, "attention_factor": 1.5}}"#;
    let config = ModelConfig::from_json(text, path).unwrap();
    let table = rope_table(&config, 9, &Device::Cpu).unwrap();
    assert_eq!(table.cos.shape(), [9, 4]);
    let frequencies = inverse_frequencies(8, &config.rope);
    let angle = 7.0 * frequencies[2];
    assert!((f64::from(table.cos.f32s()[7 * 4 + 2]) - 1.5 * angle.cos()).abs() < 1e-6);
    assert!((f64::from(table.sin.f32s()[7 * 4 + 2]) - 1.5 * angle.sin()).abs() < 1e-6);
}
