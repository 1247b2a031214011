//! `qa_1`: a question of SQuAD v2.0 among documents, those that answer it and others.
//!
//! Does not do: anything but name the file; see [`qa`](crate::ruler::qa).

use crate::ruler::{Metric, TaskEntry, qa};

const TASK: &str = "qa_1";

/// The registry's line.
pub(super) const ENTRY: TaskEntry = TaskEntry {
    name: TASK,
    summary: "a SQuAD question among documents (needs --squad FILE)",
    metric: Metric::Part,
    max_new_tokens: qa::MAX_NEW_TOKENS,
    needle: None,
    generate: |request, take| qa::generate(TASK, |files| files.squad.as_ref(), request, take),
};
