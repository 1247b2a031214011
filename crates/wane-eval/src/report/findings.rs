//! What the gains say, as sentences made of counts and numbers: for each family of methods, the gain
//! at every budget with its interval, how many lie above zero, and the published gains of the same
//! settings.
//!
//! Does not do: judgement; a sentence holds what its numbers hold.

use super::method::budget_name;
use super::published;
use super::study::Study;
use super::tables::{sign, signed, signed_finely};
use crate::statistics::Interval;

/// One family of methods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) family: String,
    pub(super) text: String,
}

/// What model `m` gains over the first model; families without a gain are left out.
pub(super) fn of_model(study: &Study, m: usize) -> Vec<Finding> {
    let finding = |(family, arms): (String, Vec<usize>)| {
        let text = of_family(study, m, &arms)?;
        Some(Finding { family, text })
    };
    study.families().into_iter().filter_map(finding).collect()
}

fn of_family(study: &Study, m: usize, arms: &[usize]) -> Option<String> {
    let gain = |arm: &usize| Some((*arm, study.gain(*arm, m).mean.as_ref().ok()?.interval));
    let gains: Vec<(usize, Interval)> = arms.iter().filter_map(gain).collect();
    if gains.is_empty() {
        return None;
    }
    let count = |wanted: fn(&Interval) -> bool| gains.iter().filter(|(_, i)| wanted(i)).count();
    let one = |(arm, i): &(usize, Interval)| {
        let budget = study.arms[*arm].budget.map_or_else(|| "an unknown budget".to_owned(), budget_name);
        let [value, low, high] = [i.value, i.low, i.high].map(|v| signed(100.0 * v));
        format!("{value} ({low} to {high}) at {budget}")
    };
    let mut text = format!(
        "{}. Above zero in {} of {}, with the whole interval in {}; below zero with the whole interval in {}.",
        gains.iter().map(one).collect::<Vec<_>>().join(", "),
        count(|i| sign(i.value) > 0),
        gains.len(),
        count(|i| i.low > 0.0),
        count(|i| i.high < 0.0),
    );
    let published = |model: &&str| {
        let of_arm = |arm: usize| {
            let pair = published::find(&study.arms[arm].method)
                .ok()?
                .into_iter()
                .find(|p| p.memory.model == *model)?;
            pair.mean_gain(&study.tasks).ok()
        };
        let theirs: Vec<Option<f64>> = gains.iter().map(|(arm, _)| of_arm(*arm)).collect();
        let shown: Vec<String> =
            theirs.iter().map(|g| g.map_or_else(|| "none".to_owned(), signed_finely)).collect();
        theirs.iter().any(Option::is_some).then(|| format!("{model} {}", shown.join(", ")))
    };
    let published: Vec<String> = published::models().iter().filter_map(published).collect();
    if !published.is_empty() {
        text.push_str(&format!(" Published: {}.", published.join("; ")));
    }
    Some(text)
}
