//! Planted heads: one always selects the answer's block, one never, one sometimes; by hand.

use wane_attention::{Choice, Phase};

use super::super::record::tests::line;
use super::*;

const BLOCK: usize = 4;
const BLOCKS: usize = 10;

fn empty(measured: Measured) -> Hits {
    Hits {
        measured,
        examples: 0,
        free_examples: 0,
        samples: 0,
        steps: 0,
        steps_range: [0; 2],
        chance: 0.0,
        free_chance: 0.0,
        chance_recall: 0.0,
        candidates: 0.0,
        heads: Vec::new(),
        ..line(0, 0)
    }
}

/// Ten blocks of four, the first and the newest forced, three heads.
fn observation(indices: [&[i32]; 3], scores: [[f32; BLOCKS]; 3]) -> Observation {
    Observation {
        sequence: 0,
        layer: 2,
        phase: Phase::Decode,
        position: 39,
        unit: Unit::Block(BLOCK),
        indices: indices.into_iter().map(|row| vec![row.to_vec()]).collect(),
        choice: Choice { candidates: BLOCKS, forced: [1, 1], scores: scores.map(Vec::from).to_vec() },
    }
}

fn step(token: usize, source: &[usize]) -> Step {
    Step { token, sources: vec![source.to_vec()] }
}

/// Weights of 40 positions: half on `a`, half on `b`.
fn half(a: usize, b: usize) -> Vec<f32> {
    (0..40).map(|p| if p == a || p == b { 0.5 } else { 0.0 }).collect()
}

fn assert_near(got: f64, want: f64) {
    assert!((got - want).abs() < 1e-9, "{got} is not {want}");
}

#[test]
fn heads_that_always_never_and_sometimes_select_the_answer() {
    // The answer's tokens are at 20 and 21, in block 5. Scores fall with the block's number, except
    // that the first head likes block 5 best and the third ranks it second at the first step.
    let falling: [f32; BLOCKS] = std::array::from_fn(|b| -(b as f32));
    let likes = |mut row: [f32; BLOCKS], score: f32| {
        row[5] = score;
        row
    };
    let scores = [likes(falling, 9.0), falling, likes(falling, -1.5)];
    let first = observation([&[0, 3, 5, 9], &[0, 1, 2, 9], &[0, 1, 5, 9]], scores);
    let second = observation([&[0, 3, 5, 9], &[0, 1, 2, 9], &[0, 1, 2, 9]], [scores[0], falling, falling]);
    let attention =
        [vec![half(20, 0), half(20, 0), half(20, 39)], vec![half(21, 0), half(21, 0), half(21, 39)]];
    let seen = vec![&first, &second];
    let layers = [Layer { layer: 2, seen, attention: &attention }];
    let mut hits = empty(Measured::DecodeSteps);
    assert!(count(&mut hits, &[step(1, &[20]), step(2, &[21])], &layers, 3));

    assert_eq!([hits.examples, hits.free_examples, hits.steps], [1, 1, 2]);
    // Two of eight free blocks are drawn, twice.
    assert_near(hits.chance, 1.0 / 16.0);
    assert_near(hits.chance_recall, 0.25);
    assert_near(hits.candidates, 8.0);
    let [always, never, sometimes] = hits.heads[..] else { panic!("three heads") };
    assert_eq!([always.layer, always.head, sometimes.head], [2, 0, 2]);
    assert_eq!([always.hits, never.hits, sometimes.hits], [1, 0, 0]);
    assert_eq!([always.free_hits, never.free_hits, sometimes.free_hits], [1, 0, 0]);
    assert_eq!([always.recall, never.recall, sometimes.recall], [1.0, 0.0, 0.5]);
    // The first head reads both places it attends to; the second only block 0; the third 20 and 39, then 39.
    assert_eq!([always.mass, never.mass, sometimes.mass], [1.0, 0.5, 0.75]);
    assert_eq!([always.source_mass, never.source_mass, sometimes.source_mass], [0.5; 3]);
    // Blocks 1 to 4 beat block 5 where scores fall.
    assert_eq!([always.rank, never.rank, sometimes.rank], [1.0, 5.0, 3.5]);
    // The token before the first source is in block 4, which no head reads.
    assert_eq!(always.previous_hits, 0);
}

