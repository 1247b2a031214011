//! Shards, packing and mixtures: the same rows for the same seed, whatever the threads.

use std::path::Path;
use std::sync::Arc;

use super::batch::TargetKind;
use super::mixture::Mixture;
use super::pack::{PackOptions, pack};
use super::prefetch::Prefetcher;
use super::shard::{Shard, ShardWriter};
use super::source::{Sample, SampleRequest, SampleSource};
use super::tokenizer::{Encoder, TokenizerHash, TokenizerOptions, train};
use crate::RunConfig;

const HASH: TokenizerHash = TokenizerHash([7; 32]);
const END: u32 = 60;

/// Samples `[1, index mod 50, ..]` with the last two tokens as the answer, at least 4 tokens.
struct Counting;

impl SampleSource for Counting {
    fn tasks(&self) -> Vec<String> {
        vec!["a".to_owned(), "b".to_owned()]
    }

    fn sample(&self, request: &SampleRequest) -> Result<Option<Sample>, String> {
        if request.tokens < 4 {
            return Ok(None);
        }
        let mut ids = vec![2; request.tokens - 2];
        ids[0] = 1;
        ids.extend([(request.index % 50) as u32, END]);
        let answer = ids.len() - 2..ids.len();
        Ok(Some(Sample { answers: std::iter::once(answer).collect(), ids }))
    }
}

fn shard(folder: &Path, tokens: u32) -> std::path::PathBuf {
    let path = folder.join("00000.tokens");
    let mut writer = ShardWriter::create(&path, 64, &HASH).expect("writes");
    let ids: Vec<u32> = (0..tokens - 1).map(|i| i % 50).collect();
    writer.document(&ids, END).expect("writes");
    assert_eq!(writer.finish().expect("writes"), u64::from(tokens));
    path
}

fn config(folder: &Path, extra: &str) -> RunConfig {
    let text = crate::config::tests::TOY.replace("x.tokens", &folder.join("00000.tokens").to_string_lossy());
    let text = text.replace("[training]", &format!("{extra}\n[training]"));
    RunConfig::parse(&text, Path::new("t")).expect("valid")
}

#[test]
fn a_shard_gives_back_its_ids_in_both_widths() {
    let folder = tempfile::tempdir().expect("folder");
    for (vocabulary, big) in [(64, 63), (100_000, 99_999)] {
        let path = folder.path().join("s.tokens");
        let mut writer = ShardWriter::create(&path, vocabulary, &HASH).expect("writes");
        writer.document(&[1, 2, big], 0).expect("writes");
        writer.document(&[3], 0).expect("writes");
        writer.finish().expect("writes");
        let shard = Shard::open(&path).expect("opens");
        let mut ids = Vec::new();
        shard.read(1, 99, &mut ids);
        assert_eq!((shard.tokens(), shard.documents(), ids), (6, 2, vec![2, big, 0, 3, 0]));
    }
}

#[test]
fn damaged_and_foreign_shards_are_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let path = shard(folder.path(), 100);
    let message = |e: crate::Error| e.to_string();
    let other = TokenizerHash([8; 32]);
    let foreign = message(Shard::open_all(&path, &other).expect_err("foreign"));
    assert!(foreign.contains("packed with tokenizer 070707070707, the model uses 080808080808"), "{foreign}");
    let bytes = std::fs::read(&path).expect("reads");
    std::fs::write(&path, &bytes[..bytes.len() - 1]).expect("writes");
    assert!(message(Shard::open(&path).expect_err("cut")).contains("is cut off"));
    std::fs::write(&path, b"hello").expect("writes");
    assert!(message(Shard::open(&path).expect_err("text")).contains("not a token shard"));
    // A writer that never finished leaves counts of 0.
    ShardWriter::create(&path, 64, &HASH).expect("writes").document(&[1], 0).expect("writes");
    assert!(message(Shard::open(&path).expect_err("interrupted")).contains("interrupted"));
    let empty = tempfile::tempdir().expect("folder");
    assert!(message(Shard::open_all(empty.path(), &HASH).expect_err("empty")).contains("no *.tokens files"));
}

#[test]
fn text_rows_are_runs_of_the_shard_and_differ_between_rows() {
    let folder = tempfile::tempdir().expect("folder");
    shard(folder.path(), 1000);
    let mixture = Mixture::new(&config(folder.path(), ""), None, &HASH, END).expect("opens");
    let batch = mixture.batch(3, 0..4).expect("rows");
    assert_eq!((batch.rows, batch.tokens, batch.ids.len()), (4, 32, 128));
    for i in 0..128 {
        let next = if batch.ids[i] == 49 { 0 } else { batch.ids[i] + 1 };
        assert!(batch.targets[i] == next || batch.targets[i] == END as i32);
    }
    assert_ne!(batch.rows(0, 1), batch.rows(1, 2));
    assert_eq!(batch, mixture.batch(3, 0..4).expect("rows"));
    // Rows of a process are rows of the whole batch.
    assert_eq!(batch.rows(2, 4), mixture.batch(3, 2..4).expect("rows"));
}

