//! The steps of the searches, on lengths that are known.

use super::{Fit, Most, Search};
use crate::Error;

const FIT: Fit = Fit { task: "t", context: 1000, budget: 100, increment: 25 };

#[test]
fn both_searches_find_the_largest_that_fits() {
    let mut asked = Vec::new();
    let mut length = |n: usize| {
        asked.push(n);
        Ok(7 * n + 20)
    };
    assert_eq!(FIT.binary(&mut length).unwrap(), 125);
    // 195 tokens at 25 items: 7.8 an item, so the upper bound is 384.
    assert_eq!(asked[..3], [25, 204, 114]);
    assert_eq!(FIT.steps(25, Most::None, &mut |n| Ok(7 * n + 20)).unwrap(), 125);
    assert_eq!(FIT.steps(40, Most::None, &mut |n| Ok(7 * n + 20)).unwrap(), 115);
    assert_eq!(FIT.binary(&mut |_| Ok(5000)).unwrap(), 25);
    assert_eq!(FIT.steps(25, Most::None, &mut |_| Ok(5000)).unwrap(), 0);
}

#[test]
fn quirks_of_the_older_search() {
    // 36 n fills the context at 25 items: one step too many.
    assert_eq!(FIT.steps(25, Most::None, &mut |n| Ok(36 * n)).unwrap(), 50);
    let mut asked = Vec::new();
    let mut length = |n: usize| {
        asked.push(n);
        Ok(n)
    };
    assert_eq!(FIT.steps(25, Most::Before(60), &mut length).unwrap(), 60);
    assert_eq!(FIT.steps(25, Most::After(60), &mut length).unwrap(), 60);
    assert_eq!(asked, [25, 50, 25, 50, 75]);
}

#[test]
fn names() {
    assert!(Search::LIST.into_iter().all(|s| Search::parse(s.name()) == Some(s)));
    assert_eq!(Search::parse("quadratic"), None);
}

#[test]
fn a_sample_that_is_too_long_loses_a_whole_increment() {
    let mut lengths = vec![901, 950, 880].into_iter();
    let ((), length) = FIT.draw(125, &mut |_| Ok(lengths.next().map(|n| ((), n)))).unwrap();
    assert_eq!(length, 980);
}

#[test]
fn no_endless_retry() {
    let error = FIT.draw::<()>(50, &mut |n| Ok(Some(((), 2000 + n)))).unwrap_err();
    assert!(matches!(error, Error::ContextTooSmall { needed: 2125, context: 1000, .. }), "{error}");
}

#[test]
fn no_draw_at_all() {
    let error = FIT.draw::<()>(50, &mut |_| Ok(None)).unwrap_err().to_string();
    assert!(error.contains("leaves 25 items of haystack"), "{error}");
}
