//! What a run shows and leaves behind: event files, the record, the progress line.

pub mod events;
pub mod record;

pub use events::EventWriter;
pub use record::{CurvePoint, RunRecord};
