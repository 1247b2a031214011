//! `vt`: variable tracking. Five variables get one value, the first directly and each other from the one
//! before it; the assignments lie in noise, and one solved example comes first (NVIDIA's
//! `variable_tracking.py`).
//!
//! Does not do: essays as haystack, several chains, other numbers of hops (RULER's task has one each).

use crate::ruler::mt19937::PythonRandom;
use crate::ruler::needle::NOISE;
use crate::ruler::python;
use crate::ruler::size::{Fit, Most, Search};
use crate::ruler::template::ModelTemplate;
use crate::ruler::{Metric, Request, Sample, TaskEntry};
use crate::{Error, Result};

const TASK: &str = "vt";

/// New tokens that a prediction may have.
const BUDGET: usize = 30;

/// Assignments after the first.
const HOPS: usize = 4;

/// The example fits so many tokens.
const EXAMPLE_CONTEXT: usize = 500;

/// The value in examples, replaced by a random one in every sample.
const EXAMPLE_VALUE: &str = "12345";

/// The registry's line.
pub(super) const ENTRY: TaskEntry = TaskEntry {
    name: TASK,
    summary: "five variables that share a value, by a chain of assignments in noise",
    metric: Metric::All,
    max_new_tokens: BUDGET,
    needle: None,
    generate,
};

/// One draw: prompt, beginning of the answer, and the variables.
struct Drawn {
    input: String,
    prefix: String,
    variables: Vec<String>,
}

/// Which of the two prompts is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Example,
    Question,
}

/// The two random streams and what shapes a draw.
struct Maker {
    random: PythonRandom,
    numpy: PythonRandom,
    search: Search,
    template: ModelTemplate,
}

impl Maker {
    fn letters(&mut self, count: usize) -> String {
        (0..count).map(|_| char::from(b'A' + self.random.choice_with_replacement(26) as u8)).collect()
    }

    fn value(&mut self) -> String {
        self.numpy.numpy_integer(10_000, 99_999).to_string()
    }

    /// A chain's variables and assignments; `None` where a name comes twice, which the original does not survive.
    fn chain(&mut self, part: Part) -> Option<(Vec<String>, Vec<String>, String)> {
        let letters = if part == Part::Example { 3 } else { 5 };
        let mut names: Vec<String> = (0..=HOPS).map(|_| self.letters(letters)).collect();
        let distinct = |names: &[String]| names.iter().collect::<std::collections::HashSet<_>>().len();
        while distinct(&names) <= HOPS {
            names.push(self.letters(letters));
        }
        let mut value = EXAMPLE_VALUE.to_owned();
        for _ in names.chunks(HOPS + 1) {
            if part == Part::Question || self.search == Search::Linear {
                let drawn = self.value();
                if names.len() == HOPS + 1 {
                    value = drawn;
                }
            }
        }
        if names.len() > HOPS + 1 {
            return None;
        }
        let mut lines = vec![format!("VAR {} = {value}", names[0])];
        lines.extend(names.windows(2).map(|pair| format!("VAR {} = VAR {} ", pair[1], pair[0])));
        Some((names, lines, value))
    }

    /// One prompt with `items` of noise; `None` where the original raises an error.
    fn draw(&mut self, items: usize, part: Part) -> Option<Drawn> {
        let (variables, lines, value) = self.chain(part)?;
        let old = self.search == Search::Linear;
        let mut context: Vec<String> = match old {
            true => old_noise(items, lines.len()),
            false => vec![NOISE.to_owned(); items],
        };
        let mut at = self.random.sample(context.len(), lines.len())?;
        at.sort_unstable();
        for (i, (position, line)) in at.into_iter().zip(lines).enumerate() {
            context.insert(position + i, line);
        }
        let context = context.join(if old { " " } else { "\n" }).replace(". \n", ".\n");
        let assigned = if old { "assgined" } else { "assigned" };
        let question = "Find all variables that are assigned the value";
        let head = "Memorize and track the chain(s) of variable assignment hidden in the following text.";
        Some(Drawn {
            // The scripts of 2024 put the example on one line and lose the word before the answer.
            input: if old && part == Part::Example {
                format!("{head} {context} Question: {question} {value} in the text")
            } else {
                format!("{head}\n\n{context}\nQuestion: {question} {value} in the text above.")
            },
            prefix: format!(
                " Answer: According to the chain(s) of variable assignment in the text above, {} variables are \
                 {assigned} the value {value}, they are: ",
                HOPS + 1
            ),
            variables,
        })
    }

