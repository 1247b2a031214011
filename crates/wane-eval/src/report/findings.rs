//! What the gains say, as sentences made of counts and numbers: for each family of methods, how many
//! rows gain, how many intervals lie wholly on one side of zero, how the gain changes as the budget
//! shrinks, and the same of the published rows.
//!
//! Does not do: judgement; a sentence holds what its numbers hold.

use super::method::budget_name;
use super::published;
use super::study::Study;
use super::tables::{sign, signed};

/// Sentences on every model but the first.
pub(super) fn sentences(study: &Study) -> Vec<String> {
    let mut sentences = Vec::new();
    for m in 1..study.models.len() {
        for (family, arms) in study.families() {
            sentences.extend(of_family(study, m, &family, &arms));
        }
    }
    sentences
}

fn of_family(study: &Study, m: usize, family: &str, arms: &[usize]) -> Option<String> {
    let gains: Vec<(usize, crate::statistics::Interval)> =
        arms.iter().filter_map(|a| Some((*a, study.gain(*a, m).mean.as_ref().ok()?.interval))).collect();
    let (first, last) = (gains.first()?, gains.last()?);
    let count = |wanted: fn(&crate::statistics::Interval) -> bool| gains.iter().filter(|(_, i)| wanted(i)).count();
    let rows = |n: usize| if n == 1 { "1 row".to_owned() } else { format!("{n} rows") };
    let name = |arm: usize| study.arms[arm].budget.map_or_else(|| "unknown budget".to_owned(), budget_name);
    let mut text = format!("{family}: {} has a mean gain above zero in {} of {}", study.gain_name(m), count(|i| sign(i.value) > 0), rows(gains.len()));
    text.push_str(&format!(
        "; the 95 % interval lies wholly above zero in {} and wholly below in {}",
        count(|i| i.low > 0.0),
        count(|i| i.high < 0.0)
    ));
    if gains.len() > 1 {
        text.push_str(&format!(
            "; {} points at budget {}, {} at {}",
            signed(100.0 * first.1.value),
            name(first.0),
            signed(100.0 * last.1.value),
            name(last.0)
        ));
    } else {
        text.push_str(&format!("; {} points at budget {}", signed(100.0 * first.1.value), name(first.0)));
    }
    text.push('.');
    for model in published::models() {
        let theirs: Vec<(usize, f64)> = gains
            .iter()
            .filter_map(|(a, _)| {
                let pair = published::find(&study.arms[*a].method).ok()?.into_iter().find(|p| p.memory.model == model)?;
                Some((*a, pair.mean_gain(&study.tasks).ok()?))
            })
            .collect();
        let (Some(first), Some(last)) = (theirs.first(), theirs.last()) else { continue };
        let above = theirs.iter().filter(|(_, g)| sign(*g) > 0).count();
        text.push_str(&format!(" Published for {model}: above zero in {above} of {}", rows(theirs.len())));
        text.push_str(&format!(", {} points at {}", signed(first.1), name(first.0)));
        if theirs.len() > 1 {
            text.push_str(&format!(", {} at {}", signed(last.1), name(last.0)));
        }
        text.push('.');
    }
    Some(text)
}
