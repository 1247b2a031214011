//! The Jinja environment in which templates run.

use minijinja::value::{Rest, Value, ValueKind};
use minijinja::{Environment, ErrorKind, context};

use super::clock;
use super::{ChatTemplate, GenerationPrompt, Message};
use crate::{Error, Result};

pub(super) fn render(
    template: &ChatTemplate,
    messages: &[Message],
    prompt: GenerationPrompt,
) -> Result<String> {
    let problem = |error: minijinja::Error| Error::ChatTemplate(describe(&error));
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("tojson", tojson);
    environment.add_function("raise_exception", |message: String| -> std::result::Result<Value, _> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", |format: String| clock::strftime(&format, clock::now()));
    environment.add_template("chat", &template.source).map_err(problem)?;
    let chat = environment.get_template("chat").map_err(problem)?;
    let token = |text: &Option<String>| text.as_deref().map_or(Value::UNDEFINED, Value::from);
    chat.render(context! {
        messages,
        add_generation_prompt => prompt == GenerationPrompt::Add,
        bos_token => token(&template.bos_token),
        eos_token => token(&template.eos_token),
    })
    .map_err(problem)
}

fn describe(error: &minijinja::Error) -> String {
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) => format!("{detail} (line {line})"),
        None => detail,
    }
}

/// Python's `json.dumps(value, ensure_ascii=False, indent=indent)`.
fn tojson(
    value: Value,
    options: minijinja::value::Kwargs,
    _: Rest<Value>,
) -> std::result::Result<Value, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    // Other keywords of Python's function are accepted and have no effect.
    for key in ["ensure_ascii", "separators", "sort_keys"] {
        let _: Option<Value> = options.get(key)?;
    }
    options.assert_all_used()?;
    let mut text = String::new();
    write_json(&value, indent, 0, &mut text)?;
    Ok(Value::from_safe_string(text))
}

fn write_json(
    value: &Value,
    indent: Option<usize>,
    depth: usize,
    text: &mut String,
) -> std::result::Result<(), minijinja::Error> {
    let wrong =
        |error: serde_json::Error| minijinja::Error::new(ErrorKind::BadSerialization, error.to_string());
    let line = |text: &mut String, depth: usize| {
        if let Some(indent) = indent {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent * depth));
        }
    };
    let separator = |text: &mut String, first: bool| match (first, indent) {
        (true, _) => {}
        (false, None) => text.push_str(", "),
        (false, Some(_)) => text.push(','),
    };
    match value.kind() {
        ValueKind::Map => {
            text.push('{');
            for (i, key) in value.try_iter()?.enumerate() {
                separator(text, i == 0);
                line(text, depth + 1);
                text.push_str(&serde_json::to_string(&key.to_string()).map_err(wrong)?);
                text.push_str(": ");
                write_json(&value.get_item(&key)?, indent, depth + 1, text)?;
            }
            if value.len() != Some(0) {
                line(text, depth);
            }
            text.push('}');
        }
        ValueKind::Seq | ValueKind::Iterable => {
            text.push('[');
            for (i, item) in value.try_iter()?.enumerate() {
                separator(text, i == 0);
                line(text, depth + 1);
                write_json(&item, indent, depth + 1, text)?;
            }
            if value.len() != Some(0) {
                line(text, depth);
            }
            text.push(']');
        }
        ValueKind::Undefined | ValueKind::None => text.push_str("null"),
        _ => text.push_str(&serde_json::to_string(value).map_err(wrong)?),
    }
    Ok(())
}
