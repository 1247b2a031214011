//! wane-train
