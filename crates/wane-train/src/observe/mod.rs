//! What a run shows and leaves behind: event files, the record, the progress line.

pub mod events;

pub use events::EventWriter;
