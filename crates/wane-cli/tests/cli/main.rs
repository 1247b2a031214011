//! Drives the built binary with bad input: every refusal is one sentence that names the file or parameter and
//! says what to do, with exit code 1 or 2, and nothing panics.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod arguments;
mod compare;
mod eval;
mod hub;
mod model_files;
mod outputs;
mod ruler;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wane_kernels::Device;
use wane_model::checkpoint::{self, SaveDtype};
use wane_model::decoder::Decoder;
use wane_model::decoder::initialize::{GateBias, Initialization, ResidualScale};
use wane_model::{ModelConfig, Tokenizer};

/// Context of the tiny models: the smallest samples of RULER fit.
const CONTEXT: usize = 512;

/// The binary, with one thread, no Hugging Face cache and no `hf`.
fn wane(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wane"));
    for name in ["HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HF_HUB_OFFLINE"] {
        command.env_remove(name);
    }
    command.env("HOME", "/nonexistent").env("PATH", "/usr/bin:/bin").args(["--threads", "1"]).args(args);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command that must succeed; returns its stdout.
#[track_caller]
fn works(args: &[&str]) -> String {
    let output = wane(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// The refusal in `output`: its last line on stderr, which holds every one of `words`.
#[track_caller]
fn refusal(what: &str, output: &Output, words: &[&str]) -> String {
    let stderr = text(&output.stderr);
    let code = output.status.code();
    assert!(matches!(code, Some(1 | 2)), "{what}: exit code {code:?}, {stderr}");
    assert!(!stderr.contains("panicked"), "{what}: {stderr}");
    // Wrong arguments (2) come with the parser's usage, everything else is one sentence.
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{what}: {stderr}");
    assert!(code == Some(2) || stderr.trim_end().ends_with(errors[0]), "{what}: {stderr}");
    for word in words {
        assert!(stderr.contains(word), "{what}: expected {word:?} in: {stderr}");
    }
    stderr
}

/// Runs a command that must be refused with a sentence that holds all of `words`.
#[track_caller]
fn refused(args: &[&str], words: &[&str]) -> String {
    refusal(&format!("{args:?}"), &wane(args).output().unwrap(), words)
}

/// A file below `folder` as text for a command line.
fn at(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn configuration(vocab_size: usize) -> ModelConfig {
    ModelConfig {
        vocab_size,
        hidden_size: 16,
        intermediate_size: 16,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        num_key_value_heads: 2,
        head_dim: 8,
        max_position_embeddings: CONTEXT,
        // <|end|> of the bundled tokenizer.
        eos_token_ids: vec![0],
        tie_word_embeddings: true,
        ..ModelConfig::llama()
    }
}

/// Writes a random model.
fn write_model(folder: &Path, config: &ModelConfig, seed: u64, tokenizer: Option<&Tokenizer>) {
    let initialization = Initialization {
        seed,
        std: 0.3,
        scale_residual: ResidualScale::None,
        gate_bias: GateBias::Constant(0.0),
    };
    let decoder = Decoder::random(config, &Device::Cpu, None, &initialization).unwrap();
    let weights: BTreeMap<_, _> = decoder.state_dict().unwrap().into_iter().collect();
    checkpoint::save(folder, config, &weights, SaveDtype::F32, (tokenizer, None)).unwrap();
}

/// The bundled models' tokenizer.
static TOKENIZER: LazyLock<Tokenizer> =
    LazyLock::new(|| Tokenizer::open(repository().join("models/attention").to_str().unwrap()).unwrap());

/// Two tiny random models that share a tokenizer, in folders `a` and `b`; made once, never changed.
static MODELS: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(TOKENIZER.vocab_size());
    for (seed, name) in [(1, "a"), (2, "b")] {
        write_model(&folder.path().join(name), &config, seed, Some(&TOKENIZER));
    }
    folder
});

/// The folder of model `a` or `b`.
fn model(name: &str) -> String {
    at(MODELS.path(), name)
}

/// A copy of model `a` that a test may damage.
fn copy() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(model("a")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

/// `wane` under a shell that lets no file grow beyond `blocks` of 512 bytes: a full disk that needs no
/// permission.
fn with_file_limit(blocks: usize, args: &[&str]) -> Output {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let inner = wane(args);
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(script).arg(inner.get_program()).args(inner.get_args());
    shell.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?)))).output().unwrap()
}

/// What `wane` says when Ctrl-C comes after its third record.
fn interrupted(args: &[&str], records: &Path) -> Output {
    let lines = || std::fs::read(records).map_or(0, |text| text.iter().filter(|&&b| b == b'\n').count());
    interrupted_when(args, Duration::from_secs(120), || lines() >= 3)
}

/// What `wane` says when Ctrl-C comes as soon as `begun`, which must be so within `limit`.
fn interrupted_when(args: &[&str], limit: Duration, begun: impl Fn() -> bool) -> Output {
    let mut child = wane(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while !begun() {
        assert!(started.elapsed() < limit, "nothing is written");
        assert!(child.try_wait().unwrap().is_none(), "ended before it was stopped");
        std::thread::sleep(Duration::from_millis(1));
    }
    let sent = Command::new("/bin/kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    child.wait_with_output().unwrap()
}
