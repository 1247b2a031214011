#!/bin/bash
# Where a training step's time goes on a GPU: every kernel's time as Nsight Compute reads it, summed by kernel.
#
#   runs/step-profile.sh NAME [ARGUMENTS of wane train]     NAME: of the files in runs/out/speed
#
#   STEPS=3    steps of the run
#   PASSES=1   optimizer steps that are summed, each by itself, the last one last
# Needs `ncu`. Kernels run one at a time under it, so gaps between launches don't count: compare the sum with the step's time.
set -eu
cd "$(dirname "$0")/.."
[ ! -x runs/gpu-unpack.sh ] || runs/gpu-unpack.sh
wane=${WANE:-$([ -x .gpu/wane ] && echo .gpu/wane || echo target/release/wane)}
out=runs/out/speed
name=$1
shift
mkdir -p "$out"
if [ ! -d "$out/shards" ]; then
    cat crates/*/src/*.rs crates/*/src/*/*.rs >"$out/text.txt"
    "$wane" data pack "$out/text.txt" --tokenizer models/attention --output "$out/shards"
fi
ncu --csv --clock-control none --cache-control none --metrics gpu__time_duration.sum --log-file "$out/$name.csv" \
    "$wane" train runs/train-speed.toml --output "$out/profile-$name" --set log.every=1 --steps "${STEPS:-3}" "$@" \
    >"$out/profile-$name.txt" 2>&1 || tail -n 3 "$out/profile-$name.txt"
python3 - "$out/$name.csv" "${PASSES:-1}" <<'PY'
import collections, csv, sys
rows = [line for line in open(sys.argv[1]) if line.startswith('"')]
launches = []
for row in csv.DictReader(rows):
    value = float(row["Metric Value"].replace(",", ""))
    scale = {"ns": 1e-3, "us": 1.0, "usecond": 1.0, "nsecond": 1e-3, "ms": 1e3, "msecond": 1e3}[row["Metric Unit"]]
    launches.append((row["Kernel Name"][:60], row["Grid Size"].replace(" ", ""), value * scale))
# An optimizer step goes from one `root` (the norm of all gradients) to the next.
ends = [i for i, launch in enumerate(launches) if launch[0].startswith("root")]
for begin, end in list(zip(ends, ends[1:]))[-int(sys.argv[2]):]:
    last = launches[begin + 1 : end + 1]
    print(f"launches {begin}..{end}: {len(last)}, {sum(l[2] for l in last) / 1e3:.2f} ms")
    total, count = collections.Counter(), collections.Counter()
    for name, grid, time in last:
        total[name, grid] += time
        count[name, grid] += 1
    for (name, grid), time in total.most_common(40):
        print(f"{time:9.1f} us {count[name, grid]:4d} x {time / count[name, grid]:7.1f}  {name} {grid}")
PY
