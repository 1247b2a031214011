//! What CPython 3.11 printed.

use super::{floor_divide, list};

#[test]
fn as_python_prints() {
    assert_eq!(list(&["AB", "it's", "\"it's\"", "a\\b\n\u{e9}"]), r#"['AB', "it's", '"it\'s"', 'a\\b\né']"#);
    assert_eq!(list(&[] as &[&str]), "[]");
    // Python: 4096 // 13.25 == 309.0, 1 // 0.1 == 9.0.
    assert!((floor_divide(4096.0, 13.25) - 309.0).abs() < f64::EPSILON);
    assert!((floor_divide(1.0, 0.1) - 9.0).abs() < f64::EPSILON);
}
