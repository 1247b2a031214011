//! What a run shows and leaves behind: event files, the record, the progress line.

pub mod events;
pub mod progress;
pub mod record;

pub use events::EventWriter;
pub use progress::{Progress, ProgressOutput};
pub use record::{CurvePoint, RunRecord};
