//! What can go wrong: a plan that does not parse, a cache used out of order, an operator.

use crate::Phase;

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of a plan, a cache or an operator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No method of that name.
    #[error("unknown method `{name}`; the nearest is `{nearest}` (`wane methods` lists all)")]
    UnknownMethod {
        /// As written.
        name: String,
        /// The most similar method.
        nearest: &'static str,
    },
    /// The method has no such key.
    #[error("{method} has no key `{key}`; the nearest is `{nearest}`, and its keys are {keys}")]
    UnknownKey {
        /// Method.
        method: &'static str,
        /// As written.
        key: String,
        /// The most similar key.
        nearest: &'static str,
        /// All keys of the method.
        keys: String,
    },
    /// The method has no keys at all.
    #[error("{method} takes no keys, got `{key}`")]
    NoKeys {
        /// Method.
        method: &'static str,
        /// As written.
        key: String,
    },
    /// A value of the wrong kind or size.
    #[error("{method}: `{key}={value}` is not possible: {expected}")]
    Value {
        /// Method.
        method: &'static str,
        /// Key.
        key: String,
        /// As written.
        value: String,
        /// What the key accepts, or what the value contradicts.
        expected: String,
    },
    /// Two methods answer the same question.
    #[error("`{first}` and `{second}` both decide the {phase} phase: keep one of them")]
    SamePhase {
        /// Method on the left.
        first: &'static str,
        /// Method on the right.
        second: &'static str,
        /// Phase that both claim.
        phase: Phase,
    },
    /// Text that is no plan.
    #[error("`{text}` is no method: {expected}")]
    Syntax {
        /// The offending part.
        text: String,
        /// What was expected there.
        expected: &'static str,
    },
    /// A call that does not fit the state of the cache.
    #[error("{0}")]
    State(String),
    /// An operator failed.
    #[error(transparent)]
    Kernel(#[from] wane_kernels::Error),
}

impl Error {
    /// An [`Error::Value`].
    pub fn value(method: &'static str, key: &str, value: impl ToString, expected: impl ToString) -> Self {
        Self::Value { method, key: key.to_owned(), value: value.to_string(), expected: expected.to_string() }
    }
}
