//! Whole measurements of a tiny random model with the bundled tokenizer.

use std::path::Path;
use std::sync::Arc;

use wane_kernels::Device;
use wane_model::Tokenizer;
use wane_model::config::{
    Architecture, AttentionBias, FfnActivation, MemoryConfig, MemoryStateDtype, ModelConfig, NormPlacement,
    QkNorm, RopeConfig, RopeScaling,
};
use wane_model::decoder::Decoder;
use wane_model::decoder::initialize::{GateBias, Initialization, ResidualScale};

use super::super::record::cells;
use super::*;
use crate::ruler::files::Files;
use crate::ruler::haystack::Haystack;
use crate::ruler::prompt::PromptForm;
use crate::ruler::sentences::Splitter;
use crate::ruler::tasks::select;
use crate::ruler::template::ModelTemplate;
use crate::ruler::words::WordList;
use crate::runner::store::Existing;

const LAYERS: usize = 2;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;

/// A random model with or without memory, for the bundled tokenizer.
pub(crate) fn decoder(memory: Option<MemoryConfig>) -> Decoder {
    let config = ModelConfig {
        architecture: Architecture::Wane,
        vocab_size: 4096,
        hidden_size: 16,
        intermediate_size: 24,
        num_hidden_layers: LAYERS,
        num_attention_heads: HEADS,
        num_key_value_heads: KV_HEADS,
        head_dim: 8,
        rms_norm_eps: 1e-6,
        rope: RopeConfig { theta: 10000.0, scaling: RopeScaling::None },
        max_position_embeddings: 1536,
        tie_word_embeddings: true,
        ffn_activation: FfnActivation::SwiGlu,
        attention_bias: AttentionBias::None,
        qk_norm: QkNorm::None,
        norm_placement: NormPlacement::Pre,
        output_gate: true,
        memory,
        sliding_window: None,
        bos_token_id: None,
        eos_token_ids: vec![0],
        pad_token_id: None,
    };
    let gate_bias = GateBias::Spread { copying: 0.3, max_half_life: 8.0 };
    let init = Initialization { seed: 3, std: 0.3, scale_residual: ResidualScale::None, gate_bias };
    Decoder::random(&config, &Device::Cpu, None, &init).unwrap()
}

pub(crate) fn tokenizer() -> Arc<Tokenizer> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/memory/tokenizer.json");
    Arc::new(Tokenizer::from_file(&path).unwrap())
}

pub(crate) const MEMORY: MemoryConfig = MemoryConfig { gate_bias: true, state_dtype: MemoryStateDtype::F32 };

/// What needle tasks need of the user's files.
pub(crate) static NO_FILES: Files = Files { squad: None, hotpotqa: None, english_words: None };

/// Cells of a run, added up.
fn run(
    folder: &Path,
    methods: &[&str],
    tasks: &str,
    [samples, batch, context]: [usize; 3],
) -> Result<Vec<Hits>> {
    let (decoder, haystack) = (decoder(Some(MEMORY)), Haystack::shipped(Splitter::Simple));
    let subject =
        Subject { name: "tiny".into(), hash: "hash".into(), decoder: &decoder, tokenizer: tokenizer() };
    let job = Job {
        methods: methods.iter().map(|m| Plan::parse(m).unwrap()).collect(),
        tasks: select(&[tasks])?,
        context,
        samples,
        seed: 42,
        words: WordList::V3_0_1,
        haystack: &haystack,
        files: &NO_FILES,
        data: None,
        form: PromptForm::Input,
        template: ModelTemplate::base(),
        max_new_tokens: None,
        batch,
        kv_dtype: None,
    };
    let mut store = HitStore::open(folder, Existing::Resume)?;
    let mut last = [0; 2];
    let end = measure(&subject, &job, &mut store, &mut |p| {
        last = [p.done, p.total];
        true
    })?;
    assert_eq!(end, End::Complete);
    assert_eq!(last[0], last[1], "everything that was announced is done");
    let (cells, repeated) = cells(store.lines());
    assert_eq!(repeated, 0);
    Ok(cells)
}

const METHODS: [&str; 4] = [
    "quest:block=16,k=8,selector=random",
    "moba:block=16,k=8,selector=random,seed=3",
    "snapkv:k=96,window=16,selector=random",
    "moba:block=16,k=8,selector=random+quest:block=16,k=8,selector=random_pure,share=q_head",
];