#[test]
fn a_document_begins_behind_every_end_token_of_text() {
    let folder = tempfile::tempdir().expect("folder");
    let mut writer = ShardWriter::create(&folder.path().join("00000.tokens"), 64, &HASH).expect("writes");
    for length in [3usize, 10, 20, 9] {
        writer.document(&vec![5; length], END).expect("writes");
    }
    writer.finish().expect("writes");
    let mixture = Mixture::new(&config(folder.path(), ""), None, &HASH, END).expect("opens");
    let batch = mixture.batch(0, 0..8).expect("rows");
    for row in 0..8 {
        let ids = &batch.ids[row * 32..(row + 1) * 32];
        let want: Vec<usize> = (1..32).filter(|i| ids[i - 1] == END as i32).collect();
        assert!(!want.is_empty() && batch.starts[row] == want, "{ids:?} {:?}", batch.starts[row]);
    }
    assert_eq!(batch.documents().rows(), 8 * 32);
}

#[test]
fn packed_rows_follow_the_stage_and_weigh_answers() {
    let folder = tempfile::tempdir().expect("folder");
    shard(folder.path(), 1000);
    let stages = "[data.generated]\nother_weight = 0.5\n[[stages]]\nuntil = 0.5\nlengths = [3, 8]\ntext = 0\n\
                  [[stages]]\nuntil = 1.0\nlengths = [8, 16]\nfull = 1.0\ntext = 0\n";
    let config = config(folder.path(), stages);
    let mixture = Mixture::new(&config, Some(Arc::new(Counting)), &HASH, END).expect("opens");
    let packed = mixture.batch(0, 0..4).expect("rows");
    // A sample of 4 to 8 tokens has two answer tokens; lengths of 3 do not fit and are drawn again.
    let answers = packed.kinds.iter().filter(|k| **k == TargetKind::Answer).count();
    assert!((4 * 2 * 32 / 8 - 8..=4 * 2 * 32 / 4).contains(&answers), "{answers}");
    for i in 0..packed.ids.len() {
        let expected = if packed.kinds[i] == TargetKind::Answer { 1.0 } else { 0.5 };
        assert_eq!(packed.weights[i], expected);
    }
    assert!(!packed.kinds.contains(&TargetKind::Padding));
    // A document begins behind each end token of a sample and of text.
    for row in 0..4 {
        let ids = &packed.ids[row * 32..(row + 1) * 32];
        let want: Vec<usize> = (1..32).filter(|i| ids[i - 1] == END as i32).collect();
        assert_eq!(packed.starts[row], want);
    }
    assert_eq!(packed.documents().rows(), 4 * 32);
    assert_eq!(packed.documents().len(), 4 + packed.starts.iter().map(Vec::len).sum::<usize>());
    // The second half: one sample of 32 tokens, its answer at the end, one token of padding.
    let full = mixture.batch(5, 0..1).expect("rows");
    assert_eq!(full.kinds[29..], [TargetKind::Answer, TargetKind::Answer, TargetKind::Padding]);
    assert_eq!((full.weights[28], full.weights[29], full.weights[31]), (0.5, 1.0, 0.0));
    assert_eq!(full.kinds[28], TargetKind::Context);
    assert_eq!(full.starts, [Vec::<usize>::new()]);
}

#[test]
fn empty_text_is_refused_before_training() {
    let folder = tempfile::tempdir().expect("folder");
    let text = folder.path().join("empty.txt");
    std::fs::write(&text, "").expect("writes");
    let options = TokenizerOptions {
        inputs: vec![text.clone()],
        vocab_size: 300,
        output: folder.path().join("tokenizer"),
        model_max_length: 64,
    };
    let message = train(&options).expect_err("no text").to_string();
    assert!(message.contains("the input files hold no text"), "{message}");
    std::fs::write(&text, "some words ".repeat(99)).expect("writes");
    train(&options).expect("trains");
    std::fs::write(&text, "").expect("writes");
    let packed = PackOptions {
        inputs: vec![text],
        tokenizer: folder.path().join("tokenizer"),
        separator: None,
        output: folder.path().join("shards"),
        shard_tokens: 100,
    };
    let message = pack(&packed).expect_err("no text").to_string();
    assert!(message.contains("the input files hold no text"), "{message}");
    // Shards that are shorter than a row, and none at all.
    shard(folder.path(), 20);
    let message = Mixture::new(&config(folder.path(), ""), None, &HASH, END).expect_err("short").to_string();
    assert!(message.contains("every shard is shorter than a row of 33 tokens"), "{message}");
    std::fs::remove_file(folder.path().join("00000.tokens")).expect("removes");
    let message = Mixture::new(&config(folder.path(), ""), None, &HASH, END).expect_err("none").to_string();
    assert!(message.contains("00000.tokens"), "{message}");
}

