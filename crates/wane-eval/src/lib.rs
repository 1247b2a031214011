//! wane-eval
