//! How much of what SnapKV shows is its pooling's. SnapKV smooths the scores of the positions that it may keep; where
//! an answer has more tokens than the kernel, a part of it can be kept and the rest lost. The caution is given if
//! the records show that case (`median answer > kernel`), and rows with wide pooling are set beside the default.

use super::method::{WIDE_POOLING, budget_name};
use super::numbers::{points, signed};
use super::sheet::{Cell, Group, Kind, Layout, Row, Sheet, column};
use super::study::Study;
use super::svg::escape;

/// What a reader of SnapKV's rows should know.
#[derive(Debug)]
pub(super) struct Caution {
    pub(super) text: String,
    /// Default and wide pooling side by side, where the records hold both.
    table: Option<Sheet>,
}

impl Caution {
    /// For the page.
    pub(super) fn html(&self) -> String {
        let table = self.table.as_ref().map_or_else(String::new, Sheet::html);
        format!("<p class=\"caution\"><strong>SnapKV with care.</strong> {}</p>\n{table}", escape(&self.text))
    }

    /// For documents.
    pub(super) fn markdown(&self) -> String {
        let table = self.table.as_ref().map_or_else(String::new, |t| format!("\n{}", t.markdown()));
        format!("\n**SnapKV with care.** {}\n{table}", self.text)
    }
}

/// The caution of a study; none without SnapKV's default rows, and none where answers are shorter than the
/// kernel and no row has a wider one.
pub(super) fn caution(study: &Study, number: usize) -> Option<Caution> {
    let (default, kernel) = default_rows(study)?;
    let pool = study.arms[default[0]].method.setting("pool")?;
    // The same number of kept positions under both.
    let couples: Vec<[usize; 2]> = study
        .arms_of(WIDE_POOLING)
        .into_iter()
        .filter_map(|wide| {
            let k = |arm: usize| study.arms[arm].method.setting("k");
            Some([default.iter().copied().find(|arm| k(*arm) == k(wide))?, wide])
        })
        .collect();
    let narrow = longer(study, kernel);
    if narrow.is_none() && couples.is_empty() {
        return None;
    }
    let mut text = format!("By default it pools scores over {kernel} neighbouring tokens ({pool})");
    if let Some(tokens) = narrow {
        text.push_str(&format!(
            ", and an answer here has {tokens} or more (median under dense attention, the task with the shortest answers): it can keep a part of an answer and lose the rest"
        ));
    }
    text.push_str(". ");
    text.push_str(&match (couples.is_empty(), study.main_pair()) {
        (true, _) => "No record here has wider pooling, so how much of these rows is the pooling's is not known: add rows such as snapkv:k=512,kernel=15,pool=max.".to_owned(),
        (false, Some(pair)) => said(study, pair, &couples),
        (false, None) => "Rows with wider pooling are below.".to_owned(),
    });
    Some(Caution { text, table: (!couples.is_empty()).then(|| table(study, &couples, number)) })
}

/// Whether answers have more tokens than SnapKV's default rows pool.
pub(super) fn is_narrow(study: &Study) -> bool {
    default_rows(study).is_some_and(|(_, kernel)| longer(study, kernel).is_some())
}

/// The arms of SnapKV with its default pooling, one at least, and the kernel.
fn default_rows(study: &Study) -> Option<(Vec<usize>, f64)> {
    let arms = study.arms_of("SnapKV");
    let kernel = study.arms[*arms.first()?].method.setting("kernel")?.parse().ok()?;
    Some((arms, kernel))
}

/// The tokens of an answer, if they are more than the kernel.
fn longer(study: &Study, kernel: f64) -> Option<f64> {
    study.answer_tokens.filter(|tokens| *tokens > kernel)
}

/// What wide pooling changes for a pair, in numbers.
fn said(study: &Study, pair: usize, couples: &[[usize; 2]]) -> String {
    let [first, second] = study.names(pair);
    let models = [study.pairs[pair].first, study.pairs[pair].second];
    let of = |[default, wide]: &[usize; 2]| {
        let accuracy = |arm, model| Some(100.0 * study.mean(arm, model).ok()?.interval.value);
        let change = |model| {
            Some(format!("{:.1} \u{2192} {:.1}", accuracy(*default, model)?, accuracy(*wide, model)?))
        };
        let gain = |arm: usize| Some(signed(100.0 * study.gain(arm, pair).mean.as_ref().ok()?.value));
        Some(format!(
            "{}: {first} {}, {second} {}, gain {} \u{2192} {}",
            study.arms[*wide].budget.map_or_else(|| "unknown budget".into(), budget_name),
            change(models[0])?,
            change(models[1])?,
            gain(*default)?,
            gain(*wide)?
        ))
    };
    let all: Vec<String> = couples.iter().filter_map(of).collect();
    if all.is_empty() {
        return "The rows with wider pooling lack some tasks.".into();
    }
    format!("From default to wide pooling, mean of the tasks: {}.", all.join("; "))
}

fn table(study: &Study, couples: &[[usize; 2]], number: usize) -> Sheet {
    let group = |[default, wide]: &[usize; 2]| {
        let accuracy = |arm, model| {
            Cell::of(&study.mean(arm, model), |a| Cell::text(format!("{:.1}", 100.0 * a.interval.value)))
        };
        let row = |pair: usize| {
            let p = study.pairs[pair];
            let gain = |arm: usize| study.gain(arm, pair);
            let cells = vec![
                accuracy(*default, p.first),
                accuracy(*wide, p.first),
                accuracy(*default, p.second),
                accuracy(*wide, p.second),
                Cell::of(&gain(*default).mean, points),
                Cell::of(&gain(*wide).mean, points),
                Cell::of(&gain(*wide).beyond(gain(*default)), points),
            ];
            Row { label: study.gain_name(pair), kind: Kind::Measured, cells, id: None, source: None }
        };
        let budget = study.arms[*wide].budget_name();
        Group {
            title: format!("{}, budget {budget}", study.arms[*wide].label),
            rows: (0..study.pairs.len()).map(row).collect(),
        }
    };
    Sheet {
        id: format!("pooling-{number}"),
        caption: "SnapKV with default and with wide pooling: accuracy in percent and gains in points, mean of the tasks; last, how much larger the gain is with wide pooling, on the samples that both rows have".into(),
        layout: Layout::Numbers,
        columns: vec![
            column("pair", ""),
            column("first, default", "accuracy of the model without memory (or of the first)"),
            column("first, wide", ""),
            column("second, default", "accuracy of the model with memory (or of the second)"),
            column("second, wide", ""),
            column("gain, default", ""),
            column("gain, wide", ""),
            column("wide minus default", ""),
        ],
        groups: couples.iter().map(group).collect(),
    }
}
