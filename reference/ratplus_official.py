"""Writes tiny models of the official RAT+ code (arXiv 2602.18196) with what that code computes on them.

    git clone <the official repository, wimh966/rat-plus on GitHub> /tmp/rat-plus
    python reference/ratplus_official.py /tmp/rat-plus fixtures/ratplus

needs torch, einops, hydra-core, omegaconf, easydict and safetensors. The official classes run on the CPU
in f32. For that, three things are replaced while they are imported (nothing of the code is stored here):
hard-coded `torch.bfloat16` by f32, "cuda" by "cpu", and the compiled associative scan by a plain loop over
positions, which is its definition.

`ratplus` has the memory and an untied head and is a weights-only file; `attention` has neither and is a
whole training file with an EasyDict configuration. Beside each `model.pth`: `sizes.json` (for `--config`)
and `expected.safetensors` with `ids` i32 [1, 48], `logits` f32 [1, 48, vocab] (dense prefill),
`step_logits` f32 [1, 32, vocab] (the last 32 positions, decoded one by one after a prefill of 16), and the
same under dilated attention with D=8, W=4, S=2: `dilated_logits`, `dilated_step_logits`.
"""

import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

REPLACED = [
    ("torch.bfloat16", "torch.float32"),
    ('"cuda"', '"cpu"'),
    ("@torch.compile", ""),
]
SIZES = dict(d_model=48, num_heads=3, num_layers=2, vocab_size=128, ffn_activation="gelu")
DILATED = dict(dilation_size=8, local_size=4, initial_size=2)
DENSE = dict(dilation_size=1, local_size=0, initial_size=0)


class Patched(importlib.machinery.SourceFileLoader):
    def get_data(self, path):
        data = super().get_data(path)
        if path.endswith(".py"):
            text = data.decode()
            for old, new in REPLACED:
                text = text.replace(old, new)
            data = text.encode()
        return data

    def get_code(self, fullname):
        return self.source_to_code(self.get_data(self.path), self.path)


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if name.split(".")[0] == "src" and spec and spec.origin and spec.origin.endswith(".py"):
            search = spec.submodule_search_locations
            spec = importlib.util.spec_from_file_location(
                name, spec.origin, loader=Patched(name, spec.origin), submodule_search_locations=search
            )
        return spec


def scan(gate, value):
    state, states = torch.zeros_like(value[..., 0, :]), []
    for t in range(value.shape[-2]):
        state = gate[..., t, :] * state + value[..., t, :]
        states.append(state)
    return torch.stack(states, dim=-2)


