//! What a method string of a record says: `name:key=value,...`, parts joined by `+`.
//!
//! - the *arm*: the string without the seed of a random selector, so that seeds are averaged;
//! - the *family*: without what sets the budget either, a line of the figure;
//! - the *budget*: the share of the context that is kept or read, the smallest of the parts.
//!
//! Reads also methods that this version does not know; they have no budget.

use wane_attention::METHODS;

/// The group of SnapKV whose pooling reaches further than the default.
pub(super) const WIDE_POOLING: &str = "SnapKV (wide pooling)";
/// The group of SnapKV that keeps the first tokens, with any pooling.
pub(super) const SINKS: &str = "SnapKV (first tokens kept)";

/// A parsed method string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Method {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    name: String,
    keys: Vec<(String, String)>,
}

impl Method {
    /// Splits the text; every text is accepted.
    pub(crate) fn parse(text: &str) -> Self {
        let part = |text: &str| {
            let (name, keys) = text.split_once(':').unwrap_or((text, ""));
            let pair = |pair: &str| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                (key.to_owned(), value.to_owned())
            };
            Part {
                name: name.to_owned(),
                keys: keys.split(',').filter(|k| !k.is_empty()).map(pair).collect(),
            }
        };
        Self { parts: text.split('+').map(part).collect() }
    }

    /// The first name that is not in the registry.
    pub(super) fn unknown(&self) -> Option<&str> {
        self.parts
            .iter()
            .map(|p| p.name.as_str())
            .find(|name| *name != "dense" && METHODS.iter().all(|m| m.name != *name))
    }

    /// Whether nothing is sparse.
    pub(super) fn is_dense(&self) -> bool {
        self.parts.iter().all(|p| p.name == "dense")
    }

    /// The seed of a random selector.
    pub(super) fn seed(&self) -> Option<&str> {
        self.parts.iter().find_map(|p| p.value("seed"))
    }

    /// The string without seeds.
    pub(super) fn arm(&self) -> String {
        self.text(|_, key, _| key != "seed")
    }

    /// Enough of the string to tell it apart: sizes, and whatever is not the default.
    pub(crate) fn label(&self) -> String {
        self.text(|part, key, value| key != "seed" && (part.is_size(key) || !part.is_default(key, value)))
    }

    /// [`Self::label`] without what sets the budget.
    pub(super) fn family(&self) -> String {
        self.text(|part, key, value| {
            key != "seed" && part.budget_key() != key && (part.is_size(key) || !part.is_default(key, value))
        })
    }

    /// Whether a selector is replaced by a uniform draw.
    pub(super) fn is_random(&self) -> bool {
        self.parts.iter().any(|p| p.value("selector").is_some_and(|s| s.starts_with("random")))
    }

    /// The group of a method in figures and tables: the paper's three methods with their own selectors,
    /// SnapKV with wide pooling or with the first tokens, random selectors, compositions, everything else.
    pub(super) fn group(&self) -> String {
        let [part] = self.parts.as_slice() else { return "Compositions".into() };
        match part.name.as_str() {
            _ if self.is_random() => "Random selectors".into(),
            "dense" => "Dense".into(),
            "quest" => "Quest".into(),
            "moba" => "MoBA".into(),
            "snapkv" if part.value("first").is_some() => SINKS.into(),
            "snapkv" if part.is_wide() => WIDE_POOLING.into(),
            "snapkv" => "SnapKV".into(),
            _ => "Other methods".into(),
        }
    }

    /// Whether this is SnapKV as the paper does not set it: with wide pooling or with the first tokens kept.
    pub(super) fn is_snapkv_variant(&self) -> bool {
        [WIDE_POOLING, SINKS].contains(&self.group().as_str())
    }

    /// A label for a row under the group's name: `64:16, local=2`, `quest 64:4`.
    pub(super) fn short_label(&self) -> String {
        let named =
            !self.is_snapkv_variant() && !["Quest", "MoBA", "SnapKV"].contains(&self.group().as_str());
        let part = |part: &Part| {
            let sizes: Vec<&str> =
                ["block", part.budget_key()].into_iter().filter_map(|key| part.value(key)).collect();
            let own = |(key, value): &&(String, String)| {
                let said = key == "seed" || part.is_size(key) || (key == "selector" && value == "random");
                !said && !part.is_default(key, value)
            };
            let more = part.keys.iter().filter(own).map(|(key, value)| format!("{key}={value}"));
            let mut texts = vec![sizes.join(":")];
            texts.retain(|t| !t.is_empty());
            texts.extend(more);
            let text = texts.join(", ");
            if named { format!("{} {text}", part.name).trim_end().to_owned() } else { text }
        };
        self.parts.iter().map(part).collect::<Vec<_>>().join(" + ")
    }

    /// A setting of a method that is not composed.
    pub(super) fn setting(&self, key: &str) -> Option<&str> {
        let [part] = self.parts.as_slice() else { return None };
        part.value(key)
    }

    /// The share of a context that is kept or read; none for an unknown method.
    pub(super) fn budget(&self, context: usize) -> Option<f64> {
        let tokens = self.parts.iter().map(|p| p.tokens(context as f64)).collect::<Option<Vec<f64>>>()?;
        Some(tokens.into_iter().fold(1.0, |least, t| least.min(t / context.max(1) as f64)))
    }

    /// Method, block and k, if this is one of the paper's settings: one part, all else as by default.
    pub(super) fn paper_row(&self) -> Result<PaperRow<'_>, String> {
        let [part] = self.parts.as_slice() else { return Err("the paper composes no methods".into()) };
        if !["quest", "moba", "snapkv"].contains(&part.name.as_str()) {
            return Err(format!("the paper has no rows for {}", part.name));
        }
        let other = part.keys.iter().find(|(key, value)| {
            !["block", "k", "selector", "seed", "share"].contains(&key.as_str())
                && !part.is_default(key, value)
        });
        if let Some((key, value)) = other {
            return Err(format!("the paper has no row with {key}={value}"));
        }
        let selector = match part.value("selector").unwrap_or("own") {
            "own" => "original",
            other => other,
        };
        let count = |key: &str| part.value(key).and_then(|v| v.parse().ok());
        Ok(PaperRow { method: &part.name, block: count("block"), k: count("k"), selector })
    }

    fn text(&self, keep: impl Fn(&Part, &str, &str) -> bool) -> String {
        let part = |part: &Part| {
            let kept = part.keys.iter().filter(|(key, value)| keep(part, key, value));
            let keys: Vec<String> = kept.map(|(key, value)| format!("{key}={value}")).collect();
            if keys.is_empty() { part.name.clone() } else { format!("{}:{}", part.name, keys.join(",")) }
        };
        self.parts.iter().map(part).collect::<Vec<_>>().join("+")
    }
}

