//! The names in records as numbers: each distinct one once, in the order of its first occurrence.

use std::hash::Hash;

use rustc_hash::FxHashMap;

use super::{Model, Sample, Setup};

/// Distinct values of one kind.
#[derive(Debug)]
pub(super) struct Distinct<T> {
    pub(super) list: Vec<T>,
    numbers: FxHashMap<T, usize>,
}

impl<T> Default for Distinct<T> {
    fn default() -> Self {
        Self { list: Vec::new(), numbers: FxHashMap::default() }
    }
}

impl<T: Clone + Eq + Hash> Distinct<T> {
    /// The number of a value.
    pub(super) fn number(&mut self, value: T) -> usize {
        *self.numbers.entry(value).or_insert_with_key(|value| {
            self.list.push(value.clone());
            self.list.len() - 1
        })
    }

    /// The numbers here of all values of `other`.
    fn join(&mut self, other: Self) -> Vec<usize> {
        other.list.into_iter().map(|value| self.number(value)).collect()
    }
}

impl Distinct<String> {
    /// Like [`Self::number`], without a copy of a known text.
    pub(super) fn text(&mut self, value: &str) -> usize {
        match self.numbers.get(value) {
            Some(number) => *number,
            None => self.number(value.to_owned()),
        }
    }
}

/// Every name that samples point to.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) setups: Distinct<Setup>,
    pub(super) models: Distinct<Model>,
    pub(super) methods: Distinct<String>,
    pub(super) tasks: Distinct<String>,
    pub(super) scorers: Distinct<String>,
    pub(super) devices: Distinct<String>,
}

impl Names {
    /// Takes the names of another file; the answer turns its samples into samples of all files.
    pub(super) fn join(&mut self, other: Self) -> impl Fn(Sample) -> Sample + use<> {
        let setups = self.setups.join(other.setups);
        let models = self.models.join(other.models);
        let methods = self.methods.join(other.methods);
        let tasks = self.tasks.join(other.tasks);
        let scorers = self.scorers.join(other.scorers);
        let devices = self.devices.join(other.devices);
        move |sample| Sample {
            setup: setups[sample.setup],
            model: models[sample.model],
            method: methods[sample.method],
            task: tasks[sample.task],
            scorer: scorers[sample.scorer],
            device: devices[sample.device],
            ..sample
        }
    }
}
