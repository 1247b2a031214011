//! A table in groups of rows, once as HTML (caption, scopes, a note for each missing cell) and once
//! as Markdown.
//!
//! Does not do: CSV, which is tidy and has its own columns (`csv`).

use std::fmt::Write as _;

use super::OrReason;
use super::svg::escape;

/// A table.
#[derive(Debug)]
pub(super) struct Sheet {
    /// Unique on the page.
    pub(super) id: String,
    pub(super) caption: String,
    pub(super) layout: Layout,
    /// The first names the row labels.
    pub(super) columns: Vec<Column>,
    pub(super) groups: Vec<Group>,
}

/// What cells hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Numbers, on the right.
    Numbers,
    /// Text, on the left.
    Words,
}

/// A column's head.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    /// The name in full, if it is short for something.
    pub(super) long: String,
}

/// Rows under one title.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) title: String,
    pub(super) rows: Vec<Row>,
}

/// What a row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Measured.
    Measured,
    /// A difference of measured rows.
    Gain,
    /// From the paper.
    Published,
}

/// A row.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) label: String,
    pub(super) kind: Kind,
    pub(super) cells: Vec<Cell>,
    /// The id of this row, for links to it.
    pub(super) id: Option<String>,
    /// The row that says where this one comes from.
    pub(super) source: Option<Source>,
}

/// A link to where a row comes from.
#[derive(Debug)]
pub(super) struct Source {
    /// The id of a row of sources.
    pub(super) id: String,
    /// What it says, in short.
    pub(super) hover: String,
}

/// A cell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Cell {
    pub(super) text: String,
    /// Below it, small.
    pub(super) detail: String,
    /// Why the cell is empty or incomplete.
    pub(super) note: String,
}

impl Cell {
    /// A cell of one text.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// A value or the reason why it is missing.
    pub(super) fn of<T>(value: &OrReason<T>, show: impl FnOnce(&T) -> Self) -> Self {
        match value {
            Ok(value) => show(value),
            Err(reason) => Self { text: "\u{2013}".into(), detail: String::new(), note: reason.clone() },
        }
    }
}

/// A column.
pub(super) fn column(name: &str, long: &str) -> Column {
    Column { name: name.into(), long: long.into() }
}

impl Sheet {
    /// What it is about: the first word of its id.
    pub(super) fn kind(&self) -> &str {
        self.id.split('-').next().unwrap_or_default()
    }

    /// The number of rows, titles left out.
    pub(super) fn rows(&self) -> usize {
        self.groups.iter().map(|group| group.rows.len()).sum()
    }

    /// Notes in the order of their first cell.
    fn notes(&self) -> Vec<&str> {
        let mut notes: Vec<&str> = Vec::new();
        for cell in self.groups.iter().flat_map(|g| &g.rows).flat_map(|r| &r.cells) {
            if !cell.note.is_empty() && !notes.contains(&cell.note.as_str()) {
                notes.push(&cell.note);
            }
        }
        notes
    }

    /// As an HTML table that scrolls sideways within its region.
    pub(super) fn html(&self) -> String {
        let (notes, id, span) = (self.notes(), &self.id, self.columns.len());
        let class = match self.layout {
            Layout::Words => format!(" class=\"words {}\"", self.kind()),
            Layout::Numbers => String::new(),
        };
        let mut text = format!(
            "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-labelledby=\"{id}-c\">\n<table{class}>\n<caption id=\"{id}-c\"><span>{}</span></caption>\n<thead><tr>",
            escape(&self.caption)
        );
        for column in &self.columns {
            let name = escape(&column.name);
            let name = if column.long.is_empty() {
                name
            } else {
                format!("<abbr title=\"{}\">{name}</abbr>", escape(&column.long))
            };
            let _ = write!(text, "<th scope=\"col\">{name}</th>");
        }
        text.push_str("</tr></thead>\n");
        for group in &self.groups {
            text.push_str("<tbody>\n");
            if !group.title.is_empty() {
                let title = escape(&group.title);
                let _ = writeln!(
                    text,
                    "<tr class=\"title\"><th scope=\"rowgroup\" colspan=\"{span}\"><span>{title}</span></th></tr>"
                );
            }
            for row in &group.rows {
                row.html(&mut text, &notes, id);
            }
            text.push_str("</tbody>\n");
        }
        text.push_str("</table>\n</div>\n");
        if !notes.is_empty() {
            text.push_str("<ol class=\"notes\">");
            for (i, note) in notes.iter().enumerate() {
                let _ = write!(text, "<li id=\"{id}-n{}\">{}</li>", i + 1, escape(note));
            }
            text.push_str("</ol>\n");
        }
        text
    }

