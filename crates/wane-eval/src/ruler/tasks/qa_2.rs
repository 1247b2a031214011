//! `qa_2`: a question of HotpotQA among documents, those that answer it and others.
//!
//! Does not do: anything but name the file; see [`qa`](crate::ruler::qa).

use crate::ruler::{Metric, TaskEntry, qa};

const TASK: &str = "qa_2";

/// The registry's line.
pub(super) const ENTRY: TaskEntry = TaskEntry {
    name: TASK,
    summary: "a HotpotQA question among documents (needs --hotpotqa FILE)",
    metric: Metric::Part,
    max_new_tokens: qa::MAX_NEW_TOKENS,
    needle: None,
    generate: |request, take| qa::generate(TASK, |files| files.hotpotqa.as_ref(), request, take),
};
