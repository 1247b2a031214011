//! wane-attention
