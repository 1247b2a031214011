//! Everything that can go wrong while preparing data or training, in words a user can act on.

use std::path::{Path, PathBuf};

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of training, its data or its files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration file cannot be understood.
    #[error("{path}:{line}: {message}")]
    Config {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong, with the nearest known name if there is one.
        message: String,
    },
    /// Two settings contradict each other, or one is out of range.
    #[error("configuration: {0}")]
    Setting(String),
    /// Training data that is missing, empty or made for something else.
    #[error("{path}: {message}")]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// What was expected and what is there.
        message: String,
    },
    /// Samples could not be generated.
    #[error("generated samples: {0}")]
    Samples(String),
    /// The tokenizer could not be trained, read or applied.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// A checkpoint that is damaged or belongs to another run.
    #[error("checkpoint {path}: {message}")]
    Checkpoint {
        /// The checkpoint's folder.
        path: PathBuf,
        /// What was expected, what is there, what to do.
        message: String,
    },
    /// The loss or the gradients are no longer usable and the guard says stop.
    #[error("step {step}: {message}")]
    Diverged {
        /// The step, from 0.
        step: u64,
        /// What was seen and what may help.
        message: String,
    },
    /// Another process of the run, or the way to it, failed.
    #[error("parallel training: {0}")]
    Parallel(String),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The model failed.
    #[error(transparent)]
    Model(#[from] wane_model::Error),
    /// The cache of a generation failed.
    #[error(transparent)]
    Attention(#[from] wane_attention::Error),
    /// An operator failed.
    #[error(transparent)]
    Kernel(#[from] wane_kernels::Error),
}

impl Error {
    /// An [`Error::Io`] for `path`, for use with `map_err`.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    /// An [`Error::Data`] for `path`.
    pub fn data(path: &Path, message: impl ToString) -> Self {
        Self::Data { path: path.to_owned(), message: message.to_string() }
    }

    /// An [`Error::Checkpoint`] for `path`.
    pub fn checkpoint(path: &Path, message: impl ToString) -> Self {
        Self::Checkpoint { path: path.to_owned(), message: message.to_string() }
    }

    /// An [`Error::Setting`].
    pub fn setting(message: impl ToString) -> Self {
        Self::Setting(message.to_string())
    }
}
