"""Checks that `transformers` runs the models that `wane convert` writes, with the same logits.

    wane convert MODEL --add-memory --out DIR
    wane logits --model DIR --tokens ids.json --out logits.safetensors
    python reference/check_remote_code.py DIR ids.json logits.safetensors

Compares one forward pass with wane's logits (1e-4), and within transformers: decoding token by token with
the cache (keys, values and the memory's state), a batch padded on the left, and greedy `generate` with and
without the cache.
"""

import json
import sys

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM


@torch.no_grad()
def main(directory, ids_file, logits_file):
    model = AutoModelForCausalLM.from_pretrained(directory, trust_remote_code=True, dtype=torch.float32).eval()
    ids = torch.tensor(json.load(open(ids_file)))
    expected = load_file(logits_file)["logits"]

    def check(name, got, expected):
        difference = (got - expected).abs().max().item()
        print(f"{name}: {difference:.2e}")
        assert difference <= 1e-4, name

    whole = model(ids).logits
    check("forward against wane", whole, expected)

    start = ids.shape[1] // 2
    output = model(ids[:, :start], use_cache=True)
    steps = [output.logits]
    for t in range(start, ids.shape[1]):
        output = model(ids[:, t : t + 1], past_key_values=output.past_key_values, use_cache=True)
        steps.append(output.logits)
    check("token by token", torch.cat(steps, dim=1), whole)

    pad = torch.zeros(ids.shape[0], 5, dtype=ids.dtype)
    mask = torch.cat((torch.zeros_like(pad), torch.ones_like(ids)), dim=1)
    padded = model(torch.cat((pad, ids), dim=1), attention_mask=mask).logits[:, 5:]
    check("padded on the left", padded, whole)

    settings = dict(max_new_tokens=24, min_new_tokens=24, do_sample=False)
    ones = torch.ones_like(ids)
    cached = model.generate(ids, attention_mask=ones, use_cache=True, **settings)
    plain = model.generate(ids, attention_mask=ones, use_cache=False, **settings)
    assert torch.equal(cached, plain), "generate with and without the cache differ"
    padded = model.generate(torch.cat((pad, ids), dim=1), attention_mask=mask, **settings)
    assert torch.equal(padded[:, 5:], cached), "generate with padding differs"
    beams = model.generate(ids, attention_mask=ones, num_beams=3, use_cache=True, **settings)
    plain = model.generate(ids, attention_mask=ones, num_beams=3, use_cache=False, **settings)
    assert torch.equal(beams, plain), "beam search with and without the cache differ"
    print("generate: the same with and without the cache, padded, and with beams")


if __name__ == "__main__":
    main(*sys.argv[1:4])
