//! Bad lines are located; good ones come back as they were.

use super::*;

const GOOD: &str = r#"{"index": 3, "input": "x\u007f\ud83d\ude00", "outputs": ["1"], "length": 9, "length_w_model_temp": 9, "answer_prefix": " The"}"#;

fn read_text(text: &str) -> Result<Vec<Sample>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.jsonl");
    std::fs::write(&path, text).unwrap();
    read(&path)
}

#[test]
fn a_line_comes_back_byte_for_byte() {
    let samples = read_text(&format!("{GOOD}\n")).unwrap();
    assert_eq!(samples[0].input, "x\u{7f}\u{1f600}");
    assert_eq!(line(&samples[0]).unwrap(), format!("{GOOD}\n"));
    // Older files have fewer fields; others have more.
    let old = read_text("{\"index\": 0, \"input\": \"x\", \"outputs\": [\"1\"], \"length\": -1, \"y\": 1}\n")
        .unwrap();
    assert_eq!((old[0].length, old[0].length_w_model_temp, old[0].answer_prefix.as_str()), (0, 0, ""));
}

#[test]
fn a_bad_line_is_located() {
    for (bad, expected) in [
        (GOOD.replace("\"index\": 3, ", ""), "field `index`: expected an integer, it is missing"),
        (GOOD.replace(": 3", ": \"3\""), "field `index`: expected an integer, got \"3\""),
        (
            GOOD.replace("[\"1\"]", "[1]"),
            "field `outputs`: expected a list of texts that is not empty, got [1]",
        ),
        (
            GOOD.replace("[\"1\"]", "[]"),
            "field `outputs`: expected a list of texts that is not empty, got []",
        ),
        (
            GOOD.replace("\"length\": 9", "\"length\": -7"),
            "field `length`: expected a number of tokens, got -7",
        ),
        (
            GOOD.replace("\"length\": 9", "\"length\": 1.5"),
            "field `length`: expected a number of tokens, got 1.5",
        ),
        ("[1]".into(), "expected a JSON object: invalid type: sequence"),
        ("".into(), "expected a JSON object"),
        ("{\"index\": 3,,".into(), "at column 13"),
        ("{\"input\": \"\\ud83d\"}".into(), "expected a JSON object"),
    ] {
        let error = read_text(&format!("{GOOD}\n{bad}\n{GOOD}\n")).unwrap_err().to_string();
        assert!(error.contains("x.jsonl, line 2: "), "{error}");
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn half_a_file_and_none() {
    let error = read_text(&format!("{GOOD}\n{}", &GOOD[..20])).unwrap_err().to_string();
    assert!(error.contains("line 2: the file ends within a line"), "{error}");
    assert!(read_text("").unwrap_err().to_string().contains("an empty file"));
    // The last line break may be missing.
    assert_eq!(read_text(GOOD).unwrap().len(), 1);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("b"), b"\xff\xfe\n").unwrap();
    assert!(read(&dir.path().join("b")).unwrap_err().to_string().contains("line 1"));
    assert!(read(&dir.path().join("none")).unwrap_err().to_string().contains("cannot read"));
}

#[test]
fn only_the_same_index_and_input_repeat() {
    let mut repeats = Repeats::default();
    let at = |line: usize| Fields { path: Path::new("f"), line, map: serde_json::Map::new() };
    repeats.note(&at(1), 5, "a").unwrap();
    repeats.note(&at(2), 5, "b").unwrap();
    let error = repeats.note(&at(3), 5, "a").unwrap_err().to_string();
    assert!(
        error.contains("f, line 3: field `index`: duplicate: 5 with the same input was in line 1"),
        "{error}"
    );
}