/// What must not depend on how a run is organized.
fn counts(cells: &[Hits]) -> Vec<(String, [usize; 6], Vec<[usize; 3]>)> {
    let numbers = |c: &Hits| [c.samples, c.examples, c.free_examples, c.whole, c.unaligned, c.steps];
    let heads = |c: &Hits| c.heads.iter().map(|h| [h.hits, h.free_hits, h.previous_hits]).collect();
    let mut all: Vec<_> =
        cells.iter().map(|c| (format!("{} {}", c.cell.task, c.cell.method), numbers(c), heads(c))).collect();
    all.sort();
    all
}

#[test]
fn draws_hit_as_often_as_chance_says() {
    let dir = tempfile::tempdir().unwrap();
    for cell in run(dir.path(), &METHODS, "niah_single_1", [24, 8, 512]).unwrap() {
        let selectors = if cell.unit == HeadUnit::KvHead { KV_HEADS } else { HEADS };
        assert_eq!(cell.heads.len(), LAYERS * selectors, "{}", cell.cell.method);
        assert_eq!((cell.samples, cell.examples), (24, 24), "{}", cell.cell.method);
        let draws = (cell.examples * cell.heads.len()) as f64;
        let mean =
            |of: &dyn Fn(&super::super::HeadHits) -> f64| cell.heads.iter().map(of).sum::<f64>() / draws;
        let near = |what: &str, got: f64, want: f64, trials: f64| {
            let error = (want * (1.0 - want) / trials).sqrt();
            assert!(
                (got - want).abs() < 4.5 * error + 1e-3,
                "{}: {what} {got}, chance {want}",
                cell.cell.method
            );
        };
        let n = cell.examples as f64;
        near("hits", mean(&|h| h.hits as f64), cell.chance / n, draws);
        near("recall", mean(&|h| h.recall), cell.chance_recall / n, draws);
        // Ranks are uniform over the entries that compete.
        let free = cell.free_examples as f64 * cell.heads.len() as f64;
        let rank = cell.heads.iter().map(|h| h.rank).sum::<f64>() / free;
        let competing = cell.candidates / cell.free_examples as f64;
        let error = competing / (12.0 * free).sqrt();
        // A source in two blocks counts with the worse one, hence the room above.
        assert!((rank - (competing + 1.0) / 2.0).abs() < 5.0 * error + 0.1 * competing, "{rank} {competing}");
    }
}

#[test]
fn batches_threads_and_resuming_do_not_matter() {
    let make = |folder: &Path, threads: usize, sizes: [usize; 3]| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run(folder, &METHODS, "niah_single_1,niah_multivalue", sizes)).unwrap()
    };
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let alone = counts(&make(dirs[0].path(), 1, [4, 1, 1536]));
    assert_eq!(alone.len(), 2 * METHODS.len());
    assert_eq!(alone, counts(&make(dirs[1].path(), 4, [4, 3, 1536])));
    make(dirs[2].path(), 2, [1, 2, 1536]);
    assert_eq!(alone, counts(&make(dirs[2].path(), 2, [4, 2, 1536])));
    // Nothing is left to do.
    let lines = std::fs::read(dirs[2].path().join(super::super::store::FILE)).unwrap();
    make(dirs[2].path(), 2, [4, 2, 1536]);
    assert_eq!(std::fs::read(dirs[2].path().join(super::super::store::FILE)).unwrap(), lines);
}

#[test]
fn a_budget_for_everything_leaves_nothing_to_hit() {
    let dir = tempfile::tempdir().unwrap();
    let methods = ["quest:block=16,k=999", "snapkv:k=999,window=16", "moba:block=16,k=999"];
    for cell in run(dir.path(), &methods, "niah_single_1", [2, 2, 512]).unwrap() {
        assert_eq!((cell.whole, cell.examples, cell.heads.len()), (2, 0, 0), "{}", cell.cell.method);
    }
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |method: &str, sizes: [usize; 3]| {
        run(dir.path(), &[method], "niah_single_1", sizes).unwrap_err().to_string()
    };
    for (method, why) in [
        ("dense", "dense attention selects nothing"),
        ("streaming:window=64", "streaming does not select by score"),
        ("snapkv:k=96,window=16+quest:block=16,k=4", "quest would select among the rows"),
        ("quest:block=16,k=4,sparse_from=question", "sparse_from=question is not supported"),
    ] {
        let message = refused(method, [1, 1, 512]);
        assert!(message.contains(why) && message.contains("hit rates exist for"), "{message}");
    }
    assert!(refused("quest:block=16,k=4", [1, 1, 4096]).contains("--context 4096 is more than tiny"));
    assert!(refused("quest:block=16,k=4", [0, 1, 512]).contains("nothing to run"));
}
