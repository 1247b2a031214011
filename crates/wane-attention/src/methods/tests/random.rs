//! Random selectors (the paper's second hypothesis): independent draws for every layer and head, and for
//! every query token (MoBA), every step (Quest) or once a prompt (SnapKV); forced parts stay.

use std::collections::HashSet;

use super::*;

/// Rows `[layer][head][query]` of one phase.
fn rows(plan: &str, phase: Phase, prompt: usize) -> Vec<Vec<Vec<Vec<i32>>>> {
    let config = config(HEADS, 512);
    let tokens = Tokens::new(&config, prompt + STEPS, 8);
    let seen = run(plan, &config, &tokens, &[prompt], 3).observed;
    let mut all = vec![vec![Vec::new(); HEADS]; LAYERS];
    for o in seen.iter().filter(|o| o.phase == phase) {
        for (head, queries) in o.indices.iter().enumerate() {
            all[o.layer][head].extend(queries.iter().cloned());
        }
    }
    all
}

#[test]
fn moba_draws_for_every_query_token() {
    // From token 200 on 48 of 50 blocks or more compete for 8 places.
    for (selector, forced) in [("random", 2), ("random_pure", 1)] {
        let plan = format!("moba:block=4,k=10,selector={selector}");
        let all = rows(&plan, Phase::Prefill, 400);
        let mut distinct = HashSet::new();
        for (layer, head, query) in
            (0..LAYERS).flat_map(|l| (0..HEADS).flat_map(move |h| (200..400).map(move |q| (l, h, q))))
        {
            let row = &all[layer][head][query];
            assert_eq!(row.len(), 10);
            assert_eq!(row.last(), Some(&(query as i32 / 4)), "own block");
            assert!(forced == 1 || row[0] == 0, "first block");
            distinct.insert(row[..9].to_vec());
        }
        let draws = LAYERS * HEADS * 200;
        assert!(distinct.len() >= draws - 2, "{} of {draws} draws differ", distinct.len());
        // Without the first block forced it is drawn like any other: 9 of about 75.
        let with_first = (0..LAYERS)
            .flat_map(|l| (0..HEADS).map(move |h| (l, h)))
            .flat_map(|(l, h)| all[l][h][200..].iter())
            .filter(|row| row[0] == 0)
            .count();
        let expected = if forced == 2 { draws..draws + 1 } else { draws / 12..draws / 6 };
        assert!(expected.contains(&with_first), "{selector}: {with_first} of {draws}");
    }
}

#[test]
fn snapkv_draws_once_a_prompt_for_every_layer_and_head() {
    let all = rows("snapkv:k=60,window=20,selector=random", Phase::AfterPrefill, 400);
    let mut distinct = HashSet::new();
    let mut drawn = vec![0; 380];
    for queries in all.iter().flatten() {
        assert_eq!(queries.len(), 1, "one selection a prompt");
        let row = &queries[0];
        assert_eq!(row.len(), 60);
        assert!(row.ends_with(&(380..400).collect::<Vec<_>>()), "the window stays");
        row[..40].iter().for_each(|&p| drawn[p as usize] += 1);
        distinct.insert(row.clone());
    }
    assert_eq!(distinct.len(), LAYERS * HEADS);
    // 320 draws of 380 positions: halves get about as many.
    let first: usize = drawn[..190].iter().sum();
    assert!((120..=200).contains(&first), "{first} of 320 in the first half");
    // The literal formula draws from the window as well.
    let pure = rows("snapkv:k=60,window=20,selector=random_pure", Phase::AfterPrefill, 400);
    let whole = |row: &Vec<i32>| row.ends_with(&(380..400).collect::<Vec<_>>());
    assert!(pure.iter().flatten().flatten().all(|row| row.len() == 60 && !whole(row)));
}

#[test]
fn the_five_seeds_are_five_draws() {
    let all: Vec<_> = (0..5)
        .map(|seed| rows(&format!("quest:block=4,k=30,selector=random,seed={seed}"), Phase::Decode, 400))
        .collect();
    for (i, a) in all.iter().enumerate() {
        assert!(all[..i].iter().all(|b| a != b));
        for row in a.iter().flatten().flatten() {
            assert_eq!((row.len(), row[0]), (30, 0));
        }
    }
}
