//! Options that say which samples are measured, and where: what `eval`, `compare`, `hits` and `memory` share.

use anyhow::Result;
use clap::{Args as ClapArgs, ValueEnum};
use wane_attention::Plan;
use wane_eval::ruler::files::Files;
use wane_eval::ruler::haystack::Haystack;
use wane_eval::ruler::prompt::PromptForm;
use wane_eval::ruler::tasks;
use wane_eval::ruler::template::ModelTemplate;
use wane_eval::ruler::words::WordList;
use wane_eval::runner::Job;

use super::ruler_files::FileArgs;
use super::shared::PlaceArgs;

/// Which form prompts have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormArg {
    /// The prompt alone, as in the paper
    Input,
    /// With the beginning of the answer, as RULER's protocol
    Prefix,
    /// In a model template, the beginning of the answer behind the assistant's header
    Chat,
}

impl From<FormArg> for PromptForm {
    fn from(form: FormArg) -> Self {
        match form {
            FormArg::Input => Self::Input,
            FormArg::Prefix => Self::Prefix,
            FormArg::Chat => Self::Chat,
        }
    }
}

/// Which samples, and where they run.
#[derive(Debug, ClapArgs)]
pub(crate) struct SampleArgs {
    /// Tasks, separated by commas; `niah` (the default) for the eight needle tasks
    #[arg(long, value_delimiter = ',')]
    pub(crate) tasks: Vec<String>,
    /// Seed of the samples
    #[arg(long, default_value_t = 42)]
    pub(crate) seed: u64,
    /// Version of the wonderwords lists: 2.2.0 or 3.0.1
    #[arg(long, default_value = "3.0.1", value_parser = word_list)]
    pub(crate) wordlist: WordList,
    #[command(flatten)]
    pub(crate) files: FileArgs,
    /// Form of the prompts
    #[arg(long, value_enum, default_value = "prefix")]
    pub(crate) prompt_form: FormArg,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

/// What samples are made of, read once.
#[derive(Debug)]
pub(crate) struct Material {
    haystack: Haystack,
    files: Files,
}

impl SampleArgs {
    /// Reads the haystack and the files of single tasks.
    pub(crate) fn material(&self) -> Result<Material> {
        Ok(Material { haystack: self.files.haystack()?, files: self.files.files()? })
    }

    /// Refuses the form `chat` for commands that know no model template.
    pub(crate) fn refuse_chat(&self) -> Result<()> {
        anyhow::ensure!(
            self.prompt_form != FormArg::Chat,
            "--prompt-form chat is for `wane eval` and `wane compare`: use input or prefix here"
        );
        Ok(())
    }

    /// What to run: generated samples, without a model template.
    pub(crate) fn job<'a>(
        &self,
        methods: Vec<Plan>,
        [context, samples]: [usize; 2],
        batch: Option<usize>,
        material: &'a Material,
    ) -> Result<Job<'a>> {
        anyhow::ensure!(samples > 0, "--samples must be at least 1");
        let tasks =
            if self.tasks.is_empty() { tasks::select(&["niah"])? } else { tasks::select(&self.tasks)? };
        Ok(Job {
            methods,
            tasks,
            context,
            samples,
            seed: self.seed,
            words: self.wordlist,
            haystack: &material.haystack,
            files: &material.files,
            data: None,
            form: self.prompt_form.into(),
            template: ModelTemplate::base(),
            max_new_tokens: None,
            batch: batch.unwrap_or(if self.place.device == "cpu" { 4 } else { 32 }),
            kv_dtype: self.place.kv_dtype()?,
        })
    }
}

/// Reads the version of the word lists.
pub(crate) fn word_list(text: &str) -> Result<WordList, String> {
    WordList::parse(text).ok_or_else(|| format!("unknown word list `{text}`: expected 2.2.0 or 3.0.1"))
}
