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
    /// Takes the names of another file.
    pub(super) fn join(&mut self, other: Self) -> Places {
        Places {
            setups: self.setups.join(other.setups),
            models: self.models.join(other.models),
            methods: self.methods.join(other.methods),
            tasks: self.tasks.join(other.tasks),
            scorers: self.scorers.join(other.scorers),
            devices: self.devices.join(other.devices),
        }
    }
}

/// For each number in one file, the number among all.
#[derive(Debug)]
pub(super) struct Places {
    setups: Vec<usize>,
    models: Vec<usize>,
    methods: Vec<usize>,
    tasks: Vec<usize>,
    scorers: Vec<usize>,
    devices: Vec<usize>,
}

impl Places {
    /// A file's sample, with numbers among all.
    pub(super) fn of(&self, sample: Sample) -> Sample {
        Sample {
            setup: self.setups[sample.setup],
            model: self.models[sample.model],
            method: self.methods[sample.method],
            task: self.tasks[sample.task],
            scorer: self.scorers[sample.scorer],
            device: self.devices[sample.device],
            ..sample
        }
    }
}
