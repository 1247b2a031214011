"""Writes fixtures/methods/*.json: which blocks and rows the ORIGINAL Quest, MoBA and SnapKV code selects.

The upstream files are read from local clones at pinned commits and executed unmodified; only what
they import or call around the selection (rotary embedding, projections, compiled kernels) is replaced.
Inputs are uniform noise that the tests regenerate from its seed (`wane_kernels::testing::noise`).

    python reference/method_indices.py --quest CLONE --moba CLONE --snapkv CLONE [--out fixtures/methods]

Needs torch, numpy, transformers. Nothing of the upstream code is stored in this repository.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import torch

COMMITS = {
    "quest": "01c1623bf9395009520874e989e29f683203b357",
    "moba": "61e456bc956c5a25fd9c84e5496b661329cb1b72",
    "snapkv": "e216ddc84c5bd210378cbdbbba12ba02102aa640",
}


def noise(length, seed):
    """SplitMix64 as in wane_kernels::testing::noise: uniform in [-1, 1)."""
    mask = (1 << 64) - 1
    state = (seed * 0x9E3779B97F4A7C15 & mask) ^ 0x123456789ABCDEF0
    out = np.empty(length, dtype=np.float32)
    for i in range(length):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        z ^= z >> 31
        out[i] = np.float32(z >> 40) / np.float32(1 << 23) - np.float32(1)
    return out


def inputs(case):
    """q [T, heads, d], k and v [T, kv_heads, d]: seeds as in the tests' `Tokens`, layer 0."""
    t, d = case["tokens"], case["head_dim"]

    def tensor(kind, heads):
        return torch.from_numpy(noise(t * heads * d, case["seed"] * 1000 + kind)).view(t, heads, d)

    return tensor(0, case["heads"]), tensor(1, case["kv_heads"]), tensor(2, case["kv_heads"])


def upstream(clone, name, path):
    """Executes one upstream file as a module."""
    source = subprocess.run(
        ["git", "-C", clone, "show", f"{COMMITS[name]}:{path}"], check=True, capture_output=True, text=True
    ).stdout
    module = types.ModuleType(f"upstream_{name}")
    exec(compile(source, f"{name}/{path}", "exec"), module.__dict__)
    return module


class Recording:
    """A module whose named functions also append their results to a list."""

    def __init__(self, module, names, record):
        self.module, self.names, self.record = module, names, record

    def __getattr__(self, name):
        value = getattr(self.module, name)
        if name not in self.names:
            return value

        def recorded(*args, **kwargs):
            result = value(*args, **kwargs)
            self.record.append(result.clone())
            return result

        return recorded


def rows(mask):
    return [torch.nonzero(row).flatten().tolist() for row in mask]


def repeat(x, groups):
    return x.repeat_interleave(groups, dim=1)


