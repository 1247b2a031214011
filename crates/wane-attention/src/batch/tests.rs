//! Tests of decode batches.
