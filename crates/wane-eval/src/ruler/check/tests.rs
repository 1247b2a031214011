//! Differences are found, named and counted.

use super::*;

fn sample(input: &str, length: usize) -> Sample {
    Sample {
        index: 1,
        input: input.into(),
        outputs: vec!["1".into()],
        length,
        length_w_model_temp: length,
        answer_prefix: " The".into(),
        token_position_answer: None,
    }
}

#[test]
fn the_first_difference_is_named_and_all_are_counted() {
    let a = [sample("caf\u{e9} one", 5), sample("two", 5)];
    let same = samples(&a, &a);
    assert_eq!((same.equal, same.first, same.fields), (2, None, vec![]));
    let other = samples(&a, &[sample("caf\u{e9} One", 5), sample("two", 6)]);
    assert_eq!(other.equal, 0);
    assert!(other.first.unwrap().starts_with("sample 0: `input` differs at character 5"));
    assert_eq!(other.fields, [("input", 1), ("length", 1), ("length_w_model_temp", 1)]);
    let longer = samples(&a, &[a[0].clone(), sample("two", 6)]);
    assert_eq!(longer.first.unwrap(), "sample 1: `length` differs: 5 against 6");
    assert_eq!(samples(&a, &a[..1]).first.unwrap(), "2 samples against 1");
}

fn write(folder: &Path, name: &str, samples: &[Sample]) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, samples.iter().map(|s| jsonl::line(s).unwrap()).collect::<String>()).unwrap();
}

#[test]
fn folders_are_compared_by_place() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    write(&a, "4096/vt/validation.jsonl", &[sample("x", 1)]);
    write(&b, "4096/vt/validation.jsonl", &[sample("x", 1)]);
    write(&a, "4096/cwe/validation.jsonl", &[sample("x", 1)]);
    write(&b, "8192/vt.jsonl", &[sample("x", 1)]);
    let found = trees(&a, &b).unwrap();
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["4096/cwe", "4096/vt", "8192/vt"]);
    assert_eq!(found[0].1, Outcome::Missing(b.clone()));
    assert!(matches!(&found[1].1, Outcome::Compared(c) if c.equal == 1 && c.first.is_none()));
    assert_eq!(found[2].1, Outcome::Missing(a.clone()));
    let file = b.join("8192/vt.jsonl");
    assert!(trees(&a, &file).unwrap_err().to_string().contains("two files or two folders"));
    assert_eq!(trees(&file, &file).unwrap().len(), 1);
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    assert!(trees(&a, &empty).unwrap_err().to_string().contains("no .jsonl files"));
    assert!(data_files(&a).unwrap_err().to_string().contains("no TASK/validation.jsonl"));
}
