//! The registry of tasks: one file and one line each.

mod cwe;
mod fwe;
mod niah_multikey_1;
mod niah_multikey_2;
mod niah_multikey_3;
mod niah_multiquery;
mod niah_multivalue;
mod niah_single_1;
mod niah_single_2;
mod niah_single_3;
mod qa_1;
mod qa_2;
mod vt;

use super::TaskEntry;
use crate::{Error, Result, nearest};

/// Every task, in RULER's order.
pub const TASKS: &[TaskEntry] = &[
    niah_single_1::ENTRY,
    niah_single_2::ENTRY,
    niah_single_3::ENTRY,
    niah_multikey_1::ENTRY,
    niah_multikey_2::ENTRY,
    niah_multikey_3::ENTRY,
    niah_multivalue::ENTRY,
    niah_multiquery::ENTRY,
    vt::ENTRY,
    cwe::ENTRY,
    fwe::ENTRY,
    qa_1::ENTRY,
    qa_2::ENTRY,
];

/// The tasks that a list of names means: task names, `niah` (the eight needle tasks), `all`.
///
/// # Errors
/// A name that is none of these, with the nearest one.
pub fn select<S: AsRef<str>>(names: &[S]) -> Result<Vec<&'static TaskEntry>> {
    let mut chosen: Vec<&'static TaskEntry> = Vec::new();
    for name in names.iter().flat_map(|n| n.as_ref().split(',')).map(str::trim).filter(|n| !n.is_empty()) {
        let before = chosen.len();
        for task in TASKS {
            let wanted = name == task.name || name == "all" || (name == "niah" && task.needle.is_some());
            if wanted && !chosen.iter().any(|c| c.name == task.name) {
                chosen.push(task);
            }
        }
        let known = name == "all" || name == "niah" || TASKS.iter().any(|t| t.name == name);
        if chosen.len() == before && !known {
            let nearest = nearest(name, TASKS.iter().map(|t| t.name));
            return Err(Error::UnknownTask { name: name.to_owned(), nearest });
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests;
