"""wane and its peers on this CPU, alternately in one run: the table of ratios that runs/bench-cpu.sh prints.

    reference/bench_cpu.py run WANE [--rounds N] [--rows torch own smollm2] [--gguf FILE] [--llama PYTHON]
    reference/bench_cpu.py torch prefill|decode|train                             one peer's time, JSON
    reference/bench_cpu.py llama FILE                                             the same for llama.cpp

The PyTorch model is the one of `wane bench`'s defaults: RMSNorm, RoPE, scaled_dot_product_attention, SwiGLU, f32,
K/V written to buffers that exist already, under inference_mode. Every program runs in its own process; rounds
alternate, and the ratio is that of the medians over all rounds.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

THREADS = int(os.environ.get("THREADS", "2"))
CONTEXT = 4096
# llama.cpp on SmolLM2 with 2 threads: 4096-token prefill and decode step, measured in an earlier session.
EARLIER = (34.0, 0.0324)


def timed(run, repeats, warmups):
    seconds = []
    for i in range(warmups + repeats):
        start = time.perf_counter()
        run()
        if i >= warmups:
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def torch_peer(subject):
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)

    class Block(torch.nn.Module):
        def __init__(self, d, ffn):
            super().__init__()
            self.norms = torch.nn.ModuleList(torch.nn.RMSNorm(d, eps=1e-5) for _ in range(2))
            self.qkv, self.out = torch.nn.Linear(d, 3 * d, bias=False), torch.nn.Linear(d, d, bias=False)
            self.up, self.down = torch.nn.Linear(d, 2 * ffn, bias=False), torch.nn.Linear(ffn, d, bias=False)

        def forward(self, x, cos, sin, cache, start):
            rows, tokens, d = x.shape
            q, k, v = self.qkv(self.norms[0](x)).view(rows, tokens, 3, d // 64, 64).permute(2, 0, 3, 1, 4)
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
            if cache is not None:
                cache[0][:, :, start:start + tokens], cache[1][:, :, start:start + tokens] = k, v
            if tokens == 1:
                k, v = (side[:, :, :start + 1] for side in cache)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=tokens > 1)
            x = x + self.out(y.transpose(1, 2).reshape(rows, tokens, d))
            gate, up = self.up(self.norms[1](x)).chunk(2, -1)
            return x + self.down(F.silu(gate) * up)

    def rotate(x, cos, sin):
        a, b = x.chunk(2, -1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    class Model(torch.nn.Module):
        def __init__(self, d, layers, ffn, vocabulary=8192, longest=CONTEXT + 256):
            super().__init__()
            self.embed = torch.nn.Embedding(vocabulary, d)
            self.blocks = torch.nn.ModuleList(Block(d, ffn) for _ in range(layers))
            self.norm, self.head = torch.nn.RMSNorm(d, eps=1e-5), torch.nn.Linear(d, vocabulary, bias=False)
            angles = torch.arange(longest).float()[:, None] * 10000 ** (-torch.arange(32).float() / 32)[None]
            self.cos, self.sin = angles.cos(), angles.sin()

        def forward(self, ids, caches=None, start=0, last=False):
            x, tokens = self.embed(ids), ids.shape[1]
            cos, sin = self.cos[start:start + tokens], self.sin[start:start + tokens]
            for i, block in enumerate(self.blocks):
                x = block(x, cos, sin, caches and caches[i], start)
            return self.head(self.norm(x[:, -1:] if last else x))

    if subject == "train":
        model = Model(256, 6, 704)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        ids = torch.randint(0, 8192, (4, 513))

        def step():
            optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(model(ids[:, :-1]).reshape(-1, 8192), ids[:, 1:].reshape(-1))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

        return timed(step, 5, 2)
    with torch.inference_mode():
        model = Model(512, 8, 1408).eval()
        ids = torch.randint(0, 8192, (1, CONTEXT))
        caches = [[torch.zeros(1, 8, CONTEXT + 256, 64) for _ in range(2)] for _ in range(8)]
        if subject == "prefill":
            return timed(lambda: model(ids, caches, 0, True), 3, 1)
        model(ids, caches, 0, True)
        position = [CONTEXT]

        def step():
            model(ids[:, :1], caches, position[0], True)
            position[0] += 1

        return timed(step, 60, 4)


def llama_peer(file):
    """Seconds of a 4096-token prefill and of a decode step after it, flash attention off."""
    from llama_cpp import Llama

    model = Llama(file, n_ctx=CONTEXT + 64, n_batch=512, n_threads=THREADS, n_threads_batch=THREADS,
                  flash_attn=False, verbose=False)
    ids = [i * 7919 % 40000 + 100 for i in range(CONTEXT)]
    start = time.perf_counter()
    model.eval(ids)
    prefill = time.perf_counter() - start
    return prefill, timed(lambda: model.eval([1000]), 16, 2)


def call(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


class Table:
    """Rows of: what, ours, peer's, ratio, target."""

    def __init__(self):
        print(f"{'':44} {'ours':>10} {'floor':>10} {'peer':>10} {'ratio':>7}  target")

    def row(self, what, ours, floor, peer, target, ratio=None):
        show = lambda x: "" if x is None else f"{x:.2f} s" if x >= 1 else f"{x * 1e3:.2f} ms"
        ratio = ours / peer if ratio is None else ratio
        print(f"{what:44} {show(ours):>10} {show(floor):>10} {show(peer):>10} {ratio:7.3f}  {target}", flush=True)


