//! What can go wrong in an operator: wrong shapes, a missing implementation, the device.

/// The result of every operator.
pub type Result<T> = std::result::Result<T, Error>;

/// An operator's error; `op` is the operator's name.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A shape, dtype or range that the operator does not accept.
    #[error("{op}: expected {expected}, got {got}")]
    Shape {
        /// Operator.
        op: &'static str,
        /// What the operator accepts.
        expected: String,
        /// What it was given.
        got: String,
    },
    /// The operator has no implementation for this device or dtype.
    #[error("{op} is not implemented for {what}")]
    Unsupported {
        /// Operator.
        op: &'static str,
        /// Device, dtype or option.
        what: String,
    },
    /// The CUDA driver or one of its libraries failed.
    #[error("CUDA {what}: {cause}")]
    Cuda {
        /// What was attempted.
        what: String,
        /// The library's own message.
        cause: String,
    },
    /// The device has too little memory left.
    #[error("out of memory on {device}: {bytes} bytes were needed ({hint})")]
    OutOfMemory {
        /// Device name.
        device: String,
        /// Bytes asked for.
        bytes: usize,
        /// Which setting reduces it.
        hint: String,
    },
}

impl Error {
    /// A [`Error::Shape`] from anything printable.
    pub fn shape(op: &'static str, expected: impl ToString, got: impl ToString) -> Self {
        Self::Shape { op, expected: expected.to_string(), got: got.to_string() }
    }

    /// An [`Error::Unsupported`].
    pub fn unsupported(op: &'static str, what: impl ToString) -> Self {
        Self::Unsupported { op, what: what.to_string() }
    }
}
