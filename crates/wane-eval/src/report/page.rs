//! `index.html`: one file without scripts, fonts or links to the network. A section for each setup:
//! figures, which statements hold, tables; long tables, costs and sources are folded away.

use std::fmt::Write as _;

use super::figures::{self, accuracy, gains, hits, learning, random};
use super::load::short_hash;
use super::palette::style;
use super::sheet::Sheet;
use super::sheets::{HitSheets, Sheets, StudySheets};
use super::study::Study;
use super::svg::escape;
use super::{Contents, published, training};

/// Tables of more rows than this together are folded away.
const ROWS_IN_SIGHT: usize = 100;

/// The page; `sheets` are the tables of `contents`.
pub(super) fn html(contents: &Contents, sheets: &Sheets, metric: &str) -> String {
    let Contents { studies, notes, .. } = contents;
    let mut text = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<title>wane report</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n",
    );
    text.push_str(&style(":root"));
    text.push_str(include_str!("page.css"));
    text.push_str("</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#main\">Skip to the results</a>\n<header>\n<h1>Sparse KV budgets: accuracy, gains and costs</h1>\n");
    lead(&mut text, contents, metric);
    navigation(&mut text, contents);
    if !notes.is_empty() {
        let notes: String = notes.iter().map(|n| format!("<li>{}</li>", escape(n))).collect();
        let _ = writeln!(
            text,
            "<section class=\"remarks\" aria-labelledby=\"remarks\"><h2 id=\"remarks\">About the records</h2><ul>{notes}</ul></section>"
        );
    }
    text.push_str("</header>\n<main id=\"main\">\n");
    for (i, (study, sheets)) in studies.iter().zip(&sheets.studies).enumerate() {
        section(&mut text, study, sheets, [i, studies.len()]);
    }
    hit_rates(&mut text, contents, &sheets.hits);
    memories(&mut text, contents);
    training_runs(&mut text, contents, &sheets.training);
    let _ = writeln!(
        text,
        "</main>\n<footer>\n<p>Written by <code>wane report</code> {} from records alone. Published rows: {} (the project's copy; the text of its section 3.2 names MK2 and MK3 where its Table 4 shows that the numbers are those of MK1 and MK2). They are of other models than those measured here.</p>\n<p>The same figures and tables as files beside this page: <code>*.svg</code>, <code>*.png</code>, <code>tables.md</code>, <code>*.csv</code>.</p>\n</footer>\n</body>\n</html>",
        env!("CARGO_PKG_VERSION"),
        escape(&published::source()),
    );
    text
}

fn lead(text: &mut String, contents: &Contents, metric: &str) {
    let loaded = &contents.loaded;
    let names = |names: Vec<&str>| escape(&names.join(", "));
    let scorers = names(loaded.scorers.iter().map(String::as_str).collect());
    let mut parts = Vec::new();
    if !loaded.samples.is_empty() {
        parts.push(format!(
            "{} records: {} ({}), {}, {}. Scorer: {}.",
            loaded.samples.len(),
            count(loaded.models.len(), "model"),
            names(loaded.models.iter().map(|m| m.name.as_str()).collect()),
            count(loaded.methods.len(), "method"),
            count(loaded.tasks.len(), "task"),
            match metric {
                "task" => format!("each task's own ({scorers})"),
                "protocol" => format!("that of the prompt form ({scorers})"),
                other => escape(other),
            },
        ));
    }
    if !contents.runs.is_empty() {
        let runs = names(contents.runs.iter().map(training::Run::name).collect());
        parts.push(format!("{}: {runs}.", count(contents.runs.len(), "training run")));
    }
    let _ = writeln!(text, "<p class=\"lead\">{}</p>", parts.join(" "));
}

