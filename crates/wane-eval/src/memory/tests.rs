//! A memory whose gates can be followed by hand; the recurrence behind the numbers; models without one.

use wane_model::decoder::MemoryTrace;

use super::record::{HeadMemory, MemoryRecord, VERSION};
use super::*;
use crate::hits::align::Step;
use crate::hits::run::tests::{MEMORY, NO_FILES, decoder, tokenizer};
use crate::ruler::haystack::Haystack;
use crate::ruler::prompt::PromptForm;
use crate::ruler::sentences::Splitter;
use crate::ruler::tasks::select;
use crate::ruler::template::ModelTemplate;
use crate::ruler::words::WordList;

/// Two heads of one channel: gates 1/2 and 0 everywhere; keys count up from 1, values are 1.
fn trace(tokens: usize) -> MemoryTrace {
    let two = |f: &dyn Fn(usize) -> [f32; 2]| (0..tokens).flat_map(f).collect::<Vec<f32>>();
    let keys = two(&|t| [t as f32 + 1.0; 2]);
    let mut memory_keys = keys.clone();
    let mut memory_values = vec![1.0; 2 * tokens];
    let (mut key, mut value) = (0.0, 0.0);
    for t in 0..tokens {
        key = f32::midpoint(key, keys[2 * t]);
        value = f32::midpoint(value, 1.0);
        memory_keys[2 * t] = key;
        memory_values[2 * t] = value;
    }
    MemoryTrace {
        gates: two(&|_| [0.5, 0.0]),
        keys,
        values: vec![1.0; 2 * tokens],
        memory_keys,
        memory_values,
    }
}

fn near(got: f64, want: f64) {
    assert!((got - want).abs() <= 1e-4 * want.abs().max(1e-12), "{got} is not {want}");
}

#[test]
fn a_needle_of_two_tokens_by_hand() {
    let mut sums = Sums::new(3, 2, 1);
    // Tokens 2 and 3 are the needle; four tokens follow.
    sums.add(&trace(8), std::slice::from_ref(&(2..4)));
    let [memory, copy]: [HeadMemory; 2] = sums.finish().try_into().unwrap();
    assert_eq!([memory.layer, memory.head, copy.head], [3, 0, 1]);
    near(memory.mean_gate, 0.5);
    near(memory.half_lives[2], 1.0);
    assert_eq!([memory.copying, copy.copying], [0.0, 1.0]);
    assert_eq!((memory.gates[10], copy.gates[0]), (1.0, 1.0));
    // At its last token the needle weighs 1/2 + 1/4, and half of that after each further token.
    near(memory.weight[0], 0.75);
    near(memory.weight[1], 0.375);
    near(memory.weight[3], 0.75 / 16.0);
    near(memory.product[0], 1.0);
    near(memory.product[3], 1.0 / 16.0);
    // k~_3 = 1/16 + 2/8 + 3/4 + 4/2, of which the needle (keys 3 and 4) is 3/4 + 2.
    near(memory.key_share[0], 2.75 / 3.0625);
    // v~_3 = 15/16.
    near(memory.value_share[0], 0.75 / (15.0 / 16.0));
    // v~_7 = 255/256, of which 0.75 / 16.
    near(memory.value_share[3], 0.75 / 16.0 / (255.0 / 256.0));
    // Without memory the needle is all of its last token's key, and nothing of the next one's.
    assert_eq!([copy.key_share[0], copy.key_share[1], copy.weight[1]], [1.0, 0.0, 0.0]);
    // No needle has a token at distance 8.
    assert_eq!(memory.weight[4], 0.0);
}

#[test]
fn shares_of_all_tokens_add_up_to_one() {
    let trace = trace(40);
    let share = |needle: Range<usize>| {
        let mut sums = Sums::new(0, 2, 1);
        sums.add(&trace, &[needle]);
        sums.finish()[0].clone()
    };
    // At token 9: needles 0..2, 2..8 and 8..10 lie 8, 2 and 0 tokens before it.
    let [a, b, c] = [share(0..2), share(2..8), share(8..10)];
    near(a.key_share[4] + b.key_share[2] + c.key_share[0], 1.0);
    near(a.value_share[4] + b.value_share[2] + c.value_share[0], 1.0);
}

#[test]
fn values_are_runs_of_tokens() {
    let step = |token, source: &[usize]| Step { token, sources: vec![source.to_vec(), vec![900]] };
    let steps = [step(0, &[30]), step(1, &[31]), step(2, &[31, 32]), step(4, &[7]), step(5, &[8])];
    assert_eq!(values(&steps), [7..9, 30..33]);
}

