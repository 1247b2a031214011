//! The two charts of the report, as drawings: lines over a numeric axis ([`Plot`]) and rows of dots
//! with intervals ([`Dots`]). Both draw whatever they are given in data units; values outside an axis
//! are drawn at its end.

use super::drawing::{Anchor, Drawing, Font, Ink, Marker, Pen};

/// A numeric axis.
#[derive(Debug, Clone)]
pub(super) struct Scale {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) logarithmic: bool,
    /// Values and their labels, ascending.
    pub(super) ticks: Vec<(f64, String)>,
}

impl Scale {
    /// From `low` to `high` with about `count` round ticks.
    pub(super) fn linear(low: f64, high: f64, count: usize) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        let rough = (high - low) / count.max(1) as f64;
        let magnitude = 10f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * magnitude).into_iter().find(|s| *s >= rough * 0.999);
        let step = step.unwrap_or(10.0 * magnitude);
        let first = (low / step - 1e-9).ceil() as i64;
        let last = (high / step + 1e-9).floor() as i64;
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        // A step of 2.5 needs one digit more.
        let decimals = decimals + usize::from((step / magnitude - 2.5).abs() < 1e-9 && magnitude <= 1.0);
        let tick = |i: i64| {
            let value = i as f64 * step;
            let text = format!("{:.*}", decimals, if i == 0 { 0.0 } else { value });
            (value, text.replace('-', "\u{2212}"))
        };
        Self { low, high, logarithmic: false, ticks: (first..=last).map(tick).collect() }
    }

    /// The same with its upper end at the next tick.
    pub(super) fn rounded_up(mut self) -> Self {
        if let [.., (before, _), (last, label)] = self.ticks.as_slice() {
            let (step, next) = (last - before, last + (last - before));
            let decimals = label.split_once('.').map_or(0, |(_, digits)| digits.len());
            if self.high > last + 0.02 * step {
                self.ticks.push((next, format!("{next:.decimals$}").replace('-', "\u{2212}")));
                self.high = next;
            }
        }
        self
    }

    /// Percent, 0 to 100.
    pub(super) fn percent() -> Self {
        let ticks = [0, 25, 50, 75, 100].map(|p| (f64::from(p) / 100.0, p.to_string()));
        Self { low: 0.0, high: 1.0, logarithmic: false, ticks: ticks.to_vec() }
    }

    /// Powers of `base` between the ends.
    pub(super) fn logarithmic(low: f64, high: f64, base: f64) -> Self {
        let (first, last) =
            ((low.ln() / base.ln() - 1e-9).ceil() as i32, (high.ln() / base.ln() + 1e-9).floor() as i32);
        let tick = |power: i32| {
            let value = base.powi(power);
            (value, if value < 1.0 { format!("{value:.2}") } else { format!("{value:.0}") })
        };
        Self { low, high, logarithmic: true, ticks: (first..=last).map(tick).collect() }
    }

    /// Where a value lies, 0 to 1.
    fn share(&self, value: f64) -> f64 {
        let place = |v: f64| if self.logarithmic { v.max(f64::MIN_POSITIVE).ln() } else { v };
        let (low, high) = (place(self.low), place(self.high));
        if high > low { ((place(value) - low) / (high - low)).clamp(0.0, 1.0) } else { 0.5 }
    }
}

/// One value with an optional interval.
#[derive(Debug, Clone)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) interval: Option<[f64; 2]>,
    pub(super) tooltip: String,
}

/// A line.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) ink: Ink,
    pub(super) pen: Pen,
    /// At every point.
    pub(super) marker: Option<Marker>,
    pub(super) points: Vec<Point>,
}

/// Lines over a numeric axis.
#[derive(Debug, Clone)]
pub(super) struct Plot {
    pub(super) size: [f64; 2],
    pub(super) title: String,
    pub(super) x: Scale,
    pub(super) y: Scale,
    pub(super) lines: Vec<Line>,
}

/// Margins of a plot: left, right, top, bottom.
const MARGIN: [f64; 4] = [32.0, 12.0, 26.0, 26.0];

impl Plot {
    /// Draws it.
    pub(super) fn draw(&self) -> Drawing {
        let [left, right, top, bottom] =
            [MARGIN[0], self.size[0] - MARGIN[1], MARGIN[2], self.size[1] - MARGIN[3]];
        let inset = if self.x.logarithmic { 12.0 } else { 4.0 };
        let x = |value: f64| left + inset + self.x.share(value) * (right - left - 2.0 * inset);
        let y = |value: f64| bottom - self.y.share(value) * (bottom - top);
        let mut drawing = Drawing::default();
        drawing.text(Font::Head, [left, 14.0], Anchor::Start, &self.title);
        for (i, (value, label)) in self.y.ticks.iter().enumerate() {
            let at = y(*value);
            let (pen, ink) = (Pen::Thin, if i == 0 { Ink::Soft } else { Ink::Grid });
            drawing.line(pen, ink, &[[left, at], [right, at]]);
            drawing.text(Font::Tick, [left - 5.0, at + 4.0], Anchor::End, label);
        }
        let mut last = f64::NEG_INFINITY;
        for (value, label) in &self.x.ticks {
            let at = x(*value);
            drawing.line(Pen::Thin, Ink::Soft, &[[at, bottom], [at, bottom + 4.0]]);
            // Labels that would touch are left out; the tick stays.
            let half = 3.4 * label.chars().count() as f64;
            if at - half > last + 4.0 {
                drawing.text(Font::Tick, [at, bottom + 17.0], Anchor::Middle, label);
                last = at + half;
            }
        }
        let marked = self.lines.iter().filter(|l| l.marker.is_some()).count();
        let mut number = 0.0;
        for line in &self.lines {
            // Lines with markers stand a little apart, so that intervals do not hide each other.
            let shift =
                if line.marker.is_some() { 3.0 * (number - (marked as f64 - 1.0) / 2.0) } else { 0.0 };
            number += f64::from(u8::from(line.marker.is_some()));
            let at = |p: &Point| [x(p.x) + shift, y(p.y)];
            for p in &line.points {
                if let Some([low, high]) = p.interval {
                    drawing.line(Pen::Interval, line.ink, &[[at(p)[0], y(low)], [at(p)[0], y(high)]]);
                }
            }
            if line.points.len() > 1 {
                drawing.line(line.pen, line.ink, &line.points.iter().map(at).collect::<Vec<_>>());
            }
            if let Some(marker) = line.marker {
                for p in &line.points {
                    drawing.point(at(p), marker, line.ink, &p.tooltip);
                }
            }
        }
        if self.lines.iter().all(|l| l.points.is_empty()) {
            let middle = [(left + right) / 2.0, (top + bottom) / 2.0];
            drawing.text(Font::Tick, middle, Anchor::Middle, "no records");
        }
        drawing
    }
}

