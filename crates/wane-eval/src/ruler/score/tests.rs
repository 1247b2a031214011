//! What the original scorers say about awkward predictions (fixtures/ruler/scores.jsonl, made by
//! reference/ruler_scores.py from the unmodified functions).

use super::{Metric, percent, postprocess};

const ROWS: &str = include_str!("../../../../../fixtures/ruler/scores.jsonl");

#[test]
fn the_originals_agree() {
    type Row = (String, Vec<String>, String, f64, f64, f64, f64);
    let mut counts = [0; 3];
    for line in ROWS.lines() {
        let (prediction, references, cleaned, all, part, mean, comma) =
            serde_json::from_str::<Row>(line).unwrap();
        assert_eq!(postprocess(&prediction), cleaned, "{line}");
        let score = |metric: Metric| metric.score(&prediction, &references);
        assert_eq!(percent(&[score(Metric::All)]), all, "{line}");
        assert_eq!(percent(&[score(Metric::Part)]), part, "{line}");
        assert_eq!(score(Metric::Mean), mean, "{line}");
        assert_eq!(percent(&[score(Metric::CommaSet)]), comma, "{line}");
        counts[usize::from(comma != all) + usize::from(part != all)] += 1;
    }
    // The rows tell the scorers apart.
    assert!(counts.iter().all(|n| *n > 20), "{counts:?}");
}

#[test]
fn no_references_score_nothing() {
    // The originals divide by zero there.
    assert!(Metric::LIST.iter().all(|m| m.score("anything", &[]) == 0.0));
}

#[test]
fn names() {
    for metric in Metric::LIST {
        assert_eq!(Metric::choose(metric.name()).unwrap(), Some(metric));
    }
    assert_eq!(Metric::choose("task").unwrap(), None);
    let error = Metric::choose("coma_set").unwrap_err().to_string();
    assert!(error.contains("unknown scorer `coma_set`: did you mean `comma_set`?"), "{error}");
}

#[test]
fn percent_rounds_as_python() {
    assert_eq!(percent(&[1.0, 0.0, 1.0]), 66.67);
    assert_eq!(percent(&[]), 0.0);
    // round(0.125 * 100 / 100, 2) and the like: ties go by the exact binary value.
    assert_eq!((percent(&[0.00125]), percent(&[0.00375])), (0.12, 0.38));
}
