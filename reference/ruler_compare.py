"""Compares a file of NVIDIA's with one of ours: byte by byte, or, for the scripts of 2024, whose lines have fewer fields, by the
prompt (answer prefix included), the answers and the length.

    python reference/ruler_compare.py NAME THEIRS OURS
"""
import hashlib, json, os, sys

name, theirs, ours = sys.argv[1:4]
for path in (theirs, ours):
    if not os.path.isfile(path):
        print(f"{name:<44} MISSING {path}")
        sys.exit(1)
a, b = open(theirs, "rb").read(), open(ours, "rb").read()
rows = [[json.loads(line) for line in text.splitlines()] for text in (a, b)]
old = rows[0] and "answer_prefix" not in rows[0][0]
fields = lambda row: (row["input"] + row.get("answer_prefix", ""), row["outputs"], row["length"])
same = [fields(x) for x in rows[0]] == [fields(y) for y in rows[1]] if old else a == b
print(f"{name:<44} {len(rows[0]):>4} samples, {len(a):>9} bytes, sha256 {hashlib.sha256(a).hexdigest()[:16]}  {'equal in prompt, answers, length' if same and old else 'identical' if same else 'DIFFERENT'}", flush=True)
sys.exit(not same)