/// A dot of a row.
#[derive(Debug, Clone)]
pub(super) struct Dot {
    pub(super) value: f64,
    pub(super) interval: Option<[f64; 2]>,
    pub(super) marker: Marker,
    pub(super) ink: Ink,
    pub(super) tooltip: String,
}

/// Rows of dots over one axis.
#[derive(Debug, Clone)]
pub(super) struct Dots {
    pub(super) width: f64,
    /// Width of the labels.
    pub(super) labels: f64,
    pub(super) title: String,
    pub(super) x: Scale,
    /// Where a line stands out, such as no gain.
    pub(super) origin: Option<f64>,
    pub(super) rows: Vec<(String, Vec<Dot>)>,
}

const ROW: f64 = 22.0;
const ABOVE: f64 = 26.0;
const BELOW: f64 = 24.0;

impl Dots {
    /// The height of so many rows.
    pub(super) fn height(rows: usize) -> f64 {
        ABOVE + ROW * rows as f64 + BELOW
    }

    /// Draws it.
    pub(super) fn draw(&self) -> Drawing {
        let (left, right) = (self.labels, self.width - 14.0);
        let bottom = ABOVE + ROW * self.rows.len() as f64;
        let x = |value: f64| left + self.x.share(value) * (right - left);
        let mut drawing = Drawing::default();
        drawing.text(Font::Head, [0.0, 14.0], Anchor::Start, &self.title);
        let mut last = f64::NEG_INFINITY;
        for (value, label) in &self.x.ticks {
            let at = x(*value);
            drawing.line(Pen::Thin, Ink::Grid, &[[at, ABOVE], [at, bottom]]);
            let half = 3.4 * label.chars().count() as f64;
            if at - half > last + 4.0 {
                drawing.text(Font::Tick, [at, bottom + 16.0], Anchor::Middle, label);
                last = at + half;
            }
        }
        if let Some(origin) = self.origin {
            drawing.line(Pen::Thin, Ink::Soft, &[[x(origin), ABOVE - 3.0], [x(origin), bottom]]);
        }
        for (i, (label, dots)) in self.rows.iter().enumerate() {
            let y = ABOVE + ROW * (i as f64 + 0.5);
            drawing.text(Font::Label, [left - 8.0, y + 4.0], Anchor::End, label);
            // Measured dots over published ones, and each a little apart.
            let spread = if dots.len() > 2 { 3.0 } else { 2.5 };
            for (j, dot) in dots.iter().enumerate().rev() {
                let y = y + spread * (j as f64 - (dots.len() as f64 - 1.0) / 2.0);
                if let Some([low, high]) = dot.interval {
                    drawing.line(Pen::Interval, dot.ink, &[[x(low), y], [x(high), y]]);
                }
                drawing.point([x(dot.value), y], dot.marker, dot.ink, &dot.tooltip);
            }
        }
        drawing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: &Scale) -> Vec<&str> {
        scale.ticks.iter().map(|t| t.1.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(labels(&Scale::linear(-12.0, 71.0, 4)), ["0", "25", "50"]);
        assert_eq!(labels(&Scale::linear(0.0, 0.8, 4)), ["0.0", "0.2", "0.4", "0.6", "0.8"]);
        assert_eq!(labels(&Scale::linear(-5.0, 5.0, 5)), ["\u{2212}4", "\u{2212}2", "0", "2", "4"]);
        assert_eq!(labels(&Scale::logarithmic(0.25, 64.0, 4.0)), ["0.25", "1", "4", "16", "64"]);
        let up = Scale::linear(-12.0, 71.0, 4).rounded_up();
        assert_eq!((labels(&up), up.low, up.high), (vec!["0", "25", "50", "75"], -12.0, 75.0));
        assert_eq!(Scale::linear(0.0, 40.0, 4).rounded_up().high, 40.0);
        assert_eq!(labels(&Scale::linear(3.0, 3.0, 2)), ["3.0", "3.5", "4.0"]);
    }

    #[test]
    fn values_beyond_an_axis_stay_on_it() {
        let scale = Scale::logarithmic(1.0, 16.0, 4.0);
        assert_eq!([0.0, 1.0, 4.0, 16.0, 99.0].map(|v| scale.share(v)), [0.0, 0.0, 0.5, 1.0, 1.0]);
    }
}
