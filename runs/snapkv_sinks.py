"""Which heads rest on the first token while an answer is written, and whether SnapKV keeps it (LOG.md, 2026-11-27).

    wane ruler generate --task niah_single_2 --tokenizer MODEL --context 4096 --samples 6 --out DATA
    python3 runs/snapkv_sinks.py DATA/niah_single_2/validation.jsonl MODEL..      needs torch and transformers (CPU)

Runs each model under PyTorch with the bundled modeling_wane.py, the right answer teacher-forced after the prompt, and
prints every head whose answer tokens give the first 16 rows more than 30 % of their attention:

    head | attention of the answer's queries to the first rows | of the prompt's last 64 queries | share of prompts where
    SnapKV (k 1024, kernel 5, mean; kernel 15, maximum) keeps row 0 | answers right with the first rows hidden from this
    head's answer queries
"""
import json, sys
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

WINDOW, K, FIRST = 64, 1024, 16
data, *models = sys.argv[1:]
samples = [json.loads(line) for line in open(data)]
attend = F.scaled_dot_product_attention


class Watch:
    """Stands in for attention: notes weights by layer, and hides the first rows from one head's answer queries."""

    def __init__(self):
        self.prompt, self.hidden, self.weights = 0, None, []

    def __call__(self, q, k, v, attn_mask=None):
        layer = len(self.weights)
        first = self.prompt - WINDOW
        scores = (q[:, :, first:] @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
        scores = scores.masked_fill(~attn_mask[..., first:, :].expand_as(scores), float("-inf"))
        if self.hidden is not None and self.hidden[0] == layer:
            scores[:, self.hidden[1], WINDOW:, :FIRST] = float("-inf")
        weights = scores.softmax(-1)
        self.weights.append(weights[0])
        return torch.cat((attend(q, k, v, attn_mask=attn_mask)[:, :, :first], weights @ v), 2)


def keeps_first(window, prompt, kernel, pooling):
    """Whether SnapKV keeps row 0, for every head; `window`: weights of the prompt's last queries [heads, 64, keys]."""
    scores = window[:, :, : prompt - WINDOW].sum(1)
    pool = F.max_pool1d if pooling == "max" else F.avg_pool1d
    scores = pool(scores, kernel, stride=1, padding=kernel // 2)
    return (scores > scores[:, :1]).sum(-1) < K - WINDOW


def encode(tokenizer, sample):
    """Ids of the prompt and of its answer."""
    return [tokenizer(text, add_special_tokens=False).input_ids for text in (sample["input"], sample["outputs"][0])]


def is_right(model, watch, prompt, answer, hidden=None):
    """Whether every token of the answer is the likeliest, given those before it."""
    watch.prompt, watch.hidden, watch.weights = len(prompt), hidden, []
    with torch.no_grad():
        logits = model(torch.tensor([prompt + answer[:-1]])).logits[0, len(prompt) - 1 :]
    return logits.argmax(-1).tolist() == answer


for path in models:
    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=True)
    model = AutoModelForCausalLM.from_pretrained(path, trust_remote_code=True, dtype=torch.float32).eval()
    watch = Watch()
    sys.modules[type(model).__module__].F.scaled_dot_product_attention = watch
    encoded = [encode(tokenizer, sample) for sample in samples]
    dense, seen = 0, []
    for prompt, answer in encoded:
        dense += is_right(model, watch, prompt, answer)
        weights = torch.stack(watch.weights)  # [layers, heads, 64 of the prompt and the answer, keys]
        first = weights[..., :FIRST].sum(-1)
        kept = [
            torch.stack([keeps_first(layer[:, :WINDOW], len(prompt), *pooling) for layer in weights])
            for pooling in ((5, "avg"), (15, "max"))
        ]
        seen.append(torch.stack([first[..., WINDOW:].mean(-1), first[..., :WINDOW].mean(-1), *kept]))
    mean = torch.stack(seen).mean(0)
    print(f"{path}: {dense} of {len(samples)} answers right")
    for layer, head in (mean[0] > 0.3).nonzero().tolist():
        right = sum(is_right(model, watch, *ids, hidden=(layer, head)) for ids in encoded) / len(samples)
        print(f"  L{layer}.{head}", *(f"{value:6.2f}" for value in (*mean[:, layer, head].tolist(), right)))
