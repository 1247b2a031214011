//! Medians and the two ways a report is shown.

use super::*;

#[test]
fn the_median_is_the_middle_and_no_repeats_are_an_error() {
    let timing = Timing::new(vec![3.0, 1.0, 2.0]).expect("three");
    assert_eq!((timing.median(), timing.ends()), (2.0, (1.0, 3.0)));
    assert_eq!(Timing::new(vec![4.0, 1.0, 2.0, 3.0]).expect("four").median(), 2.5);
    assert!(Timing::new(Vec::new()).expect_err("none").to_string().contains("--repeats"));
}

#[test]
fn warm_ups_are_not_timed_and_calls_are_counted() {
    let mut calls = Vec::new();
    let timing = time(3, 2, |call| {
        calls.push(call);
        Ok(())
    })
    .expect("a timing");
    assert_eq!((timing.0.len(), calls), (3, vec![0, 1, 2, 3, 4]));
}

#[test]
fn a_report_states_its_floor_in_both_forms() {
    let mut report = Report::new("prefill", "8 tokens".to_owned());
    let floor = Floor::Flops(2e9);
    report.row("prefill", Timing::new(vec![0.5]).expect("one"), Some(floor));
    report.figure("resident_bytes", 3e6, "3.00 MB of K/V".to_owned());
    let json = report.json();
    let least = json["seconds"][0]["floor"]["seconds"].as_f64().expect("seconds");
    assert_eq!(least, report.machine.seconds(floor));
    assert_eq!(json["seconds"][0]["floor"]["share"].as_f64(), Some(least / 0.5));
    assert_eq!(json["figures"]["resident_bytes"].as_f64(), Some(3e6));
    let table = report.table();
    for part in ["500 ms", "2.00 GFLOP", "3.00 MB of K/V", "8 tokens"] {
        assert!(table.contains(part), "{part} in {table}");
    }
}

#[test]
fn times_have_three_digits_and_a_unit() {
    let shown: Vec<String> = [1.2345, 0.012_34, 1.234e-5, 12.0].into_iter().map(seconds).collect();
    assert_eq!(shown, ["1.23 s", "12.3 ms", "12.3 us", "12.0 s"]);
}
