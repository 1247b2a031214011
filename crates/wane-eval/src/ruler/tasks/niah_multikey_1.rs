//! `niah_multikey_1`: one of four numbers hidden in an essay.
//!
//! Does not do: anything but name the parameters; see [`needle`](crate::ruler::needle).

use crate::ruler::needle::{self, Hay, Kind, Shape};
use crate::ruler::{Metric, TaskEntry};

/// The parameters.
pub(super) const SHAPE: Shape = Shape {
    task: "niah_multikey_1",
    hay: Hay::Essay,
    key: Kind::Words,
    value: Kind::Numbers,
    keys: 4,
    values: 1,
    queries: 1,
};

/// The registry's line.
pub(super) const ENTRY: TaskEntry = TaskEntry {
    name: SHAPE.task,
    summary: "one of four numbers hidden in an essay",
    metric: Metric::All,
    max_new_tokens: needle::MAX_NEW_TOKENS,
    needle: Some(SHAPE),
    generate: |request, take| needle::generate(&SHAPE, request, take),
};
