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


for path in models:
    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=True)
    model = AutoModelForCausalLM.from_pretrained(path, trust_remote_code=True, dtype=torch.float32).eval()
    watch = Watch()
    sys.modules[type(model).__module__].F.scaled_dot_product_attention = watch
    layers, heads = model.config.num_hidden_layers, model.config.num_attention_heads
    answering, asking, kept, wide, right = (torch.zeros(layers, heads) for _ in range(5))
    dense = 0
    for sample in samples:
        prompt = tokenizer(sample["input"], add_special_tokens=False).input_ids
        answer = tokenizer(sample["outputs"][0], add_special_tokens=False).input_ids
        ids, watch.prompt = torch.tensor([prompt + answer[:-1]]), len(prompt)

        def is_right(hidden=None):
            watch.hidden, watch.weights = hidden, []
            with torch.no_grad():
                guesses = model(ids).logits[0, len(prompt) - 1 :].argmax(-1).tolist()
            return guesses == answer

        dense += is_right()
        for layer, weights in enumerate(watch.weights):
            asking[layer] += weights[:, :WINDOW, :FIRST].sum(-1).mean(1)
            answering[layer] += weights[:, WINDOW:, :FIRST].sum(-1).mean(1)
            kept[layer] += keeps_first(weights[:, :WINDOW], len(prompt), 5, "avg")
            wide[layer] += keeps_first(weights[:, :WINDOW], len(prompt), 15, "max")
        for layer, head in (answering > 0.3 * (samples.index(sample) + 1)).nonzero().tolist():
            right[layer, head] += is_right((layer, head))
    count = len(samples)
    print(f"{path}: {dense} of {count} answers right")
    for layer, head in (answering > 0.3 * count).nonzero().tolist():
        row = [x[layer, head].item() / count for x in (answering, asking, kept, wide, right)]
        print(f"  L{layer}.{head}", *(f"{value:6.2f}" for value in row))
