"""Loss parity: a small model trained by PyTorch in f32 on the CPU, 200 steps, three runs.

Weights and data follow from integer formulas (splitmix64), so the fixture holds only the loss curves:
    /opt/pyref/bin/python reference/torch_train.py crates/wane-train/fixtures/torch_losses.json
The Rust side is crates/wane-train/src/trainer/parity.rs. Written from the formulas in
shared/spec/ratplus.md; PyTorch's own AdamW, clipping, RMSNorm, cross entropy and autograd.
"""
import json
import math
import sys

import numpy as np
import torch
import torch.nn.functional as F

VOCAB, HIDDEN, LAYERS, HEADS, FFN, TOKENS, ROWS, STEPS = 48, 32, 2, 2, 48, 40, 4, 200
LR, MEMORY_LR, WARMUP, END, DECAY, CLIP = 3e-3, 6e-3, 20, 0.1, 0.1, 1.0
DILATION = 8


def splitmix(x):
    x = np.asarray(x, dtype=np.uint64)
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def uniform(index, shape):
    """Values of parameter `index`: uniform with standard deviation 0.08, f32."""
    n = int(np.prod(shape))
    bits = splitmix(np.arange(n, dtype=np.uint64) + np.uint64(index << 32))
    unit = (bits >> np.uint64(40)).astype(np.float64) / (1 << 24)
    return torch.tensor(((unit * 2 - 1) * 0.08 * math.sqrt(3)).astype(np.float32)).reshape(shape)


def batch(step):
    """Rows that count by a random stride from a random start; every fourth target weighs 1, the others 0.1."""
    rows = []
    for row in range(ROWS):
        a, b = (int(splitmix((7 << 40) + step * 64 + row * 2 + i) % np.uint64(VOCAB)) for i in range(2))
        rows.append([(a * t + b) % VOCAB for t in range(TOKENS + 1)])
    ids = torch.tensor(rows)
    weights = torch.tensor([[1.0 if t % 4 == 0 else 0.1 for t in range(TOKENS)]] * ROWS)
    return ids[:, :-1], ids[:, 1:], weights


def rope(x):
    d = x.shape[-1]
    angle = torch.arange(x.shape[-2])[:, None] * 10000.0 ** (-torch.arange(0, d, 2).double() / d)[None]
    cos, sin = angle.cos().float(), angle.sin().float()
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


def scan(gate, x):
    state, out = torch.zeros_like(x[:, 0]), []
    for t in range(x.shape[1]):
        state = gate[:, t] * state + (1 - gate[:, t]) * x[:, t]
        out.append(state)
    return torch.stack(out, 1)


class Model(torch.nn.Module):
    def __init__(self, has_memory):
        super().__init__()
        self.has_memory = has_memory
        d = HIDDEN
        shapes = [("embed", (VOCAB, d))]
        for i in range(LAYERS):
            shapes += [(f"{i}.norm1", (d,)), (f"{i}.o", (d, d)), (f"{i}.q", (d, d)), (f"{i}.k", (d, d)), (f"{i}.v", (d, d))]
            shapes += [(f"{i}.memory", (d, d))] if has_memory else []
            shapes += [(f"{i}.out", (d, d)), (f"{i}.norm2", (d,)), (f"{i}.gate", (FFN, d)), (f"{i}.up", (FFN, d)), (f"{i}.down", (d, FFN))]
        shapes += [("norm", (d,))]
        self.w = {}
        for index, (name, shape) in enumerate(shapes):
            value = torch.ones(shape) if len(shape) == 1 else uniform(index, shape)
            self.w[name] = torch.nn.Parameter(value)

    def forward(self, ids, dilation):
        w, (rows, tokens) = self.w, ids.shape
        mask = torch.ones(tokens, tokens).tril().bool()
        if dilation:
            key = torch.arange(tokens)
            mask &= ((key + 1) % dilation == 0)[None] | torch.eye(tokens).bool()
        x = w["embed"][ids]
        heads = lambda z: z.view(rows, tokens, HEADS, -1).transpose(1, 2)
        for i in range(LAYERS):
            h = F.rms_norm(x, (HIDDEN,), w[f"{i}.norm1"], 1e-6)
            o, q, k, v = (F.linear(h, w[f"{i}.{n}"]) for n in "oqkv")
            if self.has_memory:
                gate = torch.sigmoid(F.linear(h, w[f"{i}.memory"]))
                k, v = scan(gate, k), scan(gate, v)
            y = F.scaled_dot_product_attention(rope(heads(q)), rope(heads(k)), heads(v), attn_mask=mask)
            y = y.transpose(1, 2).reshape(rows, tokens, HIDDEN) * torch.sigmoid(o)
            x = x + F.linear(y, w[f"{i}.out"])
            h = F.rms_norm(x, (HIDDEN,), w[f"{i}.norm2"], 1e-6)
            x = x + F.linear(F.silu(F.linear(h, w[f"{i}.gate"])) * F.linear(h, w[f"{i}.up"]), w[f"{i}.down"])
        return F.linear(F.rms_norm(x, (HIDDEN,), w["norm"], 1e-6), w["embed"])


def factor(step):
    if step < WARMUP:
        return (step + 1) / WARMUP
    progress = (step - WARMUP) / (STEPS - WARMUP)
    return END + (1 - END) * 0.5 * (1 + math.cos(math.pi * progress))


def train(has_memory, joint_every):
    model = Model(has_memory)
    groups = []
    for name, p in model.w.items():
        lr = MEMORY_LR if "memory" in name else LR
        groups.append({"params": [p], "lr": lr, "peak": lr, "weight_decay": DECAY if p.ndim == 2 else 0.0})
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8)
    curve = []
    for step in range(STEPS):
        ids, targets, weights = batch(step)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor(step)
        for dilation in ([DILATION, None] if joint_every and step % joint_every == 0 else [None]):
            losses = F.cross_entropy(model(ids, dilation).flatten(0, 1), targets.flatten(), reduction="none")
            loss = (losses * weights.flatten()).sum() / weights.sum()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.w.values(), CLIP)
            optimizer.step()
        curve.append(round(loss.item(), 6))
    return curve


if __name__ == "__main__":
    torch.set_num_threads(1)
    curves = {"attention": train(False, 0), "memory": train(True, 0), "memory_joint": train(True, 2)}
    with open(sys.argv[1], "w") as f:
        json.dump({"torch": torch.__version__, **curves}, f)
        f.write("\n")
    for name, curve in curves.items():
        print(name, curve[0], curve[50], curve[-1])
