//! Records that earlier versions wrote are read, and written again as they were.

use std::io::Read as _;
use std::path::Path;

use flate2::read::GzDecoder;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::hits::record::Hits;
use crate::runner::record::{Flops, Record};
use crate::runner::store::tests::{record, with};

/// Reads and writes every line of a file below `runs/`; returns how many there are.
fn round_trip<T: DeserializeOwned + Serialize>(file: &str) -> usize {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runs").join(file);
    let mut text = String::new();
    GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    for (i, line) in text.lines().enumerate() {
        let value: T = serde_json::from_str(line).unwrap();
        let same = serde_json::from_str::<Value>(line).unwrap() == serde_json::to_value(&value).unwrap();
        let written = serde_json::to_string(&value).unwrap();
        assert!(same && written == line, "{file}, line {}: {written}", i + 1);
    }
    text.lines().count()
}

#[test]
fn earlier_lines_are_written_again() {
    assert!(round_trip::<Record>("pair-2026-11-22/records/random-memory.jsonl.gz") > 1000);
    assert!(round_trip::<Hits>("hits-2026-11-26/hits.jsonl.gz") > 10);
}

#[test]
fn fields_keep_their_places() {
    let full = with(record("m", "dense", 7, 1.0), |r| {
        r.origin.recipe.data = Some("d".into());
        r.origin.recipe.template = Some("own@1".into());
        r.flops = Some(Flops { prefill: 1.0, per_step: 2.0 });
    });
    let text = serde_json::to_string(&full).unwrap();
    let beginning = r#"{"version":1,"model":"m","model_hash":"hash of m","memory":false,"method":"dense","task":"niah_single_1","seed":42,"sample":7,"context":512,"tokenizer":"t","haystack":"h","wordlist":"3.0.1","data":"d","prompt_form":"prefix","template":"own@1","device":"cpu","prediction":"1\n","references":["1"],"#;
    assert!(text.starts_with(beginning), "{text}");
    assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), full);
    let missing = text.replace("\"task\":\"niah_single_1\",", "");
    let error = serde_json::from_str::<Record>(&missing).unwrap_err().to_string();
    assert!(error.contains("missing field `task`"), "{error}");
}
