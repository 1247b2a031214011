//! A picture as a list of shapes, from which `svg` makes text and `raster` pixels. Colours are names
//! (an [`Ink`]), so that a picture has a light and a dark form.
//!
//! Does not do: layout; the charts know where things go.

/// What a shape is drawn in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    /// Titles.
    Text,
    /// Axes and labels.
    Soft,
    /// Lines behind the data.
    Grid,
    /// The ground.
    Paper,
    /// Published values.
    Published,
    /// A measured series, by number.
    Series(usize),
}

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pen {
    /// Axes and grid.
    Thin,
    /// Intervals.
    Interval,
    /// Data; series differ in their dashes too.
    Data,
    /// A level, in short dashes.
    Level,
}

/// How a text is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Font {
    /// Numbers at axes.
    Tick,
    /// Names of rows and legends.
    Label,
    /// A panel's title.
    Head,
    /// A figure's title.
    Title,
}

/// Where a text is anchored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    /// It begins there.
    Start,
    /// Its middle is there.
    Middle,
    /// It ends there.
    End,
}

/// A data point's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    /// Of a series, by number: circle, square, diamond, triangle.
    Filled(usize),
    /// The same shapes, only outlined.
    Hollow(usize),
}

/// One shape. Coordinates are [x, y], y downwards.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    /// Straight lines through points.
    Line { points: Vec<[f64; 2]>, ink: Ink, pen: Pen },
    /// A data point with a tooltip (may be empty).
    Point { at: [f64; 2], marker: Marker, ink: Ink, tooltip: String },
    /// A filled rectangle with a tooltip (may be empty): corner and size.
    Bar { at: [f64; 2], size: [f64; 2], ink: Ink, tooltip: String },
    /// A line of text; `at` is on its base line.
    Text { at: [f64; 2], anchor: Anchor, font: Font, text: String },
    /// Another drawing, moved.
    Group { at: [f64; 2], inner: Drawing },
}

/// A drawing under construction.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Drawing {
    pub(super) shapes: Vec<Shape>,
}

impl Drawing {
    pub(super) fn line(&mut self, pen: Pen, ink: Ink, points: &[[f64; 2]]) {
        self.shapes.push(Shape::Line { points: points.to_vec(), ink, pen });
    }

    pub(super) fn point(&mut self, at: [f64; 2], marker: Marker, ink: Ink, tooltip: &str) {
        self.shapes.push(Shape::Point { at, marker, ink, tooltip: tooltip.to_owned() });
    }

    pub(super) fn bar(&mut self, at: [f64; 2], size: [f64; 2], ink: Ink, tooltip: &str) {
        self.shapes.push(Shape::Bar { at, size, ink, tooltip: tooltip.to_owned() });
    }

    pub(super) fn text(&mut self, font: Font, at: [f64; 2], anchor: Anchor, text: &str) {
        self.shapes.push(Shape::Text { at, anchor, font, text: text.to_owned() });
    }

    pub(super) fn place(&mut self, at: [f64; 2], inner: Drawing) {
        self.shapes.push(Shape::Group { at, inner });
    }
}

impl Font {
    /// Size in pixels.
    pub(super) fn size(self) -> f64 {
        match self {
            Self::Tick => 11.0,
            Self::Label => 11.5,
            Self::Head => 12.5,
            Self::Title => 16.0,
        }
    }

    /// Whether it is set in the heavier cut.
    pub(super) fn is_heavy(self) -> bool {
        matches!(self, Self::Head | Self::Title)
    }
}

impl Pen {
    /// Width in pixels.
    pub(super) fn width(self) -> f64 {
        match self {
            Self::Thin => 1.0,
            Self::Interval | Self::Level => 1.4,
            Self::Data => 2.0,
        }
    }

    /// Lengths of dashes and gaps; none is solid.
    pub(super) fn dashes(self, ink: Ink) -> Option<[f32; 2]> {
        match (self, ink) {
            (Self::Level, _) => Some([2.0, 3.0]),
            (Self::Data, Ink::Series(1 | 4)) => Some([6.0, 3.0]),
            (Self::Data, Ink::Series(2 | 5)) => Some([2.0, 3.0]),
            _ => None,
        }
    }
}

impl Marker {
    /// Corners around the origin; none for a circle of radius [`Self::RADIUS`].
    pub(super) fn corners(self) -> Option<&'static [[f64; 2]]> {
        let (Self::Filled(shape) | Self::Hollow(shape)) = self;
        match shape % 4 {
            0 => None,
            1 => Some(&[[-3.2, -3.2], [3.2, -3.2], [3.2, 3.2], [-3.2, 3.2]]),
            2 => Some(&[[0.0, -4.4], [4.4, 0.0], [0.0, 4.4], [-4.4, 0.0]]),
            _ => Some(&[[0.0, -4.0], [4.0, 3.2], [-4.0, 3.2]]),
        }
    }

    pub(super) const RADIUS: f64 = 3.4;
}
