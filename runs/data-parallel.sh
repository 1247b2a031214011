#!/bin/bash
# Data parallel training on one machine: one process a device, each with its part of every batch; with several machines
# use torchrun (`torchrun --no-python ... wane train CONFIG`), which sets the same variables.
#
#   runs/data-parallel.sh PROCESSES CONFIG.toml [ARGUMENTS of wane train]
#
# training.batch is that of all processes together and must be divisible by PROCESSES times training.accumulation. With
# `--device cuda` process i takes GPU i and gradients are summed by NCCL (libnccl.so.2 is loaded at run time); on a CPU
# they go over TCP (MASTER_PORT, default 29400). Rank 0 writes checkpoints, records and progress; all ranks read the same
# folders. If one process ends, the others end with its reason; start again with --resume.
#
# Two H100 (2026-11-27) against one: losses of 50 steps within 1.5e-4 in bf16, 1.64 (7M shape) and 1.90 (120M) times the
# tokens/s. To check another machine: runs/data-parallel.sh 2 runs/joint-memory.toml --steps 50 --output runs/out/two
set -eu
[ $# -ge 2 ] || { sed -n '2,8p' "$0" >&2; exit 2; }
size=$1 config=$2
shift 2
wane=${WANE:-$([ -x .gpu/wane ] && echo .gpu/wane || echo target/release/wane)}
export WORLD_SIZE=$size MASTER_ADDR=${MASTER_ADDR:-127.0.0.1} MASTER_PORT=${MASTER_PORT:-29400}
# Multicast over NVLink can put a shared host's GPUs out of service.
export NCCL_NVLS_ENABLE=${NCCL_NVLS_ENABLE:-0}
pids=()
trap 'kill -INT "${pids[@]}" 2>/dev/null || true' INT TERM
for rank in $(seq 0 $((size - 1))); do
    RANK=$rank LOCAL_RANK=$rank "$wane" train "$config" "$@" &
    pids+=($!)
done
status=0
for pid in "${pids[@]}"; do
    # A signal ends `wait` before the process has ended: then wait again.
    while :; do
        code=0
        wait "$pid" || code=$?
        kill -0 "$pid" 2>/dev/null || break
    done
    [ "$code" -eq 0 ] || status=$code
done
exit $status
