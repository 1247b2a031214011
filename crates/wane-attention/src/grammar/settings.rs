//! The keys of a method: what they accept, what they are set to, and their normal form.

use crate::{Error, Result};

/// What a key accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An integer of at least this.
    AtLeast(usize),
    /// An integer of at least 1, or `none`.
    CountOrNone,
    /// A fraction `n/d` in (0, 1].
    Fraction,
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// One key of a method.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Name in the textual form.
    pub name: &'static str,
    /// What it accepts.
    pub kind: Kind,
    /// Value under `preset=paper`; `None` if absent unless given.
    pub default: Option<&'static str>,
    /// One line for help and documentation.
    pub help: &'static str,
}

/// Other defaults under a name.
#[derive(Debug, Clone, Copy)]
pub struct Preset {
    /// `paper`, `original`, ...
    pub name: &'static str,
    /// Keys whose defaults it changes.
    pub values: &'static [(&'static str, &'static str)],
}

/// Largest integer that a key accepts.
const LARGEST: usize = 1 << 30;

impl Kind {
    /// The normal form of `value`, or what was expected.
    fn normalize(self, value: &str) -> std::result::Result<String, String> {
        match self {
            Self::AtLeast(least) => match value.parse::<usize>() {
                Ok(n) if (least..=LARGEST).contains(&n) => Ok(n.to_string()),
                _ => Err(format!("expected an integer of at least {least}")),
            },
            Self::CountOrNone => match value.parse::<usize>() {
                _ if value == "none" => Ok(value.to_owned()),
                Ok(n) if (1..=LARGEST).contains(&n) => Ok(n.to_string()),
                _ => Err("expected an integer of at least 1, or none".to_owned()),
            },
            Self::Fraction => {
                let parts = value.split_once('/').and_then(|(n, d)| Some((n.parse().ok()?, d.parse().ok()?)));
                match parts {
                    Some((n, d)) if n >= 1 && n <= d && d <= LARGEST => {
                        let g = greatest_common_divisor(n, d);
                        Ok(format!("{}/{}", n / g, d / g))
                    }
                    _ => Err("expected a fraction of the context such as 1/16".to_owned()),
                }
            }
            Self::Flag => match value {
                "true" | "false" => Ok(value.to_owned()),
                _ => Err("expected true or false".to_owned()),
            },
            Self::Choice(words) if words.contains(&value) => Ok(value.to_owned()),
            Self::Choice(words) => Err(format!("expected one of {}", words.join(", "))),
        }
    }
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// The values of one method's keys, each in normal form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The method, for messages.
    pub method: &'static str,
    values: Vec<(&'static str, Option<String>)>,
}

impl Settings {
    /// `given` over the preset's values over the defaults.
    ///
    /// # Errors
    /// A value that its key does not accept; `k` together with `budget`.
    pub(crate) fn new(
        method: &'static str,
        keys: &'static [Key],
        presets: &[Preset],
        given: &[(&'static Key, &str)],
    ) -> Result<Self> {
        let chosen = |name: &str| given.iter().find(|(key, _)| key.name == name).map(|&(_, value)| value);
        let preset = chosen("preset").and_then(|name| presets.iter().find(|preset| preset.name == name));
        let mut values = Vec::new();
        for key in keys {
            let from_preset =
                preset.and_then(|p| p.values.iter().find(|(name, _)| *name == key.name)).map(|&(_, v)| v);
            let value = match chosen(key.name).or(from_preset).or(key.default) {
                Some(text) => Some(
                    key.kind
                        .normalize(text)
                        .map_err(|expected| Error::value(method, key.name, text, expected))?,
                ),
                None => None,
            };
            values.push((key.name, value));
        }
        let mut settings = Self { method, values };
        if let Some(budget) = chosen("budget") {
            for absolute in ["k", "window"] {
                // SnapKV's window is no budget; only streaming, which has no k, counts in it.
                if absolute == "window" && settings.has("k") {
                    break;
                }
                if chosen(absolute).is_some() {
                    let expected = format!("`{absolute}` is given too, and the budget decides it");
                    return Err(Error::value(method, "budget", budget, expected));
                }
                settings.set(absolute, None);
            }
        }
        Ok(settings)
    }

    fn has(&self, key: &str) -> bool {
        self.values.iter().any(|(name, _)| *name == key)
    }

    /// The value of `key` as text.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.values.iter().find(|(name, _)| *name == key).and_then(|(_, value)| value.as_deref())
    }

    /// Replaces a value; keys that the method lacks are ignored.
    pub(crate) fn set(&mut self, key: &str, value: Option<String>) {
        if let Some(slot) = self.values.iter_mut().find(|(name, _)| *name == key) {
            slot.1 = value;
        }
    }

    /// An integer key; 0 if absent.
    pub fn count(&self, key: &str) -> usize {
        self.text(key).and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// Whether a flag is set.
    pub fn flag(&self, key: &str) -> bool {
        self.text(key) == Some("true")
    }

    /// Whether a choice has this value.
    pub fn is(&self, key: &str, word: &str) -> bool {
        self.text(key) == Some(word)
    }

    /// The tokens that `budget` means in a context, if it was given.
    pub(crate) fn budget_tokens(&self, context: usize) -> Option<usize> {
        let (n, d) = self.text("budget")?.split_once('/')?;
        Some(context * n.parse::<usize>().ok()? / d.parse::<usize>().ok()?)
    }

    /// An error about `key`'s value.
    pub fn error(&self, key: &str, expected: impl ToString) -> Error {
        Error::value(self.method, key, self.text(key).unwrap_or("none"), expected)
    }

    /// `:key=value,...` of all keys that are set, in the method's order; `preset` is expanded and
    /// shown only where it stands for more than its values, `seed` only where something is drawn.
    pub(crate) fn canonical(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.values {
            let Some(value) = value else { continue };
            let silent = match *name {
                "preset" => value != "original_python",
                "seed" => self.is("selector", "own"),
                _ => false,
            };
            if !silent {
                text.push(if text.is_empty() { ':' } else { ',' });
                text.push_str(&format!("{name}={value}"));
            }
        }
        text
    }
}