def quest_python(module, case):
    """The evaluation code: the last token is a decode step after a cache of all others."""
    q, k, v = inputs(case)
    t, heads, kv_heads, d = case["tokens"], case["heads"], case["kv_heads"], case["head_dim"]
    masks = []
    select = module.local_heavy_hitter_mask
    module.local_heavy_hitter_mask = lambda *args: masks.append(select(*args)) or masks[-1].clone()
    module.apply_rotary_pos_emb = lambda q, k, *_: (q, k)
    flat = lambda x: (lambda _hidden: x[-1:].reshape(1, 1, -1))
    layer = types.SimpleNamespace(
        layer_id=5,
        num_heads=heads,
        num_key_value_heads=kv_heads,
        num_key_value_groups=heads // kv_heads,
        head_dim=d,
        hidden_size=heads * d,
        q_proj=flat(q),
        k_proj=flat(k),
        v_proj=flat(v),
        o_proj=lambda x: x,
        rotary_emb=lambda *_: (None, None),
        token_budget=case["token_budget"],
        chunk_size=case["block"],
    )
    past = tuple(x[:-1].transpose(0, 1)[None] for x in (k, v))
    position = torch.tensor([[t - 1]])
    output, _, _ = module.forward(layer, torch.zeros(1, 1, heads * d), None, position, past)
    module.local_heavy_hitter_mask = select
    blocks = torch.zeros(heads, -(-t // case["block"]), dtype=torch.bool)
    for head, token in torch.nonzero(masks[0][0, :, 0]).tolist():
        blocks[head, token // case["block"]] = True
    return {"selected": rows(blocks), "output": output.flatten().tolist()}


def quest_kernels(module, case):
    """The kernels' estimate (their own CPU reference), their budget rule and the forced last page."""
    q, k, v = inputs(case)
    groups, block = case["heads"] // case["kv_heads"], case["block"]
    estimate = module._ref_cpu_estimate(q[-1:], repeat(k, groups), repeat(v, groups), block)
    pages = -(-case["tokens"] // block)
    budget = min(case["page_budget"], pages)
    chosen = torch.topk(estimate, k=budget - 1, dim=-1).indices
    return {"selected": [sorted(row) + [pages - 1] for row in chosen.tolist()]}


def moba_naive(module, case):
    q, k, v = inputs(case)
    groups, t = case["heads"] // case["kv_heads"], case["tokens"]
    record = []
    module.torch = Recording(torch, {"logical_and"}, record)
    ends = torch.tensor([0, t], dtype=torch.int32)
    output = module.moba_attn_varlen_naive(
        q, repeat(k, groups), repeat(v, groups), ends, t, case["block"], case["topk"]
    )
    # Blocks after a query's own are masked again before the softmax.
    selected = [
        [[b for b in row if b <= i // case["block"]] for i, row in enumerate(rows(head))] for head in record[0]
    ]
    return {"selected": selected, "last_output": output[-1].flatten().tolist()}


def snapkv(module, case):
    q, k, v = inputs(case)
    groups, t = case["heads"] // case["kv_heads"], case["tokens"]
    pooled = []
    module.F = Recording(torch.nn.functional, {"avg_pool1d", "max_pool1d"}, pooled)
    cluster = module.SnapKVCluster(case["window"], case["capacity"], case["kernel"], case["pooling"])
    heads_first = lambda x: x.transpose(0, 1)[None].contiguous()
    values = heads_first(repeat(v, groups))
    _, kept = cluster.update_kv(
        heads_first(repeat(k, groups)), heads_first(q), values, None, groups
    )
    # Values are noise, so a row tells its position.
    match = (kept[0][:, :, None, :] == values[0][:, None, :, :]).all(-1)
    assert (match.sum(-1) == 1).all()
    retained = [sorted(row) for row in match.int().argmax(-1).tolist()]
    # Max pooling makes plateaus, whose ties the test has to recognize.
    scores = pooled[0][0].tolist() if case["pooling"] == "maxpool" else []
    return {"retained": retained, "scores": [[float(f"{x:.9g}") for x in row] for row in scores]}


def shape(tokens, heads, kv_heads, head_dim, seed):
    return {"tokens": tokens, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim, "seed": seed}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in COMMITS:
        parser.add_argument(f"--{name}", required=True, help=f"clone of the official {name} repository")
    parser.add_argument("--out", default=Path(__file__).parent.parent / "fixtures/methods", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)

    # The CUDA extension is not needed for the CPU reference of the estimate.
    for stub in ("quest", "quest.utils", "pytest"):
        sys.modules.setdefault(stub, types.ModuleType(stub))
    pytest = sys.modules["pytest"]
    if not hasattr(pytest, "mark"):
        pytest.mark = types.SimpleNamespace(parametrize=lambda *_: lambda f: f)

    evaluation = upstream(args.quest, "quest", "evaluation/quest_attention.py")
    kernels = upstream(args.quest, "quest", "quest/tests/test_estimate.py")
    moba = upstream(args.moba, "moba", "moba/moba_naive.py")
    snap = upstream(args.snapkv, "snapkv", "snapkv/monkeypatch/snapkv_utils.py")

    fixtures = {"quest_python": [], "quest_kernels": [], "moba": [], "snapkv": []}
    for seed, tokens, kv_heads, budget in [
        (1, 203, 4, 64), (2, 208, 2, 64), (3, 193, 1, 32), (4, 90, 2, 128), (5, 40, 4, 256), (6, 512, 2, 128),
    ]:
        case = shape(tokens, 4, kv_heads, 16, seed) | {"block": 16, "token_budget": budget}
        fixtures["quest_python"].append(case | quest_python(evaluation, case))
    for seed, tokens, kv_heads, block, budget in [
        (7, 203, 4, 16, 5), (8, 320, 2, 16, 8), (9, 1000, 2, 64, 4), (10, 517, 1, 64, 3),
    ]:
        case = shape(tokens, 4, kv_heads, 16, seed) | {"block": block, "page_budget": budget}
        fixtures["quest_kernels"].append(case | quest_kernels(kernels, case))
    for seed, tokens, kv_heads, block, topk in [
        (11, 130, 4, 16, 2), (12, 128, 2, 16, 3), (13, 147, 1, 8, 4), (14, 96, 2, 32, 2),
    ]:
        case = shape(tokens, 4, kv_heads, 8, seed) | {"block": block, "topk": topk}
        fixtures["moba"].append(case | moba_naive(moba, case))
    for seed, tokens, kv_heads, window, capacity, kernel, pooling in [
        (15, 130, 4, 16, 48, 5, "avgpool"),
        (16, 203, 2, 8, 64, 5, "avgpool"),
        (17, 203, 1, 32, 80, 7, "maxpool"),
        (18, 100, 4, 8, 100, 5, "avgpool"),
        (19, 90, 4, 8, 100, 5, "avgpool"),
    ]:
        case = shape(tokens, 4, kv_heads, 16, seed)
        case |= {"window": window, "capacity": capacity, "kernel": kernel, "pooling": pooling}
        fixtures["snapkv"].append(case | snapkv(snap, case))

    args.out.mkdir(parents=True, exist_ok=True)
    for name, cases in fixtures.items():
        text = "[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]\n"
        path = args.out / f"{name}.json"
        path.write_text(text)
        print(path, len(text), "bytes, sha256", hashlib.sha256(text.encode()).hexdigest())


main()
