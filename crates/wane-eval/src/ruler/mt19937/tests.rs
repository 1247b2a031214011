//! Values printed by CPython and numpy, each line from a fresh generator with seed 42.

use super::PythonRandom;

fn python() -> PythonRandom {
    PythonRandom::new(42)
}

#[test]
fn words_and_doubles() {
    let mut r = python();
    let words: Vec<u32> = (0..6).map(|_| r.next_u32()).collect();
    assert_eq!(words, [2746317213, 478163327, 107420369, 3184935163, 1181241943, 1051802512]);
    let mut r = python();
    assert_eq!(
        [r.random(), r.random(), r.random()],
        [0.6394267984578837, 0.025010755222666936, 0.27502931836911926]
    );
}

#[test]
fn integers() {
    let mut r = python();
    let drawn: Vec<usize> = (0..4).map(|_| r.integer(1_000_000, 9_999_999)).collect();
    assert_eq!(drawn, [2867825, 1419610, 5614226, 5108603]);
    for n in [6_175_260, 6_171_620] {
        let mut r = python();
        let drawn: Vec<usize> = (0..4).map(|_| r.below(n)).collect();
        assert_eq!(drawn, [5363900, 933912, 209805, 2307113]);
    }
    let mut r = PythonRandom::numpy(42);
    let drawn: Vec<u32> = (0..4).map(|_| r.numpy_integer(10000, 99999)).collect();
    assert_eq!(drawn, [25795, 10860, 86820, 64886]);
}

#[test]
fn samples() {
    let mut r = python();
    let drawn: Vec<_> = (0..3).map(|_| r.sample(40, 1)).collect();
    assert_eq!(drawn, [Some(vec![7]), Some(vec![1]), Some(vec![17])]);
    let mut r = python();
    assert_eq!(r.sample(40, 4), Some(vec![7, 1, 17, 15]));
    assert_eq!(r.sample(40, 4), Some(vec![14, 8, 6, 34]));
    let mut r = python();
    assert_eq!(r.sample(4, 1), Some(vec![0]));
    assert_eq!(r.sample(4, 4), Some(vec![0, 2, 1, 3]));
    let mut r = python();
    assert_eq!(r.sample(1, 1), Some(vec![0]));
    assert_eq!(r.next_u32(), 107420369);
    assert_eq!(python().sample(3, 4), None);
}

#[test]
fn shuffles() {
    for (n, expected) in [(2, vec![1, 0]), (4, vec![2, 1, 3, 0]), (8, vec![3, 4, 6, 7, 2, 5, 0, 1])] {
        let mut items: Vec<usize> = (0..n).collect();
        python().shuffle(&mut items);
        assert_eq!(items, expected);
    }
}
