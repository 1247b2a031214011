"""Writes what the original scorers give on awkward predictions: fixtures/ruler/scores.jsonl.

    python reference/ruler_scores.py RULER LM_EVAL RAT_PLUS > fixtures/ruler/scores.jsonl

The three arguments are checkouts of NVIDIA/RULER, EleutherAI/lm-evaluation-harness and wimh966/rat-plus. The
functions are taken out of the unmodified files by name (importing the files would run their command lines) and
called with one prediction at a time. A line is an array: the prediction, its references, NVIDIA's clean-up of it, NVIDIA's
string_match_all and string_match_part (percent, two decimals), lm-evaluation-harness' string_match_part (a share), and
rat-plus' scorer (percent, two decimals).
"""

import ast
import json
import random
import re
import sys
from pathlib import Path


def functions(path, *names):
    tree = ast.parse(Path(path).read_text())
    kept = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in names]
    assert len(kept) == len(names), path
    scope = {"re": re, "print": lambda *_: None}
    exec(compile(ast.Module(kept, []), str(path), "exec"), scope)
    return [scope[name] for name in names]


def predictions():
    """(prediction, references)"""
    two, four = ["1234567", "7654321"], ["1111111", "2222222", "3333333", "4444444"]
    uuid = ["bdd640fb-0667-4ad1-9c80-317fa3b1799d"]
    plain = ["", " ", "\n", "\x00", "\x1c", " \x1f\x00 ", ",", ",,,", " , ,"]
    yield from ((p, r) for p in plain for r in (["1234567"], two, [""], ["", "1"], [" "]))
    numbers = [
        "1234567", " 1234567", "1234567.", "1234567,", ",1234567", "1234567 ,7654321", "7654321,1234567",
        "1234567,7654321,9999999", "1234567 and 7654321", "1234567\n7654321", "1234567;7654321",
        "1234567, 7654321", "1234567,\t7654321\x1c", "1234567,1234567", "12345678", "01234567", "1,234,567",
        "123\x004567", "1234567\x00,7654321", "\x1c1234567\x1d,\x1e7654321\x1f", "\u00a01234567\u2003,7654321\u3000",
        "1234567\u200b,7654321", "\ufeff1234567,7654321", "1234567\x85,7654321", "1234567\u2028,7654321",
        "\uff11\uff12\uff13\uff14\uff15\uff16\uff17", "is: 1234567", "numbers are 1234567, and 7654321.",
        " 1111111,2222222", "4444444,3333333,2222222,1111111", "1111111, 2222222, 3333333, and 4444444",
        "1111111111111122222223333333", "123456", "234567", "1234567" * 40, "1234567\x7f,7654321", "1234567\x0b,7654321",
    ]
    yield from ((p, r) for p in numbers for r in (["1234567"], two, four, ["1234567", "1234567"]))
    repeated = [["5", "5"], ["5", " 5 "], ["5", "5", "6"], [" 5", "6\x1c"], ["a,b", "c"], ["5,5"], ["123", "1234", "12345"]]
    yield from ((p, r) for p in ["5", "5,5", "5,6", "6, 5 ,5", "a,b,c", "a,b", "c", "12345", "1234,123"] for r in repeated)
    words = [
        ["Paris"], ["paris", "France"], ["caf\u00e9"], ["cafe\u0301"], ["\u0130stanbul"], ["i\u0307stanbul"], ["istanbul"],
        ["stra\u00dfe"], ["STRASSE"], ["\u1e9e"], ["\u00df"], ["\u03a3\u038a\u03a3\u03a5\u03a6\u039f\u03a3"],
        ["\u03c3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2"], ["\u03c3\u03af\u03c3\u03c5\u03c6\u03bf\u03c3"], ["\u039f\u03a3"], ["\ufb01n"], ["\u01c5"],
        ["\U0001d400"], ["\U00010400"], ["\u212a"], ["k"], ["\u0131"], ["I"], ["a\nb"], ["a\tb"], ["a b"], ["\U0001f600"], ["\ufffd"],
    ]
    said = [
        "PARIS", "Paris, France", "caf\u00c9", "CAFE\u0301", "\u0130STANBUL", "\u0130stanbul, istanbul", "Istanbul", "STRASSE", "stra\u00dfe",
        "STRA\u1e9eE", "\u03a3\u038a\u03a3\u03a5\u03a6\u039f\u03a3", "\u03c3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2 \u03bf\u03a3", "\u039f\u03a3 \u039f\u03a3, \u039f\u03a3a", "\ufb01n", "FIN", "\u01c4", "\u01c6",
        "\U0001d400", "\U00010428", "\u212a", "K", "\u0131", "i", "a\x07b", "a\tb", "a\r\nb", "\U0001f600 \ufffd",
    ]
    yield from ((p, r) for p in said for r in words)
    draw = random.Random(5)
    pool = ["12", "123", "234", "a", "A", "\u00df", "\u0130", "\u03a3", ",", ", ", " ", "\n", "\x00", "\x1c", "\u00a0", "\t", "b,", "is"]
    for _ in range(400):
        text = "".join(draw.choices(pool, k=draw.randrange(9)))
        yield text, ["".join(draw.choices(pool, k=draw.randint(1, 3))) for _ in range(draw.randint(1, 4))]


def main():
    nvidia, harness, ratplus = map(Path, sys.argv[1:4])
    everything, part = functions(nvidia / "scripts/eval/synthetic/constants.py", "string_match_all", "string_match_part")
    (clean,) = functions(nvidia / "scripts/eval/evaluate.py", "postprocess_pred")
    mean, harness_all, harness_clean = functions(
        harness / "lm_eval/tasks/ruler/common_utils.py", "string_match_part", "string_match_all", "postprocess_pred"
    )
    (official,) = functions(ratplus / "eval/ruler/ruler_eval.py", "scorer")
    for prediction, references in predictions():
        cleaned = clean(prediction, {})
        assert harness_clean([prediction]) == [cleaned]
        row = [
            prediction,
            references,
            cleaned,
            everything([cleaned], [references]),
            part([cleaned], [references]),
            mean([cleaned], [references]),
            official("niah_multivalue", [prediction], [references]),
        ]
        assert harness_all([cleaned], [references]) == mean([cleaned], [references])
        print(json.dumps(row))


if __name__ == "__main__":
    main()
