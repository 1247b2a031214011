//! A small SVG writer: escaped text, short numbers, four marker shapes, and the style sheet that a
//! figure and the page share (classes `s0` to `s5` for series, light and dark).
//!
//! Does not do: layout; the figures know where things go.

use std::fmt::Write as _;

/// Colours and strokes of every figure.
pub(super) const STYLE: &str = include_str!("figure.css");

/// How many series have a colour of their own.
pub(super) const SERIES: usize = 6;

/// Text that is safe in HTML, in SVG and in attributes.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() && c != '\n' => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

/// A coordinate, to a hundredth.
pub(super) fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

/// A drawing under construction.
#[derive(Debug, Default)]
pub(super) struct Drawing {
    text: String,
}

/// Where a text is anchored.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor {
    /// It begins there.
    Start,
    /// Its middle is there.
    Middle,
    /// It ends there.
    End,
}

impl Drawing {
    /// A straight line.
    pub(super) fn line(&mut self, class: &str, from: [f64; 2], to: [f64; 2]) {
        let [x1, y1, x2, y2] = [from[0], from[1], to[0], to[1]].map(number);
        let _ = write!(self.text, r#"<line class="{class}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>"#);
    }

    /// Straight lines through points.
    pub(super) fn polyline(&mut self, class: &str, points: &[[f64; 2]]) {
        let points: Vec<String> =
            points.iter().map(|[x, y]| format!("{},{}", number(*x), number(*y))).collect();
        let _ = write!(self.text, r#"<polyline class="{class}" points="{}"/>"#, points.join(" "));
    }

    /// A marker of the series, with a tooltip.
    pub(super) fn marker(&mut self, series: usize, [x, y]: [f64; 2], tooltip: &str) {
        let class = format!("m s{}", series % SERIES);
        let title =
            if tooltip.is_empty() { String::new() } else { format!("<title>{}</title>", escape(tooltip)) };
        let at = |points: &[[f64; 2]]| {
            points
                .iter()
                .map(|[dx, dy]| format!("{},{}", number(x + dx), number(y + dy)))
                .collect::<Vec<_>>()
                .join(" ")
        };
        let polygon: &[[f64; 2]] = match series % 4 {
            0 => {
                let (x, y) = (number(x), number(y));
                let _ = write!(
                    self.text,
                    r#"<circle class="{class}" cx="{x}" cy="{y}" r="3.4">{title}</circle>"#
                );
                return;
            }
            1 => &[[-3.2, -3.2], [3.2, -3.2], [3.2, 3.2], [-3.2, 3.2]],
            2 => &[[0.0, -4.4], [4.4, 0.0], [0.0, 4.4], [-4.4, 0.0]],
            _ => &[[0.0, -4.0], [4.0, 3.2], [-4.0, 3.2]],
        };
        let _ = write!(self.text, r#"<polygon class="{class}" points="{}">{title}</polygon>"#, at(polygon));
    }

    /// A text.
    pub(super) fn text(&mut self, class: &str, [x, y]: [f64; 2], anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let (x, y, text) = (number(x), number(y), escape(text));
        let _ = write!(
            self.text,
            r#"<text class="{class}" x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>"#
        );
    }

    /// Another drawing, moved.
    pub(super) fn place(&mut self, [x, y]: [f64; 2], inner: &Drawing) {
        let _ =
            write!(self.text, r#"<g transform="translate({} {})">{}</g>"#, number(x), number(y), inner.text);
    }

    /// A picture that screen readers pass over.
    pub(super) fn ornament(&self, size: [f64; 2]) -> String {
        let [width, height] = size.map(number);
        format!(
            r#"<svg class="figure" aria-hidden="true" viewBox="0 0 {width} {height}">{}</svg>"#,
            self.text
        )
    }

    /// The whole picture. `id` makes the ids of title and description unique on a page; `style` is a
    /// style sheet to carry along.
    pub(super) fn finish(&self, id: &str, size: [f64; 2], words: Words<'_>, style: Option<&str>) -> String {
        let [width, height] = size.map(number);
        let style = style.map_or_else(String::new, |s| format!("<style>{s}</style>"));
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" class="figure" role="img" viewBox="0 0 {width} {height}" aria-labelledby="{id}-t {id}-d"><title id="{id}-t">{}</title><desc id="{id}-d">{}</desc>{style}{}</svg>"#,
            escape(words.title),
            escape(words.description),
            self.text
        )
    }
}

/// What a picture says to those who do not see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words<'a> {
    /// What it is.
    pub(super) title: &'a str,
    /// What it shows, in numbers.
    pub(super) description: &'a str,
}
