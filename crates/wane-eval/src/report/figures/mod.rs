//! The figures of the report: one file each.
//!
//! - `accuracy`: accuracy against budget (Figure 1 of arXiv 2605.28640).
//! - `gains`: what the memory gains under every method, beside the published gains.
//! - `random`: random selectors beside the published ones (its Table 5).
//! - `hits`: hit rates of ranked heads (its Figures 2 to 4).
//! - `memory`: gates, half-lives, the reach of a needle.
//! - `learning`: what was learned when, losses, half-lives over training.

pub(super) mod accuracy;
pub(super) mod gains;
pub(super) mod hits;
pub(super) mod learning;
pub(super) mod memory;
pub(super) mod random;

use super::Contents;
use super::figure::Figure;
use super::pairing::Named;

/// Every figure, in the order of the page.
pub(super) fn all(contents: &Contents) -> Vec<Figure> {
    let mut all: Vec<Figure> =
        contents.studies.iter().enumerate().flat_map(|(i, study)| of_study(study, i)).collect();
    all.extend(hits::figures(&contents.heads).into_iter().map(|f| f.figure));
    for i in 0..contents.memories.len() {
        all.extend(of_memory(contents, i));
    }
    all.extend(learning::figures(&contents.runs));
    all
}

/// The figures of memory record number `i`.
pub(super) fn of_memory(contents: &Contents, i: usize) -> Vec<Figure> {
    let record = &contents.memories[i].1;
    let name = |m: &crate::memory::record::ModelMemory| {
        let same = record.models.iter().filter(|other| other.model == m.model).count();
        if same > 1 {
            format!("{} ({})", m.model, super::load::short_hash(&m.model_hash))
        } else {
            m.model.clone()
        }
    };
    let named: Vec<Named<'_>> =
        record.models.iter().map(|m| Named { name: &m.model, memory: true }).collect();
    let looks = contents.looks.some(&named);
    memory::figures(record, i, &record.models.iter().map(name).zip(looks).collect::<Vec<_>>())
}

fn of_study(study: &super::study::Study, number: usize) -> Vec<Figure> {
    let mut figures: Vec<Figure> = gains::figure(study, number).into_iter().collect();
    figures.extend(accuracy::grid(study, number));
    figures.extend(accuracy::families(study, number).into_iter().map(|f| f.figure));
    figures.extend(random::figure(study, number));
    figures
}
