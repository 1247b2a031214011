//! A drawing as pixels, light, at twice its size, and from there as PNG. Lines and areas are
//! `tiny-skia`'s; letters are the outlines of the bundled font (Inter, Latin and the report's symbols),
//! without kerning.
//!
//! Does not do: other scripts; a letter that the font lacks becomes its empty box.

use std::sync::LazyLock;

use tiny_skia::{
    FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, Stroke, StrokeDash, Transform,
};
use ttf_parser::{Face, GlyphId, OutlineBuilder};

use super::drawing::{Anchor, Drawing, Font, Ink, Marker, Pen, Shape};
use super::palette::{LIGHT, SERIES};

/// Pixels for a unit of length.
const SCALE: f32 = 2.0;

static REGULAR: LazyLock<Face<'static>> =
    LazyLock::new(|| face(include_bytes!("../../data/fonts/inter-regular.otf")));
static HEAVY: LazyLock<Face<'static>> =
    LazyLock::new(|| face(include_bytes!("../../data/fonts/inter-semibold.otf")));

fn face(bytes: &'static [u8]) -> Face<'static> {
    Face::parse(bytes, 0).expect("the project's own font is well-formed")
}

/// A picture of a drawing of that size as a PNG file; empty for a drawing without area.
pub(super) fn png(drawing: &Drawing, [width, height]: [f64; 2]) -> Vec<u8> {
    let pixels = |length: f64| (length as f32 * SCALE).ceil() as u32;
    let Some(mut pixmap) = Pixmap::new(pixels(width), pixels(height)) else { return Vec::new() };
    let paper = paint(Ink::Paper);
    pixmap.fill(match paper.shader {
        tiny_skia::Shader::SolidColor(colour) => colour,
        _ => tiny_skia::Color::WHITE,
    });
    draw(drawing, Transform::from_scale(SCALE, SCALE), &mut pixmap);
    encode(&pixmap).expect("a picture of some size fits into memory")
}

/// The pixels as a file without transparency: the paper covers all of it.
fn encode(pixmap: &Pixmap) -> Result<Vec<u8>, png::EncodingError> {
    let rgb: Vec<u8> = pixmap.pixels().iter().flat_map(|p| [p.red(), p.green(), p.blue()]).collect();
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, pixmap.width(), pixmap.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::High);
    // Areas of one colour: bytes as they are pack better than differences.
    encoder.set_filter(png::Filter::NoFilter);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&rgb)?;
    writer.finish()?;
    Ok(file)
}

/// The width of a text as the bundled font sets it.
pub(super) fn text_width(text: &str, font: Font) -> f64 {
    let face = if font.is_heavy() { &HEAVY } else { &REGULAR };
    let units: f64 = text.chars().map(|c| advance(face, glyph(face, c))).sum();
    units * font.size() / f64::from(face.units_per_em())
}

fn glyph(face: &Face<'_>, letter: char) -> GlyphId {
    face.glyph_index(letter).unwrap_or(GlyphId(0))
}

fn advance(face: &Face<'_>, glyph: GlyphId) -> f64 {
    f64::from(face.glyph_hor_advance(glyph).unwrap_or(0))
}

fn colour(ink: Ink) -> u32 {
    match ink {
        Ink::Text => LIGHT.text,
        Ink::Soft => LIGHT.soft,
        Ink::Grid => LIGHT.grid,
        Ink::Paper => LIGHT.paper,
        Ink::Published => LIGHT.published,
        Ink::Series(i) => LIGHT.series[i % SERIES],
    }
}

fn paint(ink: Ink) -> Paint<'static> {
    let [_, red, green, blue] = colour(ink).to_be_bytes();
    let mut paint = Paint::default();
    paint.set_color_rgba8(red, green, blue, 255);
    paint
}

