//! How often uniform draws in place of a selector would hit (the line to draw beside hit rates).

/// The probability that `drawn` of `candidates` entries, drawn uniformly without replacement, hold
/// all of `wanted` given ones: `prod_{i < wanted} (drawn - i) / (candidates - i)`.
pub fn all_drawn(wanted: usize, drawn: usize, candidates: usize) -> f64 {
    if drawn >= candidates {
        return 1.0;
    }
    (0..wanted)
        .map(|i| drawn.saturating_sub(i) as f64 / (candidates - i.min(candidates - 1)) as f64)
        .product()
}

#[cfg(test)]
mod tests {
    use wane_kernels::ops::random::philox;

    use super::*;

    #[test]
    fn by_hand() {
        assert_eq!(all_drawn(0, 3, 10), 1.0);
        assert_eq!(all_drawn(1, 14, 60), 14.0 / 60.0);
        assert!((all_drawn(2, 2, 4) - 1.0 / 6.0).abs() < 1e-15);
        assert_eq!(all_drawn(3, 2, 4), 0.0);
        assert_eq!(all_drawn(3, 4, 4), 1.0);
        assert_eq!(all_drawn(2, 0, 1), 0.0);
        // Three sparse tokens under Quest 64/16 at 4096 (two independent steps): the specification's .054.
        assert!((all_drawn(1, 14, 60).powi(2) - 0.054).abs() < 5e-4);
    }

    #[test]
    fn as_often_as_in_a_simulation() {
        for (wanted, drawn, candidates) in [(1, 14, 60), (2, 14, 60), (3, 30, 40), (4, 12, 20)] {
            let trials = 40_000u32;
            let mut hits = 0;
            for trial in 0..trials {
                // The entries with the largest scores are drawn, as random selectors do.
                let mut scores: Vec<(u32, u32)> =
                    (0..candidates as u32).map(|i| (philox([i, trial, 0, 0], [7, 7])[0], i)).collect();
                scores.sort_unstable_by(|a, b| b.cmp(a));
                let inside = |i: u32| scores[..drawn].iter().any(|(_, entry)| *entry == i);
                hits += u32::from((0..wanted as u32).all(inside));
            }
            let (got, want) = (f64::from(hits) / f64::from(trials), all_drawn(wanted, drawn, candidates));
            let error = (want * (1.0 - want) / f64::from(trials)).sqrt();
            assert!((got - want).abs() < 4.0 * error, "{wanted} of {drawn} in {candidates}: {got} {want}");
        }
    }
}
