"""What NLTK's Punkt splitter decides on generated text, with small tables made here (NLTK's own are not ours to store).

    python reference/nltk_punkt.py fixtures/ruler/punkt.json          # needs nltk 3.10
    python reference/nltk_punkt.py --count PUNKT_DIR TEXT.json        # sentences of a text with real tables, one JSON line each
"""
import json, os, random, re, sys, tempfile

from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer


def load(folder):
    parameters = PunktParameters()
    lines = lambda name: open(os.path.join(folder, name), encoding="utf-8").read().split("\n")
    parameters.abbrev_types = set(filter(None, lines("abbrev_types.txt")))
    parameters.sent_starters = set(filter(None, lines("sent_starters.txt")))
    parameters.collocations = {tuple(line.split("\t")) for line in lines("collocations.tab") if line}
    for line in filter(None, lines("ortho_context.tab")):
        word, bits = line.split("\t")
        parameters.ortho_context[word] = int(bits)
    return PunktSentenceTokenizer(parameters)


if sys.argv[1] == "--count":
    text = open(sys.argv[3], encoding="utf-8").read()
    if sys.argv[3].endswith(".json"):
        text = json.loads(text)["text"]
    for sentence in load(sys.argv[2]).tokenize(re.sub(r"\s+", " ", text).strip()):
        print(json.dumps(sentence))
    sys.exit()

rng = random.Random(2026)
WORDS = "dr mr etc e.g u.s inc no apple banana cherry the he it we when although paris smith bach north-inc mid-level a j s x café über".split()
SIGNS = [".", "?", "!", "...", "..", ". . .", "!!", "?!", ".\"", ".)", "!'", "?\u201d", ".\u2019", ")", "\"", "'", ",", ";", ":", "--", " -- ", "-", ".--", "\u2014", "*", "(", "[", "\u201c", "\u00ab", "\u00bb.", "]", ",.", ".,", "`", "&", "#", "@", "}"]
NUMBERS = ["5.", "3.14", "1,000.", "-7.", ".5", "1990.", "2-3.", "12", "4th.", "(2)", "$5."]
tables = {
    "abbrev_types.txt": "\n".join(["dr", "mr", "etc", "e.g", "u.s", "inc"]),
    "collocations.tab": "\n".join(["s\tbach", "##number##\tpages", "no\tsmith"]),
    "sent_starters.txt": "\n".join(["the", "he", "it", "although"]),
    "ortho_context.tab": "\n".join(f"{w}\t{rng.randrange(0, 64) * 2}" for w in sorted(set(WORDS + ["pages", "bach", "##number##"])) if rng.random() < 0.8),
}
with tempfile.TemporaryDirectory() as folder:
    for name, text in tables.items():
        open(os.path.join(folder, name), "w", encoding="utf-8").write(text)
    splitter = load(folder)


def case(word):
    return rng.choice([str.lower, str.capitalize, str.upper])(word) if rng.random() < 0.6 else word


def text():
    parts = []
    for _ in range(rng.randrange(1, 28)):
        part = rng.choice(NUMBERS) if rng.random() < 0.12 else case(rng.choice(WORDS + ["pages"]))
        if rng.random() < 0.1:
            part = rng.choice(["(", "\"", "'", "[", "\u201c", "--", "...", ".", "!"]) + part
        if rng.random() < 0.5:
            part += "." if rng.random() < 0.6 else rng.choice(SIGNS) + (rng.choice(SIGNS) if rng.random() < 0.2 else "")
        parts.append(part + (" " if rng.random() < 0.95 else ""))
    return re.sub(r"\s+", " ", "".join(parts)).strip()


cases = [t for t in (text() for _ in range(240)) if t]
with open(sys.argv[1], "w", encoding="utf-8") as f:
    json.dump({"tables": tables, "cases": [[t, splitter.tokenize(t)] for t in cases]}, f, ensure_ascii=False)
print(len(cases), "texts", sum(len(splitter.tokenize(t)) for t in cases), "sentences", os.path.getsize(sys.argv[1]), "bytes")
