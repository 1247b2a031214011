//! Repeats, medians, and how a result is shown: a table, or one JSON object.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::machine::{Floor, Machine, significant};
use crate::commands::shared::{out, outln};

/// Seconds of each repeat, ascending.
#[derive(Debug, Clone)]
pub(super) struct Timing(Vec<f64>);

impl Timing {
    /// Of seconds in any order.
    ///
    /// # Errors
    /// There are none.
    pub(super) fn new(mut seconds: Vec<f64>) -> Result<Self> {
        ensure!(!seconds.is_empty(), "--repeats must be at least 1");
        seconds.sort_by(f64::total_cmp);
        Ok(Self(seconds))
    }

    /// The middle one (of an even number, the mean of both).
    pub(super) fn median(&self) -> f64 {
        let n = self.0.len();
        (self.0[(n - 1) / 2] + self.0[n / 2]) / 2.0
    }

    /// All times, multiplied.
    pub(super) fn scaled(&self, factor: f64) -> Self {
        Self(self.0.iter().map(|seconds| seconds * factor).collect())
    }

    fn ends(&self) -> (f64, f64) {
        (self.0[0], self.0[self.0.len() - 1])
    }
}

/// Times `run` `repeats` times after `warmups` untimed calls. The argument counts all calls, so that
/// inputs can differ each time.
///
/// # Errors
/// A run failed, or there are no repeats.
pub(super) fn time(
    repeats: usize,
    warmups: usize,
    mut run: impl FnMut(usize) -> Result<()>,
) -> Result<Timing> {
    let mut seconds = Vec::with_capacity(repeats);
    for call in 0..warmups + repeats {
        let start = Instant::now();
        run(call)?;
        if call >= warmups {
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    Timing::new(seconds)
}

/// Everything one `wane bench` says.
#[derive(Debug)]
pub(super) struct Report {
    subject: &'static str,
    shape: String,
    machine: Machine,
    rows: Vec<(String, Timing, Option<Floor>)>,
    figures: Vec<Figure>,
}

/// A number that is no time: bytes, a ratio.
#[derive(Debug)]
struct Figure {
    key: &'static str,
    value: f64,
    text: String,
}

impl Report {
    /// Probes the machine.
    pub(super) fn new(subject: &'static str, shape: String) -> Self {
        Self { subject, shape, machine: Machine::probe(), rows: Vec::new(), figures: Vec::new() }
    }

    /// Adds a time.
    pub(super) fn row(&mut self, name: impl Into<String>, timing: Timing, floor: Option<Floor>) {
        self.rows.push((name.into(), timing, floor));
    }

    /// Adds a number under `key` (JSON) with a sentence.
    pub(super) fn figure(&mut self, key: &'static str, value: f64, text: String) {
        self.figures.push(Figure { key, value, text });
    }

    /// Writes to stdout.
    pub(super) fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            outln!("{}", self.json());
        } else {
            out!("{}", self.table());
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let row = |(name, timing, floor): &(String, Timing, Option<Floor>)| {
            let (least, most) = timing.ends();
            let floor = floor.map(|floor| {
                let seconds = self.machine.seconds(floor);
                json!({"work": floor.describe(), "seconds": seconds, "share": seconds / timing.median()})
            });
            json!({"name": name, "median": timing.median(), "min": least, "max": most,
                   "repeats": timing.0.len(), "floor": floor})
        };
        let figures: serde_json::Map<String, Value> =
            self.figures.iter().map(|figure| (figure.key.to_owned(), json!(figure.value))).collect();
        json!({
            "bench": self.subject,
            "shape": self.shape,
            "machine": self.machine,
            "seconds": self.rows.iter().map(row).collect::<Vec<_>>(),
            "figures": figures,
        })
    }

    fn table(&self) -> String {
        let mut text = format!("{}: {}\nmachine: {}\n\n", self.subject, self.shape, self.machine.describe());
        let width = self.rows.iter().map(|(name, ..)| name.len()).max().unwrap_or(0).max(12);
        text += &format!(
            "{:width$} {:>12} {:>12} {:>12} {:>12} {:>9}\n",
            "", "median", "min", "max", "floor", "of floor"
        );
        for (name, timing, floor) in &self.rows {
            let (least, most) = timing.ends();
            text += &format!(
                "{name:width$} {:>12} {:>12} {:>12}",
                seconds(timing.median()),
                seconds(least),
                seconds(most)
            );
            if let Some(floor) = floor {
                let least = self.machine.seconds(*floor);
                let share = format!("{:.0} %", 100.0 * least / timing.median());
                text += &format!(" {:>12} {share:>9}  {}", seconds(least), floor.describe());
            }
            text += "\n";
        }
        if !self.figures.is_empty() {
            text += "\n";
        }
        for figure in &self.figures {
            text += &figure.text;
            text += "\n";
        }
        text
    }
}

/// A time with its unit.
fn seconds(x: f64) -> String {
    match x {
        x if x >= 1.0 => format!("{} s", significant(x)),
        x if x >= 1e-3 => format!("{} ms", significant(x * 1e3)),
        x => format!("{} us", significant(x * 1e6)),
    }
}

#[cfg(test)]
mod tests;
