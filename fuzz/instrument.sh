#!/bin/bash
# cargo's RUSTC_WRAPPER: adds coverage to the crates that read input, and leaves the others alone (the matrix
# products alone would take many minutes to build with it).
rustc=$1
shift
case " $* " in
    *" --crate-name wane_model "* | *" --crate-name wane_attention "* | *" --crate-name safetensors "* | \
        *" --crate-name serde_json "* | *" --crate-name gguf "* | *" --crate-name pth "* | *" --crate-name method "*)
        flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
        for what in inline-8bit-counters pc-table trace-compares; do
            flags="$flags -Cllvm-args=-sanitizer-coverage-$what"
        done
        # shellcheck disable=SC2086
        exec "$rustc" "$@" $flags
        ;;
esac
exec "$rustc" "$@"
