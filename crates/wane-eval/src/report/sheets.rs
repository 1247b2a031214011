//! Every table of the report, made once: the page shows them between its figures, `tables.md` one after another.
//!
//! Does not do: numbers; what a table says is its own part's affair (`statements`, `seeds`, `tables`, ...).

use super::load::Loaded;
use super::pooling::{self, Caution};
use super::sheet::Sheet;
use super::study::Study;
use super::{Contents, heads, seeds, statements, tables, training};

/// The tables of everything that was read.
#[derive(Debug)]
pub(super) struct Sheets {
    /// Of each study.
    pub(super) studies: Vec<StudySheets>,
    /// Of each kind of hit rates.
    pub(super) hits: Vec<HitSheets>,
    /// Of the training runs; none without any.
    pub(super) training: Vec<Sheet>,
}

/// The tables of a study.
#[derive(Debug)]
pub(super) struct StudySheets {
    /// What training seeds agree on.
    pub(super) seeds: Vec<Sheet>,
    /// Which statements hold for each pair; none of a pair that has no statement yet.
    pub(super) statements: Vec<Option<Sheet>>,
    /// What to know about SnapKV's pooling.
    pub(super) caution: Option<Caution>,
    /// Accuracies, gains, costs, sources.
    pub(super) tables: Vec<Sheet>,
}

/// The tables of a kind of hit rates.
#[derive(Debug)]
pub(super) struct HitSheets {
    /// Which statements hold; none without pairs.
    pub(super) statements: Option<Sheet>,
    /// The rates.
    pub(super) rates: Sheet,
}

impl Sheets {
    /// Makes them all.
    pub(super) fn of(contents: &Contents) -> Self {
        let Contents { loaded, studies, heads, runs, .. } = contents;
        let of_hits = |(number, kind): (usize, &heads::Kinds)| HitSheets {
            statements: heads::statements(kind, number),
            rates: kind.sheet(number),
        };
        Self {
            studies: studies.iter().enumerate().map(|(i, s)| StudySheets::of(loaded, s, i)).collect(),
            hits: heads.kinds.iter().enumerate().map(of_hits).collect(),
            training: if runs.is_empty() { Vec::new() } else { training::sheets(runs) },
        }
    }

    /// `tables.md`: all of them as Markdown; `studies` are those that they were made of.
    pub(super) fn markdown(&self, studies: &[Study]) -> String {
        let mut markdown = String::from("# wane report\n");
        let push = |markdown: &mut String, sheet: &Sheet| {
            markdown.push('\n');
            markdown.push_str(&sheet.markdown());
        };
        for (number, (study, sheets)) in studies.iter().zip(&self.studies).enumerate() {
            markdown.push_str(&format!("\n## Records {}: {}\n", number + 1, study.setup.summary()));
            let statements = sheets.statements.iter().flatten();
            sheets.seeds.iter().chain(statements).for_each(|sheet| push(&mut markdown, sheet));
            if let Some(caution) = &sheets.caution {
                markdown.push_str(&caution.markdown());
            }
            sheets.tables.iter().for_each(|sheet| push(&mut markdown, sheet));
        }
        for HitSheets { statements, rates } in &self.hits {
            markdown.push_str("\n## Hit rates\n");
            statements.iter().chain([rates]).for_each(|sheet| push(&mut markdown, sheet));
        }
        if !self.training.is_empty() {
            markdown.push_str("\n## Training\n");
        }
        self.training.iter().for_each(|sheet| push(&mut markdown, sheet));
        markdown
    }
}

impl StudySheets {
    /// Of study `number`, counted from 0.
    fn of(loaded: &Loaded, study: &Study, number: usize) -> Self {
        let of_pair = |pair| statements::of_pair(study, pair, number);
        Self {
            seeds: seeds::sheets(study, number),
            statements: (0..study.pairs.len()).map(of_pair).collect(),
            caution: pooling::caution(study, number),
            tables: tables::all(loaded, study, number),
        }
    }
}
