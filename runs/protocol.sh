#!/bin/bash
# The full protocol (issue 6, item 5) on a pair of models: every row of the paper's Tables 3 to 5, random selectors
# with five seeds, compositions, dilated inference, two local blocks, wide pooling, hit rates.
#
#   runs/protocol.sh         runs what is missing; start it again until it says `finished`
#
#   SAMPLES=500              samples of each task; PURE_SAMPLES and HITS_SAMPLES default to it
#   PARTS="paper prefix random extra hits pure"   in this order, so that the most important come first
#   LIMIT=                   seconds after which it stops (empty: never)
#   DEVICES="cuda:0"         parts are spread over them
#   JOBS=                    parts that run at the same time, each a process; as many as devices
#   MODELS="models/attention models/memory"  TASKS=niah  RESULTS=runs/out/protocol  WANE=...
#   EVAL_ARGS="--batch 500"  further arguments of `wane eval` and `wane hits`
#   COLLECT=                 folder that receives the compressed records
#
# Size at 500 samples: 26 (paper, prefix) + 15 (random) + 16 (extra) rows x 8 tasks x 2 models = 456,000 examples, and 120,000
# of random_pure; hits come on top. On an H100 (2026-11-27) one process that has a GPU to itself runs about 700 a second in
# batches of 500 (0.2 to 0.9 ms a method, 1.0 to 2.4 ms a prefill), so some 11 minutes; two that share a GPU are slower.
set -eu
cd "$(dirname "$0")/.."
samples=${SAMPLES:-500}
tasks=${TASKS:-niah}
out=${RESULTS:-runs/out/protocol}
read -r -a parts <<<"${PARTS:-paper prefix random extra hits pure}"
read -r -a models <<<"${MODELS:-models/attention models/memory}"
read -r -a devices <<<"${DEVICES:-cuda:0}"
jobs=${JOBS:-${#devices[@]}}
[ ! -x runs/gpu-unpack.sh ] || runs/gpu-unpack.sh
source runs/stages.sh

# Tables 3 and 4 (budgets 1/4, 1/8, 1/16 and Quest's 1/64), dense first.
paper=(dense)
for k in 16 8 4; do paper+=("quest:block=64,k=$k"); done
paper+=("quest:block=16,k=4")
for k in 16 8 4; do paper+=("moba:block=64,k=$k"); done
for k in 8 4; do paper+=("moba:block=128,k=$k"); done
for k in 1024 512 256; do paper+=("snapkv:k=$k"); done
# Table 5: the choice replaced by a uniform draw, forced parts kept; and the draw alone.
random=() pure=()
for seed in 0 1 2 3 4; do
    for method in quest:block=64,k=16 moba:block=64,k=16 snapkv:k=1024; do
        random+=("$method,selector=random,seed=$seed")
        pure+=("$method,selector=random_pure,seed=$seed")
    done
done
# What the paper did not try.
extra=(
    "moba:block=64,k=16+quest:block=64,k=16"
    "snapkv:k=1024+quest:block=64,k=4"
    "moba:block=64,k=16+snapkv:k=1024+quest:block=64,k=4"
    "dilated:d=16,window=256,initial=4" "dilated:d=64,window=256,initial=4"
    "streaming:window=1020,first=4"
    "snapkv:k=1024,kernel=15,pool=max" "snapkv:k=512,kernel=15,pool=max" "snapkv:k=256,kernel=15,pool=max"
)
for k in 16 8 4; do extra+=("quest:block=64,k=$k,local=2" "moba:block=64,k=$k,local=2"); done
extra+=("moba:block=16,k=64")
hits=(quest:block=64,k=16 quest:block=64,k=4 snapkv:k=1024 snapkv:k=256 moba:block=64,k=16 moba:block=64,k=4)

# part PART MODEL DEVICE: true once it is complete. Records are written one by one, so an ended run goes on.
part() {
    local part=$1 model=$2 device=$3 folder methods=() count=$samples form=input
    folder=$out/$part-$(basename "$model")
    [ ! -f "$folder/.complete" ] || return 0
    has_time 20 || return 1
    mkdir -p "$folder"
    case $part in
    paper) methods=("${paper[@]}") ;;
    prefix) methods=("${paper[@]}") form=prefix ;;
    random) methods=("${random[@]}") ;;
    pure) methods=("${pure[@]}") count=${PURE_SAMPLES:-$samples} ;;
    extra) methods=("${extra[@]}") ;;
    hits) methods=("${hits[@]}") count=${HITS_SAMPLES:-$samples} ;;
    *) echo "PARTS: unknown part $part (paper prefix random extra hits pure)" >&2; return 2 ;;
    esac
    local command=("$wane" eval --method "${methods[@]}" --prompt-form "$form")
    [ "$part" != hits ] || command=("$wane" hits --method "${methods[@]}" --prompt-form "$form")
    # shellcheck disable=SC2086
    timeout --signal=TERM "$(left)" "${command[@]}" --model "$model" --device "$device" --tasks "$tasks" \
        --samples "$count" --out "$folder" --resume ${EVAL_ARGS---batch 500} >"$folder.txt" 2>"$folder.log" ||
        { tail -n 2 "$folder.log" >&2; return 1; }
    touch "$folder/.complete"
    echo "$part $(basename "$model"): done after $SECONDS s"
}

mkdir -p "$out"
# Part by part, so that both models have the important ones when the time is up.
status=0 started=0
for name in "${parts[@]}"; do
    for model in "${models[@]}"; do
        if [ "$started" -ge "$jobs" ]; then wait -n || status=1; fi
        part "$name" "$model" "${devices[$((started % ${#devices[@]}))]}" &
        started=$((started + 1))
    done
done
while [ "$(jobs -r | wc -l)" -gt 0 ]; do wait -n || status=1; done
for name in "${parts[@]}"; do
    for model in "${models[@]}"; do [ -f "$out/$name-$(basename "$model")/.complete" ] || status=1; done
done
if [ -n "${COLLECT:-}" ]; then
    mkdir -p "$COLLECT"
    for folder in "$out"/*/; do
        name=$(basename "$folder")
        for file in records hits; do
            [ ! -f "$folder/$file.jsonl" ] ||
                python3 runs/pack_records.py "$folder/$file.jsonl" "$COLLECT/$name.jsonl.xz" >"$folder.speed.txt" &
        done
    done
    wait
    tar -cJf "$COLLECT/records.tar.xz" -C "$COLLECT" --remove-files $(cd "$COLLECT" && ls | grep 'jsonl.xz$')
    tar -cJf "$COLLECT/tables.tar.xz" -C "$out" $(cd "$out" && ls | grep txt$)
    ls -l "$COLLECT"
fi
if [ $status -ne 0 ]; then
    echo "not finished after $SECONDS s: start it again"
    exit 75
fi
echo "finished after $SECONDS s: $out; page: $wane report $out/{paper,prefix,random,extra,hits,pure}-*/ --out $out/page"
