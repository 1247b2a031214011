#!/bin/sh
# Trains the pair of issue 4 from text to fine-tuned models. Safe to interrupt and to start again.
#   runs/pair.sh [DATA] [DEVICE]      DATA: folder with books_train.txt.zst and books_heldout.txt.zst
# WANE names the binary (default target/release/wane), BACKBONES what to train (default both).
set -eu
cd "$(dirname "$0")/.."
data=${1:-../shared/data}
device=${2:-cuda}
wane=${WANE:-target/release/wane}
out=runs/out
mkdir -p "$out"
ln -sfn "$(cd "$data" && pwd)" "$out/data"

if [ ! -f "$out/tokenizer/tokenizer.json" ]; then
    "$wane" tokenizer train "$data/books_train.txt.zst" --vocab-size 4096 --output "$out/tokenizer.new"
    mv "$out/tokenizer.new" "$out/tokenizer"
fi
for part in train heldout; do
    if [ ! -f "$out/shards-$part/.complete" ]; then
        "$wane" data pack "$data/books_$part.txt.zst" --separator '\n\n\n' \
            --tokenizer "$out/tokenizer" --output "$out/shards-$part"
        touch "$out/shards-$part/.complete"
    fi
done
for backbone in ${BACKBONES:-attention memory}; do
    for stage in "pair-$backbone" "pair-$backbone-sft"; do
        [ -f "$out/$stage/model/config.json" ] || "$wane" train "runs/$stage.toml" --device "$device" --resume
    done
done
