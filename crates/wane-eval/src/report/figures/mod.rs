//! The figures of the report: one file each.
//!
//! - `accuracy`: accuracy against budget (Figure 1 of arXiv 2605.28640).
//! - `gains`: what the memory gains under every method, beside the published gains.
//! - `random`: random selectors beside the published ones (its Table 5).

pub(super) mod accuracy;
pub(super) mod gains;
pub(super) mod random;

use super::Contents;
use super::figure::Figure;

/// Every figure, in the order of the page.
pub(super) fn all(contents: &Contents) -> Vec<Figure> {
    contents.studies.iter().enumerate().flat_map(|(i, study)| of_study(study, i)).collect()
}

fn of_study(study: &super::study::Study, number: usize) -> Vec<Figure> {
    let mut figures: Vec<Figure> = gains::figure(study, number).into_iter().collect();
    figures.extend(accuracy::grid(study, number));
    figures.extend(accuracy::families(study, number).into_iter().map(|f| f.figure));
    figures.extend(random::figure(study, number));
    figures
}
