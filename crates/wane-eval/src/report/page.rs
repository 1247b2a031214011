//! `index.html`: one file without scripts, fonts or links to the network. A section for each setup:
//! what the gains say, figures, tables, sources.

use std::fmt::Write as _;

use super::figure::{Figure, figures};
use super::load::Loaded;
use super::study::Study;
use super::svg::{STYLE, escape};
use super::{findings, published, tables};

/// The page.
pub(super) fn html(loaded: &Loaded, studies: &[Study], metric: &str) -> String {
    let mut text = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<title>wane report</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n",
    );
    text.push_str(include_str!("page.css"));
    text.push_str(STYLE);
    text.push_str("</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#main\">Skip to the results</a>\n<header>\n<h1>Sparse attention budgets: accuracy, gains and costs</h1>\n");
    let names = |names: Vec<&str>| escape(&names.join(", "));
    let _ = writeln!(
        text,
        "<p class=\"lead\">{} records: {} ({}), {}, {}. Scorer: {}.</p>",
        loaded.samples.len(),
        count(loaded.models.len(), "model"),
        names(loaded.models.iter().map(|m| m.name.as_str()).collect()),
        count(loaded.methods.len(), "method"),
        count(loaded.tasks.len(), "task"),
        if metric == "task" {
            format!("each task's own ({})", names(loaded.scorers.iter().map(String::as_str).collect()))
        } else {
            escape(metric)
        },
    );
    let contents = |(i, study): (usize, &Study)| {
        let heading = if studies.len() > 1 {
            format!("Records {}, context {}: ", i + 1, study.setup.context)
        } else {
            String::new()
        };
        let mut parts = vec![("figures", "figures"), ("tables", "accuracy")];
        if study.models.len() > 1 {
            parts.insert(0, ("findings", "what the gains say"));
            parts.push(("published", "gains beside the published ones"));
        }
        parts.extend([("costs", "costs"), ("sources-of", "sources")]);
        let links: Vec<String> =
            parts.iter().map(|(id, name)| format!("<a href=\"#{id}-{i}\">{name}</a>")).collect();
        format!("<li>{heading}{}</li>", links.join(" · "))
    };
    let list: String = studies.iter().enumerate().map(contents).collect();
    let _ = writeln!(text, "<nav aria-label=\"contents\"><ul>{list}</ul></nav>");
    if !loaded.notes.is_empty() {
        let notes: String = loaded.notes.iter().map(|n| format!("<li>{}</li>", escape(n))).collect();
        let _ = writeln!(
            text,
            "<section class=\"remarks\" aria-labelledby=\"remarks\"><h2 id=\"remarks\">About the records</h2><ul>{notes}</ul></section>"
        );
    }
    text.push_str("</header>\n<main id=\"main\">\n");
    for (i, study) in studies.iter().enumerate() {
        section(&mut text, loaded, study, i, studies.len());
    }
    let _ = writeln!(
        text,
        "</main>\n<footer>\n<p>Written by <code>wane report</code> {} from records alone. Published rows: {} (the project's copy; the text of its section 3.2 names MK2 and MK3 where its Table 4 shows that the numbers are those of MK1 and MK2). They are of other models than those measured here.</p>\n<p>The same figures and tables as files: <code>accuracy-*.svg</code>, <code>tables.md</code>, <code>accuracy.csv</code>, <code>gains.csv</code>, <code>cost.csv</code>, <code>published.csv</code>.</p>\n</footer>\n</body>\n</html>",
        env!("CARGO_PKG_VERSION"),
        escape(&published::source()),
    );
    text
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn section(text: &mut String, loaded: &Loaded, study: &Study, number: usize, of: usize) {
    let title = if of > 1 {
        format!("Records {}: context {}", number + 1, study.setup.context)
    } else {
        "Results".to_owned()
    };
    let _ = writeln!(
        text,
        "<section aria-labelledby=\"study-{number}\">\n<h2 id=\"study-{number}\">{title}</h2>\n<p>{}; {} at most in a cell.</p>",
        sentence(&study.setup.summary()),
        count(study.samples, "sample")
    );
    if study.models.len() > 1 {
        let _ = writeln!(text, "<h3 id=\"findings-{number}\">What the gains say</h3>");
    }
    for m in 1..study.models.len() {
        gains(text, study, m);
    }
    let _ = writeln!(text, "<h3 id=\"figures-{number}\">Accuracy against budget</h3>");
    let figures = figures(study);
    if figures.is_empty() {
        text.push_str("<p>No figure: the records hold no sparse method with a known budget.</p>\n");
    }
    for (i, figure) in figures.iter().enumerate() {
        let _ = writeln!(
            text,
            "<figure>\n<figcaption><strong>{}</strong>{}</figcaption>\n<div class=\"panels\">",
            escape(&figure.family),
            legend(&figure.models)
        );
        for panel in figure.panels(&format!("f{number}-{i}")) {
            text.push_str(&panel);
            text.push('\n');
        }
        text.push_str("</div>\n</figure>\n");
    }
    if !figures.is_empty() {
        text.push_str("<p class=\"soft\">Accuracy in percent; the budget is the share of the context that is read or kept, on a logarithmic axis; bars are 95 % intervals (Wilson). Dense attention is the right end of every panel.</p>\n");
    }
    for sheet in tables::all(loaded, study, number) {
        let (id, heading) = match sheet.id.split('-').next() {
            Some("accuracy") => ("tables", "Accuracy"),
            Some("gains") => ("published", "Gains beside the published ones"),
            Some("cost") => ("costs", "Costs"),
            _ => ("sources-of", "Sources"),
        };
        let _ = writeln!(text, "<h3 id=\"{id}-{number}\">{heading}</h3>");
        text.push_str(&sheet.html());
    }
    text.push_str("</section>\n");
}

/// What model `m` gains, in sentences.
fn gains(text: &mut String, study: &Study, m: usize) {
    let findings = findings::of_model(study, m);
    let name = escape(&study.gain_name(m));
    if findings.is_empty() {
        let _ = writeln!(
            text,
            "<p>{name}: nothing yet, no sparse method has records of every task for both models.</p>"
        );
        return;
    }
    let item = |f: &findings::Finding| {
        format!("<li><strong>{}</strong>: {}</li>", escape(&f.family), escape(&f.text))
    };
    let items: String = findings.iter().map(item).collect();
    let _ = writeln!(
        text,
        "<p>{name}, mean of the tasks, in points, with 95 % intervals, from the largest budget to the smallest; then the published gains of memory over attention at the same settings.</p>\n<ul>{items}</ul>"
    );
}

fn legend(models: &[String]) -> String {
    let entry = |(series, model): (usize, &String)| {
        format!("<span class=\"key\">{}{}</span>", Figure::swatch(series), escape(model))
    };
    models.iter().enumerate().map(entry).collect()
}

/// With a capital letter.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| escape(&format!("{}{}", first.to_uppercase(), letters.as_str())))
}
