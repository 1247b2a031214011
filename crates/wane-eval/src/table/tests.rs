//! Tables from a few records.

use super::*;
use crate::runner::store::tests::record;

const QUEST: &str = "quest:block=64,k=4,first=1,local=1,selector=own,preset=paper";

fn records() -> Vec<Record> {
    let mut all = Vec::new();
    for sample in 0..10 {
        all.push(record("attention", "dense", sample, 1.0));
        all.push(record("memory", "dense", sample, 1.0));
        all.push(record("attention", QUEST, sample, f64::from(u8::from(sample < 2))));
        all.push(record("memory", QUEST, sample, f64::from(u8::from(sample < 7))));
    }
    all
}

#[test]
fn rows_and_columns() {
    let table = accuracy(&records(), "task");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 5);
    assert!(lines[0].contains("S1") && !lines[0].contains("S2"));
    assert!(
        lines[2].starts_with("attention  quest:block=64,k=4 ") && lines[2].contains(" 20.0 |"),
        "{}",
        lines[2]
    );
    assert!(lines[2].contains("5.7 to  51.0"), "{}", lines[2]);
    assert_eq!(lines[2], accuracy(&records(), "comma_set").lines().nth(2).unwrap());
}

#[test]
fn labels_tell_settings_apart() {
    let label = |method: &str| short_method(&wane_attention::Plan::parse(method).unwrap().canonical());
    assert_eq!(label("snapkv:k=512"), "snapkv:k=512");
    assert_eq!(label("snapkv:k=512,first=4"), "snapkv:k=512,first=4");
    assert_eq!(label("snapkv:k=512,kernel=15,pool=max"), "snapkv:k=512,pool=max,kernel=15");
    assert_eq!(label("snapkv:k=512,dense_layers=2"), "snapkv:k=512,dense_layers=2");
    assert_eq!(label("quest:block=64,k=8"), "quest:block=64,k=8");
}

#[test]
fn units() {
    assert_eq!([bytes(12.0), bytes(2048.0), bytes(3e9)], ["12.0 B", "2.0 KB", "2.79 GB"]);
}
