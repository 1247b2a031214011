//! What can go wrong in this crate.

use std::path::PathBuf;

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A task name that is not in the registry.
    #[error("unknown task `{name}`: did you mean `{nearest}`? (`wane tasks` lists them all)")]
    UnknownTask {
        /// What was asked for.
        name: String,
        /// The nearest name that exists.
        nearest: &'static str,
    },
    /// The context holds not even the smallest sample of the task.
    #[error(
        "task {task}: a context of {context} tokens is too small, the smallest sample found needs {needed}: raise --context"
    )]
    ContextTooSmall {
        /// The task.
        task: &'static str,
        /// The context asked for, in tokens.
        context: usize,
        /// The size of the smallest sample seen, answer budget included.
        needed: usize,
    },
    /// A sample cannot be built.
    #[error("task {task}: {message}")]
    Task {
        /// The task.
        task: &'static str,
        /// What is wrong and what to do.
        message: String,
    },
    /// A haystack that cannot be used.
    #[error("haystack {name}: {message}")]
    Haystack {
        /// The haystack's name or file.
        name: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// A line of a JSONL file that cannot be read.
    #[error("{path}, line {line}: {message}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line number, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A file that cannot be read or written.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// `read`, `write` or `create`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The tokenizer refused a text.
    #[error("the tokenizer failed: {0}")]
    Tokenizer(String),
    /// A value that makes no sense.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// An [`Error::File`].
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::File { action, path: path.into(), source }
    }
}
