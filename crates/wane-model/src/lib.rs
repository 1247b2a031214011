//! wane-model
