//! Differences are found and named.

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
fn the_first_difference_is_named() {
    let a = [sample("caf\u{e9} one", 5), sample("two", 5)];
    let same = samples(&a, &a);
    assert_eq!((same.equal, same.first), (2, None));
    let other = samples(&a, &[sample("caf\u{e9} One", 5), sample("two", 6)]);
    assert_eq!(other.equal, 0);
    assert!(other.first.unwrap().starts_with("sample 0: `input` differs at character 5"));
    assert_eq!(
        samples(&a, &[a[0].clone(), sample("two", 6)]).first.unwrap(),
        "sample 1: `length` differs: 5 against 6"
    );
    assert_eq!(samples(&a, &a[..1]).first.unwrap(), "2 samples against 1");
}

#[test]
fn a_bad_line_is_located() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.jsonl");
    let good = jsonl::line(&sample("x\u{7f}\u{1f600}", 3)).unwrap();
    assert!(good.contains(r"x\u007f\ud83d\ude00"), "{good}");
    std::fs::write(&path, format!("{good}{}", &good[..20])).unwrap();
    let error = jsonl::read(&path).unwrap_err().to_string();
    assert!(error.contains("line 2"), "{error}");
    std::fs::write(&path, &good).unwrap();
    assert_eq!(jsonl::read(&path).unwrap(), [sample("x\u{7f}\u{1f600}", 3)]);
    assert!(data_files(dir.path()).unwrap_err().to_string().contains("no TASK/validation.jsonl"));
}