def build(modules, memory, tied, pattern):
    from omegaconf import OmegaConf

    d = SIZES["d_model"]
    init = dict(_name_="fixed", initializer_range=0.02)
    config = OmegaConf.create(
        dict(
            embedding=dict(
                _name_="lm", vocab_size=SIZES["vocab_size"], d_model=d, seq_len=64, init=init,
                pe=dict(_name_="rope", dim=d // SIZES["num_heads"], base=10000, max_seq_len=64),
            ),
            backbone=dict(
                _name_="sequence", num_layers=SIZES["num_layers"], d_model=d, ln="rmsnorm", init=init,
                seq_cell=dict(
                    _name_="ratplus", d_model=d, num_head=SIZES["num_heads"], ln="rmsnorm", init=init,
                    apply_re=memory, joint_train=False, **pattern,
                ),
                hidden_cell=dict(
                    _name_="ffn", d_model=d, d_ffn=2 * d, bias=False, act_fn="gelu", ln="rmsnorm", init=init
                ),
            ),
            head=dict(_name_="lm", vocab_size=SIZES["vocab_size"], d_model=d, init=init),
        )
    )
    loss = metric = dict(_name_="cross_entropy", ignore_index=-100)
    task = modules["task"].LMTask(
        loss=None if "cross_entropy" not in modules["metrics"] else loss,
        metric=None if "cross_entropy" not in modules["metrics"] else metric,
        model_config=config, tie_embedding=tied, device="cpu",
    )
    return task.eval(), config


def randomize(task):
    generator = torch.Generator().manual_seed(0)
    for name, parameter in task.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        norm = parameter.dim() == 1
        gate_scale = 0.15
        parameter.data.copy_(1 + 0.2 * noise if norm else gate_scale * noise)


def caches(modules, pattern):
    heads = SIZES["num_heads"]
    return [
        modules["cache"].RATPlusFullSingleLayerCache(
            layer, 1, 64, num_head=heads, d_head=SIZES["d_model"] // heads, d_model=SIZES["d_model"],
            dtype=torch.float32, device="cpu", **pattern,
        )
        for layer in range(SIZES["num_layers"])
    ]


@torch.no_grad()
def run(modules, memory, tied, state, pattern, ids):
    """(logits of one prefill, logits of the last 32 positions decoded one by one)"""
    task, _ = build(modules, memory, tied, pattern)
    task.load_state_dict(state)
    logits = task(ids)
    cache = caches(modules, pattern)
    task(ids[:, :16], cache=cache)
    steps = [
        task.step(ids[:, t : t + 1], seq_start=t, cache=cache, seq_pos=t) for t in range(16, ids.shape[1])
    ]
    return logits.contiguous(), torch.cat(steps, dim=1).contiguous()


def main(repository, root):
    torch.set_num_threads(1)
    sys.path.insert(0, str(repository))
    sys.meta_path.insert(0, Finder())
    import src.model  # noqa: F401
    import src.model.backbone.cache as cache
    import src.model.backbone.rat.ratplus as ratplus
    import src.task.task as task_module
    from easydict import EasyDict
    from src.utils.registry import metric_registry

    ratplus.ascan = scan
    modules = dict(task=task_module, cache=cache, metrics=metric_registry)
    commit = subprocess.run(
        ["git", "-C", str(repository), "rev-parse", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    provenance = [
        "# Made by reference/ratplus_official.py; random weights, computed by the official code.",
        'repository = "wimh966/rat-plus"',
        f'commit = "{commit}"',
        f'torch = "{torch.__version__}"',
        "",
        "[sha256]",
    ]
    ids = torch.randint(0, SIZES["vocab_size"], (1, 48), generator=torch.Generator().manual_seed(1))
    for name, memory, tied in [("ratplus", True, False), ("attention", False, True)]:
        directory = root / name
        directory.mkdir(parents=True, exist_ok=True)
        task, _ = build(modules, memory, tied, DENSE)
        randomize(task)
        state = task.state_dict()
        logits, steps = run(modules, memory, tied, state, DENSE, ids)
        dilated, dilated_steps = run(modules, memory, tied, state, DILATED, ids)
        print(name, "prefill against steps:", (logits[:, 16:] - steps).abs().max().item(),
              "dilated:", (dilated[:, 16:] - dilated_steps).abs().max().item(), "std", logits.std().item())
        if name == "attention":
            config = EasyDict(model=EasyDict(name="tiny", layers=[1, 2], rate=1e-3, none=None, yes=True))
            torch.save({"task": {f"_orig_mod.{k}": v for k, v in state.items()}, "step": 7,
                        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "groups": (1, 2, 3, 4)},
                        "config": config}, directory / "model.pth")
        else:
            torch.save({"task": state}, directory / "model.pth")
        (directory / "sizes.json").write_text(json.dumps(dict(SIZES, memory=memory)) + "\n")
        save_file(
            {"ids": ids.int(), "logits": logits, "step_logits": steps, "dilated_logits": dilated,
             "dilated_step_logits": dilated_steps},
            directory / "expected.safetensors",
        )
        for file in sorted(directory.iterdir()):
            file.chmod(0o644)
            provenance.append(f'"{name}/{file.name}" = "{hashlib.sha256(file.read_bytes()).hexdigest()}"')
    (root / "provenance.toml").write_text("\n".join(provenance) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
