#!/usr/bin/env bash
# Compares the Hopper attention kernels with plain loops on the emulated machine, for both head sizes.
#   run.sh [SEEDS]      default 1 seed; two minutes on one core
set -eu
cd "$(dirname "$0")"
sources=../../crates/wane-kernels/src/ops/attention
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for defines in "-DHEAD_DIM=64" "-DHEAD_DIM=64 -DCONSUMERS=2 -DFORWARD_STAGES=3 -DPOLYNOMIAL=4" "-DHEAD_DIM=128"; do
    echo "== $defines"
    # shellcheck disable=SC2086
    g++ -std=c++20 -O2 -w -Wno-psabi $defines -I "$sources" -o "$work/run" main.cpp
    for seed in $(seq "${1:-1}"); do "$work/run" "$seed"; done
done
