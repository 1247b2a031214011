"""Makes the records of an evaluation small enough to keep: times rounded to three digits, lines sorted so that equal
text stands together, compressed. `wane report` reads the .zst form.

    python3 runs/pack_records.py FOLDER OUT.jsonl.xz       needs nothing besides Python
    python3 runs/pack_records.py FOLDER OUT.jsonl.zst      needs the program zstd
    python3 runs/pack_records.py IN.jsonl.xz OUT.jsonl.zst
"""
import collections, json, lzma, os, subprocess, sys

source, target = sys.argv[1:3]
if os.path.isdir(source):
    source = os.path.join(source, "records.jsonl")
opened = lzma.open(source, "rt") if source.endswith(".xz") else open(source)
with opened as lines:
    records = []
    for line in lines:
        if not line.endswith("\n"):
            break  # a line that was being written when the run ended
        records.append(json.loads(line))
seconds = collections.Counter()
counts = collections.Counter()
for record in records:
    if "seconds" in record:
        record["seconds"] = {k: float(f"{v:.3g}") if isinstance(v, float) else v for k, v in record["seconds"].items()}
        seconds[record["method"]] += record["seconds"]["prefill"] + record["seconds"]["decode"]
        counts[record["method"]] += 1
records.sort(key=lambda r: (r.get("task", ""), r.get("sample", 0), r.get("method", "")))
data = "".join(json.dumps(r, separators=(",", ":")) + "\n" for r in records).encode()
if target.endswith(".zst"):
    with open(target, "wb") as out:
        subprocess.run(["zstd", "-q", "-19", "--zstd=wlog=22", "-c"], input=data, stdout=out, check=True)
else:
    with lzma.open(target, "wb", preset=6) as out:
        out.write(data)
print(f"{target}: {len(records)} records, {os.path.getsize(target)} bytes")
for method, count in sorted(counts.items()):
    if seconds[method] > 0:
        print(f"  {count / seconds[method]:8.1f} examples/s  {method}")
