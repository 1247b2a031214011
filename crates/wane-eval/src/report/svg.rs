//! A drawing as SVG: escaped text, short numbers, and the classes of the style sheet that a figure and
//! the page share (`s0` to `s5` for series, light and dark).

use std::fmt::Write as _;

use super::drawing::{Anchor, Drawing, Font, Ink, Marker, Pen, Shape};
use super::palette::SERIES;

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

/// A coordinate, to a tenth.
pub(super) fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

/// What a picture says to those who do not see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words<'a> {
    /// What it is.
    pub(super) title: &'a str,
    /// What it shows, in numbers.
    pub(super) description: &'a str,
}

/// The whole picture. `id` makes the ids of title and description unique on a page; `style` is a
/// style sheet to carry along.
pub(super) fn picture(
    drawing: &Drawing,
    id: &str,
    size: [f64; 2],
    words: Words<'_>,
    style: Option<&str>,
) -> String {
    let [width, height] = size.map(number);
    let style = style.map_or_else(String::new, |s| format!("<style>{s}</style>"));
    let mut text = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" class="figure" role="img" viewBox="0 0 {width} {height}" aria-labelledby="{id}-t {id}-d"><title id="{id}-t">{}</title><desc id="{id}-d">{}</desc>{style}"#,
        escape(words.title),
        escape(words.description),
    );
    write_shapes(drawing, &mut text);
    text.push_str("</svg>");
    text
}

/// A picture that screen readers pass over.
pub(super) fn ornament(drawing: &Drawing, size: [f64; 2]) -> String {
    let [width, height] = size.map(number);
    let mut text = format!(r#"<svg class="figure" aria-hidden="true" viewBox="0 0 {width} {height}">"#);
    write_shapes(drawing, &mut text);
    text.push_str("</svg>");
    text
}

fn colour(ink: Ink) -> String {
    match ink {
        Ink::Series(i) => format!("s{}", i % SERIES),
        Ink::Published => "pub".into(),
        Ink::Grid => "grid".into(),
        Ink::Paper => "back".into(),
        Ink::Soft | Ink::Text => "soft".into(),
    }
}

fn line_class(pen: Pen, ink: Ink) -> String {
    match (pen, ink) {
        (Pen::Thin, Ink::Grid) => "grid".into(),
        (Pen::Thin, _) => "axis".into(),
        (Pen::Interval, ink) => format!("e {}", colour(ink)),
        (Pen::Data, ink) => format!("l {}", colour(ink)),
        (Pen::Level, ink) => format!("v {}", colour(ink)),
    }
}

/// `>` and a tooltip's element and the end tag, or `/>`.
fn close(text: &mut String, element: &str, tooltip: &str) {
    let _ = match tooltip {
        "" => write!(text, "/>"),
        tooltip => write!(text, "><title>{}</title></{element}>", escape(tooltip)),
    };
}

fn points(at: [f64; 2], corners: &[[f64; 2]]) -> String {
    let corner = |[x, y]: &[f64; 2]| format!("{},{}", number(at[0] + x), number(at[1] + y));
    corners.iter().map(corner).collect::<Vec<_>>().join(" ")
}

fn write_shapes(drawing: &Drawing, text: &mut String) {
    for shape in &drawing.shapes {
        match shape {
            Shape::Line { points: p, ink, pen } => {
                let class = line_class(*pen, *ink);
                if let [[x1, y1], [x2, y2]] = p.as_slice() {
                    let [x1, y1, x2, y2] = [*x1, *y1, *x2, *y2].map(number);
                    let _ =
                        write!(text, r#"<line class="{class}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>"#);
                } else {
                    let _ = write!(text, r#"<polyline class="{class}" points="{}"/>"#, points([0.0; 2], p));
                }
            }
            Shape::Point { at, marker, ink, tooltip } => {
                let kind = if matches!(marker, Marker::Filled(_)) { "m" } else { "h" };
                let class = format!("{kind} {}", colour(*ink));
                match marker.corners() {
                    None => {
                        let ([x, y], r) = (at.map(number), number(Marker::RADIUS));
                        let _ = write!(text, r#"<circle class="{class}" cx="{x}" cy="{y}" r="{r}""#);
                        close(text, "circle", tooltip);
                    }
                    Some(corners) => {
                        let _ = write!(text, r#"<polygon class="{class}" points="{}""#, points(*at, corners));
                        close(text, "polygon", tooltip);
                    }
                }
            }
            Shape::Bar { at, size, ink, tooltip } => {
                let ([x, y], [w, h]) = (at.map(number), size.map(number));
                let class = if *ink == Ink::Paper { "back".into() } else { format!("b {}", colour(*ink)) };
                let _ = write!(text, r#"<rect class="{class}" x="{x}" y="{y}" width="{w}" height="{h}""#);
                close(text, "rect", tooltip);
            }
            Shape::Text { at, anchor, font, text: words } => {
                let anchor = match anchor {
                    Anchor::Start => "",
                    Anchor::Middle => r#" text-anchor="middle""#,
                    Anchor::End => r#" text-anchor="end""#,
                };
                let class = match font {
                    Font::Tick => "",
                    Font::Label => r#" class="label""#,
                    Font::Head => r#" class="head""#,
                    Font::Title => r#" class="title""#,
                };
                let [x, y] = at.map(number);
                let _ = write!(text, r#"<text{class} x="{x}" y="{y}"{anchor}>{}</text>"#, escape(words));
            }
            Shape::Group { at, inner } => {
                let [x, y] = at.map(number);
                let _ = write!(text, r#"<g transform="translate({x} {y})">"#);
                write_shapes(inner, text);
                text.push_str("</g>");
            }
        }
    }
}
