"""Writes small prediction files and what NVIDIA's evaluate.py says about them: fixtures/ruler/predictions/.

    python reference/ruler_evaluate.py RULER fixtures/ruler/predictions

RULER is a checkout of NVIDIA/RULER; its evaluate.py runs unmodified in a copy of the folder (it deletes files).
It imports one function pair of NeMo, which is given here instead: JSON lines read and written with `json`. Needs
pandas, PyYAML, tqdm, nltk.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

NEMO = """
import json
def read_manifest(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
def write_manifest(path, rows):
    with open(path, "w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row) + "\\n")
"""

# File name without .jsonl: (prediction, references, id of `others` or None) a line.
FILES = {
    "niah_single_1": [
        (" 1234567. The grass", ["1234567"], None), ("", ["7654321"], None), ("none,\"quoted\"", ["1111111"], None),
    ],
    "niah_multivalue": [
        (" 1,22,333", ["1", "22", "333", "4444"], None), ("\x00\x1c", ["5"], None), ("a\x07b\r\nc", ["a\nb", "x"], None),
        (" 88", ["88", "88", "9"], None), ("caf\u00c9", ["CAF\u00e9"], None), ("7", ["8", "9", "7"], 40),
    ],
    "vt": [(" AAAAA BBBBB", ["AAAAA", "BBBBB", "CCCCC", "DDDDD", "EEEEE"], None)],
    "fwe-0": [("abcdef ghijkl", ["abcdef", "ghijkl", "mnopqr"], None)],
    "fwe-1": [("x", ["abcdef", "ghijkl", "mnopqr"], None), ("mnopqr", ["abcdef", "ghijkl", "mnopqr"], None)],
    "qa_1": [(" in paris,", ["Paris", "Paris, France"], None), ("nowhere", ["Rome"], None), ("Yes.", ["no", "yes"], None)],
}


def main():
    ruler, out = Path(sys.argv[1]), Path(sys.argv[2])
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    start = 0
    for name, rows in FILES.items():
        start = start if name.endswith("-1") else 0
        with open(out / f"{name}.jsonl", "w") as lines:
            for index, (pred, outputs, other) in enumerate(rows, start):
                # The fields and their order are call_api.py's.
                row = dict(index=index, pred=pred, input=f"Question {index}?", outputs=outputs)
                row.update(others={} if other is None else {"id": other}, truncation=-1, length=512)
                lines.write(json.dumps(row) + "\n")
        start = len(rows)
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "nemo/collections/asr/parts/utils")
        package.mkdir(parents=True)
        (package / "manifest_utils.py").write_text(NEMO)
        copy = Path(folder, "predictions")
        shutil.copytree(out, copy)
        path = os.pathsep.join([folder, *sys.path])
        command = [sys.executable, ruler / "scripts/eval/evaluate.py", "--data_dir", copy, "--benchmark", "synthetic"]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path}, stdout=sys.stderr)
        for name in ("summary.csv", "submission.csv"):
            shutil.copy(copy / name, out / name)


if __name__ == "__main__":
    main()
