#!/bin/bash
# Fuzzes the parsers and the method grammar with libFuzzer on a stable compiler: the instrumentation of cargo-fuzz
# for the crates that read input (instrument.sh), without its sanitizers. The parsers are safe Rust; what is looked
# for are panics, overflows, hangs and memory beyond the input's size. Needs a C++ compiler and python3.
#
#   fuzz/run.sh [SECONDS for each target, 120] [TARGET ...]
set -eu
cd "$(dirname "$0")"
seconds=${1:-120}
shift || true
targets=${*:-gguf pth safetensors method}

RUSTC_WRAPPER="$PWD/instrument.sh" RUSTFLAGS="--cfg fuzzing" cargo build --release --quiet

failed=0
for target in $targets; do
    mkdir -p "corpus/$target" "artifacts/$target"
    # Seeds: the smallest whole file of each kind.
    case $target in
        gguf) python3 seed_gguf.py corpus/gguf/seed ;;
        pth) cp ../fixtures/ratplus/attention/model.pth corpus/pth/seed ;;
        safetensors) head -c 20000 ../fixtures/transformers/qwen3/model.safetensors > corpus/safetensors/seed ;;
        method) echo 'moba:block=64,k=16+snapkv:budget=1/8+quest:preset=original,k=8' > corpus/method/seed ;;
    esac
    echo "== $target"
    "target/release/$target" "corpus/$target" "-artifact_prefix=artifacts/$target/" \
        "-max_total_time=$seconds" -timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=512 -max_len=262144 \
        -print_final_stats=1 > "artifacts/$target.log" 2>&1 || failed=1
    grep -E 'INITED|DONE|^stat::(number|average|peak)|SUMMARY|panicked' "artifacts/$target.log" || true
done
exit $failed
