//! Reading and writing `config.json`.

use std::path::Path;

use super::*;

const LLAMA: &str = r#"{"model_type": "llama", "vocab_size": 32, "hidden_size": 64, "intermediate_size": 96,
    "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 256"#;

/// The Llama above with more keys (which win).
fn with(more: &str) -> Result<ModelConfig> {
    let mut value: serde_json::Value = serde_json::from_str(&format!("{LLAMA}}}")).unwrap();
    let more: serde_json::Value = serde_json::from_str(&format!("{{{more}}}")).unwrap();
    for (key, entry) in more.as_object().unwrap() {
        value[key] = entry.clone();
    }
    ModelConfig::from_json(&value.to_string(), Path::new("dir/config.json"))
}

fn refused(more: &str) -> String {
    let message = with(more).unwrap_err().to_string();
    assert!(message.contains("config.json"), "names the file: {message}");
    message
}

#[test]
fn defaults_are_those_of_the_family() {
    let llama = with("").unwrap();
    assert_eq!((llama.num_key_value_heads, llama.head_dim, llama.rope.theta), (4, 16, 10_000.0));
    assert_eq!(with(r#""num_key_value_heads": null"#).unwrap().num_key_value_heads, 4);
    assert!(!llama.tie_word_embeddings && llama.eos_token_ids.is_empty());
    let olmo = with(r#""model_type": "olmo2""#).unwrap();
    assert_eq!((olmo.qk_norm, olmo.norm_placement), (QkNorm::FullWidth, NormPlacement::Post));
    let qwen2 = with(r#""model_type": "qwen2""#).unwrap();
    assert_eq!(qwen2.attention_bias, AttentionBias::Qkv);
    let qwen3 = with(r#""model_type": "qwen3""#).unwrap();
    assert_eq!((qwen3.qk_norm, qwen3.head_dim), (QkNorm::PerHead, 128));
    assert_eq!(with(r#""attention_bias": true"#).unwrap().attention_bias, AttentionBias::All);
    assert_eq!(with(r#""eos_token_id": [1, 7], "bos_token_id": 2"#).unwrap().eos_token_ids, [1, 7]);
}

#[test]
fn both_spellings_of_rope_are_read() {
    let old = with(r#""rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 4}"#).unwrap();
    let new =
        with(r#""rope_parameters": {"rope_type": "linear", "rope_theta": 500000.0, "factor": 4.0}"#).unwrap();
    assert_eq!(old.rope, new.rope);
    assert_eq!(old.rope, RopeConfig { theta: 5e5, scaling: RopeScaling::Linear { factor: 4.0 } });
    let yarn = with(r#""rope_scaling": {"rope_type": "yarn", "factor": 4.0}"#).unwrap();
    let RopeScaling::Yarn { attention_factor, original_max_position_embeddings, truncate, .. } =
        yarn.rope.scaling
    else {
        panic!("yarn");
    };
    assert!((attention_factor - (0.1 * 4f64.ln() + 1.0)).abs() < 1e-12);
    assert_eq!((original_max_position_embeddings, truncate), (256, true));
}

#[test]
fn what_would_change_the_result_is_refused_by_name() {
    assert!(refused(r#""model_type": "mamba""#).contains("\"mamba\" is unknown (known: llama"));
    assert!(refused(r#""rope_scaling": {"rope_type": "longrope", "factor": 4}"#).contains("longrope"));
    assert!(refused(r#""rope_scaling": {"rope_type": "dynamic", "factor": 4}"#).contains("dynamic"));
    assert!(refused(r#""rope_scaling": {"rope_type": "linear"}"#).contains("factor"));
    assert!(refused(r#""partial_rotary_factor": 0.5"#).contains("partial_rotary_factor"));
    assert!(refused(r#""mlp_bias": true"#).contains("mlp_bias"));
    assert!(refused(r#""hidden_act": "relu""#).contains("relu"));
    assert!(refused(r#""quantization_config": {"bits": 4}"#).contains("quantized"));
    let layers = r#""rope_parameters": {"full_attention": {"rope_theta": 1}, "sliding_attention": {}}"#;
    assert!(refused(layers).contains("between layers"));
}

#[test]
fn sliding_windows_hold_in_all_layers_or_none() {
    let window = |more: &str| with(more).map(|config| config.sliding_window);
    assert_eq!(window(r#""model_type": "mistral", "sliding_window": 128"#).unwrap(), Some(128));
    assert_eq!(window(r#""model_type": "mistral", "sliding_window": null"#).unwrap(), None);
    assert_eq!(window(r#""model_type": "mistral", "sliding_window": 256"#).unwrap(), None, "never reached");
    let qwen = r#""model_type": "qwen2", "sliding_window": 128"#;
    assert_eq!(window(qwen).unwrap(), None, "switched off");
    let on = format!(r#"{qwen}, "use_sliding_window": true, "max_window_layers""#);
    assert_eq!(window(&format!("{on}: 0")).unwrap(), Some(128));
    assert_eq!(window(&format!("{on}: 4")).unwrap(), None);
    assert!(window(&format!("{on}: 2")).unwrap_err().to_string().contains("2 of 4 layers"));
    let types = r#""sliding_window": 128, "layer_types": ["full_attention", "sliding_attention",
        "full_attention", "full_attention"]"#;
    assert!(window(types).unwrap_err().to_string().contains("1 of 4 layers"));
}

#[test]
fn sizes_that_make_no_sense_are_refused() {
    assert!(refused(r#""num_key_value_heads": 3"#).contains("multiple"));
    assert!(refused(r#""head_dim": 15"#).contains("even"));
    assert!(refused(r#""hidden_size": 0"#).contains("hidden_size"));
    assert!(refused(r#""vocab_size": -1"#).contains("vocab_size"));
    assert!(refused(r#""num_hidden_layers": 1000000"#).contains("layers"));
    assert!(refused(r#""intermediate_size": null"#).contains("intermediate_size is missing"));
    assert!(refused(r#""rope_theta": "big""#).contains("rope_theta"));
    assert!(refused(r#""eos_token_id": "</s>""#).contains("eos_token_id"));
    assert!(ModelConfig::from_json("[]", Path::new("config.json")).is_err());
    assert!(ModelConfig::from_json("{", Path::new("config.json")).is_err());
}

#[test]
fn what_is_written_is_read_again() {
    let full = r#""model_type": "wane", "hidden_act": "gelu", "attention_bias": "qkv", "qk_norm": "per_head",
        "norm_placement": "post", "output_gate": true, "sliding_window": 32, "eos_token_id": [1, 2],
        "memory": {"gate_bias": true, "state_dtype": "bfloat16"},
        "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "mscale": 0.7, "mscale_all_dim": 1.0}"#;
    let families =
        ["llama", "mistral", "olmo2", "qwen2", "qwen3"].map(|name| format!(r#""model_type": "{name}""#));
    let llama3 = r#""attention_bias": true, "rope_scaling": {"rope_type": "llama3", "factor": 8.0,
        "original_max_position_embeddings": 64}, "tie_word_embeddings": true, "bos_token_id": 3"#;
    for more in families.iter().map(String::as_str).chain([full, llama3]) {
        let config = with(more).unwrap();
        let text = config.to_json("float32").to_string();
        assert_eq!(ModelConfig::from_json(&text, Path::new("config.json")).unwrap(), config, "{more}");
        assert_eq!(config.saved_architecture(), config.architecture, "{more}");
    }
}

#[test]
fn a_model_outside_its_family_is_saved_as_our_own() {
    let mut config = with("").unwrap();
    config.attention_bias = AttentionBias::Qkv;
    assert_eq!(config.saved_architecture(), Architecture::Wane);
}

#[test]
fn parameters_follow_the_choices() {
    let names = |config: &ModelConfig| -> Vec<String> {
        config
            .parameters()
            .into_iter()
            .map(|(name, _)| name)
            .filter(|name| !name.contains("layers.1."))
            .collect()
    };
    let mut config = with(r#""num_hidden_layers": 2, "num_key_value_heads": 2"#).unwrap();
    let plain = names(&config);
    assert_eq!(plain.len(), 3 + 9);
    config.memory = Some(MemoryConfig { gate_bias: true, state_dtype: MemoryStateDtype::F32 });
    config.output_gate = true;
    config.tie_word_embeddings = true;
    let extended = names(&config);
    let added: Vec<_> = extended.iter().filter(|name| !plain.contains(name)).collect();
    assert_eq!(added.len(), 3, "{added:?}");
    assert!(!extended.contains(&"lm_head.weight".to_owned()));
    let shapes: std::collections::BTreeMap<_, _> = config.parameters().into_iter().collect();
    assert_eq!(shapes["model.layers.0.self_attn.memory_gate.weight"], [32, 64]);
    assert_eq!(shapes["model.layers.0.self_attn.output_gate.weight"], [64, 64]);
}
