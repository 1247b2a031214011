//! The memory in a terminal: for each layer the heads side by side, models below each other.

use std::fmt::Write as _;

use super::record::{HeadMemory, MemoryRecord};

/// A row for each layer, model and head.
pub fn text(record: &MemoryRecord) -> String {
    let mut text = String::new();
    for model in &record.models {
        let left_out = match model.unaligned {
            0 => String::new(),
            n => format!("; {n} samples left out, whose values cannot be traced to prompt tokens"),
        };
        let _ = writeln!(
            text,
            "{}: {} tokens of {}; {} needles ({}){left_out}",
            model.model, model.tokens, model.source, model.needles, model.needles_are
        );
    }
    let names = record.models.iter().map(|m| m.model.chars().count()).max().unwrap_or(0).max(5);
    let _ = writeln!(
        text,
        "\nHalf-life in tokens (below it lie 10, 50, 90 % of a head's channels); the needle's share of k~ and v~ in % some tokens after it.\n\n\
         {:>10}  {:names$}  {:>5} {:>5} | {:>6} {:>6} {:>7} | {:>24} | {:>24}",
        "layer.head",
        "model",
        "gate",
        "copy%",
        "10 %",
        "50 %",
        "90 %",
        "k~ after 0, 4, 16, 64",
        "v~ after 0, 4, 16, 64"
    );
    let mut places: Vec<(usize, usize)> =
        record.models.iter().flat_map(|m| m.heads.iter().map(|h| (h.layer, h.head))).collect();
    places.sort_unstable();
    places.dedup();
    for place in places {
        for model in &record.models {
            let Some(head) = model.heads.iter().find(|h| (h.layer, h.head) == place) else { continue };
            let _ = writeln!(text, "{}", row(head, &model.model, names, &record.distances));
        }
    }
    text
}

fn row(head: &HeadMemory, model: &str, names: usize, distances: &[usize]) -> String {
    let shares = |shares: &[f64]| {
        let at = |distance: usize| {
            let place = distances.iter().position(|d| *d == distance);
            100.0 * place.and_then(|place| shares.get(place)).copied().unwrap_or(f64::NAN)
        };
        let all: Vec<String> = [0, 4, 16, 64].iter().map(|d| format!("{:5.1}", at(*d))).collect();
        all.join(" ")
    };
    let [low, _, middle, _, high] = head.half_lives;
    format!(
        "{:>10}  {model:names$}  {:>5.2} {:>5.0} | {low:>6.1} {middle:>6.1} {high:>7.1} | {:>24} | {:>24}",
        format!("{}.{}", head.layer, head.head),
        head.mean_gate,
        100.0 * head.copying,
        shares(&head.key_share),
        shares(&head.value_share),
    )
}
