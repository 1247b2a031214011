//! Templates as Hugging Face models have them.

use super::clock::strftime;
use super::*;

fn render(source: &str, messages: &[Message], prompt: GenerationPrompt) -> Result<String> {
    ChatTemplate { source: source.into(), bos_token: Some("<s>".into()), eos_token: Some("</s>".into()) }
        .render(messages, prompt)
}

fn conversation() -> Vec<Message> {
    vec![Message::new("user", " Hi\n"), Message::new("assistant", "Hello"), Message::new("user", "2 < 3?")]
}

#[test]
fn chatml() {
    let source = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
        {{ '<|im_start|>system\nBe kind<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + \
        message['content'] + '<|im_end|>' + '\n'}}{% endfor %}\
        {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    let text = render(source, &conversation(), GenerationPrompt::Add).unwrap();
    assert_eq!(
        text,
        "<|im_start|>system\nBe kind<|im_end|>\n<|im_start|>user\n Hi\n<|im_end|>\n<|im_start|>assistant\nHello\
         <|im_end|>\n<|im_start|>user\n2 < 3?<|im_end|>\n<|im_start|>assistant\n"
    );
    let without = render(source, &conversation(), GenerationPrompt::Omit).unwrap();
    assert_eq!(text.strip_suffix("<|im_start|>assistant\n"), Some(without.as_str()));
}

#[test]
fn python_methods_slices_and_blocks() {
    let source = "{{- bos_token }}\n{%- set loop_messages = messages[1:] %}\n{%- for m in loop_messages %}\n    \
        {%- if m.role == 'user' %}\n        {{- '[INST] ' + m.content.strip() + ' [/INST]' }}\n    {%- else %}\n        \
        {{- m.content.upper() + eos_token }}\n    {%- endif %}\n{%- endfor %}\n\
        {% if messages[0].content.startswith(' ') %}\n  x\n{% endif %}\n{{ messages | length }}";
    let text = render(source, &conversation(), GenerationPrompt::Add).unwrap();
    assert_eq!(text, "<s>HELLO</s>[INST] 2 < 3? [/INST]  x\n3");
}

#[test]
fn json_is_pythons() {
    let source = "{{ messages[0] | tojson }} {{ {'a': [1, 2.5, none, true], 'b': {}, 'c': 'é<'} | tojson }}";
    let text = render(source, &conversation(), GenerationPrompt::Add).unwrap();
    assert_eq!(
        text,
        r#"{"role": "user", "content": " Hi\n"} {"a": [1, 2.5, null, true], "b": {}, "c": "é<"}"#
    );
    let indented = render("{{ {'a': [1, 2]} | tojson(indent=2) }}", &[], GenerationPrompt::Add).unwrap();
    assert_eq!(indented, "{\n  \"a\": [\n    1,\n    2\n  ]\n}");
}

#[test]
fn loops_can_be_left() {
    let source =
        "{% for m in messages %}{% if loop.index0 == 1 %}{% break %}{% endif %}{{ m.role }}{% endfor %}";
    assert_eq!(render(source, &conversation(), GenerationPrompt::Add).unwrap(), "user");
}

#[test]
fn failures_say_what_and_where() {
    let raised = "{% if messages[0].role != 'system' %}\n{{ raise_exception('A system message must come first') }}\
        {% endif %}";
    let message = render(raised, &conversation(), GenerationPrompt::Add).unwrap_err().to_string();
    assert_eq!(message, "chat template: A system message must come first (line 2)");
    assert!(render("{% for %}", &[], GenerationPrompt::Add).is_err());
    assert!(render("{{ 1 + }}", &[], GenerationPrompt::Add).is_err());
}

#[test]
fn absent_things_are_undefined() {
    let source = "{% if tools is defined %}T{% endif %}{% if bos_token is defined %}B{% endif %}-";
    let template = ChatTemplate { source: source.into(), bos_token: None, eos_token: None };
    assert_eq!(template.render(&[], GenerationPrompt::Add).unwrap(), "-");
}

#[test]
fn dates_are_formatted() {
    // 2024-02-29 13:05:09 UTC, a Thursday.
    let moment = 1_709_211_909;
    assert_eq!(strftime("%d %b %Y %H:%M:%S", moment), "29 Feb 2024 13:05:09");
    assert_eq!(strftime("%A, %B %-d, %y %I%p 100%% %Q", moment), "Thursday, February 29, 24 01PM 100% %Q");
    assert_eq!(strftime("%Y-%m-%d", 0), "1970-01-01");
    assert_eq!(strftime("%a %Y-%m-%d", 951_782_400), "Tue 2000-02-29");
    assert_eq!(strftime("%Y-%m-%d", 4_107_542_400), "2100-03-01");
    let now = render("{{ strftime_now('%Y') }}", &[], GenerationPrompt::Add).unwrap();
    assert!(now.parse::<u32>().unwrap() >= 2026);
}
