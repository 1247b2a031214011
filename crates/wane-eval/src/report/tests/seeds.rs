//! Several pairs of models: training seeds, SnapKV's pooling; made-up records, numbers checked by hand.

use super::{contains, report};
use crate::runner::record::Record;
use crate::runner::store::tests::{record, with};

fn snapkv(pooling: &str) -> String {
    format!("snapkv:k=512,window=64,{pooling},share=group_mean,dense_layers=0,selector=own")
}

const NARROW: &str = "kernel=5,pool=avg";
const WIDE: &str = "kernel=15,pool=max";

/// Ten samples of one task; the first `right` are right.
fn row(model: &str, method: &str, right: usize) -> Vec<Record> {
    let one = |sample| {
        with(record(model, method, sample, f64::from(u8::from(sample < right))), |record| {
            record.origin.context = 4096;
            record.cell.memory = model.contains("memory");
            record.new_tokens = 8;
        })
    };
    (0..10).map(one).collect()
}

/// Two training seeds under dense attention and SnapKV; memory gains 60 and 20 points with the default pooling, and
/// nothing with wide pooling.
fn seeds() -> Vec<Record> {
    let mut all = Vec::new();
    for (model, narrow) in [("attention-s1", 2), ("memory-s1", 8), ("attention-s2", 4), ("memory-s2", 6)] {
        all.extend(row(model, "dense", 10));
        all.extend(row(model, &snapkv(NARROW), narrow));
        all.extend(row(model, &snapkv(WIDE), 9));
    }
    all
}

#[test]
fn training_seeds_stand_side_by_side() {
    let report = report(&seeds());
    contains(
        &report.page,
        &[
            "memory minus attention, 2 training seeds",
            "Under SnapKV, memory gains over attention with every training seed</th><td>holds in 1 of 2</td><td>+40.0 (+20.0 to +60.0) at 512 (1/8)</td>",
            "Under SnapKV, memory-s2 gains over attention-s2</th><td>not decided</td>",
            "Gains are over the model of the same name without memory (memory-s1 over attention-s1, memory-s2 over attention-s2)",
            "memory-s1, snapkv:k=512: +60.0 (",
            "memory-s2, snapkv:k=512: +20.0 (",
        ],
    );
    // Accuracies 20 and 40, 80 and 60: means 30 and 70.
    contains(
        &report.file("tables.md"),
        &[
            "| snapkv:k=512 | 1/8 | 30.0 (20.0 to 40.0) | 70.0 (60.0 to 80.0) | +40.0 (+20.0 to +60.0) | +60.0 (",
        ],
    );
    contains(&report.file("tables.md"), &["| seed 1 | seed 2 |", "| 1 / 1 / 0 |"]);
    let csv = report.file("seeds.csv");
    let line = csv.lines().find(|l| l.contains(NARROW)).unwrap();
    contains(line, &["1,attention,memory,", ",2,0.300000,0.200000,0.400000,", ",0.400000,0.200000,0.600000"]);
    let line = report.written.summary.lines().find(|l| l.starts_with("snapkv:k=512 ")).unwrap();
    contains(line, &[" 30.0 ", " 70.0 ", "+40.0  +20.0 to  +60.0"]);
    assert_eq!(super::balance(&report.page), Vec::<String>::new());
    super::check_links(&report.page);
}

#[test]
fn a_setting_that_one_seed_lacks_says_nothing_of_every_seed() {
    let mut records = seeds();
    records.retain(|r| !(r.cell.model.ends_with("s2") && r.cell.method.contains(WIDE)));
    let report = report(&records);
    assert!(!report.page.contains("Under SnapKV (wide pooling), memory gains over attention with every"));
    contains(&report.page, &["Under SnapKV, memory gains over attention with every training seed"]);
}

#[test]
fn one_pair_has_no_table_of_seeds() {
    let one: Vec<Record> = seeds().into_iter().filter(|r| r.cell.model.ends_with("s1")).collect();
    let report = report(&one);
    assert!(!report.page.contains("training seeds</th>") && !report.out.join("seeds.csv").exists());
}

#[test]
fn wide_pooling_is_a_family_of_its_own_beside_the_default() {
    let one: Vec<Record> = seeds().into_iter().filter(|r| r.cell.model.ends_with("s1")).collect();
    let report = report(&one);
    contains(
        &report.page,
        &[
            "SnapKV with care.",
            "pools scores over 5 neighbouring tokens (avg), and an answer here has 8 or more",
            "1/8: attention-s1 20.0 \u{2192} 90.0, memory-s1 80.0 \u{2192} 90.0, gain +60.0 \u{2192} 0.0.",
            "Under SnapKV (wide pooling), memory-s1 gains over attention-s1",
            "SnapKV (wide pooling): accuracy in percent",
            "<strong>SnapKV (wide pooling): snapkv:",
        ],
    );
    contains(&report.file("tables.md"), &["| memory-s1 minus attention-s1 | 20.0 | 90.0 | 80.0 | 90.0 |"]);
    contains(&report.written.summary, &["SnapKV with care: its default pooling is narrower"]);
    // Without such rows the page says what is missing; where answers are short there is nothing to say.
    let narrow: Vec<Record> = one.into_iter().filter(|r| !r.cell.method.contains(WIDE)).collect();
    contains(&super::report(&narrow).page, &["No record here has wider pooling"]);
    // A model without a partner is told the same.
    let alone: Vec<Record> = narrow.iter().filter(|r| r.cell.memory).cloned().collect();
    contains(&super::report(&alone).page, &["SnapKV with care."]);
    let short: Vec<Record> = narrow.into_iter().map(|r| Record { new_tokens: 4, ..r }).collect();
    assert!(!super::report(&short).page.contains("SnapKV with care"));
}