fn navigation(text: &mut String, contents: &Contents) {
    let studies = &contents.studies;
    let line = |(i, study): (usize, &Study)| {
        let heading = if studies.len() > 1 {
            format!("<strong>Records {}</strong> ({}): ", i + 1, escape(&different(study)))
        } else {
            String::new()
        };
        let mut parts = vec![("figures", "accuracy against budget"), ("tables", "tables")];
        if !study.pairs.is_empty() {
            parts.insert(1, ("statements", "which statements hold"));
            parts.push(("published", "gains beside the published ones"));
        }
        parts.extend([("costs", "costs"), ("sources-of", "sources")]);
        let links: Vec<String> =
            parts.iter().map(|(id, name)| format!("<a href=\"#{id}-{i}\">{name}</a>")).collect();
        format!("<li>{heading}{}</li>", links.join(" · "))
    };
    let mut list: String = studies.iter().enumerate().map(line).collect();
    let parts = [
        (!contents.heads.kinds.is_empty(), "hit-rates", "hit rates of heads"),
        (!contents.memories.is_empty(), "memories", "the memory itself"),
        (!contents.runs.is_empty(), "training", "training"),
    ];
    let links: Vec<String> = parts
        .iter()
        .filter(|(there, ..)| *there)
        .map(|(_, id, name)| format!("<a href=\"#{id}\">{name}</a>"))
        .collect();
    if !links.is_empty() {
        list.push_str(&format!("<li>{}</li>", links.join(" · ")));
    }
    let _ = writeln!(text, "<nav aria-label=\"contents\"><ul>{list}</ul></nav>");
}

/// Hit rates: statements, the figures of each family's largest budget, others folded away, the table.
fn hit_rates(text: &mut String, contents: &Contents, sheets: &[HitSheets]) {
    if sheets.is_empty() {
        return;
    }
    text.push_str("<section aria-labelledby=\"hit-rates\">\n<h2 id=\"hit-rates\">Hit rates of heads</h2>\n");
    let figures = hits::figures(&contents.heads);
    for (number, sheets) in sheets.iter().enumerate() {
        if let Some(statements) = &sheets.statements {
            text.push_str(&statements.html());
        }
        let (mut seen, mut folded) = (Vec::new(), Vec::new());
        for of_method in figures.iter().filter(|f| f.kind == number) {
            if seen.contains(&&of_method.group) {
                folded.push(&of_method.figure);
            } else {
                seen.push(&of_method.group);
                text.push_str(&of_method.figure.html());
            }
        }
        if !folded.is_empty() {
            let summary = format!("Other settings: {}", count(folded.len(), "figure"));
            fold(text, &summary, false, folded.iter().map(|f| f.html()));
        }
        text.push_str(&sheets.rates.html());
    }
    text.push_str("</section>\n");
}

fn memories(text: &mut String, contents: &Contents) {
    if contents.memories.is_empty() {
        return;
    }
    text.push_str("<section aria-labelledby=\"memories\">\n<h2 id=\"memories\">The memory itself</h2>\n");
    for (i, (path, record)) in contents.memories.iter().enumerate() {
        for figure in figures::of_memory(contents, i) {
            text.push_str(&figure.html());
        }
        let item = |m: &crate::memory::record::ModelMemory| {
            format!(
                "<li>{}, weights {}: {} sequences, {} tokens, {} needles ({}), {} left out; {}; {}</li>",
                escape(&m.model),
                escape(&short_hash(&m.model_hash)),
                m.sequences,
                m.tokens,
                m.needles,
                escape(&m.needles_are),
                m.unaligned,
                escape(&m.source),
                escape(&m.device)
            )
        };
        let items: String = record.models.iter().map(item).collect();
        let _ = writeln!(
            text,
            "<p class=\"soft\">From {}:</p>\n<ul class=\"soft\">{items}</ul>",
            escape(&path.display().to_string())
        );
    }
    text.push_str("</section>\n");
}

fn training_runs(text: &mut String, contents: &Contents, sheets: &[Sheet]) {
    if contents.runs.is_empty() {
        return;
    }
    text.push_str("<section aria-labelledby=\"training\">\n<h2 id=\"training\">Training</h2>\n");
    for figure in learning::figures(&contents.runs) {
        text.push_str(&figure.html());
    }
    for sheet in sheets {
        text.push_str(&sheet.html());
    }
    text.push_str("</section>\n");
}

/// What a reader tells studies apart by.
fn different(study: &Study) -> String {
    format!("prompt form {}, context {}", study.setup.recipe.prompt_form.name(), study.setup.context)
}

