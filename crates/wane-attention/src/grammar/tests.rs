//! Grammar tests.
