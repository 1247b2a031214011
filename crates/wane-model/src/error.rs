//! What can go wrong with a model: its files, its configuration, its tokenizer, its operators.

use std::path::{Path, PathBuf};

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// One sentence that names the file, tensor or setting, and says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("cannot {action} {path}: {cause}")]
    Io {
        /// `open`, `read`, `write`, ...
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// The system's own message.
        cause: std::io::Error,
    },
    /// A file is not what its format prescribes.
    #[error("{path} is not a readable {format} file: {problem}")]
    Format {
        /// `safetensors`, `GGUF`, `pth`, `config.json`, ...
        format: &'static str,
        /// Which file.
        path: PathBuf,
        /// What is wrong and where.
        problem: String,
    },
    /// A valid model that this program cannot run.
    #[error("{path} is not supported: {problem}")]
    Unsupported {
        /// Which file.
        path: PathBuf,
        /// What is not supported, and what is.
        problem: String,
    },
    /// A tensor is missing, has another shape, or holds NaN.
    #[error("tensor {name} in {path}: {problem}")]
    Tensor {
        /// Name of the tensor.
        name: String,
        /// Which file or directory.
        path: PathBuf,
        /// What was expected and what came.
        problem: String,
    },
    /// Tokenizing or detokenizing failed.
    #[error("tokenizer {path}: {problem}")]
    Tokenizer {
        /// Where the tokenizer came from.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A chat template could not be read or rendered.
    #[error("chat template: {0}")]
    ChatTemplate(String),
    /// A setting or an input that makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The cache or a sparse method refused.
    #[error(transparent)]
    Attention(#[from] wane_attention::Error),
    /// An operator failed.
    #[error(transparent)]
    Kernel(#[from] wane_kernels::Error),
}

impl Error {
    /// An [`Error::Io`], for `map_err`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io { action, path, cause }
    }

    /// An [`Error::Format`].
    pub fn format(format: &'static str, path: &Path, problem: impl ToString) -> Self {
        Self::Format { format, path: path.to_owned(), problem: problem.to_string() }
    }

    /// An [`Error::Unsupported`].
    pub fn unsupported(path: &Path, problem: impl ToString) -> Self {
        Self::Unsupported { path: path.to_owned(), problem: problem.to_string() }
    }

    /// An [`Error::Tensor`].
    pub fn tensor(name: &str, path: &Path, problem: impl ToString) -> Self {
        Self::Tensor { name: name.to_owned(), path: path.to_owned(), problem: problem.to_string() }
    }

    /// An [`Error::Tokenizer`].
    pub fn tokenizer(path: &Path, problem: impl ToString) -> Self {
        Self::Tokenizer { path: path.to_owned(), problem: problem.to_string() }
    }
}
