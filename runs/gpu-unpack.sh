#!/bin/bash
# Puts together what `runs/gpu-prepare.sh` packed and what has arrived so far: .gpu/ (programs, tests) and
# runs/out/data (books, once both parts are there). Nothing to do is no error.
set -eu
cd "$(dirname "$0")/.."
if [ runs/out/carry-1/bundle.tar.xz -nt .gpu/.unpacked ]; then
    mkdir -p .gpu
    tar -xJf runs/out/carry-1/bundle.tar.xz -C .gpu
    touch .gpu/.unpacked
fi
if [ -f runs/out/carry-1/books_train.1 ] && [ -f runs/out/carry-2/books_train.2 ] && [ ! -e runs/out/data ]; then
    mkdir -p runs/out/data.new
    cat runs/out/carry-1/books_train.1 runs/out/carry-2/books_train.2 >runs/out/data.new/books_train.txt.zst
    cp runs/out/carry-2/books_heldout.txt.zst runs/out/data.new/
    (cd runs/out/data.new && sha256sum --quiet --check ../carry-2/SHA256)
    mv runs/out/data.new runs/out/data
fi
