#!/bin/sh
# Writes the page of a pair's full protocol from its packed records: all figures and tables into OUT, the page and the
# figures that documents show into RUN/page.
#   runs/page.sh [RUN] [OUT]      RUN: default runs/pair-2026-11-22; OUT: default out/page
# WANE names the binary (default target/release/wane). Checks: python3 reference/check_page.py OUT/index.html SHOTS
set -eu
cd "$(dirname "$0")/.."
run=${1:-runs/pair-2026-11-22}
out=${2:-out/page}
wane=${WANE:-target/release/wane}

# The paper's settings first: its prompt form is `input`.
set -- "$run"/records/full-*-input.jsonl.gz "$run"/records/random-*.jsonl.gz \
    "$run"/records/more-*.jsonl.gz "$run"/records/local2-*.jsonl.gz "$run"/records/full-*-prefix.jsonl.gz \
    "$run"/pair-attention.json "$run"/pair-memory.json
for extra in runs/hits-2026-11-26/*.jsonl.gz runs/hits-2026-11-26/*.jsonl runs/hits-2026-11-26/memory*.json*; do
    if [ -f "$extra" ]; then set -- "$@" "$extra"; fi
done
"$wane" report "$@" --out "$out"

mkdir -p "$run/page"
rm -f "$run"/page/*
cp "$out/index.html" "$out/tables.md" "$out/accuracy-1-snapkv.svg" "$run/page/"
for figure in accuracy-1 gains-1 random-1 learning; do
    if [ -f "$out/$figure.png" ]; then cp "$out/$figure.png" "$run/page/"; fi
done
du -sh "$run/page"
