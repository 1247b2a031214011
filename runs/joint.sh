#!/bin/bash
# The joint pair (issue 4): attention and memory, 1.0B tokens each, second passes on every second batch from the
# start (attention: window 64; memory: dilated, D = 64), then 7M tokens of fine-tuning; then a second cycle of 300M
# tokens and the same fine-tuning; then evaluation: dense and every method of `wane compare`, with SnapKV's wide pooling
# beside the default.
#
#   runs/joint.sh            trains, fine-tunes, evaluates what is missing; start it again until it says `finished`
#
#   SEED=1                   everything but the tokenizer depends on it
#   LIMIT=                   seconds after which it stops cleanly (empty: never), for machines that end long commands
#   DEVICES="cuda:0"         two devices ("cuda:0 cuda:1") train the two halves at the same time
#   BACKBONES="attention memory"   SAMPLES=500 (0: no evaluation)   WANE=.gpu/wane or target/release/wane
#   DATA=../shared/data      folder with books_train.txt.zst and books_heldout.txt.zst
#   COLLECT=                 folder that receives models, records (.xz) and curves, each below 16 MB
#   TRAIN_ARGS= SFT_ARGS=    more arguments of `wane train`, e.g. "--steps 10" for a trial on a CPU
#
# Time on one H100 (2026-11-26): the first cycle 420 s (attention) and 490 s (memory), fine-tuning 3 s each, at 2.4M and
# 2.0M tokens/s; the evaluation was left out (SAMPLES=0) for runs/protocol.sh. So LIMIT=580 three times in a row on one GPU.
set -eu
cd "$(dirname "$0")/.."
seed=${SEED:-1}
samples=${SAMPLES:-500}
data=${DATA:-../shared/data}
read -r -a backbones <<<"${BACKBONES:-attention memory}"
read -r -a devices <<<"${DEVICES:-cuda:0}"
out=runs/out
pair=$out/joint-s$seed
[ ! -x runs/gpu-unpack.sh ] || runs/gpu-unpack.sh
logs=$pair
source runs/stages.sh

methods=(dense)
for k in 16 8 4; do methods+=("quest:block=64,k=$k" "moba:block=64,k=$k"); done
for k in 1024 512 256; do methods+=("snapkv:k=$k" "snapkv:k=$k,kernel=15,pool=max"); done

prepare() {
    mkdir -p "$out" "$pair"
    if [ ! -e "$out/data/books_train.txt.zst" ]; then
        if [ ! -e "$data/books_train.txt.zst" ]; then
            echo "no books in $data: set DATA, or bring both folders of runs/gpu-prepare.sh" >&2
            exit 2
        fi
        ln -sfn "$(cd "$data" && pwd)" "$out/data"
    fi
    # The tokenizer of the first pair, trained on the same books: `wane tokenizer train --vocab-size 4096`.
    if [ ! -f "$out/tokenizer/tokenizer.json" ]; then
        mkdir -p "$out/tokenizer"
        cp models/attention/tokenizer_config.json models/attention/tokenizer.json "$out/tokenizer/"
    fi
    for part in train heldout; do
        if [ ! -f "$out/shards-$part/.complete" ]; then
            "$wane" data pack "$out/data/books_$part.txt.zst" --separator '\n\n\n' \
                --tokenizer "$out/tokenizer" --output "$out/shards-$part"
            touch "$out/shards-$part/.complete"
        fi
    done
}

evaluate() {
    local backbone=$1 device=$2
    [ ! -f "$pair/eval-$backbone/.complete" ] || return 0
    has_time 20 || return 1
    # Records are written one by one: a run that is ended goes on where it was.
    timeout --signal=TERM "$(left)" "$wane" eval --model "$pair/$backbone" --device "$device" \
        --prompt-form input --samples "$samples" --method "${methods[@]}" ${EVAL_ARGS:-} \
        --out "$pair/eval-$backbone" --resume >"$pair/eval-$backbone.txt" 2>"$pair/eval-$backbone.log" ||
        { tail -n 2 "$pair/eval-$backbone.log" >&2; return 1; }
    touch "$pair/eval-$backbone/.complete"
}

# fine_tune NAME OFFSET: on samples of another seed each time.
fine_tune() {
    # shellcheck disable=SC2086
    train "$1-sft" runs/joint-sft.toml "$device" --seed $((seed + $2)) --set "model.init=$out/$1/model" \
        --set "data.generated.seed=$((20000 + seed + $2))" ${SFT_ARGS:-}
}

chain() {
    local backbone=$1 device=$2 name=joint-$1-s$seed
    # shellcheck disable=SC2086
    train "$name" "runs/joint-$backbone.toml" "$device" --seed "$seed" ${TRAIN_ARGS:-} || return
    fine_tune "$name" 1 || return
    local pass=dilated
    [ "$backbone" = memory ] || pass=window
    # shellcheck disable=SC2086
    train "$name-more" runs/joint-more.toml "$device" --seed $((seed + 200)) --set "joint.pass=$pass" \
        --set "model.init=$out/$name-sft/model" ${TRAIN_ARGS:-} || return
    fine_tune "$name-more" 201 || return
    if [ ! -f "$pair/$backbone/config.json" ]; then
        cp -r "$out/$name-more-sft/model" "$pair/$backbone.new"
        mv "$pair/$backbone.new" "$pair/$backbone"
    fi
    [ "$samples" -eq 0 ] || evaluate "$backbone" "$device"
}

finished() {
    if [ "$samples" -eq 0 ]; then [ -f "$pair/$1/config.json" ]; else [ -f "$pair/eval-$1/.complete" ]; fi
}

collect() {
    local backbone name
    mkdir -p "$1"
    for backbone in "${backbones[@]}"; do
        name=joint-$backbone-s$seed
        [ ! -d "$pair/$backbone" ] || tar -cf "$1/$backbone-s$seed.tar" -C "$pair" "$backbone"
        [ ! -f "$pair/eval-$backbone/records.jsonl" ] ||
            python3 runs/pack_records.py "$pair/eval-$backbone" "$1/$backbone-s$seed.jsonl.xz"
    done
    # Curves, printed lines and tables of all stages: some 100 kB.
    tar -cJf "$1/logs-s$seed.tar.xz" -C "$out" $(cd "$out" && ls -d joint-s$seed/*.txt joint-*-s$seed*/record.json)
    ls -l "$1"
}

prepare
pids=()
for i in "${!backbones[@]}"; do
    device=${devices[$((i % ${#devices[@]}))]}
    if [ "${#devices[@]}" -gt 1 ]; then
        chain "${backbones[$i]}" "$device" &
        pids+=($!)
    else
        chain "${backbones[$i]}" "$device" || true
    fi
done
for pid in "${pids[@]}"; do wait "$pid" || true; done
[ -z "${COLLECT:-}" ] || collect "$COLLECT"
for backbone in "${backbones[@]}"; do
    if ! finished "$backbone"; then
        echo "not finished after $SECONDS s ($backbone): start it again"
        exit 75
    fi
done
echo "finished: $pair; tables in $pair/eval-*.txt, page: $wane report $pair/eval-* --out $pair/page"
