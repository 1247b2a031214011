//! Reading, the order of documents, and files that cannot be used. Whole samples are compared with NVIDIA's in
//! `tasks/tests.rs`.

use super::Questions;

fn write(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("q.json");
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

const SQUAD: &str = r#"{"data": [
    {"title": "T", "paragraphs": [
        {"context": "Zebras run.", "qas": [
            {"id": "1", "question": "Who runs?", "is_impossible": false, "answers": [{"text": "Zebras", "answer_start": 0}]},
            {"id": "2", "question": "Who flies?", "is_impossible": true, "answers": []}]},
        {"context": "Ants dig.", "qas": []}]},
    {"title": "U", "paragraphs": [
        {"context": "Bees fly.", "qas": [
            {"id": "3", "question": "Who flies?", "is_impossible": false, "answers": [{"text": "Bees", "answer_start": 0}]}]}]}]}"#;

#[test]
fn squad() {
    let (_dir, path) = write(SQUAD);
    let read = Questions::squad(&path).unwrap();
    assert_eq!(read.documents, ["Ants dig.", "Bees fly.", "Zebras run."]);
    assert_eq!(read.questions.len(), 2);
    assert_eq!((&read.questions[0].documents[..], &read.questions[0].related[..]), (&[2][..], &[0][..]));
    assert_eq!((read.questions[1].answers[0].as_str(), read.questions[1].documents[0]), ("Bees", 1));
}

#[test]
fn hotpotqa() {
    let (_dir, path) = write(
        r#"[{"_id": "a", "question": "Q?", "answer": "yes", "context": [["T", ["One.", " Two."]], ["A", ["Three."]]]}]"#,
    );
    let read = Questions::hotpotqa(&path).unwrap();
    assert_eq!(read.documents, ["A\nThree.", "T\nOne. Two."]);
    assert_eq!((&read.questions[0].documents[..], read.questions[0].related.len()), (&[1, 0][..], 0));
}

#[test]
fn files_that_cannot_be_used_are_said() {
    let error = |text: &str| {
        let (_dir, path) = write(text);
        (
            Questions::squad(&path).unwrap_err().to_string(),
            Questions::hotpotqa(&path).unwrap_err().to_string(),
        )
    };
    let (squad, hotpot) = error("{\"data\": 3}");
    assert!(squad.contains("q.json: expected SQuAD v2.0's JSON: invalid type"), "{squad}");
    assert!(hotpot.contains("expected HotpotQA (distractor setting)'s JSON"), "{hotpot}");
    assert!(error("{\"data\": []}").0.contains("no question with an answer in it"));
    assert!(error("[]").1.contains("no question with an answer in it"));
    assert!(
        error(&SQUAD.replace("\"is_impossible\": false, ", "")).0.contains("missing field `is_impossible`")
    );
    assert!(error(&SQUAD[..200]).0.contains("EOF"));
    let empty = SQUAD.replace("\"is_impossible\": true", "\"is_impossible\": false");
    assert!(error(&empty).0.contains("`Who flies?` has no answer"));
}