class Wane:
    """`wane bench`, as JSON."""

    def __init__(self, binary):
        self.command = [binary, "--threads", str(THREADS), "bench"]

    def all(self, *options):
        return call([*self.command, *options, "--json"])

    def first(self, *options):
        """The first row's median, its floor, and the figures."""
        said = self.all(*options)
        row = said["seconds"][0]
        return row["median"], row["floor"] and row["floor"]["seconds"], said["figures"]


def torch_rows(wane, table, args):
    bf16 = ["--dtype", "bf16", "--kv-dtype", "bf16"]
    for subject, variants in [
        ("prefill", [("prefill 4096, f32 / PyTorch SDPA", ["prefill", "--repeats", "3"], "<= 0.75")]),
        ("decode", [("decode at 4096, f32 / PyTorch f32", ["decode"], "<= 0.70"),
                    ("decode at 4096, bf16 stored / PyTorch f32", ["decode", *bf16], "aim 0.45")]),
        ("train", [("train step 4 x 512 / PyTorch", ["train"], "(none)")]),
    ]:
        times, peers = [[] for _ in variants], []
        for _ in range(args.rounds):
            for (_, options, _), collected in zip(variants, times):
                collected.append(wane.first(*options))
            peers.append(call([sys.executable, __file__, "torch", subject])["seconds"])
        for (what, _, target), collected in zip(variants, times):
            middle = lambda i: statistics.median(one[i] for one in collected)
            table.row(what, middle(0), middle(1), statistics.median(peers), target)


def own_rows(wane, table, args):
    for kind, what, target in [
        ("quest", "Quest 1/16, 1.07 GB of K/V: times faster", ">= 6"),
        ("moba", "MoBA prefill 16K, k 32: times faster", ">= 3"),
    ]:
        said = wane.all("attention", "--kind", kind)
        rows = {row["name"]: row for row in said["seconds"]}
        dense = rows["everything" if kind == "quest" else "dense"]["median"]
        together = rows["together"]
        table.row(what, together["median"], together["floor"]["seconds"], dense, target,
                  said["figures"]["times_faster"])
    _, _, kept = wane.first("prefill", "--method", "snapkv:budget=1/8", "--repeats", "1")
    for what, key, target in [("resident", "resident_bytes", "<= 0.14"), ("peak", "peak_bytes", "(reported)")]:
        table.row(f"SnapKV 1/8, {what} K/V / dense", None, None, None, target, kept[key] / kept["dense_bytes"])
    scan = wane.all("scan", "--repeats", "3")
    seconds = [row["median"] for row in scan["seconds"]]
    table.row("8 decay_scans / prefill with memory", 8 * seconds[0], None, seconds[1], "<= 0.03",
              scan["figures"]["share_of_prefill"])


def smollm2_rows(wane, table, args):
    if not args.gguf:
        print("(SmolLM2: no file; runs/smollm2.sh downloads it)")
        return
    model = ["--model", args.gguf]
    prefill = wane.first("prefill", *model, "--repeats", "1")
    decode = wane.first("decode", *model, "--repeats", "16")
    peer, said = EARLIER, "llama.cpp, 34.0 s and 32.4 ms measured earlier, not in this run"
    if args.llama:
        peer, said = call([args.llama, __file__, "llama", args.gguf])["seconds"], "llama.cpp, this run"
    table.row("SmolLM2 Q4_1, prefill 4096 / llama.cpp", prefill[0], prefill[1], peer[0], "<= 0.5")
    table.row("SmolLM2 Q4_1, decode at 4096 / llama.cpp", decode[0], decode[1], peer[1], "aim < 1")
    print(f"(SmolLM2's peer: {said})")


ROWS = {"torch": torch_rows, "own": own_rows, "smollm2": smollm2_rows}


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    table = commands.add_parser("run")
    table.add_argument("wane")
    table.add_argument("--rounds", type=int, default=3)
    table.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    table.add_argument("--gguf")
    table.add_argument("--llama")
    commands.add_parser("torch").add_argument("subject", choices=["prefill", "decode", "train"])
    commands.add_parser("llama").add_argument("file")
    args = parser.parse_args()
    if args.command == "run":
        wane, table = Wane(args.wane), Table()
        for name in args.rows:
            ROWS[name](wane, table, args)
    elif args.command == "torch":
        print(json.dumps({"seconds": torch_peer(args.subject)}))
    else:
        print(json.dumps({"seconds": llama_peer(args.file)}))


main()
