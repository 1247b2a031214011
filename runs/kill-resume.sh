#!/bin/bash
# Kills a training run with -9 at random moments, goes on with --resume until it is finished, and compares the final
# weights with those of a run that was left alone: on a CPU they must be the same to the bit.
#
#   runs/kill-resume.sh [KILLS]      20 kills by default; SEED of the moments (default: the clock), WANE, OUT
#
# The run has second passes, the memory with its own learning rate, accumulation and generated samples, and saves
# every third step, so that many kills fall into saving. Needs about a minute on 2 cores.
set -eu
cd "$(dirname "$0")/.."
kills=${1:-20}
wane=${WANE:-target/release/wane}
out=${OUT:-runs/out/kill-resume}
RANDOM=${SEED:-$$}
rm -rf "$out"
mkdir -p "$out"
cat >"$out/run.toml" <<'TOML'
name = "kill-resume"
output = "unused"
seed = 7
[model]
backbone = "memory"
gate_bias = "spread"
tokenizer = "models/memory"
hidden_size = 64
num_hidden_layers = 2
num_attention_heads = 2
intermediate_size = 128
[data.generated]
tasks = ["niah_single_1"]
[[stages]]
until = 1.0
lengths = [96, 256]
questions = [1, 2]
[training]
sequence = 256
batch = 4
accumulation = 2
steps = 60
[optimizer]
lr = 1e-3
memory_lr = 3e-3
[joint]
pass = "dilated"
dilation = 16
every = 2
[validation]
every = 20
samples_per_task = 2
[checkpoint]
every = 3
keep = 2
[log]
every = 5
TOML
start=$(date +%s%N)
"$wane" train "$out/run.toml" --output "$out/whole" >"$out/whole.txt" 2>&1
milliseconds=$((($(date +%s%N) - start) / 1000000))
echo "one run: $milliseconds ms"
done_kills=0
while [ ! -f "$out/killed/model/config.json" ]; do
    "$wane" train "$out/run.toml" --output "$out/killed" --resume >>"$out/killed.txt" 2>&1 &
    pid=$!
    if [ "$done_kills" -lt "$kills" ]; then
        # Up to half of a whole run: now and then before the first step, mostly after several checkpoints.
        wait_ms=$((RANDOM * milliseconds / 2 / 32768))
        sleep "$(printf '%d.%03d' $((wait_ms / 1000)) $((wait_ms % 1000)))"
        if kill -9 "$pid" 2>/dev/null; then done_kills=$((done_kills + 1)); fi
        wait "$pid" 2>/dev/null || true
        # Whatever is there under its final name must be whole.
        for folder in "$out"/killed/checkpoints/step-*; do
            [ ! -e "$folder" ] || for file in config.json model.safetensors optimizer.safetensors training.json run.toml; do
                [ -s "$folder/$file" ] || { echo "broken: $folder has no $file" >&2; exit 1; }
            done
        done
    else
        wait "$pid" || { tail -n 3 "$out/killed.txt" >&2; exit 1; }
    fi
done
cmp "$out/whole/model/model.safetensors" "$out/killed/model/model.safetensors"
last=$(basename "$(ls -d "$out"/whole/checkpoints/step-* | tail -n 1)")
cmp "$out/whole/checkpoints/$last/optimizer.safetensors" "$out/killed/checkpoints/$last/optimizer.safetensors"
python3 - "$out/whole/record.json" "$out/killed/record.json" <<'PY'
import json, sys
whole, killed = (json.load(open(path)) for path in sys.argv[1:])
curve = lambda record: [(p["step"], p["loss"], p["norm"]) for p in record["curve"]]
assert curve(whole) == curve(killed), "the curves differ"
print(f"{len(killed['resumed_from'])} times resumed, from steps {killed['resumed_from']}")
PY
echo "killed $done_kills times: weights, moments and curve are the same to the bit"