    /// A sample's own example: other names and another value.
    fn randomize(&mut self, example: &str) -> String {
        let names: Vec<String> = example.split_whitespace().rev().take(HOPS + 1).map(str::to_owned).collect();
        let mut text = example.to_owned();
        for name in names.iter().rev() {
            let new = self.letters(name.chars().count());
            text = text.replace(name.as_str(), &new);
        }
        let value = self.value();
        text.replace(EXAMPLE_VALUE, &value)
    }

    /// The solved example that all samples of a run start from.
    fn example(&mut self, request: &mut Request<'_>) -> Result<String> {
        let budget = if self.search == Search::Linear { BUDGET } else { 0 };
        let context = EXAMPLE_CONTEXT.saturating_sub(self.template.reserved_tokens());
        let fit = Fit { task: TASK, context, budget, increment: 5 };
        let size = self.size(&fit, request, Part::Example)?;
        let (drawn, _) = fit.draw(size, &mut |items| {
            let Some(drawn) = self.draw(items, Part::Example) else { return Ok(None) };
            let tokens = request.pieces.count(&[drawn.input.as_str(), &drawn.prefix].concat())?;
            Ok(Some((drawn, tokens)))
        })?;
        let end = if self.search == Search::Linear { "\n\n" } else { "\n" };
        Ok([&drawn.input, &drawn.prefix, " ", &drawn.variables.join(" "), end].concat())
    }

    /// The size search. Where a name comes twice the original stops with an error; here the draw is repeated.
    fn size(&mut self, fit: &Fit, request: &mut Request<'_>, part: Part) -> Result<usize> {
        let search = self.search;
        let mut length = |items: usize| {
            if items < HOPS + 1 && search != Search::Linear {
                return Err(fit.too_few(items));
            }
            let drawn = (0..8).find_map(|_| self.draw(items, part)).ok_or_else(|| fit.too_few(items))?;
            // The example stands inside a model template, not around one.
            let input = if part == Part::Question { self.template.wrap(&drawn.input) } else { drawn.input };
            let mut text = input + &drawn.prefix;
            if search != Search::Binary {
                text = text + " " + &python::list(&drawn.variables);
            }
            request.pieces.count(&text)
        };
        match search {
            Search::Binary => fit.binary(&mut length),
            Search::Linear | Search::Linear2025 => fit.steps(fit.increment, Most::None, &mut length),
        }
    }
}

/// The noise of 2024: single sentences where the items are few.
fn old_noise(items: usize, lines: usize) -> Vec<String> {
    let item = format!("{NOISE}\n");
    if items > lines {
        return vec![item; items];
    }
    let pieces: Vec<String> = item
        .split('.')
        .map(|piece| if piece.trim().is_empty() { piece.to_owned() } else { format!("{piece}.") })
        .collect();
    (0..items).flat_map(|_| pieces.iter().cloned()).collect()
}

fn generate(request: &mut Request<'_>, take: &mut dyn FnMut(Sample) -> Result<()>) -> Result<()> {
    let seed = u32::try_from(request.seed).map_err(|_| Error::Task {
        task: TASK,
        message: format!("numpy takes seeds below 2^32, got {}: choose a smaller --seed", request.seed),
    })?;
    let search = request.search;
    let mut maker = Maker {
        random: PythonRandom::new(request.seed),
        numpy: PythonRandom::numpy(seed),
        search,
        template: request.template.clone(),
    };
    let example = maker.example(request)?;
    let example_tokens = request.pieces.count(&example)?;
    let increment = if request.context < 4096 && search != Search::Linear { 5 } else { 10 };
    let mut fit = request.fit(TASK, BUDGET + example_tokens, increment);
    let size = maker.size(&fit, request, Part::Question)?;
    if search == Search::Binary {
        // The example's tokens are counted with the sample's.
        fit.budget = BUDGET;
    }
    for index in 0..request.samples {
        let (mut drawn, length) = fit.draw(size, &mut |items| {
            let Some(mut drawn) = maker.draw(items, Part::Question) else { return Ok(None) };
            if search == Search::Binary {
                drawn.input = maker.randomize(&example) + "\n" + &drawn.input;
            }
            let tokens = request.pieces.count(&(maker.template.wrap(&drawn.input) + &drawn.prefix))?;
            Ok(Some((drawn, tokens)))
        })?;
        match search {
            Search::Binary => {}
            Search::Linear => drawn.input = [" ", &example, "\n\n", &drawn.input].concat(),
            Search::Linear2025 => drawn.input = maker.randomize(&example) + "\n" + &drawn.input,
        }
        let input = maker.template.wrap(&drawn.input);
        take(Sample::numbered(index, input, drawn.prefix, drawn.variables, length))?;
    }
    Ok(())
}