#[test]
fn the_table_has_a_row_for_every_head() {
    let mut sums = Sums::new(0, 2, 1);
    sums.add(&trace(8), std::slice::from_ref(&(2..4)));
    let model = |name: &str| ModelMemory {
        model: name.into(),
        model_hash: "h".into(),
        tokenizer: "t".into(),
        device: "cpu".into(),
        source: "a test".into(),
        needles_are: "values".into(),
        sequences: 1,
        tokens: 8,
        needles: 1,
        needles_at: vec![1; DISTANCES.len()],
        unaligned: 2,
        heads: sums.finish(),
    };
    let record = MemoryRecord {
        version: VERSION,
        distances: DISTANCES.to_vec(),
        models: vec![model("before"), model("after")],
    };
    let text = table::text(&record);
    assert!(text.contains("before: 8 tokens of a test; 1 needles (values); 2 samples left out"), "{text}");
    let rows = text.lines().filter(|line| line.contains("0.0  ") || line.contains("0.1  "));
    assert_eq!(rows.filter(|line| line.contains("before") || line.contains("after")).count(), 4, "{text}");
    let json = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<MemoryRecord>(&json).unwrap(), record);
}

#[test]
fn traces_obey_the_recurrence_and_models_are_measured() {
    let decoder = decoder(Some(MEMORY));
    let ids: Vec<u32> = (0..60).map(|i| (i * 37) % 4000 + 5).collect();
    let width = decoder.config().kv_width();
    let mut layers = 0;
    decoder
        .memory_trace(&ids, &mut |_, trace| {
            layers += 1;
            let (mut key, mut value) = (vec![0.0f32; width], vec![0.0f32; width]);
            for (i, &gate) in trace.gates.iter().enumerate() {
                let c = i % width;
                key[c] = gate * key[c] + (1.0 - gate) * trace.keys[i];
                value[c] = gate * value[c] + (1.0 - gate) * trace.values[i];
                assert!((key[c] - trace.memory_keys[i]).abs() < 1e-4, "{} {}", key[c], trace.memory_keys[i]);
                assert!((value[c] - trace.memory_values[i]).abs() < 1e-4);
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(layers, 2);

    let haystack = Haystack::shipped(Splitter::Simple);
    let subject =
        Subject { name: "tiny".into(), hash: "h".into(), decoder: &decoder, tokenizer: tokenizer() };
    let job = job(&haystack);
    let memory = measure(&subject, &job).unwrap();
    assert_eq!((memory.sequences, memory.needles, memory.unaligned, memory.heads.len()), (2, 8, 0, 4));
    for head in &memory.heads {
        assert!((head.gates.iter().sum::<f64>() - 1.0).abs() < 1e-3);
        assert!(head.half_lives.is_sorted() && head.weight[0] > head.weight[7], "{head:?}");
    }
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(80);
    let memory = measure_text(&subject, ("fox", &text), 200, 2).unwrap();
    assert_eq!((memory.sequences, memory.needles, memory.needles_at[0]), (2, 6, 6));

    let error = measure_text(&subject, ("fox", "too short"), 200, 2).unwrap_err().to_string();
    assert!(error.contains("fewer than one window of 200"), "{error}");
    assert!(
        measure(&subject, &Job { context: 9999, ..job }).unwrap_err().to_string().contains("at most 1536")
    );
}

#[test]
fn a_model_without_memory_is_refused() {
    let (decoder, haystack) = (decoder(None), Haystack::shipped(Splitter::Simple));
    let subject =
        Subject { name: "plain".into(), hash: "h".into(), decoder: &decoder, tokenizer: tokenizer() };
    let error = measure(&subject, &job(&haystack)).unwrap_err().to_string();
    assert!(error.contains("plain has no memory to measure"), "{error}");
    assert!(measure_text(&subject, ("t", "text"), 2, 1).is_err());
}

fn job(haystack: &Haystack) -> Job<'_> {
    Job {
        methods: Vec::new(),
        tasks: select(&["niah_multivalue"]).unwrap(),
        context: 1536,
        samples: 2,
        seed: 42,
        words: WordList::V3_0_1,
        haystack,
        files: &NO_FILES,
        data: None,
        form: PromptForm::Input,
        template: ModelTemplate::base(),
        max_new_tokens: None,
        batch: 1,
        kv_dtype: None,
    }
}
