#!/bin/bash
# Training speed on a GPU against PyTorch in the same call (issue 3): medians and ratios.
#
#   runs/train-speed.sh [PART...]     7m 15m 120m 1b scan attention (default: all but 1b, which takes the longest)
#
#   LIMIT=           seconds after which no further part starts (empty: never)
#   PYTHON=python3   one that holds torch and triton; WANE=... BENCH=folder of cuda_bench and cuda_attention_bench
#
# Each shape trains both backbones: `wane` (median of stretches of 10 steps, compilation left out), then torch.compile
# (which takes one to two minutes to get going). Predicted and measured memory are printed beside the rates; the last
# lines give what the memory costs over attention.
set -u
cd "$(dirname "$0")/.."
[ ! -x runs/gpu-unpack.sh ] || runs/gpu-unpack.sh
wane=${WANE:-$([ -x .gpu/wane ] && echo .gpu/wane || echo target/release/wane)}
bench=${BENCH:-$([ -x .gpu/cuda_bench ] && echo .gpu || echo target/release/examples)}
python=${PYTHON:-python3}
limit=${LIMIT:-}
device=${DEVICE:-cuda:0}
out=runs/out/speed
[ $# -gt 0 ] || set -- 7m 15m 120m scan attention
mkdir -p "$out"
if [ ! -d "$out/shards" ]; then
    # Any text does: what is measured does not depend on it.
    cat crates/*/src/*.rs crates/*/src/*/*.rs >"$out/text.txt"
    "$wane" data pack "$out/text.txt" --tokenizer models/attention --output "$out/shards"
fi

shape() {
    case $1 in
    7m) echo "--steps ${STEPS:-120}" ;;
    15m) echo "--set model.hidden_size=384 --set model.num_hidden_layers=8 --set model.num_attention_heads=6
        --set model.intermediate_size=1024 --set training.sequence=2048 --set training.batch=32 --steps ${STEPS:-100}" ;;
    120m) echo "--set model.hidden_size=768 --set model.num_hidden_layers=12 --set model.num_attention_heads=12
        --set model.intermediate_size=2048 --set model.vocab_size=32000 --set training.sequence=2048
        --set training.batch=32 --set training.accumulation=2 --steps ${STEPS:-60}" ;;
    1b) echo "--set model.hidden_size=2048 --set model.num_hidden_layers=24 --set model.num_attention_heads=16
        --set model.intermediate_size=8192 --set model.hidden_act=gelu --set model.tie_word_embeddings=false
        --set model.vocab_size=32000 --set training.batch=8 --set training.accumulation=2
        --set training.recompute=true --set log.every=4 --steps ${STEPS:-28}" ;;
    esac
}

train() {
    local name=$1 backbone bias
    for backbone in attention memory; do
        bias=()
        [ "$backbone" = attention ] || bias=(--set model.gate_bias=spread)
        rm -rf "$out/$name-$backbone"
        # shellcheck disable=SC2046
        "$wane" train runs/train-speed.toml --device "$device" --output "$out/$name-$backbone" \
            --set "model.backbone=$backbone" "${bias[@]}" $(shape "$name") >"$out/$name-$backbone.txt" 2>&1 ||
            { tail -n 3 "$out/$name-$backbone.txt"; continue; }
        "$python" reference/torch_train_speed.py train "$name" "$backbone" "$out/$name-$backbone/record.json" |
            tail -n 1
    done
    "$python" - "$out/$name-attention/record.json" "$out/$name-memory/record.json" <<'PY'
import json, statistics, sys
rates = [statistics.median(p["tokens_per_second"] for p in json.load(open(f))["curve"][2:]) for f in sys.argv[1:]]
print(f"{sys.argv[1].split('/')[-2].rsplit('-', 1)[0]}: the memory costs {rates[0] / rates[1]:.3f} times attention")
PY
}

for part in "$@"; do
    if [ -n "$limit" ] && [ "$SECONDS" -ge "$limit" ]; then
        echo "$part: left out, $SECONDS s have passed"
        continue
    fi
    case $part in
    7m | 15m | 120m | 1b) train "$part" ;;
    scan)
        "$bench/cuda_bench" decay_scan
        "$python" reference/torch_train_speed.py scan
        ;;
    attention)
        "$bench/cuda_attention_bench" causal
        "$python" reference/torch_train_speed.py attention
        ;;
    *) echo "unknown part $part (7m 15m 120m 1b scan attention)" >&2 ;;
    esac
done 2>&1 | tee "$out/result.txt"
