//! The record of a run, `OUTPUT/record.json`: what ran, on what, with which result. Rewritten at every log
//! step under a temporary name, so it is always whole.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::RunConfig;
use crate::{Error, Result};

/// Everything about one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Version of wane.
    pub version: String,
    /// `running`, `finished`, `interrupted`, or the error that ended it.
    pub status: String,
    /// Device, in words.
    pub device: String,
    /// Parameters of the model.
    pub parameters: u64,
    /// Predicted peak memory in bytes, from [`crate::cost`].
    pub predicted_bytes: u64,
    /// Measured peak of the bytes in tensors, as the device's allocator rounds them.
    pub measured_bytes: Option<u64>,
    /// FLOPs of the whole run.
    pub total_flops: f64,
    /// Hash of the tokenizer.
    pub tokenizer: String,
    /// Steps from which the run was resumed.
    pub resumed_from: Vec<u64>,
    /// Completed steps.
    pub steps: u64,
    /// Seconds of training.
    pub seconds: f64,
    /// Tokens per second over the run, second passes not counted.
    pub tokens_per_second: f64,
    /// Model FLOPs utilization of the last stretch, if the device's peak is known.
    pub utilization: Option<f64>,
    /// Optimizer steps skipped by the guard.
    pub skipped: u64,
    /// Warnings, with their steps.
    pub warnings: Vec<String>,
    /// The learning curve: one entry a log step.
    pub curve: Vec<CurvePoint>,
    /// Validations.
    pub validations: Vec<serde_json::Value>,
    /// The configuration.
    pub config: RunConfig,
}

/// One logged step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Step, from 1: so many are completed.
    pub step: u64,
    /// Weighted loss of the last pass.
    #[serde(deserialize_with = "number_or_nan")]
    pub loss: f64,
    /// Mean loss of answer tokens, if there were any.
    pub answer_loss: Option<f64>,
    /// Mean loss of text tokens, if there were any.
    pub text_loss: Option<f64>,
    /// Global gradient norm before clipping.
    #[serde(deserialize_with = "number_or_nan")]
    pub norm: f64,
    /// Learning rate.
    pub lr: f64,
    /// Tokens per second since the last point.
    pub tokens_per_second: f64,
}

/// JSON has no NaN: it is written as null, and a record of a run that went wrong must be readable.
fn number_or_nan<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(from)?.unwrap_or(f64::NAN))
}

impl RunRecord {
    /// Where the record of a run is.
    pub fn path(output: &Path) -> PathBuf {
        output.join("record.json")
    }

    /// Reads the record of an earlier part of the run; `None` if there is none or it is unreadable.
    pub fn read(output: &Path) -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(Self::path(output)).ok()?).ok()
    }

    /// Takes over the curve, validations and warnings of an earlier part, up to `step`.
    pub fn take_over(&mut self, earlier: Option<Self>, step: u64) {
        let Some(earlier) = earlier else {
            self.resumed_from.push(step);
            return;
        };
        self.curve = earlier.curve;
        self.curve.retain(|point| point.step <= step);
        self.validations = earlier.validations;
        self.validations.retain(|v| v["step"].as_u64().is_some_and(|s| s <= step));
        self.warnings = earlier.warnings;
        (self.seconds, self.tokens_per_second) = (earlier.seconds, earlier.tokens_per_second);
        self.utilization = earlier.utilization;
        self.measured_bytes = earlier.measured_bytes;
        self.resumed_from = earlier.resumed_from;
        self.resumed_from.push(step);
    }

    /// Writes the record.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, output: &Path) -> Result<()> {
        let path = Self::path(output);
        let partial = path.with_extension("json.partial");
        let json = serde_json::to_string_pretty(self).expect("the record is plain data");
        std::fs::write(&partial, json + "\n").map_err(Error::io(&partial))?;
        std::fs::rename(&partial, &path).map_err(Error::io(&path))
    }
}
