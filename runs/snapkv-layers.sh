#!/bin/bash
# Where SnapKV loses (LOG.md, 2026-11-27): eviction that starts in a later layer, and pooling kernels of several widths.
# Two CPU cores need about two minutes a model.
#
#   runs/snapkv-layers.sh MODEL..       SAMPLES=10   TASKS=niah_single_1,...   K=1024   OUT=runs/out/snapkv-layers   WANE=...
#
# Prints for each model the accuracy with eviction from layer 0, 1, ... on and with kernels 1, 3, ..., and leaves the records
# in OUT/MODEL. Run it again: it goes on where it was.
set -eu
cd "$(dirname "$0")/.."
wane=${WANE:-target/release/wane}
out=${OUT:-runs/out/snapkv-layers}
k=${K:-1024}
for model in "$@"; do
    layers=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1] + "/config.json"))["num_hidden_layers"])' "$model")
    methods=(dense)
    for pooling in kernel=5,pool=avg kernel=15,pool=max; do
        for ((layer = 0; layer < layers; layer++)); do methods+=("snapkv:k=$k,$pooling,dense_layers=$layer"); done
    done
    for kernel in 1 3 5 7 9 11 15; do
        methods+=("snapkv:k=$k,kernel=$kernel,pool=avg" "snapkv:k=$k,kernel=$kernel,pool=max")
    done
    name=$(basename "$model")
    "$wane" eval --model "$model" --prompt-form input --samples "${SAMPLES:-10}" --batch 10 --resume --out "$out/$name" \
        --tasks "${TASKS:-niah_single_1,niah_single_2,niah_multikey_1,niah_multivalue}" --method "${methods[@]}" >/dev/null
    python3 - "$out/$name/records.jsonl" <<'PY'
import collections, json, re, sys
scores, model = collections.defaultdict(list), ""
for line in open(sys.argv[1]):
    record = json.loads(line)
    model = record["model"]
    find = lambda key: (re.findall(key + r"=(\w+)", record["method"]) or [""])[0]
    scores[find("pool"), find("kernel"), find("dense_layers")].append(100 * record["scores"]["comma_set"])
mean = lambda key: "%.1f" % (sum(scores[key]) / len(scores[key]))
print(model, "dense", mean(("", "", "")))
for pool, kernel in ("avg", "5"), ("max", "15"):
    keys = sorted(key for key in scores if key[:2] == (pool, kernel))
    print(f"  kernel {kernel}, {pool}: evicting from layer 0, 1, .. on:", *map(mean, keys))
for pool in "avg", "max":
    keys = sorted((key for key in scores if key[0] == pool and key[2] == "0"), key=lambda key: int(key[1]))
    print(f"  {pool}, kernels", *(f"{key[1]}: {mean(key)}" for key in keys))
PY
done
