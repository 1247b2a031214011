//! Rows that leave the cache while decoding, without anything being copied: when a row falls out
//! of the window and is not one of those kept for good, the newest row takes its place; otherwise
//! the newest row goes behind the last. Attention does not depend on the order of rows.

use std::collections::VecDeque;

/// Which rows a lane holds after `n` rows were seen: the row numbers `r < n` with `r < initial`, or
/// `n - 1 - r <= window`, or `(r + 1) mod dilation = 0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingRule {
    /// Rows at the start.
    pub initial: usize,
    /// Rows before the newest one.
    pub window: usize,
    /// Distance of the rows kept between; `None` keeps none.
    pub dilation: Option<usize>,
}

impl RingRule {
    /// Whether a row stays for good.
    fn keeps(self, row: usize) -> bool {
        row < self.initial || self.dilation.is_some_and(|d| (row + 1).is_multiple_of(d))
    }

    /// The rows held after `seen` rows, ascending.
    pub fn held(self, seen: usize) -> Vec<usize> {
        (0..seen).filter(|&row| self.keeps(row) || seen - 1 - row <= self.window).collect()
    }
}

/// The rows of one lane under a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ring {
    rule: RingRule,
    // Row number at each place.
    rows: Vec<usize>,
    // Places of the newest rows (the window and the newest itself), oldest first.
    recent: VecDeque<usize>,
    seen: usize,
}

impl Ring {
    /// The state after `seen` rows whose held ones were compacted in order.
    pub(crate) fn new(rule: RingRule, seen: usize) -> Self {
        let rows = rule.held(seen);
        let recent = (0..rows.len()).filter(|&place| seen - 1 - rows[place] <= rule.window).collect();
        Self { rule, rows, recent, seen }
    }

    /// Takes the next row and says where it goes.
    fn place(&mut self) -> usize {
        let leaving = if self.recent.len() > self.rule.window { self.recent.pop_front() } else { None };
        let place = match leaving {
            Some(place) if !self.rule.keeps(self.rows[place]) => place,
            _ => self.rows.len(),
        };
        if place == self.rows.len() {
            self.rows.push(self.seen);
        } else {
            self.rows[place] = self.seen;
        }
        self.recent.push_back(place);
        self.seen += 1;
        place
    }
}

/// How many rows a lane holds, and where the next one goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Rows {
    pub(crate) len: usize,
    pub(crate) ring: Option<Ring>,
}

impl Rows {
    /// Takes the next row: the place it is written to.
    pub(crate) fn place(&mut self) -> usize {
        let place = self.ring.as_mut().map_or(self.len, Ring::place);
        self.len = self.len.max(place + 1);
        place
    }

    /// Numbers of the rows held, ascending.
    pub(crate) fn numbers(&self) -> Vec<usize> {
        let mut rows = match &self.ring {
            Some(ring) => ring.rows.clone(),
            None => (0..self.len).collect(),
        };
        rows.sort_unstable();
        rows
    }
}
