//! The predicted peak memory against the allocator's count, within 10 %. A process of its own: the count is the process's.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use wane_kernels::CpuBuffer;
use wane_train::RunConfig;
use wane_train::data::ShardWriter;
use wane_train::data::tokenizer::TokenizerHash;
use wane_train::observe::ProgressOutput;
use wane_train::trainer::{Start, Surroundings, train};

/// Predicted and measured bytes of two steps and one validation.
fn run(folder: &Path, name: &str, model: &str, training: &str) -> (f64, f64) {
    let shard = folder.join("toy.tokens");
    if !shard.exists() {
        let mut writer = ShardWriter::create(&shard, 512, &TokenizerHash([0; 32])).expect("writes");
        writer.document(&(0..5000).map(|i| i * i % 500).collect::<Vec<u32>>(), 511).expect("writes");
        writer.finish().expect("writes");
    }
    let text = format!(
        "name = \"{name}\"\noutput = {:?}\n[model]\n{model}\nvocab_size = 512\n[data]\n[[data.text]]\nshards = {shard:?}\n\
         [training]\nsequence = 256\nsteps = 2\n{training}\n[optimizer]\nlr = 1e-3\n\
         [validation]\nevery = 2\nshards = {shard:?}\ntext_rows = 4\n[checkpoint]\nevery = 0\nat_end = false\n",
        folder.join(name),
    );
    let config = RunConfig::parse(&text, Path::new("toy.toml")).expect("valid");
    CpuBuffer::reset_peak();
    let surroundings = Surroundings {
        start: Start::New,
        ranks: None,
        source: None,
        progress: ProgressOutput::Silent,
        stop: Arc::new(AtomicBool::new(false)),
    };
    let record = train(&config, surroundings).expect("trains");
    (record.predicted_bytes as f64, record.measured_bytes.expect("counted") as f64)
}

#[test]
fn predicted_and_measured_peaks_agree_within_ten_percent() {
    let folder = tempfile::tempdir().expect("folder");
    let small = "hidden_size = 64\nnum_hidden_layers = 3\nnum_attention_heads = 4\nintermediate_size = 176";
    let deep = "hidden_size = 128\nnum_hidden_layers = 6\nnum_attention_heads = 4\nnum_key_value_heads = 2\nintermediate_size = 352";
    let gelu = "hidden_act = \"gelu\"\ntie_word_embeddings = false\noutput_gate = false";
    let (attention, memory) = ("backbone = \"attention\"", "backbone = \"memory\"\ngate_bias = \"spread\"");
    for (name, model, training) in [
        ("small", format!("{attention}\n{small}"), "batch = 16"),
        ("memory", format!("{memory}\n{small}"), "batch = 16"),
        ("joint", format!("{memory}\n{deep}"), "batch = 8\n[joint]\npass = \"dilated\""),
        ("accumulated", format!("{memory}\n{deep}"), "batch = 16\naccumulation = 4"),
        ("recomputed", format!("{memory}\n{deep}"), "batch = 16\nrecompute = true"),
        ("gelu", format!("{attention}\n{gelu}\n{deep}"), "batch = 8"),
    ] {
        let (predicted, measured) = run(folder.path(), name, &model, training);
        println!(
            "{name}: predicted {:.2} MiB, measured {:.2} MiB",
            predicted / 1048576.0,
            measured / 1048576.0
        );
        assert!(
            (predicted / measured - 1.0).abs() < 0.1,
            "{name}: predicted {predicted}, measured {measured}"
        );
    }
}