#[test]
fn lengths_that_fit_nothing_and_unknown_tasks_are_errors() {
    let folder = tempfile::tempdir().expect("folder");
    shard(folder.path(), 1000);
    let stages = "[data.generated]\n[[stages]]\nuntil = 1.0\nlengths = [1, 3]\ntext = 0\n";
    let mixture =
        Mixture::new(&config(folder.path(), stages), Some(Arc::new(Counting)), &HASH, END).expect("opens");
    let message = mixture.batch(0, 0..1).expect_err("nothing fits").to_string();
    assert!(message.contains("no sample of 1 to 3 tokens"), "{message}");
    let unknown = config(folder.path(), "[data.generated]\ntasks = [\"c\"]\n");
    let message =
        Mixture::new(&unknown, Some(Arc::new(Counting)), &HASH, END).expect_err("unknown").to_string();
    assert!(message.contains("unknown task `c`; known: a, b"), "{message}");
}

#[test]
fn prefetching_changes_neither_order_nor_content() {
    let folder = tempfile::tempdir().expect("folder");
    shard(folder.path(), 1000);
    let mixture = Arc::new(Mixture::new(&config(folder.path(), ""), None, &HASH, END).expect("opens"));
    for threads in [1, 3] {
        let mut prefetcher = Prefetcher::start(&mixture, 2..9, 0..2, (threads, 2)).expect("starts");
        for step in 2..9 {
            assert_eq!(prefetcher.next_batch().expect("batch"), mixture.batch(step, 0..2).expect("rows"));
        }
        assert!(prefetcher.next_batch().is_err());
    }
    // Dropping before the end joins the threads.
    let mut unfinished = Prefetcher::start(&mixture, 0..1_000_000, 0..2, (2, 1)).expect("starts");
    unfinished.next_batch().expect("batch");
}

#[test]
fn a_trained_tokenizer_splits_digits_and_survives_any_bytes() {
    let folder = tempfile::tempdir().expect("folder");
    let text = folder.path().join("book.txt");
    let sentence = "It was the best of times, it was the worst of times in 1859.\n";
    std::fs::write(&text, sentence.repeat(3000)).expect("writes");
    let tokenizer = folder.path().join("tokenizer");
    let options = TokenizerOptions {
        inputs: vec![text.clone()],
        vocab_size: 300,
        output: tokenizer.clone(),
        model_max_length: 4096,
    };
    let hash = train(&options).expect("trains");
    assert_eq!(train(&options).expect("trains"), hash, "training is deterministic");
    let encoder = Encoder::open(&tokenizer, None).expect("opens");
    assert_eq!(encoder.hash(), &hash);
    let odd = "1859 times\t\u{1F980} <|x|> \n\n  it";
    let ids = encoder.encode(odd).expect("encodes");
    assert_eq!(encoder.decode(&ids).expect("decodes"), odd);
    assert_eq!(encoder.encode("1859").expect("encodes").len(), 4);
    assert!(encoder.encode(sentence).expect("encodes").len() < sentence.len() / 2);

    // Packing in pieces gives the ids of the whole text.
    let packed = PackOptions {
        inputs: vec![text.clone()],
        tokenizer,
        separator: None,
        output: folder.path().join("shards"),
        shard_tokens: u64::MAX,
    };
    let summary = pack(&packed).expect("packs");
    let mut expected = encoder.encode(&sentence.repeat(3000)).expect("encodes");
    expected.push(encoder.end());
    let mut ids = Vec::new();
    Shard::open(&summary.shards[0]).expect("opens").read(0, usize::MAX, &mut ids);
    assert_eq!((summary.documents, ids), (1, expected));

    // JSON Lines, several shards, and no stale ones afterwards.
    let lines = folder.path().join("two.jsonl");
    std::fs::write(&lines, "{\"text\": \"one times\"}\n\n{\"text\": \"two\"}\n").expect("writes");
    let summary = pack(&PackOptions { inputs: vec![text, lines.clone()], shard_tokens: 1, ..packed.clone() });
    assert_eq!(summary.expect("packs").shards.len(), 3);
    let summary = pack(&PackOptions { inputs: vec![lines.clone()], ..packed.clone() }).expect("packs");
    assert_eq!((summary.documents, summary.shards.len()), (2, 1));
    assert_eq!(Shard::open_all(&packed.output, &hash).expect("opens").len(), 1);
    std::fs::write(&lines, "{\"txt\": 1}").expect("writes");
    let message = pack(&PackOptions { inputs: vec![lines], ..packed }).expect_err("no text").to_string();
    assert!(message.contains("line 1: no string field `text`"), "{message}");
}

#[test]
fn zstd_text_is_read_and_damage_is_named() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("a.txt.zst");
    let frame =
        ruzstd::encoding::compress_to_vec(&b"one\n\n\ntwo"[..], ruzstd::encoding::CompressionLevel::Fastest);
    std::fs::write(&path, [frame.clone(), frame.clone()].concat()).expect("writes");
    let found = super::text::documents(&path, Some("\n\n\n")).expect("reads");
    assert_eq!(found, ["one", "twoone", "two"]);
    std::fs::write(&path, &frame[..frame.len() - 3]).expect("writes");
    let message = super::text::read_text(&path).expect_err("damaged").to_string();
    assert!(message.contains("damaged zstd data"), "{message}");
}
