"""Hashes of what NVIDIA's scripts make of texts that we may store: the shipped haystack, the tables of punkt.json, the small stand-ins.

    python reference/ruler_fixtures.py prepare DIR
    export WORK=DIR ESSAYS=DIR/essays.json PUNKT=DIR/punkt SQUAD=fixtures/ruler/squad.json HOTPOTQA=fixtures/ruler/hotpotqa.json
    SEARCHES=binary CONTEXTS=4096 TOKENIZERS=cl100k runs/ruler-check.sh RULER_CLONE 6
    SEARCHES=binary CONTEXTS=1024 TOKENIZERS=models/attention runs/ruler-check.sh RULER_CLONE 6
    SEARCHES="linear linear-2025" CONTEXTS=2048 TOKENIZERS=cl100k runs/ruler-check.sh RULER_CLONE 6
    python reference/ruler_fixtures.py collect DIR fixtures/ruler/nvidia.json

A hash is that of the file; for the scripts of 2024, whose lines have fewer fields, that of lines [prompt, answers, length].
"""
import glob, hashlib, json, os, sys, zlib

command, folder = sys.argv[1:3]
if command == "prepare":
    os.makedirs(f"{folder}/punkt", exist_ok=True)
    text = zlib.decompress(open("crates/wane-eval/data/sotu.zlib", "rb").read()).decode()
    json.dump({"text": text}, open(f"{folder}/essays.json", "w"))
    for name, table in json.load(open("fixtures/ruler/punkt.json", encoding="utf-8"))["tables"].items():
        open(f"{folder}/punkt/{name}", "w", encoding="utf-8").write(table + "\n")
    sys.exit()

hashes = {}
for path in sorted(glob.glob(f"{folder}/nvidia/*/*/validation.jsonl")):
    run, task = path.split("/")[-3:-1]
    raw = open(path, "rb").read()
    rows = [json.loads(line) for line in raw.splitlines()]
    if "answer_prefix" not in rows[0]:
        raw = "".join(json.dumps([r["input"], r["outputs"], r["length"]]) + "\n" for r in rows).encode()
    hashes.setdefault(run, {})[task] = hashlib.sha256(raw).hexdigest()
json.dump(hashes, open(sys.argv[3], "w"), indent=1)
print(sum(map(len, hashes.values())), "files")
