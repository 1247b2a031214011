//! Contradictions and ranges, found before anything is loaded.

use super::{Backbone, GateBias, OnTrouble, PassKind, RunConfig};
use crate::{Error, Result};

impl RunConfig {
    /// Checks every setting against the others.
    ///
    /// # Errors
    /// The first contradiction or value out of range, with what to change.
    pub fn check(&self) -> Result<()> {
        self.check_training()?;
        self.check_model()?;
        self.check_optimizer()?;
        self.check_data()?;
        self.check_passes()
    }

    fn check_training(&self) -> Result<()> {
        let t = &self.training;
        if t.sequence < 2 || t.batch == 0 || t.accumulation == 0 {
            return wrong(
                "training.sequence must be at least 2, training.batch and training.accumulation at least 1",
            );
        }
        if !t.batch.is_multiple_of(t.accumulation) {
            return wrong(format!(
                "training.batch {} is not divisible by training.accumulation {}",
                t.batch, t.accumulation
            ));
        }
        match (t.steps, t.tokens) {
            (Some(_), Some(_)) => return wrong("training.steps and training.tokens exclude each other"),
            (None, None) => return wrong("training.steps or training.tokens is missing"),
            _ if self.steps() == 0 => return wrong("the run has no steps"),
            _ => {}
        }
        if self.log.every == 0 {
            return wrong("log.every must be at least 1");
        }
        if self.guard.spike == OnTrouble::Skip {
            return wrong(
                "guard.spike cannot be `skip`: spikes are seen after the update; use `warn` or `stop`",
            );
        }
        if self.guard.non_finite == OnTrouble::Warn {
            return wrong(
                "guard.non_finite cannot be `warn`: such gradients never reach the weights; use `skip` or `stop`",
            );
        }
        Ok(())
    }

    fn check_model(&self) -> Result<()> {
        let m = &self.model;
        if let Some(GateBias::Named(name)) = &m.gate_bias
            && name != "spread"
            && name != "none"
        {
            return wrong(format!(
                "model.gate_bias \"{name}\": a number, \"spread\", \"none\" or {{ copying = .., max_half_life = .. }}"
            ));
        }
        let sizes = m.sizes_given();
        if m.init.is_some() {
            if let Some(first) = sizes.first() {
                return wrong(format!(
                    "model.{first} contradicts model.init: the checkpoint states its sizes"
                ));
            }
            return Ok(());
        }
        for (name, value) in [
            ("hidden_size", m.hidden_size),
            ("num_hidden_layers", m.num_hidden_layers),
            ("num_attention_heads", m.num_attention_heads),
            ("intermediate_size", m.intermediate_size),
        ] {
            if value.unwrap_or(0) == 0 {
                return wrong(format!(
                    "model.{name} is missing or 0 (a new model needs its sizes; or set model.init)"
                ));
            }
        }
        if m.backbone.is_none() {
            return wrong("model.backbone is missing: attention or memory");
        }
        if m.backbone == Some(Backbone::Attention) && m.gate_bias.is_some() {
            return wrong("model.gate_bias needs model.backbone = \"memory\"");
        }
        if m.tokenizer.is_none() && m.vocab_size.is_none() {
            return wrong("model.tokenizer (a folder with tokenizer.json) or model.vocab_size is missing");
        }
        let (hidden, heads) = (m.hidden_size.unwrap_or(0), m.num_attention_heads.unwrap_or(1));
        if m.head_dim.is_none() && hidden % heads != 0 {
            return wrong(format!(
                "model.hidden_size {hidden} is not divisible by {heads} heads: set model.head_dim"
            ));
        }
        if m.num_key_value_heads.is_some_and(|kv| kv == 0 || heads % kv != 0) {
            return wrong("model.num_key_value_heads must divide model.num_attention_heads");
        }
        if let Some(positions) = m.max_position_embeddings
            && positions < self.training.sequence
        {
            return wrong(format!(
                "training.sequence {} is longer than model.max_position_embeddings {positions}",
                self.training.sequence
            ));
        }
        Ok(())
    }

