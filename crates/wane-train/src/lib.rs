//! Training of wane's models: data preparation, the optimizer's loop, checkpoints, observation.
//!
//! Read [`config`] for what a run is, [`data`] for where its tokens come from, then [`trainer`].
//! The decoder's forward and backward passes are wane-model's; the needle generator is passed in
//! as a [`data::SampleSource`].

pub mod build;
pub mod checkpoint;
pub mod config;
pub mod cost;
pub mod data;
pub mod draws;
pub mod error;
pub mod generation;
pub mod guard;
pub mod losses;
pub mod memory_stats;
pub mod observe;
pub mod optimizer;
pub mod parallel;
pub mod schedule;
pub mod trainer;
pub mod validation;

pub use config::RunConfig;
pub use error::{Error, Result};
