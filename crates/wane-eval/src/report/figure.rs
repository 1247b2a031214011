//! A figure: panels with a legend and a caption. The page shows the panels one by one, so
//! that they flow on narrow screens; a file (SVG, PNG) has them all.

use super::drawing::{Anchor, Drawing, Font, Ink, Marker, Pen};
use super::pairing::Look;
use super::palette::style;
use super::raster::{png, text_width};
use super::svg::{Words, escape, ornament, picture};

/// One panel.
#[derive(Debug, Clone)]
pub(super) struct Panel {
    /// What it is, for those who do not see it.
    pub(super) title: String,
    /// What it shows, in numbers.
    pub(super) description: String,
    pub(super) drawing: Drawing,
    pub(super) size: [f64; 2],
}

/// How a legend's entry looks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sample {
    /// A line, with a marker or without.
    Line(Pen, Ink, Option<Marker>),
    /// A marker alone.
    Mark(Ink, Marker),
}

/// A figure.
#[derive(Debug, Clone)]
pub(super) struct Figure {
    /// The files' name without their ending; unique.
    pub(super) name: String,
    pub(super) title: String,
    /// What the axes are, and how to read it.
    pub(super) caption: String,
    pub(super) legend: Vec<(Sample, String)>,
    /// Panels side by side in the file.
    pub(super) columns: usize,
    pub(super) panels: Vec<Panel>,
}

/// The key of a measured model.
pub(super) fn series_key(look: Look) -> Sample {
    Sample::Line(Pen::Data, Ink::Series(look.colour), Some(Marker::Filled(look.marker)))
}

/// The key of a measured model in a figure of marks.
pub(super) fn mark_key(look: Look) -> Sample {
    Sample::Mark(Ink::Series(look.colour), Marker::Filled(look.marker))
}

impl Figure {
    /// As an element of the page.
    pub(super) fn html(&self) -> String {
        let mut text =
            format!("<figure id=\"{}\">\n<figcaption><strong>{}</strong>", self.name, escape(&self.title));
        for (sample, label) in &self.legend {
            let mut drawing = Drawing::default();
            sample.draw(&mut drawing, [1.0, 7.0]);
            text.push_str(&format!(
                "<span class=\"key\">{}{}</span>",
                ornament(&drawing, [32.0, 14.0]),
                escape(label)
            ));
        }
        let least = self.widest().min(330.0);
        text.push_str(&format!(
            "</figcaption>\n<div class=\"panels{}\" style=\"--least:{:.1}rem\">\n",
            if self.widest() > 250.0 { " wide" } else { "" },
            least / 16.0 * 0.96
        ));
        for (i, panel) in self.panels.iter().enumerate() {
            let words = Words { title: &panel.title, description: &panel.description };
            text.push_str(&picture(&panel.drawing, &format!("{}-{i}", self.name), panel.size, words, None));
            text.push('\n');
        }
        text.push_str("</div>\n");
        if !self.caption.is_empty() {
            text.push_str(&format!("<p class=\"soft\">{}</p>\n", escape(&self.caption)));
        }
        text.push_str("</figure>\n");
        text
    }

    /// As an SVG file.
    pub(super) fn svg(&self) -> String {
        let (drawing, size) = self.whole();
        let description: Vec<&str> = self.panels.iter().map(|p| p.description.as_str()).collect();
        let words = Words { title: &self.title, description: &description.join(" ") };
        picture(&drawing, "figure", size, words, Some(&style("svg.figure"))) + "\n"
    }

    /// As a PNG file.
    pub(super) fn png(&self) -> Vec<u8> {
        let (drawing, size) = self.whole();
        png(&drawing, size)
    }

    fn widest(&self) -> f64 {
        self.panels.iter().map(|p| p.size[0]).fold(0.0, f64::max)
    }

    /// Title, legend and panels on paper.
    fn whole(&self) -> (Drawing, [f64; 2]) {
        const GAP: f64 = 10.0;
        let columns = self.panels.len().clamp(1, self.columns);
        let heights: Vec<f64> = self
            .panels
            .chunks(columns)
            .map(|row| row.iter().map(|p| p.size[1]).fold(0.0, f64::max) + GAP)
            .collect();
        let mut legend = Drawing::default();
        let (mut x, mut y) = (0.0, 42.0);
        let wide =
            (columns as f64 * (self.widest() + GAP)).max(text_width(&self.title, Font::Title) * 1.08 + 16.0);
        for (sample, label) in &self.legend {
            let width = 60.0 + 1.06 * text_width(label, Font::Label);
            if x > 0.0 && x + width > wide {
                (x, y) = (0.0, y + 18.0);
            }
            sample.draw(&mut legend, [12.0 + x, y]);
            legend.text(Font::Label, [48.0 + x, y + 4.0], Anchor::Start, label);
            x += width;
        }
        let top = y + 16.0;
        let size = [16.0 + wide, top + 6.0 + heights.iter().sum::<f64>()];
        let mut drawing = Drawing::default();
        drawing.bar([0.0; 2], size, Ink::Paper, "");
        drawing.text(Font::Title, [12.0, 24.0], Anchor::Start, &self.title);
        drawing.shapes.extend(legend.shapes);
        for (i, panel) in self.panels.iter().enumerate() {
            let above: f64 = heights[..i / columns].iter().sum();
            let at = [10.0 + (i % columns) as f64 * (self.widest() + GAP), top + above];
            drawing.place(at, panel.drawing.clone());
        }
        (drawing, size)
    }
}

impl Sample {
    fn draw(self, drawing: &mut Drawing, [x, y]: [f64; 2]) {
        match self {
            Self::Line(pen, ink, marker) => {
                drawing.line(pen, ink, &[[x, y], [x + 30.0, y]]);
                if let Some(marker) = marker {
                    drawing.point([x + 15.0, y], marker, ink, "");
                }
            }
            Self::Mark(ink, marker) => drawing.point([x + 15.0, y], marker, ink, ""),
        }
    }
}
