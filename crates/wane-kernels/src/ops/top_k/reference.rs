//! Selection by sorting.

use super::Forced;

/// The selected entries of one row of valid scores, ascending.
pub(super) fn select(scores: &[f32], k: usize, forced: Forced) -> Vec<i32> {
    let n = scores.len();
    let is_forced = |i: usize| i < forced.first || i + forced.local >= n;
    let mut selected: Vec<usize> = (0..n).filter(|&i| is_forced(i)).collect();
    let room = if forced.counted { k.saturating_sub(selected.len()) } else { k };
    let mut free: Vec<usize> = (0..n).filter(|&i| !is_forced(i)).collect();
    // A stable sort keeps the lower index first among equals; NaN goes last.
    free.sort_by(|&a, &b| match (scores[a].is_nan(), scores[b].is_nan()) {
        (false, false) => scores[b].partial_cmp(&scores[a]).expect("ordered"),
        (a, b) => a.cmp(&b),
    });
    selected.extend(free.into_iter().take(room));
    selected.sort_unstable();
    selected.into_iter().map(|i| i as i32).collect()
}
