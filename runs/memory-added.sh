#!/bin/sh
# Adds the memory to the finished attention model and continues, beside the same continuation without it
# (issue 4, item 5). Needs the output of runs/pair.sh. Safe to interrupt and to start again.
#   runs/memory-added.sh [DEVICE]
set -eu
cd "$(dirname "$0")/.."
device=${1:-cuda}
wane=${WANE:-target/release/wane}
for run in memory-added memory-added-control; do
    [ -f "runs/out/$run/model/config.json" ] || "$wane" train "runs/$run.toml" --device "$device" --resume
done
