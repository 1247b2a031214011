//! RULER's needle-in-a-haystack samples, in the order of NVIDIA's random draws (RULER,
//! arXiv:2404.06654; `scripts/data/synthetic/niah.py` at c3f5e3b).
//!
//! A sample: `k` keys with `v` values each become needles; they are shuffled by a fresh generator,
//! put into the haystack, and `q` of the keys are asked for. Every probe of the size search and
//! every retry draws anew, so the stream depends on tokenizer and context.
//!
//! Does not do: uniqueness of keys or values (the original has none).

use super::mt19937::PythonRandom;
use super::size::{Most, Search};
use super::template::ModelTemplate;
use super::{Request, Sample};
use crate::Result;

/// What the needles are hidden in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hay {
    /// The same five sentences again and again.
    Noise,
    /// The beginning of a long text.
    Essay,
    /// Other needles.
    Needle,
}

/// What a key or a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Seven digits.
    Numbers,
    /// `adjective-noun`.
    Words,
    /// A version-4 UUID.
    Uuids,
}

/// One task's parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// The task's name.
    pub task: &'static str,
    /// What the needles are hidden in.
    pub hay: Hay,
    /// What the keys are.
    pub key: Kind,
    /// What the values are.
    pub value: Kind,
    /// Keys.
    pub keys: usize,
    /// Values a key.
    pub values: usize,
    /// Keys asked for.
    pub queries: usize,
}

/// New tokens that a prediction may have, and that the prompt leaves free.
pub const MAX_NEW_TOKENS: usize = 128;

/// One item of the noise haystack.
pub const NOISE: &str =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";

/// The depths that needles in an essay are put at, in percent of the sentences.
const DEPTHS: [usize; 40] = [
    0, 3, 5, 8, 10, 13, 15, 18, 21, 23, 26, 28, 31, 33, 36, 38, 41, 44, 46, 49, 51, 54, 56, 59, 62, 64, 67,
    69, 72, 74, 77, 79, 82, 85, 87, 90, 92, 95, 97, 100,
];

impl Kind {
    /// The plural that the prompt uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Numbers => "numbers",
            Self::Words => "words",
            Self::Uuids => "uuids",
        }
    }
}

/// The text of one needle.
pub fn needle(kind: Kind, key: &str, value: &str) -> String {
    format!("One of the special magic {} for {key} is: {value}.", kind.name())
}

/// A version-4 UUID from 128 bits.
pub fn uuid(bits: u128) -> String {
    let bits = bits & !(0xf000 << 64) & !(0xc000 << 48) | 4 << 76 | 0x8000 << 48;
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

impl Shape {
    /// Whether the prompt speaks of one value: `A special magic number is hidden`.
    pub fn singular(&self) -> bool {
        self.queries * self.values == 1
    }

    fn kind_in_prompt(&self) -> &'static str {
        let name = self.value.name();
        if self.singular() { &name[..name.len() - 1] } else { name }
    }

    /// The prompt up to the context, line break included.
    pub fn head(&self) -> String {
        let kind = self.kind_in_prompt();
        let (some, are) = if self.singular() { ("A", "is") } else { ("Some", "are") };
        format!(
            "{some} special magic {kind} {are} hidden within the following text. Make sure to memorize it. \
             I will quiz you about the {kind} afterwards.\n"
        )
    }

    /// The question for the keys asked for, without the line break before it.
    pub fn question(&self, query: &str) -> String {
        let what = if self.singular() { "What is the" } else { "What are all the" };
        format!("{what} special magic {} for {query} mentioned in the provided text?", self.kind_in_prompt())
    }

    /// The beginning of the answer, with the space before it.
    pub fn answer_prefix(&self, query: &str) -> String {
        let is = if self.singular() { "is" } else { "are" };
        format!(
            " The special magic {} for {query} mentioned in the provided text {is}",
            self.kind_in_prompt()
        )
    }

    /// Items that the size search adds at a time.
    pub fn increment(&self, context: usize) -> usize {
        match self.hay {
            Hay::Essay => 500,
            _ if context < 4096 => 5,
            _ => 25,
        }
    }
}

/// The keys asked for, as the prompt lists them.
pub fn query(keys: &[&str]) -> String {
    match keys {
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{}, and {last}", first.join(", ")),
        [] => String::new(),
    }
}

/// One draw of the generator.
struct Drawn {
    input: String,
    answer_prefix: String,
    outputs: Vec<String>,
}

fn draw_one(kind: Kind, random: &mut PythonRandom, request: &Request<'_>) -> String {
    match kind {
        Kind::Numbers => random.integer(1_000_000, 9_999_999).to_string(),
        Kind::Words => {
            let pairs = request.words.pairs();
            pairs.get(random.below(pairs.len()))
        }
        Kind::Uuids => uuid(random.bits128()),
    }
}

