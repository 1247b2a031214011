//! Colours, once: for the page's and the figures' style sheets, light and dark, and for PNG (light).
//! Text reaches a contrast of 4.5 against its ground and series 3 against the paper (WCAG 2.1, AA);
//! the test computes it.

use std::fmt::Write as _;

/// How many series have a colour of their own.
pub(super) const SERIES: usize = 6;

/// Colours as 0xRRGGBB.
#[derive(Debug)]
pub(super) struct Palette {
    pub(super) text: u32,
    pub(super) soft: u32,
    pub(super) grid: u32,
    pub(super) paper: u32,
    /// Published values.
    pub(super) published: u32,
    /// Grounds of the page: bands, gains, notes.
    tint: u32,
    gain: u32,
    note: u32,
    link: u32,
    pub(super) series: [u32; SERIES],
}

pub(super) const LIGHT: Palette = Palette {
    text: 0x1b1f24,
    soft: 0x57606a,
    grid: 0xdfe3e8,
    paper: 0xffffff,
    published: 0x6e7781,
    tint: 0xf4f6f8,
    gain: 0xeef5ff,
    note: 0xfff8e1,
    link: 0x0a5ea8,
    series: [0x0a5ea8, 0xc0490b, 0x1a7f4b, 0x8a3a8f, 0x6b5d00, 0x4b4f58],
};

pub(super) const DARK: Palette = Palette {
    text: 0xe6edf3,
    soft: 0xa3acb6,
    grid: 0x2b3138,
    paper: 0x0f1317,
    published: 0x8d96a0,
    tint: 0x181d23,
    gain: 0x14243a,
    note: 0x2b2410,
    link: 0x6cb6ff,
    series: [0x6cb6ff, 0xff9e5e, 0x5fd39a, 0xdba0e0, 0xe0cf5a, 0xb5bac2],
};

impl Palette {
    /// As custom properties of a style sheet.
    fn properties(&self) -> String {
        let mut text = format!(
            "--ink:#{:06x};--soft:#{:06x};--grid:#{:06x};--paper:#{:06x};--pub:#{:06x};--tint:#{:06x};--gain:#{:06x};--note:#{:06x};--link:#{:06x}",
            self.text,
            self.soft,
            self.grid,
            self.paper,
            self.published,
            self.tint,
            self.gain,
            self.note,
            self.link
        );
        for (i, colour) in self.series.iter().enumerate() {
            let _ = write!(text, ";--c{i}:#{colour:06x}");
        }
        text
    }
}

/// The properties of both schemes for `selector`, then what figures do with them.
pub(super) fn style(selector: &str) -> String {
    let mut text = format!(
        "{selector}{{{}}}\n@media (prefers-color-scheme:dark){{{selector}{{{}}}}}\n",
        LIGHT.properties(),
        DARK.properties()
    );
    text.push_str(include_str!("figure.css"));
    for i in 0..SERIES {
        let _ = writeln!(
            text,
            "svg.figure .s{i}{{stroke:var(--c{i})}}svg.figure .m.s{i},svg.figure .b.s{i}{{fill:var(--c{i})}}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance (WCAG 2.1).
    fn luminance(colour: u32) -> f64 {
        let channel = |shift: u32| {
            let c = f64::from((colour >> shift) & 255) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(16) + 0.7152 * channel(8) + 0.0722 * channel(0)
    }

    fn contrast(a: u32, b: u32) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn contrast_is_that_of_the_standard() {
        assert!((contrast(0, 0xffffff) - 21.0).abs() < 1e-9);
        // The standard's own borderline grey.
        assert!((contrast(0x767676, 0xffffff) - 4.54).abs() < 0.01);
    }

    #[test]
    fn text_and_series_stand_out_in_both_schemes() {
        for palette in [LIGHT, DARK] {
            for ground in [palette.paper, palette.tint, palette.gain, palette.note] {
                for text in [palette.text, palette.soft, palette.link] {
                    assert!(contrast(text, ground) >= 4.5, "{text:06x} on {ground:06x}");
                }
            }
            for colour in palette.series.into_iter().chain([palette.published]) {
                assert!(contrast(colour, palette.paper) >= 3.0, "{colour:06x}");
            }
        }
    }
}
