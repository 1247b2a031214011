"""Files in the formats that RULER's scripts read, with invented content: for comparing generators where the true ones cannot be had.

    python reference/ruler_stand_ins.py DIR [small]   # squad.json (SQuAD v2.0), hotpotqa.json (HotpotQA), english_words.json
    python reference/ruler_stand_ins.py fixtures/ruler small

Texts hold what real ones hold and a generator may get wrong: quotes, accents, other scripts, line breaks, repeated paragraphs,
several answers, unanswerable questions, braces.
"""
import json, os, random, sys

out, small = sys.argv[1], sys.argv[2:] == ["small"]
os.makedirs(out, exist_ok=True)
rng = random.Random(5)
SYLLABLES = "ba be bi bo ca ce co da de di do el en er fa fi ga go ha he in ka ki la le li lo ma me mi mo na ne ni no or pa pe ra re ri ro sa se si so ta te ti to un va ve vi".split()
ODD = ["caf\u00e9", "na\u00efve", "\u201cquoted\u201d", "don't", "1,000", "3.5%", "\u4e2d\u6587", "\u0440\u0443\u0441", "{braces}", "(1990\u20132003)", "U.S.", "\u2014", "\\back", "AT&T", "\u0303x", "\U0001f600"]


def word():
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.randrange(1, 4)))


def sentence():
    words = [rng.choice(ODD) if rng.random() < 0.06 else word() for _ in range(rng.randrange(5, 18))]
    return " ".join(words).capitalize() + rng.choice([".", ".", ".", "?", "!"])


def paragraph(low, high):
    return rng.choice([" ", " ", " ", "\n", "  "]).join(sentence() for _ in range(rng.randrange(low, high)))


articles = []
for a in range(7 if small else 24):
    paragraphs = []
    for p in range(rng.randrange(1, 8 if small else 26)):
        text = articles[-1]["paragraphs"][0]["context"] if articles and p == 1 and a % 6 == 0 else paragraph(1, 3 if small else 5)
        qas = []
        for _ in range(rng.randrange(0, 6)):
            impossible = rng.random() < 0.4
            answers = [] if impossible else [{"text": rng.choice(text.split()), "answer_start": 0} for _ in range(rng.randrange(1, 5))]
            qas.append({"id": str(rng.random()), "question": sentence()[:-1] + "?", "is_impossible": impossible, "answers": answers, **({"plausible_answers": []} if impossible else {})})
        paragraphs.append({"context": text, "qas": qas})
    articles.append({"title": word(), "paragraphs": paragraphs})
json.dump({"version": "v2.0", "data": articles}, open(os.path.join(out, "squad.json"), "w"))

pages = [[word().title() + " " + word(), [sentence() + " " for _ in range(rng.randrange(1, 3 if small else 5))]] for _ in range(60 if small else 900)]
hotpot = [{"_id": str(i), "question": sentence()[:-1] + "?", "answer": rng.choice(["yes", "no", word(), "the \u201c" + word() + "\u201d"]), "type": "bridge", "level": "hard", "supporting_facts": [], "context": rng.sample(pages, 10 if rng.random() < 0.97 else rng.randrange(2, 10))} for i in range(8 if small else 700)]
json.dump(hotpot, open(os.path.join(out, "hotpotqa.json"), "w"))

if small:
    sys.exit()
words, seen = {}, set()
while len(words) < 40000:
    w = word() + word()
    if w not in seen:
        seen.add(w)
        words[str(len(words))] = w
json.dump(words, open(os.path.join(out, "english_words.json"), "w"))
print({name: os.path.getsize(os.path.join(out, name)) for name in sorted(os.listdir(out))})
