//! Order, repetition and wrong forms.

use super::english_words;

#[test]
fn values_in_the_order_of_a_python_dictionary() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.json");
    std::fs::write(&path, r#"{"2": "b", "1": "a", "2": "c"}"#).unwrap();
    assert_eq!(english_words(&path).unwrap(), ["c", "a"]);
    std::fs::write(&path, r#"["a"]"#).unwrap();
    let error = english_words(&path).unwrap_err().to_string();
    assert!(error.contains("w.json: expected a JSON object whose values are words"), "{error}");
    assert!(english_words(&dir.path().join("none")).unwrap_err().to_string().contains("cannot read"));
}
