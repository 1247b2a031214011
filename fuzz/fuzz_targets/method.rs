//! The textual form of methods: no text panics, and what is accepted has a canonical form that means the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(plan) = wane_attention::Plan::parse(text) {
        let canonical = plan.canonical();
        let again = wane_attention::Plan::parse(&canonical).expect("the canonical form is accepted");
        assert_eq!(again.canonical(), canonical);
    }
});
