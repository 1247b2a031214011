//! What holds for every command: an example in its help, and examples that the parser accepts.

use clap::{Command, CommandFactory as _};

use super::Cli;

/// Every command that can be run, with its words.
fn leaves(command: &Command, words: &[String], found: &mut Vec<(Vec<String>, Command)>) {
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let words = [words, &[sub.get_name().to_owned()]].concat();
        match sub.has_subcommands() {
            true => leaves(sub, &words, found),
            false => found.push((words, sub.clone())),
        }
    }
}

/// The words of a command line: blanks separate, single quotes hold together.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (i, part) in line.split('\'').enumerate() {
        match i % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

/// The examples of a help text: from `wane` to the end of the line, without what the shell takes.
fn examples(help: &str) -> Vec<Vec<String>> {
    help.lines()
        .map(|line| line.trim().trim_start_matches("Example:").trim_start_matches("Examples:").trim())
        .filter(|line| line.starts_with("wane "))
        .map(|line| split(line.split([';', '|', '>']).next().unwrap_or(line)))
        .collect()
}

#[test]
fn every_command_has_an_example_that_parses() {
    let root = Cli::command();
    root.clone().debug_assert();
    let mut found = Vec::new();
    leaves(&root, &["wane".to_owned()], &mut found);
    assert!(found.len() > 15, "{found:?}");
    for (words, command) in found {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples: Vec<_> =
            examples(&help).into_iter().filter(|example| example.starts_with(&words)).collect();
        assert!(!examples.is_empty(), "{words:?} has no example in its help");
        for example in examples {
            if let Err(error) = Cli::command().try_get_matches_from(&example) {
                panic!("{example:?} does not parse: {error}");
            }
        }
    }
}
