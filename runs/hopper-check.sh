#!/usr/bin/env bash
# The Hopper attention kernels on an H100 or H200: do they agree with the reference, and how fast are they?
#   runs/gpu-prepare.sh (or cargo xtask bundle)   # here; then on the GPU machine, carrying what it packed:
#   OUT=/tmp/out bash runs/hopper-check.sh
# Under 8 minutes. Small shapes first, each step under a time limit, so that a kernel that hangs or fails
# costs one step. Full logs in $OUT; the table of ratios comes last. Exit status: 0 if every test passed.
set -u
cd "$(dirname "$0")/.."
out=${OUT:-runs/out/hopper}
mkdir -p "$out"
[ -x .gpu/kernels-tests ] || runs/gpu-unpack.sh
export WANE_TEST_DEVICE=cuda WANE_CACHE="$out/cache"
status=0

step() { # step SECONDS LOG COMMAND...
    local limit=$1 log=$2
    shift 2
    echo "== $* (at most $limit s)"
    timeout -k 5 "$limit" "$@" >"$out/$log" 2>&1
    local result=$?
    if [ $result -ne 0 ]; then
        status=1
        [ $result -eq 124 ] && echo "TIMED OUT: a wait that nobody ends?"
    fi
    tail -n 25 "$out/$log" | cut -c1-400
    return $result
}

nvidia-smi --query-gpu=name,driver_version,clocks.sm --format=csv,noheader || true
tests() { env WANE_CUDA_SYNC=1 .gpu/kernels-tests --test-threads=1 "$@"; }
export -f tests
small=ops::attention::tests::lengths_of_several_tiles_with_grouped_heads
if ! step 90 small.txt bash -c "tests --exact $small"; then
    # What the first failing kernel did: out-of-bounds, misaligned, or a barrier misused.
    step 90 memcheck.txt env WANE_CUDA_SYNC=1 compute-sanitizer --tool memcheck --print-limit 5 \
        .gpu/kernels-tests --test-threads=1 --exact $small
fi
step 120 attention.txt bash -c "tests ops::attention"
# Through the models' own calls, with these kernels (the default) and with the portable ones.
step 60 model.txt .gpu/model-tests --test-threads=1
step 60 portable.txt env WANE_CUDA_ATTENTION=portable .gpu/model-tests --test-threads=1
step 90 bench.txt .gpu/cuda_attention_bench causal
step 90 torch.txt python3 reference/torch_attention_speed.py "$out/bench.txt"
exit $status
