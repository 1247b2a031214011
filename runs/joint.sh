#!/bin/bash
# The joint pair (issue 4): attention and memory, 1.0B tokens each, second passes on every second batch from the
# start (attention: window 64; memory: dilated, D = 64), then 7M tokens of fine-tuning; then a second cycle of 300M
# tokens and the same fine-tuning; then evaluation: dense and every method of `wane compare`, with SnapKV's wide pooling
# beside the default.
#
#   runs/joint.sh            trains, fine-tunes, evaluates what is missing; start it again until it says `finished`
#
#   SEED=1                   everything but the tokenizer depends on it; several ("2 3") follow each other on each device
#   LIMIT=                   seconds after which it stops cleanly (empty: never), for machines that end long commands
#   DEVICES="cuda:0"         two devices ("cuda:0 cuda:1") train the two halves at the same time
#   BACKBONES="attention memory"   SAMPLES=500 (0: no evaluation)   WANE=.gpu/wane or target/release/wane
#   DATA=../shared/data      folder with books_train.txt.zst and books_heldout.txt.zst
#   COLLECT=                 folder that receives models, records (.xz) and curves, each below 16 MB
#   TRAIN_ARGS= SFT_ARGS=    more arguments of `wane train`, e.g. "--steps 10" for a trial on a CPU
#   EVAL_ARGS="--batch 500"  more arguments of `wane eval`
#
# Time on one H100 (2026-11-26): the first cycle 420 s (attention) and 490 s (memory), fine-tuning 3 s each, at 2.4M and
# 2.0M tokens/s; the evaluation was left out (SAMPLES=0) for runs/protocol.sh. The second cycle takes 108 and 124 s more.
set -eu
cd "$(dirname "$0")/.."
read -r -a seeds <<<"${SEED:-1}"
samples=${SAMPLES:-500}
data=${DATA:-../shared/data}
read -r -a backbones <<<"${BACKBONES:-attention memory}"
read -r -a devices <<<"${DEVICES:-cuda:0}"
out=runs/out
[ ! -x runs/gpu-unpack.sh ] || runs/gpu-unpack.sh
source runs/stages.sh

methods=(dense)
for k in 16 8 4; do methods+=("quest:block=64,k=$k" "moba:block=64,k=$k"); done
for k in 1024 512 256; do methods+=("snapkv:k=$k" "snapkv:k=$k,kernel=15,pool=max"); done

prepare() {
    mkdir -p "$out"
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

# model_name BACKBONE SEED: what records call a model; the first seed is not mentioned.
model_name() { if [ "$2" -eq 1 ]; then echo "$1"; else echo "$1-s$2"; fi; }

# What follows works on one model: $backbone, $seed, $device; $pair is the folder of both halves of that seed.
evaluate() {
    [ ! -f "$pair/eval-$backbone/.complete" ] || return 0
    has_time 20 || return 1
    # Records are written one by one: a run that is ended goes on where it was.
    # shellcheck disable=SC2086
    timeout --signal=TERM "$(left)" "$wane" eval --model "$model" --device "$device" \
        --prompt-form input --samples "$samples" --method "${methods[@]}" ${EVAL_ARGS---batch 500} \
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
    local backbone=$1 seed=$2 device=$3
    local name=joint-$backbone-s$seed pair=$out/joint-s$seed pass=dilated
    local logs=$pair model
    model=$pair/$(model_name "$backbone" "$seed")
    mkdir -p "$pair"
    # shellcheck disable=SC2086
    train "$name" "runs/joint-$backbone.toml" "$device" --seed "$seed" ${TRAIN_ARGS:-} || return
    fine_tune "$name" 1 || return
    [ "$backbone" = memory ] || pass=window
    # shellcheck disable=SC2086
    train "$name-more" runs/joint-more.toml "$device" --seed $((seed + 200)) --set "joint.pass=$pass" \
        --set "model.init=$out/$name-sft/model" ${TRAIN_ARGS:-} || return
    fine_tune "$name-more" 201 || return
    if [ ! -f "$model/config.json" ]; then
        cp -r "$out/$name-more-sft/model" "$model.new"
        mv "$model.new" "$model"
    fi
    [ "$samples" -eq 0 ] || evaluate
}

# finished BACKBONE SEED
finished() {
    local pair=$out/joint-s$2
    if [ "$samples" -eq 0 ]; then [ -f "$pair/$(model_name "$1" "$2")/config.json" ]; else [ -f "$pair/eval-$1/.complete" ]; fi
}

collect() {
    local backbone seed pair model
    mkdir -p "$1"
    for seed in "${seeds[@]}"; do
        pair=$out/joint-s$seed
        [ -d "$pair" ] || continue
        for backbone in "${backbones[@]}"; do
            model=$(model_name "$backbone" "$seed")
            [ ! -d "$pair/$model" ] || tar -cf "$1/$model.tar" -C "$pair" "$model"
            [ ! -f "$pair/eval-$backbone/records.jsonl" ] ||
                python3 runs/pack_records.py "$pair/eval-$backbone" "$1/$model.jsonl.xz"
        done
        # Curves, printed lines and tables of all stages: some 100 kB.
        tar -cJf "$1/logs-s$seed.tar.xz" -C "$out" \
            $(cd "$out" && ls -d joint-s$seed/*.txt joint-*-s$seed*/record.json)
    done
    ls -l "$1"
}

prepare
# Each device works through its backbones, one seed after the other.
work() {
    local backbone seed i
    for seed in "${seeds[@]}"; do
        for i in "${!backbones[@]}"; do
            [ "$((i % ${#devices[@]}))" -eq "$1" ] || continue
            chain "${backbones[$i]}" "$seed" "${devices[$1]}" || true
        done
    done
}
for i in "${!devices[@]}"; do work "$i" & done
wait
[ -z "${COLLECT:-}" ] || collect "$COLLECT"
for seed in "${seeds[@]}"; do
    for backbone in "${backbones[@]}"; do
        if ! finished "$backbone" "$seed"; then
            echo "not finished after $SECONDS s ($backbone, seed $seed): start it again"
            exit 75
        fi
    done
done
echo "finished: $out/joint-s*; tables in eval-*.txt there, page: $wane report $out/joint-s*/eval-* --out $out/page"