/// What a published row is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PaperRow<'a> {
    pub(super) method: &'a str,
    pub(super) block: Option<usize>,
    pub(super) k: Option<usize>,
    pub(super) selector: &'a str,
}

impl Part {
    fn value(&self, key: &str) -> Option<&str> {
        self.keys.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    fn count(&self, key: &str) -> Option<f64> {
        self.value(key)?.parse::<u32>().ok().map(f64::from)
    }

    /// Whether SnapKV's pooling has a larger kernel than by default.
    fn is_wide(&self) -> bool {
        let default = METHODS.iter().find(|m| m.name == self.name).and_then(|entry| {
            entry.keys.iter().find(|k| k.name == "kernel").and_then(|k| k.default?.parse::<f64>().ok())
        });
        self.count("kernel").zip(default).is_some_and(|(kernel, default)| kernel > default)
    }

    fn budget_key(&self) -> &'static str {
        match self.name.as_str() {
            "streaming" => "window",
            "dilated" => "d",
            _ => "k",
        }
    }

    fn is_size(&self, key: &str) -> bool {
        key == "block" || key == self.budget_key()
    }

    fn is_default(&self, key: &str, value: &str) -> bool {
        let entry = METHODS.iter().find(|m| m.name == self.name);
        entry.and_then(|e| e.keys.iter().find(|k| k.name == key)).is_some_and(|k| k.default == Some(value))
    }

    /// Tokens kept or read.
    fn tokens(&self, context: f64) -> Option<f64> {
        match self.name.as_str() {
            "dense" => Some(context),
            "quest" | "moba" => Some(self.count("block")? * self.count("k")?),
            "snapkv" => self.count("k"),
            "streaming" => Some(self.count("window")? + self.count("first").unwrap_or(0.0)),
            "dilated" => {
                let strided = match self.value("d")? {
                    "none" => 0.0,
                    text => context / text.parse::<u32>().ok().filter(|d| *d > 0).map(f64::from)?,
                };
                Some(strided + self.count("window").unwrap_or(0.0) + self.count("initial").unwrap_or(0.0))
            }
            _ => None,
        }
    }
}

/// A budget as a reader names it: `1/16`, or a decimal number.
pub(super) fn budget_name(budget: f64) -> String {
    let parts = (1.0 / budget).round();
    if budget >= 1.0 {
        "1".into()
    } else if (parts * budget - 1.0).abs() < 0.02 {
        format!("1/{parts}")
    } else {
        format!("{budget:.3}")
    }
}
