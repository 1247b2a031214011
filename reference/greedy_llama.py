"""Greedy text of a GGUF file by wane and by llama.cpp: where they part, and how near the tie was.

    greedy_llama.py WANE FILE [--tokens N]      (a Python with llama-cpp-python)

wane is fed llama.cpp's own greedy text, token by token through its decode path (`wane trace`): up to the first
token that it would have chosen otherwise, its own greedy text is the same. Every such place is printed with how
far each program's logit of its own choice is ahead of the other's.
"""
import argparse
import json
import os
import subprocess
import tempfile

PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a small village by the sea,",
    "def fibonacci(n):\n",
    "Water boils at a lower temperature on a mountain because",
]


def logits(path, numpy):
    """`logits` of a safetensors file."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = file.read()
    entry = header["logits"]
    start, end = entry["data_offsets"]
    return numpy.frombuffer(data[start:end], dtype="<f4").reshape(entry["shape"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("wane")
    parser.add_argument("file")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--exact-kv", action="store_true", help="llama.cpp keeps f32 keys and values, not f16")
    parser.add_argument("--by-token", action="store_true", help="both read the prompt token by token, too")
    args = parser.parse_args()
    import numpy
    from llama_cpp import Llama

    llama = Llama(args.file, n_ctx=512, n_threads=2, flash_attn=False, verbose=False, logits_all=True,
                  **({"type_k": 0, "type_v": 0} if args.exact_kv else {}))
    for prompt in PROMPTS:
        ids = llama.tokenize(prompt.encode(), add_bos=False, special=True)
        start = len(ids)
        llama.reset()
        for some in [[token] for token in ids] if args.by_token else [ids]:
            llama.eval(some)
        for _ in range(args.tokens):
            token = int(numpy.argmax(llama.scores[llama.n_tokens - 1]))
            ids.append(token)
            llama.eval([token])
        theirs = numpy.array(llama.scores[: len(ids)])
        with tempfile.TemporaryDirectory() as folder:
            tokens, out = os.path.join(folder, "ids.json"), os.path.join(folder, "logits.safetensors")
            with open(tokens, "w") as file:
                json.dump(ids, file)
            subprocess.run([args.wane, "trace", "--model", args.file, "--tokens", tokens, "--prompt-len", str(1 if args.by_token else start),
                            "--method", "dense", "--out", out], check=True, capture_output=True)
            ours = logits(out, numpy)
        chosen = ours.argmax(-1)
        parted = [i for i in range(start - 1, len(ids) - 1) if chosen[i] != ids[i + 1]]
        lines = [f"token {i + 1 - start}: ours ahead by {ours[i, chosen[i]] - ours[i, ids[i + 1]]:.3f}, "
                 f"theirs by {theirs[i, ids[i + 1]] - theirs[i, chosen[i]]:.3f}" for i in parted]
        difference = numpy.abs(ours[start - 1:] - theirs[start - 1:]).max()
        print(f"{prompt!r}: {args.tokens - len(parted)} of {args.tokens} tokens the same; "
              f"largest difference of a logit {difference:.3f}" + "".join("\n    " + line for line in lines))


main()
