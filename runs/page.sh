#!/bin/bash
# Writes the page of a run from its packed records: all figures and tables into OUT, the page and the figures that
# documents show into RUN/page.
#   runs/page.sh [RUN] [OUT] [MORE...]    RUN: default runs/joint-2026-11-27; OUT: default out/page; MORE: further records
# Beside a joint pair stands the pair without second passes (runs/pair-2026-11-22), its models named attention-single-pass
# and memory-single-pass; beside the curves of the second cycle those of the first (runs/joint-2026-11-26).
# For runs/joint-seeds-2026-11-27 the other two seeds stand beside the bundled pair (needs the program zstd).
# WANE names the binary (default target/release/wane). Checks: python3 reference/check_page.py OUT/index.html SHOTS
set -eu
cd "$(dirname "$0")/.."
run=${1:-runs/joint-2026-11-27}
out=${2:-out/page}
shift $(($# < 2 ? $# : 2))
wane=${WANE:-target/release/wane}

before=()
case $(basename "$run") in
joint-seeds-*)
    # Three seeds of one recipe: the bundled pair is the first, which its models' names do not say.
    bundled=runs/joint-2026-11-27
    order=(paper sinks prefix 'hits*')
    seeds=out/seeds
    mkdir -p "$seeds"
    for model in attention memory; do
        zstd -qdc "$bundled/records/extra-$model.jsonl.zst" | grep kernel=15 >"$seeds/wide-$model.jsonl"
        # Blocks of 128 and 16 were measured for the bundled pair only.
        zstd -qdc "$bundled/records/paper-$model.jsonl.zst" | grep -v 'block=128\|block=16,' >"$seeds/paper-$model.jsonl"
    done
    before=("$seeds"/paper-*.jsonl "$seeds"/wide-*.jsonl)
    set -- "$@" "$bundled"/records/{prefix,hits}-*.zst runs/joint-2026-11-26/train-*-s1.json.gz
    ;;
joint-*)
    # The paper's settings first: its prompt form is `input`.
    order=(paper-attention paper-memory 'seed2*' 'thirds*' 'random-*' 'extra-*' 'hits-*' 'prefix-*')
    # A place that does not change: the page names it as the source.
    single=out/single-pass
    mkdir -p "$single"
    for model in attention memory; do
        for form in input prefix; do
            zcat "runs/pair-2026-11-22/records/full-$model-$form.jsonl.gz" |
                sed "s/\"model\":\"$model\"/\"model\":\"$model-single-pass\"/" >"$single/$model-$form.jsonl"
        done
    done
    set -- "$@" "$single"/*.jsonl
    if [ -f "$run/train-memory-more.json.gz" ]; then set -- "$@" runs/joint-2026-11-26/train-*-s1.json.gz; fi
    ;;
*)
    order=('full-*-input' 'random-*' 'more-*' 'local2-*' 'full-*-prefix')
    set -- "$@" runs/hits-2026-11-26/*.jsonl* runs/hits-2026-11-26/memory*.json*
    ;;
esac
records=("${before[@]}")
for pattern in "${order[@]}"; do
    for file in "$run"/records/$pattern.jsonl*; do
        if [ -f "$file" ]; then records+=("$file"); fi
    done
done
for file in "$run"/*.json "$run"/*.json.gz; do
    if [ -f "$file" ]; then records+=("$file"); fi
done
"$wane" report "${records[@]}" "$@" --out "$out"

mkdir -p "$run/page"
rm -f "$run"/page/*
cp "$out/index.html" "$out/tables.md" "$run/page/"
for figure in accuracy-1.png accuracy-1-snapkv.svg gains-1.png random-1.png learning.png; do
    if [ -f "$out/$figure" ]; then cp "$out/$figure" "$run/page/"; fi
done
du -sh "$run/page"
