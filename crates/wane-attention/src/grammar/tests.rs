//! The grammar: normal form, round trips, and every error by its message.

use proptest::prelude::*;

use super::{Plan, SparseFrom, nearest};
use crate::METHODS;

fn canonical(text: &str) -> String {
    Plan::parse(text).map_or_else(|error| format!("error: {error}"), |plan| plan.canonical())
}

#[test]
fn every_key_is_written_out() {
    assert_eq!(canonical(" dense "), "dense");
    assert_eq!(
        canonical("quest:block=64,k=8"),
        "quest:block=64,k=8,first=1,local=1,count_forced=true,dense_layers=0,share=group_sum,\
         sparse_from=first_generated,selector=own"
    );
    assert_eq!(
        canonical("quest:k=08,selector=random,seed=3"),
        "quest:block=64,k=8,first=1,local=1,count_forced=true,dense_layers=0,share=group_sum,\
         sparse_from=first_generated,selector=random,seed=3"
    );
    assert_eq!(
        canonical("moba"),
        "moba:block=64,k=16,first=1,local=1,count_forced=true,dense_layers=0,share=q_head,selector=own"
    );
    assert_eq!(
        canonical("snapkv:k=512"),
        "snapkv:k=512,window=64,pool=avg,kernel=5,dense_layers=0,share=group_mean,selector=own"
    );
    assert_eq!(canonical("streaming"), "streaming:window=1020,first=4,dense_layers=0");
    assert_eq!(canonical("dilated:d=none,window=64"), "dilated:d=none,window=64,initial=0");
}

#[test]
fn presets_expand() {
    assert_eq!(
        canonical("quest:preset=original,dense_layers=0"),
        "quest:block=16,k=32,first=0,local=1,count_forced=true,dense_layers=0,share=q_head,\
         sparse_from=first_generated,selector=own"
    );
    assert!(canonical("quest:preset=original_python").ends_with("selector=own,preset=original_python"));
    assert!(canonical("moba:preset=original,k=1").starts_with("moba:block=4096,k=1,first=0,local=1"));
    assert!(canonical("snapkv:preset=original").contains("share=q_head"));
}

#[test]
fn phases_are_put_in_order() {
    let plan = Plan::parse("quest:k=8+snapkv:k=1024+moba").unwrap();
    assert_eq!(plan.method_names(), ["moba", "snapkv", "quest"]);
    assert_eq!(plan.prefill_plan(), Plan::parse("moba").unwrap());
    assert_eq!(plan.query_window().unwrap(), 64);
    assert_eq!(plan.sparse_from(), SparseFrom::FirstGenerated);
    assert_eq!(Plan::parse("quest:sparse_from=question").unwrap().sparse_from(), SparseFrom::Question);
    assert!(Plan::parse("quest").unwrap().prefill_plan().is_dense());
}

#[test]
fn budgets_resolve_in_their_context() {
    let resolved = |text: &str, context| match Plan::parse(text).unwrap().resolve(context) {
        Ok(plan) => plan.canonical(),
        Err(error) => format!("error: {error}"),
    };
    assert!(canonical("quest:budget=2/32").contains("block=64,budget=1/16,first=1"));
    assert!(Plan::parse("quest:budget=1/16").unwrap().needs_context());
    assert!(resolved("quest:budget=1/16", 4096).contains("block=64,k=4,first=1"));
    assert!(resolved("moba:block=128,budget=1/8", 4096).contains("block=128,k=4,first=1"));
    assert!(resolved("snapkv:budget=1/8", 4096).contains("k=512,window=64"));
    assert!(resolved("streaming:budget=1/4", 4096).contains("window=1020,first=4"));
    assert!(!Plan::parse("quest:k=8").unwrap().needs_context());
    assert_eq!(
        resolved("quest:budget=1/64", 4096),
        "error: quest: `k=1` is not possible: 2 blocks are always read (first + local) and count within k"
    );
    assert_eq!(
        resolved("snapkv:budget=1/64", 4096),
        "error: snapkv: `window=64` is not possible: the window counts within k = 64, so it must be smaller"
    );
}