/// `1 task`, `2 tasks`.
pub(super) fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn section(text: &mut String, study: &Study, sheets: &StudySheets, [number, of]: [usize; 2]) {
    let title =
        if of > 1 { format!("Records {}: {}", number + 1, different(study)) } else { "Results".to_owned() };
    let _ = writeln!(
        text,
        "<section aria-labelledby=\"study-{number}\">\n<h2 id=\"study-{number}\">{title}</h2>\n<p>{}; {} at most in a cell.</p>",
        sentence(&study.setup.summary()),
        count(study.samples, "sample")
    );
    curves(text, study, number);
    statements(text, study, sheets, number);
    if let Some(caution) = &sheets.caution {
        text.push_str(&caution.html());
    }
    if let Some(figure) = gains::figure(study, number) {
        text.push_str(&figure.html());
    }
    if let Some(figure) = random::figure(study, number) {
        let _ = writeln!(text, "<h3 id=\"random-of-{number}\">Random selectors</h3>");
        text.push_str(&figure.html());
    }
    for sheets in sheets.tables.chunk_by(|a, b| a.kind() == b.kind()) {
        let (id, heading) = match sheets[0].kind() {
            "accuracy" => ("tables", "Accuracy, with the published rows"),
            "gains" => ("published", "Gains beside the published ones"),
            "cost" => ("costs", "Costs"),
            _ => ("sources-of", "Sources"),
        };
        let _ = writeln!(text, "<h3 id=\"{id}-{number}\">{heading}</h3>");
        let rows: usize = sheets.iter().map(Sheet::rows).sum();
        let summary = format!("{}, {}", count(sheets.len(), "table"), count(rows, "row"));
        let open = rows <= ROWS_IN_SIGHT && matches!(id, "tables" | "published");
        fold(text, &summary, open, sheets.iter().map(Sheet::html));
    }
    text.push_str("</section>\n");
}

/// What the training seeds agree on, and which statements hold for the first pair; other pairs are folded away.
fn statements(text: &mut String, study: &Study, sheets: &StudySheets, number: usize) {
    if study.pairs.is_empty() {
        return;
    }
    let _ = writeln!(text, "<h3 id=\"statements-{number}\">Which statements hold</h3>");
    for sheet in &sheets.seeds {
        text.push_str(&sheet.html());
    }
    let of_pair = |(pair, statements): (usize, &Option<Sheet>)| match statements {
        Some(sheet) => sheet.html(),
        None => format!(
            "<p>{}: nothing yet, no method has records of every task for both models.</p>\n",
            escape(&study.gain_name(pair))
        ),
    };
    let mut pairs = sheets.statements.iter().enumerate().map(of_pair);
    text.extend(pairs.next());
    let others = study.pairs.len() - 1;
    if others > 0 {
        fold(text, &count(others, "other pair"), false, pairs);
    }
}

/// Parts that a reader opens.
fn fold(text: &mut String, summary: &str, open: bool, parts: impl Iterator<Item = String>) {
    let open = if open { " open" } else { "" };
    let _ = writeln!(text, "<details{open}><summary>{summary}</summary>");
    text.extend(parts);
    text.push_str("</details>\n");
}

/// Accuracy against budget: the paper's families, others folded away.
fn curves(text: &mut String, study: &Study, number: usize) {
    let _ = writeln!(text, "<h3 id=\"figures-{number}\">Accuracy against budget</h3>");
    let families = accuracy::families(study, number);
    if families.is_empty() {
        text.push_str("<p>No figure: the records hold no sparse method with a known budget.</p>\n");
        return;
    }
    text.push_str("<p class=\"soft\">Accuracy in percent; the budget is the share of the context that is read or kept, on a logarithmic axis; bars are 95 % intervals (Wilson). Dense attention is the right end of every panel.</p>\n");
    let (shown, folded): (Vec<_>, Vec<_>) = families.into_iter().partition(|f| f.shown);
    let none = shown.is_empty();
    for family in &shown {
        text.push_str(&family.figure.html());
    }
    if !folded.is_empty() {
        let summary = format!("Other settings: {}", count(folded.len(), "figure"));
        fold(text, &summary, none, folded.iter().map(|family| family.figure.html()));
    }
}

/// With a capital letter.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| escape(&format!("{}{}", first.to_uppercase(), letters.as_str())))
}