    /// As a Markdown table.
    pub(super) fn markdown(&self) -> String {
        let (notes, mut text) = (self.notes(), format!("### {}\n\n", self.caption));
        let align = if self.layout == Layout::Words { "---" } else { "---:" };
        let heads: Vec<String> = self.columns.iter().map(|c| pipe(&c.name)).collect();
        let _ = writeln!(text, "| {} |", heads.join(" | "));
        let _ = writeln!(text, "|---|{}", format!("{align}|").repeat(heads.len().saturating_sub(1)));
        for group in &self.groups {
            if !group.title.is_empty() {
                let _ = writeln!(
                    text,
                    "| **{}** |{}",
                    pipe(&group.title),
                    " |".repeat(heads.len().saturating_sub(1))
                );
            }
            for row in &group.rows {
                let cell = |cell: &Cell| {
                    let mut shown = cell.text.clone();
                    if !cell.detail.is_empty() {
                        let _ = write!(shown, " ({})", cell.detail);
                    }
                    if let Some(i) = notes.iter().position(|n| *n == cell.note) {
                        let _ = write!(shown, " [{}]", i + 1);
                    }
                    pipe(&shown)
                };
                let cells: Vec<String> = row.cells.iter().map(cell).collect();
                let _ = writeln!(text, "| {} | {} |", pipe(&row.label), cells.join(" | "));
            }
        }
        if !notes.is_empty() {
            text.push('\n');
        }
        for (i, note) in notes.iter().enumerate() {
            let _ = writeln!(text, "[{}] {note}  ", i + 1);
        }
        text
    }
}

impl Row {
    fn html(&self, text: &mut String, notes: &[&str], sheet: &str) {
        let class = match self.kind {
            Kind::Measured => "measured",
            Kind::Gain => "gain",
            Kind::Published => "published",
        };
        let id = self.id.as_ref().map_or_else(String::new, |id| format!(" id=\"{id}\""));
        // Method strings may break after commas.
        let breaks = |text: String| text.replace(',', ",<wbr>").replace('+', "+<wbr>");
        let words: Vec<String> = escape(&self.label)
            .split(' ')
            .map(|word| match word.split_once(',') {
                Some((_, rest)) if !rest.is_empty() => breaks(word.to_owned()),
                _ => word.to_owned(),
            })
            .collect();
        let mut label = words.join(" ");
        if let Some(source) = &self.source {
            label = format!(
                "{label} <a class=\"source\" href=\"#{}\" title=\"{}\" aria-label=\"where {} comes from\">source</a>",
                source.id,
                escape(&source.hover),
                escape(&self.label)
            );
        }
        let _ = write!(text, "<tr class=\"{class}\"{id}><th scope=\"row\">{label}</th>");
        for cell in &self.cells {
            let mut shown = escape(&cell.text);
            if let Some(i) = notes.iter().position(|n| *n == cell.note) {
                let number = i + 1;
                let note = escape(&cell.note);
                let _ = write!(
                    shown,
                    "<sup><a href=\"#{sheet}-n{number}\" title=\"{note}\" aria-label=\"note {number}: {note}\">{number}</a></sup>"
                );
            }
            if !cell.detail.is_empty() {
                let _ = write!(shown, "<small>{}</small>", escape(&cell.detail));
            }
            let _ = write!(text, "<td>{shown}</td>");
        }
        text.push_str("</tr>\n");
    }
}

/// Text that does not end a Markdown cell.
fn pipe(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}
