#!/bin/bash
# Adds the memory to the finished attention model and continues for a tenth of its tokens, beside the same continuation
# without it (issue 4, item 5), then fine-tunes both as the pair was. Safe to interrupt and to start again.
#
#   runs/memory-added.sh
#
#   INIT=models/attention    the finished model
#   DEVICES="cuda:0"         two devices train both at the same time
#   LIMIT=  WANE=...  TRAIN_ARGS= SFT_ARGS=  as in runs/joint.sh, whose shards, tokenizer and books it uses
#
# Result: runs/out/added/attention-added (the control) and memory-added; tables by
#   MODELS="runs/out/added/attention-added runs/out/added/memory-added" RESULTS=runs/out/added/eval runs/protocol.sh
set -eu
cd "$(dirname "$0")/.."
init=${INIT:-models/attention}
limit=${LIMIT:-}
read -r -a devices <<<"${DEVICES:-cuda:0}"
out=runs/out/added
wane=${WANE:-$([ -x .gpu/wane ] && echo .gpu/wane || echo target/release/wane)}
mkdir -p "$out"

# stage NAME CONFIG DEVICE ARGUMENTS: true once runs/out/added/NAME/model is there.
stage() {
    local name=$1 config=$2 device=$3 left=1000000
    shift 3
    [ ! -f "$out/$name/model/config.json" ] || return 0
    [ -z "$limit" ] || left=$((limit - SECONDS - 12))
    [ "$left" -gt 8 ] || return 75
    "$wane" train "$config" --device "$device" --output "$out/$name" --resume --max-seconds "$left" \
        --set "name=$name" "$@" >>"$out/$name.txt" 2>&1 || { tail -n 3 "$out/$name.txt" >&2; return 2; }
    tail -n 1 "$out/$name.txt"
    [ -f "$out/$name/model/config.json" ]
}

# chain NAME CONFIG DEVICE
chain() {
    # shellcheck disable=SC2086
    stage "$1-base" "runs/$2.toml" "$3" --set "model.init=$init" ${TRAIN_ARGS:-} || return
    # shellcheck disable=SC2086
    stage "$1-sft" runs/joint-sft.toml "$3" --set "model.init=$out/$1-base/model" ${SFT_ARGS:-} || return
    ln -sfn "$1-sft/model" "$out/$1"
}

chain attention-added memory-added-control "${devices[0]}" &
control=$!
[ "${#devices[@]}" -gt 1 ] || wait "$control" || true
status=0
chain memory-added memory-added "${devices[-1]}" || status=75
wait "$control" || status=75
[ "$status" -eq 0 ] && echo "finished: $out/attention-added, $out/memory-added" ||
    echo "not finished after $SECONDS s: start it again"
exit $status
