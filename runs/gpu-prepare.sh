#!/bin/bash
# Prepares, on a machine with Rust, what a GPU machine without Rust and without a network needs, in two folders small
# enough to travel one at a time beside the repository (limit: CARRY MiB each).
#
#   runs/gpu-prepare.sh [DATA]        DATA: folder with books_train.txt.zst and books_heldout.txt.zst
#
# runs/out/carry-1: programs and tests (compressed) and the first part of the books; runs/out/carry-2: the rest.
# There, `runs/gpu-unpack.sh` puts together what has arrived; every script calls it. First command there:
#   runs/gpu-unpack.sh && .gpu/conformance.sh
set -eu
cd "$(dirname "$0")/.."
data=${1:-../shared/data}
carry=${CARRY:-22}
rm -rf runs/out/carry-1 runs/out/carry-2
mkdir -p runs/out/carry-1 runs/out/carry-2
[ -n "${SKIP_BUNDLE:-}" ] || cargo xtask bundle
tar -c -C .gpu . | xz -T0 -6 >runs/out/carry-1/bundle.tar.xz
used=$(du -sk runs/out/carry-1 | cut -f1)
first=$((carry * 1024 - used - 64))
if [ "$first" -lt 0 ]; then
    echo "the programs alone need $((used / 1024)) MiB, more than CARRY=$carry" >&2
    exit 1
fi
head -c "$((first * 1024))" "$data/books_train.txt.zst" >runs/out/carry-1/books_train.1
tail -c "+$((first * 1024 + 1))" "$data/books_train.txt.zst" >runs/out/carry-2/books_train.2
cp "$data/books_heldout.txt.zst" runs/out/carry-2/
(cd "$data" && sha256sum books_train.txt.zst books_heldout.txt.zst) >runs/out/carry-2/SHA256
du -sh runs/out/carry-1 runs/out/carry-2
tree=$(git ls-files -z | xargs -0 du -ck 2>/dev/null | tail -n 1 | cut -f1)
echo "the repository itself: $((tree / 1024)) MiB"
