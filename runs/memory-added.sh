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
read -r -a devices <<<"${DEVICES:-cuda:0}"
out=runs/out/added
logs=$out
source runs/stages.sh
mkdir -p "$out"

# chain NAME CONFIG DEVICE
chain() {
    # shellcheck disable=SC2086
    train "$1-base" "runs/$2.toml" "$3" --set "model.init=$init" ${TRAIN_ARGS:-} || return
    # shellcheck disable=SC2086
    train "$1-sft" runs/joint-sft.toml "$3" --set "model.init=$out/$1-base/model" ${SFT_ARGS:-} || return
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