#[test]
fn errors_say_what_to_do() {
    let cases = [
        ("qest:k=3", "unknown method `qest`; the nearest is `quest` (`wane methods` lists all)"),
        ("quest:kk=3", "quest has no key `kk`; the nearest is `k`, and its keys are block, k, budget"),
        ("dense:k=3", "dense takes no keys, got `k`"),
        ("quest+streaming", "`quest` and `streaming` both decide the decode phase: keep one of them"),
        ("dilated+moba", "`dilated` and `moba` both decide the prefill phase: keep one of them"),
        ("dense+quest", "`dense` and `quest` both decide the decode phase: keep one of them"),
        ("quest:k=0", "quest: `k=0` is not possible: expected an integer of at least 1"),
        ("moba:block=0", "moba: `block=0` is not possible: expected an integer of at least 1"),
        (
            "quest:k=1",
            "quest: `k=1` is not possible: 2 blocks are always read (first + local) and count within k",
        ),
        ("moba:k=2,local=2", "moba: `k=2` is not possible: 3 blocks are always read"),
        ("moba:local=0", "moba: `local=0` is not possible: expected an integer of at least 1"),
        ("quest:local=0", "quest: `local=0` is not possible: the newest block must be read"),
        ("snapkv:k=64", "snapkv: `window=64` is not possible: the window counts within k = 64"),
        ("snapkv:kernel=4", "snapkv: `kernel=4` is not possible: expected an odd number"),
        ("snapkv:pool=min", "snapkv: `pool=min` is not possible: expected one of avg, max"),
        ("quest:k=3,k=4", "quest: `k=4` is not possible: the key is given twice"),
        ("quest:k=3,budget=1/2", "quest: `budget=1/2` is not possible: `k` is given too"),
        ("quest:budget=3/2", "quest: `budget=3/2` is not possible: expected a fraction of the context"),
        ("streaming:budget=1/2,window=9", "streaming: `budget=1/2` is not possible: `window` is given too"),
        ("quest:count_forced=yes", "quest: `count_forced=yes` is not possible: expected true or false"),
        ("quest:", "`` is no method: expected `key=value`"),
        ("quest+", "`` is no method: expected `name` or `name:key=value,...`"),
        ("quest:k=99999999999999999999", "expected an integer of at least 1"),
        ("dilated:d=0", "expected an integer of at least 1, or none"),
    ];
    for (text, message) in cases {
        let got = canonical(text);
        assert!(got.starts_with("error: ") && got.contains(message), "{text}: {got}");
    }
}

#[test]
fn nearest_name() {
    assert_eq!(nearest("SnapKv", METHODS.iter().map(|entry| entry.name)), Some("snapkv"));
    assert_eq!(nearest("x", []), None);
}

#[test]
fn the_registry_is_typeable_and_its_defaults_parse() {
    assert!(METHODS.is_sorted_by_key(|entry| entry.name));
    for entry in METHODS {
        assert!(entry.name.chars().all(|c| c.is_ascii_lowercase()), "{}", entry.name);
        assert!(!entry.phases.is_empty() && !entry.summary.is_empty() && !entry.paper.is_empty());
        assert_eq!(canonical(&entry.default_text()), entry.default_text());
        for preset in entry.presets {
            let plan = Plan::parse(&format!("{}:preset={}", entry.name, preset.name)).unwrap();
            assert_eq!(canonical(&plan.canonical()), plan.canonical());
        }
        for key in entry.keys {
            assert!(key.help.len() > 3, "{}:{}", entry.name, key.name);
        }
    }
}

/// Text near the grammar: names and keys of the registry with values of all kinds.
fn near_plans() -> impl Strategy<Value = String> {
    let names: Vec<&str> = METHODS.iter().map(|entry| entry.name).chain(["qest", ""]).collect();
    let keys: Vec<&str> =
        METHODS.iter().flat_map(|entry| entry.keys).map(|key| key.name).chain(["x"]).collect();
    let values = prop_oneof![
        (0usize..200).prop_map(|n| n.to_string()),
        prop::sample::select(vec![
            "true", "1/8", "random", "own", "q_head", "avg", "original", "none", "-1", ""
        ])
        .prop_map(str::to_owned),
    ];
    let pair = (prop::sample::select(keys), values).prop_map(|(key, value)| format!("{key}={value}"));
    let part = (prop::sample::select(names), prop::collection::vec(pair, 0..4)).prop_map(|(name, pairs)| {
        if pairs.is_empty() { name.to_owned() } else { format!("{name}:{}", pairs.join(",")) }
    });
    prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("+"))
}

proptest! {
    #[test]
    fn any_text_gives_a_plan_or_an_error(text in ".{0,60}") {
        let _ = canonical(&text);
    }

    #[test]
    fn the_canonical_form_is_a_fixed_point(text in near_plans()) {
        if let Ok(plan) = Plan::parse(&text) {
            let again = Plan::parse(&plan.canonical()).unwrap();
            prop_assert_eq!(again.canonical(), plan.canonical());
            prop_assert_eq!(again.method_names(), plan.method_names());
            if let Ok(resolved) = plan.resolve(4096) {
                prop_assert!(!resolved.needs_context());
                prop_assert_eq!(Plan::parse(&resolved.canonical()).unwrap(), resolved);
            }
        }
    }
}
