//! What NVIDIA's evaluate.py says about the same files (fixtures/ruler/predictions, made by
//! reference/ruler_evaluate.py), and files from records.

use super::*;
use crate::runner::store::tests::record;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/ruler/predictions");

#[test]
fn evaluate_py_agrees() {
    let tasks = read_folder(Path::new(FOLDER)).unwrap();
    let scores: Vec<TaskScore> =
        tasks.iter().map(|t| score_lines(t.task.name, t.task.metric, &t.lines)).collect();
    let expected = |name: &str| std::fs::read_to_string(format!("{FOLDER}/{name}")).unwrap();
    assert_eq!(summary_name(&scores), "summary.csv");
    assert_eq!(summary_csv(&scores), expected("summary.csv"));
    assert_eq!(submission_csv(&tasks), expected("submission.csv"));
}

#[test]
fn files_written_are_files_read() {
    // call_api.py's own line.
    let path = Path::new(FOLDER).join("niah_multivalue.jsonl");
    let lines: String = read(&path).unwrap().iter().map(|l| jsonl::line(l).unwrap()).collect();
    assert_eq!(lines, std::fs::read_to_string(path).unwrap());
}

#[test]
fn names_stand_for_tasks() {
    assert_eq!(task_of(Path::new("a/niah_single_1-12.jsonl")).unwrap().name, "niah_single_1");
    assert_eq!(task_of(Path::new("niah_multikey_3.jsonl")).unwrap().name, "niah_multikey_3");
    let error = task_of(Path::new("niah_singel_1.jsonl")).unwrap_err().to_string();
    assert!(error.contains("did you mean `niah_single_1`?"), "{error}");
}

#[test]
fn folders_that_cannot_be_scored() {
    let dir = tempfile::tempdir().unwrap();
    let error = read_folder(dir.path()).unwrap_err().to_string();
    assert!(error.contains("no TASK.jsonl"), "{error}");
    let line = "{\"pred\": \"1\", \"output\": \"1\"}\n";
    let file = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    file("niah_single_1.jsonl", line);
    let scored = read_folder(dir.path()).unwrap();
    assert_eq!((scored[0].lines[0].index, scored[0].lines[0].outputs.clone()), (0, vec!["1".to_owned()]));
    file("niah_single_1-0.jsonl", line);
    assert!(read_folder(dir.path()).unwrap_err().to_string().contains("both whole and in chunks"));
    file("niah_single_1-0.jsonl", "{\"pred\": \"1\"}\n");
    std::fs::remove_file(dir.path().join("niah_single_1.jsonl")).unwrap();
    let error = read_folder(dir.path()).unwrap_err().to_string();
    assert!(error.contains("line 1: field `outputs`: expected a list of texts"), "{error}");
    let twice = "{\"index\": 1, \"input\": \"x\", \"pred\": \"1\", \"outputs\": [\"1\"]}\n".repeat(2);
    file("niah_single_1-0.jsonl", &twice);
    let error = read_folder(dir.path()).unwrap_err().to_string();
    assert!(error.contains("line 2: field `index`: duplicate"), "{error}");
}

#[test]
fn records_become_files() {
    let records = [
        record("m", "dense", 1, 0.0),
        record("m", "dense", 0, 1.0),
        record("m", "quest:block=64,k=8", 0, 1.0),
        record("m", "dense", 1, 0.5),
    ];
    let all = of_records(&records, None).unwrap();
    assert_eq!(all.len(), 2);
    let dense = &all[&("m".to_owned(), "dense".to_owned())][0];
    let line = jsonl::line(&dense.lines[0]).unwrap();
    assert_eq!(
        line,
        "{\"index\": 0, \"pred\": \"1\\n\", \"input\": \"\", \"outputs\": [\"1\"], \"others\": {}, \"truncation\": -1, \"length\": 428}\n"
    );
    assert_eq!(dense.lines.iter().map(|l| l.index).collect::<Vec<_>>(), [0, 1]);
}