/// One sample with `items` of haystack, or `None` if there are more needles than items.
fn draw(
    shape: &Shape,
    request: &Request<'_>,
    template: &ModelTemplate,
    random: &mut PythonRandom,
    items: usize,
) -> Option<Drawn> {
    let (mut keys, mut values, mut needles) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..shape.keys.max(shape.queries) {
        let key = draw_one(shape.key, random, request);
        let mut of_key = Vec::new();
        for _ in 0..shape.values {
            of_key.push(draw_one(shape.value, random, request));
            needles.push(needle(shape.value, &key, &of_key[of_key.len() - 1]));
        }
        keys.push(key);
        values.push(of_key);
    }
    PythonRandom::new(request.seed).shuffle(&mut needles);
    let context = match shape.hay {
        Hay::Essay => {
            let sentences = request.haystack.sentences(items);
            let depths = random.sample(DEPTHS.len(), needles.len())?;
            // int(n * (depth / 100)), in double arithmetic.
            let mut at: Vec<usize> = depths
                .into_iter()
                .map(|d| (sentences.len() as f64 * (DEPTHS[d] as f64 / 100.0)) as usize)
                .collect();
            at.sort_unstable();
            let mut parts = Vec::new();
            let mut last = 0;
            for (position, needle) in at.into_iter().zip(needles) {
                parts.push(sentences[last..position].join(" "));
                parts.push(needle);
                last = position;
            }
            parts.push(sentences[last..].join(" "));
            parts.join(" ")
        }
        Hay::Noise | Hay::Needle => {
            let mut lines = match shape.hay {
                Hay::Needle => (0..items)
                    .map(|_| {
                        let key = draw_one(shape.key, random, request);
                        needle(shape.value, &key, &draw_one(shape.value, random, request))
                    })
                    .collect(),
                _ => vec![NOISE.to_owned(); items],
            };
            let mut at = random.sample(items, needles.len())?;
            at.sort_unstable_by(|a, b| b.cmp(a));
            for (position, needle) in at.into_iter().zip(needles) {
                lines.insert(position, needle);
            }
            lines.join("\n")
        }
    };
    let asked = random.sample(keys.len(), shape.queries)?;
    let query = query(&asked.iter().map(|&i| keys[i].as_str()).collect::<Vec<_>>());
    Some(Drawn {
        input: template.wrap(&format!("{}{context}\n{}", shape.head(), shape.question(&query))),
        answer_prefix: shape.answer_prefix(&query),
        outputs: asked.into_iter().flat_map(|i| values[i].clone()).collect(),
    })
}

/// All samples of one task, handed to `take` one by one.
///
/// # Errors
/// A context too small for the task, the tokenizer's errors, and those of `take`.
pub fn generate(
    shape: &Shape,
    request: &mut Request<'_>,
    take: &mut dyn FnMut(Sample) -> Result<()>,
) -> Result<()> {
    let mut random = PythonRandom::new(request.seed);
    let template = if shape.singular() { request.template.singular() } else { request.template.clone() };
    let mut fit = request.fit(shape.task, MAX_NEW_TOKENS, shape.increment(request.context));
    let (search, words, mut first) = (request.search, request.haystack.words(), fit.increment);
    if search == Search::Linear2025 {
        first = first.max(request.context / 5);
        fit.increment = fit.increment.max(first / 50);
    }
    let mut length = |items: usize| {
        let drawn = draw(shape, request, &template, &mut random, items).ok_or_else(|| fit.too_few(items))?;
        // The older scripts counted the answers as well.
        let extra = match search {
            Search::Binary => String::new(),
            Search::Linear | Search::Linear2025 => drawn.outputs.join(" "),
        };
        request.pieces.count(&[drawn.input, drawn.answer_prefix, extra].concat())
    };
    let size = match search {
        Search::Binary => fit.binary(&mut length)?,
        Search::Linear if shape.hay == Hay::Essay => fit.steps(first, Most::After(words), &mut length)?,
        Search::Linear | Search::Linear2025 => fit.steps(first, Most::None, &mut length)?,
    };
    for _ in 0..request.samples {
        let (drawn, length) = fit.draw(size, &mut |items| {
            let Some(drawn) = draw(shape, request, &template, &mut random, items) else { return Ok(None) };
            let tokens = request.pieces.count(&[drawn.input.as_str(), &drawn.answer_prefix].concat())?;
            Ok(Some((drawn, tokens)))
        })?;
        let before = &drawn.input[..drawn.input.find(&drawn.outputs[0]).unwrap_or(drawn.input.len())];
        take(Sample {
            // The character offset of the first answer: the original's quirk.
            index: before.chars().count() as i64,
            token_position_answer: Some(request.pieces.count(before)?),
            input: drawn.input,
            outputs: drawn.outputs,
            length,
            length_w_model_temp: length,
            answer_prefix: drawn.answer_prefix,
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