    fn check_optimizer(&self) -> Result<()> {
        let (o, s) = (&self.optimizer, &self.schedule);
        if !(o.lr > 0.0 && o.lr.is_finite()) || o.memory_lr.is_some_and(|lr| lr.is_nan() || lr < 0.0) {
            return wrong("optimizer.lr must be above 0 and optimizer.memory_lr at least 0");
        }
        if o.betas.iter().any(|b| !(0.0..1.0).contains(b)) {
            return wrong("optimizer.betas must lie in [0, 1)");
        }
        if o.weight_decay.is_nan()
            || o.weight_decay < 0.0
            || o.clip.is_nan()
            || o.clip < 0.0
            || o.eps.is_nan()
            || o.eps < 0.0
        {
            return wrong("optimizer.weight_decay, clip and eps must not be negative");
        }
        if [s.warmup, s.end, s.decay].iter().any(|x| !(0.0..=1.0).contains(x)) {
            return wrong("schedule.warmup, end and decay are shares between 0 and 1");
        }
        if self.model.backbone == Some(Backbone::Attention)
            && (o.memory_lr.is_some() || o.memory_weight_decay.is_some())
        {
            return wrong("optimizer.memory_lr and memory_weight_decay need model.backbone = \"memory\"");
        }
        Ok(())
    }

    fn check_data(&self) -> Result<()> {
        let d = &self.data;
        if d.threads == 0 || d.ahead == 0 {
            return wrong("data.threads and data.ahead must be at least 1");
        }
        if d.memory_reset && self.model.backbone == Some(Backbone::Attention) {
            return wrong("data.memory_reset needs model.backbone = \"memory\"");
        }
        let weights = d.text.iter().map(|t| t.weight).chain(d.generated.iter().map(|g| g.weight));
        let weights: Vec<f64> = weights.collect();
        if weights.iter().any(|w| w.is_nan() || *w < 0.0) || weights.iter().sum::<f64>() <= 0.0 {
            return wrong(
                "data needs at least one of [[data.text]] and [data.generated] with a weight above 0",
            );
        }
        if let Some(g) = &d.generated {
            if !g.task_weights.is_empty() && g.task_weights.len() != g.tasks.len() {
                return wrong(format!(
                    "data.generated.task_weights has {} entries for {} tasks",
                    g.task_weights.len(),
                    g.tasks.len()
                ));
            }
            if g.answer_weight <= 0.0 || g.other_weight < 0.0 {
                return wrong("data.generated.answer_weight must be above 0, other_weight at least 0");
            }
        }
        let mut before = 0.0;
        for (i, stage) in self.stages.iter().enumerate() {
            let [low, high] = stage.lengths;
            if low == 0 || low > high || high > self.training.sequence {
                return wrong(format!(
                    "stages[{i}].lengths [{low}, {high}] must be ascending, above 0 and within training.sequence {}",
                    self.training.sequence
                ));
            }
            let [few, many] = stage.questions;
            if few == 0 || few > many || stage.tokens_per_question == 0 {
                return wrong(format!("stages[{i}].questions [{few}, {many}] must be ascending and above 0"));
            }
            let shares = [Some(stage.full), stage.text];
            if shares.into_iter().flatten().any(|x| !(0.0..=1.0).contains(&x)) {
                return wrong(format!("stages[{i}].full and text are shares between 0 and 1"));
            }
            if stage.until <= before {
                return wrong(format!("stages[{i}].until {} is not after {before}", stage.until));
            }
            if stage.text.is_some_and(|x| x > 0.0) && d.text.iter().all(|text| text.weight == 0.0) {
                return wrong(format!("stages[{i}].text needs [[data.text]] with a weight above 0"));
            }
            if stage.text.is_some_and(|x| x < 1.0) && d.generated.is_none() {
                return wrong(format!("stages[{i}].text below 1 needs [data.generated]"));
            }
            before = stage.until;
        }
        if !self.stages.is_empty() && before != 1.0 {
            return wrong(format!("the last stage ends at {before}, not at 1"));
        }
        Ok(())
    }

    fn check_passes(&self) -> Result<()> {
        if self.joint.is_some() && self.adaptation.is_some() {
            return wrong(
                "[joint] and [adaptation] exclude each other: adaptation uses one mask for every pass",
            );
        }
        if let Some(joint) = &self.joint {
            if joint.every == 0 || joint.dilation == Some(0) {
                return wrong("joint.every and joint.dilation must be at least 1");
            }
            if joint.pass == PassKind::Window && joint.dilation.is_some() {
                return wrong("joint.dilation has no effect on joint.pass = \"window\": remove it");
            }
            if !(0.0..=1.0).contains(&joint.from) || !(joint.from..=1.0).contains(&joint.until) {
                return wrong("joint.from and joint.until are shares of the run, from at most until");
            }
            if joint.pass == PassKind::Window && joint.window == Some(0) {
                return wrong("joint.window must be above 0 for pass = \"window\"");
            }
        }
        if self.adaptation.as_ref().is_some_and(|a| a.dilation == 0) {
            return wrong("adaptation.dilation must be at least 1");
        }
        Ok(())
    }
}

fn wrong<T>(message: impl ToString) -> Result<T> {
    Err(Error::setting(message))
}
