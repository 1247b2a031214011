#!/usr/bin/env bash
# Does the emulator find faults? Each line breaks a copy of the kernels in one place; every one must be caught.
#   mutations.sh [HEAD_DIM] [NAME]      ten minutes on one core; NAME: only those whose name contains it
set -u
cd "$(dirname "$0")"
sources=../../crates/wane-kernels/src/ops/attention
head_dim=${1:-128}
wanted=${2:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
missed=0

mutate() { # mutate NAME FILE SED-EXPRESSION
    [[ "$1" == *"$wanted"* ]] || return
    cp $sources/hopper_tiles.cuh $sources/hopper_forward.cu $sources/hopper_backward.cu "$work"
    sed -i "$3" "$work/$2"
    if cmp -s "$work/$2" "$sources/$2"; then
        echo "$1: THE EXPRESSION CHANGES NOTHING"
        missed=1
        return
    fi
    g++ -std=c++20 -O1 -w -Wno-psabi -DHEAD_DIM="$head_dim" -I "$work" -o "$work/run" main.cpp || exit 1
    for seed in 1 2 3 4; do
        timeout 300 "$work/run" $seed >"$work/out" 2>&1
        case $? in
        0) ;;
        124) echo "$1: no end with seed $seed" ;;
        *)
            echo "$1: caught, $(tail -n 1 "$work/out" | cut -c1-100)"
            return
            ;;
        esac
    done
    echo "$1: MISSED"
    missed=1
}

mutate "no proxy fence before the output leaves" hopper_forward.cu 's/^    fence_async();//'
mutate "no proxy fence after dS" hopper_backward.cu '0,/^    fence_async();/s///'
mutate "no wait before O is scaled" hopper_forward.cu 's/^      products_wait<0>(o);//'
mutate "scores used before they are there" hopper_forward.cu 's/products_wait<1>(s);//'
mutate "keys released before the scores are there" hopper_forward.cu 's/^      named_arrive(next_turn, 256);/release(barriers.key_empty(ring.stage));&/;/products_wait<1>(s);/{n;d}'
mutate "wrong parity of the values" hopper_forward.cu 's/value_full(before.stage), before.parity/value_full(before.stage), before.parity ^ 1/'
mutate "no wait for the values" hopper_forward.cu 's/^      barrier_wait(barriers.value_full(before.stage), before.parity);//'
mutate "queries not released" hopper_forward.cu 's/if (keys == 0) release(barriers.query_empty());//'
mutate "turns not passed on" hopper_forward.cu 's/^      named_arrive(next_turn, 256);//'
mutate "no wait for the staged output" hopper_forward.cu 's/^    if (lane == 0) store_wait_read<0>();//'
mutate "mask one column off" hopper_forward.cu 's/if (column > limit/if (column >= limit/'
mutate "transposed steps of 8 rows" hopper_tiles.cuh 's/(step \* 16 \* ROW_BYTES)/(step * 8 * ROW_BYTES)/'
mutate "slabs lead by the wrong distance" hopper_tiles.cuh 's/(u64)(slab_bytes >> 4) << 16/(u64)(slab_bytes >> 5) << 16/'
mutate "the swizzle forgotten in staging" hopper_tiles.cuh 's/((j % 8 ^ group) << 4)/(j % 8 << 4)/'
mutate "dS without its barrier" hopper_backward.cu '0,/^    named_sync(1, 256);/s///'
mutate "one buffer of dS" hopper_backward.cu 's/(i & 1) \* DS_BYTES/0 * DS_BYTES/'
mutate "queries released before dK" hopper_backward.cu 's/products_wait<2>(dk);/release(barriers.query_empty(ring.stage));/;s/if (next > i) release(barriers.query_empty(ring.stage));//'
mutate "the piece of dq overwritten" hopper_backward.cu '0,/^    if (lane == 0) store_wait_read<0>();/s///'
mutate "keys overwritten while others read them" hopper_backward.cu 's/^  named_sync(1, 256);//'
mutate "a wrong statistic" hopper_backward.cu 's/AT_DELTA + ring.stage/AT_LSE + ring.stage/'
exit $missed