fn draw(drawing: &Drawing, at: Transform, pixmap: &mut Pixmap) {
    for shape in &drawing.shapes {
        match shape {
            Shape::Line { points, ink, pen } => {
                if let Some(path) = polygon([0.0; 2], points, false) {
                    stroke(&path, *ink, pen.width(), pen.dashes(*ink), at, pixmap);
                }
            }
            Shape::Point { at: center, marker, ink, .. } => point(*center, *marker, *ink, at, pixmap),
            Shape::Bar { at: [x, y], size: [w, h], ink, .. } => {
                let corners = [[*x, *y], [x + w, *y], [x + w, y + h], [*x, y + h]];
                if let Some(path) = polygon([0.0; 2], &corners, true) {
                    pixmap.fill_path(&path, &paint(*ink), FillRule::Winding, at, None);
                }
            }
            Shape::Text { at: place, anchor, font, text } => set(text, *place, *anchor, *font, at, pixmap),
            Shape::Group { at: [x, y], inner } => {
                draw(inner, at.pre_translate(*x as f32, *y as f32), pixmap);
            }
        }
    }
}

fn polygon([x, y]: [f64; 2], points: &[[f64; 2]], close: bool) -> Option<Path> {
    let mut path = PathBuilder::new();
    for (i, [dx, dy]) in points.iter().enumerate() {
        let [x, y] = [(x + dx) as f32, (y + dy) as f32];
        if i == 0 { path.move_to(x, y) } else { path.line_to(x, y) }
    }
    if close {
        path.close();
    }
    path.finish()
}

fn stroke(path: &Path, ink: Ink, width: f64, dashes: Option<[f32; 2]>, at: Transform, pixmap: &mut Pixmap) {
    let stroke = Stroke {
        width: width as f32,
        line_cap: LineCap::Butt,
        line_join: LineJoin::Round,
        dash: dashes.and_then(|d| StrokeDash::new(d.to_vec(), 0.0)),
        ..Stroke::default()
    };
    pixmap.stroke_path(path, &paint(ink), &stroke, at, None);
}

fn point(center: [f64; 2], marker: Marker, ink: Ink, at: Transform, pixmap: &mut Pixmap) {
    let path = match marker.corners() {
        None => PathBuilder::from_circle(center[0] as f32, center[1] as f32, Marker::RADIUS as f32),
        Some(corners) => polygon(center, corners, true),
    };
    let Some(path) = path else { return };
    let inside = if matches!(marker, Marker::Filled(_)) { ink } else { Ink::Paper };
    pixmap.fill_path(&path, &paint(inside), FillRule::Winding, at, None);
    stroke(&path, ink, Pen::Interval.width(), None, at, pixmap);
}

fn set(text: &str, [x, y]: [f64; 2], anchor: Anchor, font: Font, at: Transform, pixmap: &mut Pixmap) {
    let face = if font.is_heavy() { &HEAVY } else { &REGULAR };
    let start = match anchor {
        Anchor::Start => x,
        Anchor::Middle => x - text_width(text, font) / 2.0,
        Anchor::End => x - text_width(text, font),
    };
    let scale = font.size() / f64::from(face.units_per_em());
    let mut outline = Outline(PathBuilder::new(), 0.0);
    for letter in text.chars() {
        let glyph = glyph(face, letter);
        face.outline_glyph(glyph, &mut outline);
        outline.1 += advance(face, glyph) as f32;
    }
    let Some(path) = outline.0.finish() else { return };
    let ink = if font == Font::Tick { Ink::Soft } else { Ink::Text };
    let place = at.pre_translate(start as f32, y as f32).pre_scale(scale as f32, -scale as f32);
    pixmap.fill_path(&path, &paint(ink), FillRule::Winding, place, None);
}

/// Letters side by side in the font's units; the second is where the next begins.
struct Outline(PathBuilder, f32);

impl OutlineBuilder for Outline {
    fn move_to(&mut self, x: f32, y: f32) {
        self.0.move_to(self.1 + x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.0.line_to(self.1 + x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        self.0.quad_to(self.1 + x1, y1, self.1 + x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        self.0.cubic_to(self.1 + x1, y1, self.1 + x2, y2, self.1 + x, y);
    }

    fn close(&mut self) {
        self.0.close();
    }
}
