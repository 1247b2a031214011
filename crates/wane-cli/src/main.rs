//! The wane binary.
fn main() {}
