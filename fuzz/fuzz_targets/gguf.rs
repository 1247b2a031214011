//! GGUF files (header, configuration, tokenizer, tensors): no input may panic or reserve memory beyond its own size.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wane_model::checkpoint::fuzz::gguf(data));