#[test]
fn a_needle_in_a_forced_block_hits_but_is_not_free() {
    let seen = observation([&[0, 3, 5, 9], &[0, 1, 2, 9], &[0, 1, 5, 9]], [[0.0; BLOCKS]; 3]);
    let attention = [vec![half(2, 0); 3]];
    let layers = [Layer { layer: 2, seen: vec![&seen], attention: &attention }];
    let mut hits = empty(Measured::LastPromptToken);
    assert!(count(&mut hits, &[step(0, &[2])], &layers, 3));
    assert_eq!([hits.examples, hits.free_examples], [1, 0]);
    assert_near(hits.chance, 1.0);
    assert!(hits.heads.iter().all(|h| (h.hits, h.free_hits, h.previous_hits, h.rank) == (1, 0, 1, 0.0)));
    // A source in two blocks, one of them forced: the other must be drawn.
    assert!(count(&mut hits, &[step(0, &[3, 4])], &layers, 3));
    assert_near(hits.chance, 1.0 + 0.25);
    assert_eq!(hits.heads.iter().map(|h| h.hits).collect::<Vec<_>>(), [1, 2, 2]);
    assert_eq!(hits.free_examples, 0);
}

#[test]
fn either_of_two_needles_will_do_and_ties_go_to_the_lower_block() {
    let seen = observation([&[0, 3, 5, 9], &[0, 1, 2, 9], &[0, 1, 5, 9]], [[0.0; BLOCKS]; 3]);
    let attention = [vec![half(20, 8); 3]];
    let layers = [Layer { layer: 2, seen: vec![&seen], attention: &attention }];
    let mut hits = empty(Measured::LastPromptToken);
    let twice = Step { token: 0, sources: vec![vec![20], vec![8]] };
    count(&mut hits, &[twice], &layers, 3);
    assert_eq!(hits.heads.iter().map(|h| h.hits).collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!(hits.heads.iter().map(|h| h.rank).collect::<Vec<_>>(), [5.0; 3]);
    assert_eq!(hits.heads[0].source_mass, 1.0);
}

#[test]
fn everything_read_is_no_example() {
    let all: Vec<i32> = (0..BLOCKS as i32).collect();
    let mut seen = observation([&all, &all, &all], [[0.0; BLOCKS]; 3]);
    seen.choice.scores.clear();
    let attention = [vec![half(20, 8); 3]];
    let layers = [Layer { layer: 0, seen: vec![&seen], attention: &attention }];
    let mut hits = empty(Measured::DecodeSteps);
    assert!(!count(&mut hits, &[step(1, &[20])], &layers, 3));
    assert_eq!((hits.whole, hits.examples, hits.heads.len()), (1, 0, 0));
}

#[test]
fn what_stays_after_the_prompt_serves_all_steps() {
    // 40 positions, the window of 8 and 8 others stay; two query heads to the one KV head that selects.
    let kept: Vec<i32> = (16..24).chain(32..40).collect();
    let seen = Observation {
        sequence: 0,
        layer: 0,
        phase: Phase::AfterPrefill,
        position: 40,
        unit: Unit::Position,
        indices: vec![vec![kept.clone()], vec![kept]],
        choice: Choice { candidates: 40, forced: [0, 8], scores: vec![(0..32).map(|p| p as f32).collect()] },
    };
    // The query that emits the second token comes after the prompt and sees 41 positions.
    let mut later = half(20, 0);
    later.push(0.25);
    let attention = [vec![half(20, 0), half(20, 21)], vec![later.clone(), later]];
    let layers = [Layer { layer: 0, seen: vec![&seen, &seen], attention: &attention }];
    let mut hits = empty(Measured::Retained);
    count(&mut hits, &[step(0, &[20]), step(1, &[21])], &layers, 1);
    assert_eq!([hits.examples, hits.free_examples, hits.heads.len()], [1, 1, 1]);
    assert_near(hits.chance, 8.0 / 32.0 * 7.0 / 31.0);
    assert_near(hits.chance_recall, 0.25);
    assert_eq!(hits.heads[0].hits, 1);
    assert_near(hits.heads[0].mass, f64::midpoint(f64::midpoint(0.5, 1.0), 0.75));
    // Positions 22 to 31 beat 21, and one more beats 20.
    assert_near(hits.heads[0].rank, 11.5);
    // The token before 16 is gone.
    count(&mut hits, &[step(0, &[16])], &layers, 1);
    assert_eq!([hits.heads[0].hits, hits.heads[0].previous_hits], [2, 1]);
}
