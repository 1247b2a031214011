//! The progress line: a bar on a terminal, plain lines elsewhere, nothing in tests.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// Where progress goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressOutput {
    /// A bar on stderr, or one line a log step if that is no terminal.
    Stderr,
    /// Nowhere.
    Silent,
}

/// The progress of a run.
#[derive(Debug)]
pub struct Progress {
    output: ProgressOutput,
    bar: Option<ProgressBar>,
    steps: u64,
}

impl Progress {
    /// Starts at `step` of `steps`.
    pub fn start(output: ProgressOutput, step: u64, steps: u64) -> Self {
        let shows_bar = output == ProgressOutput::Stderr && std::io::stderr().is_terminal();
        let bar = shows_bar.then(|| {
            let bar = ProgressBar::new(steps).with_position(step);
            let template = "{bar:24} {pos}/{len} {elapsed} (left {eta}) {msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.reset_eta();
            bar
        });
        Self { output, bar, steps }
    }

    /// A step is done.
    pub fn step(&self, step: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(step);
        }
    }

    /// Numbers of a log step; `left` is the time left in seconds.
    pub fn log(&self, step: u64, text: &str, left: f64) {
        match (&self.bar, self.output) {
            (Some(bar), _) => bar.set_message(text.to_owned()),
            (None, ProgressOutput::Stderr) => {
                eprintln!("step {step}/{} {text} left {:.0} s", self.steps, left);
            }
            (None, ProgressOutput::Silent) => {}
        }
    }

    /// A line that stays.
    pub fn note(&self, text: &str) {
        match (&self.bar, self.output) {
            (Some(bar), _) => bar.println(text),
            (None, ProgressOutput::Stderr) => eprintln!("{text}"),
            (None, ProgressOutput::Silent) => {}
        }
    }

    /// Leaves the last state of the bar on the screen.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}
