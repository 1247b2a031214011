//! Sums of lines, what may be added, half-written and newer lines.

use super::*;
use crate::ruler::prompt::PromptForm;
use crate::runner::store::tests::{identity, with};

/// Two heads of one layer; the first always hits, the second in the first sample only.
pub(crate) fn line(first_sample: usize, samples: usize) -> Hits {
    let second = usize::from(first_sample == 0);
    let head = |head, hits| HeadHits {
        head,
        hits,
        recall: hits as f64,
        rank: 1.5 * samples as f64,
        ..HeadHits::default()
    };
    let (cell, origin) = identity("memory", "quest:block=64,k=16");
    Hits {
        cell: Cell { version: VERSION, ..cell },
        origin: with(origin, |o| (o.context, o.recipe.prompt_form) = (4096, PromptForm::Input)),
        first_sample,
        samples,
        measured: Measured::DecodeSteps,
        unit: HeadUnit::KvHead,
        examples: samples,
        free_examples: samples,
        unaligned: 0,
        without_steps: 0,
        whole: 0,
        steps: 6 * samples,
        steps_range: [6 - second, 6],
        chance: 0.25 * samples as f64,
        free_chance: 0.25 * samples as f64,
        chance_recall: 0.5 * samples as f64,
        candidates: 60.0 * samples as f64,
        first_correct: samples,
        correct: samples,
        heads: vec![head(0, samples), head(1, second)],
    }
}

#[test]
fn lines_of_a_cell_add_up_and_are_ranked() {
    let mut sum = line(0, 2);
    sum.merge(&line(5, 3)).unwrap();
    assert_eq!((sum.first_sample, sum.samples, sum.examples, sum.steps), (0, 5, 5, 30));
    assert_eq!(sum.steps_range, [5, 6]);
    assert_eq!(sum.chance_level(), Some(0.25));
    let ranked = sum.ranked();
    assert_eq!([ranked[0].head, ranked[0].hits, ranked[1].head, ranked[1].hits], [0, 5, 1, 1]);
    assert_eq!(ranked[0].rank, 7.5);
}

#[test]
fn other_cells_and_the_same_samples_cannot_be_added() {
    let mut sum = line(0, 4);
    let other = with(line(4, 4), |hits| hits.origin.context = 2048);
    let error = sum.merge(&other).unwrap_err().to_string();
    assert!(error.contains("expected one cell and different samples"), "{error}");
    assert!(sum.merge(&line(3, 4)).is_err());
    assert!(sum.merge(&with(line(4, 4), |hits| hits.origin.recipe.data = Some("d".into()))).is_err());
    assert_eq!(sum, line(0, 4));
    // A range without a single example has no heads, and fits everywhere.
    let empty = Hits { examples: 0, unaligned: 4, heads: Vec::new(), steps_range: [0, 0], ..line(4, 4) };
    sum.merge(&empty).unwrap();
    assert_eq!((sum.examples, sum.unaligned, sum.heads.len(), sum.steps_range), (4, 4, 2, [5, 6]));

    let (cells, repeated) = cells(&[line(0, 4), other, line(8, 2), line(2, 4)]);
    assert_eq!((cells.len(), repeated), (2, 1));
    assert_eq!((cells[0].samples, cells[1].samples, cells[1].origin.context), (6, 4, 2048));
}

#[test]
fn texts_are_read_line_by_line() {
    let mut text = serde_json::to_string(&line(0, 2)).unwrap() + "\n\n";
    text += &serde_json::to_string(&line(2, 2)).unwrap();
    let path = Path::new("hits.jsonl");
    assert_eq!(parse(text.as_bytes(), path).unwrap(), [line(0, 2)], "a half-written line is left out");
    text += "\n{}\n";
    let error = parse(text.as_bytes(), path).unwrap_err().to_string();
    assert!(error.contains("hits.jsonl, line 4: expected a record of hits: missing field"), "{error}");
    let newer = serde_json::to_string(&with(line(0, 1), |hits| hits.cell.version = 99)).unwrap() + "\n";
    let error = parse(newer.as_bytes(), path).unwrap_err().to_string();
    assert!(error.contains("version 99 is newer"), "{error}");
}
