"""PyTorch's side of runs/train-speed.sh: the same model shapes trained with torch.compile, SDPA, fused AdamW, bf16 autocast
with f32 master weights, clipping, and for the memory the Triton scan of torch_scan.py. Every line ends in a ratio to wane.

    python3 reference/torch_train_speed.py train SHAPE BACKBONE RECORD.json   after `wane train` wrote the record
    python3 reference/torch_train_speed.py attention                          SDPA at the shapes of cuda_attention_bench
    python3 reference/torch_train_speed.py scan                               the Triton scan and a copy
    python3 reference/torch_train_speed.py check                              one tiny step of each backbone on a CPU
"""
import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F

# hidden, layers, heads, ffn, vocabulary, tokens, rows, rows at a time, gelu, tied
SHAPES = {
    "7m": (256, 6, 4, 704, 4096, 4096, 8, 8, False, True),
    "15m": (384, 8, 6, 1024, 4096, 2048, 32, 32, False, True),
    "120m": (768, 12, 12, 2048, 32000, 2048, 32, 16, False, True),
    "1b": (2048, 24, 16, 8192, 32000, 4096, 8, 4, True, False),
    "toy": (32, 2, 2, 64, 64, 96, 2, 2, False, True),
}


class Block(torch.nn.Module):
    def __init__(self, d, heads, ffn, memory, gelu):
        super().__init__()
        self.d, self.heads, self.memory, self.gelu = d, heads, memory, gelu
        linear = lambda a, b: torch.nn.Linear(a, b, bias=False)
        self.norm1, self.norm2 = torch.nn.RMSNorm(d, eps=1e-6), torch.nn.RMSNorm(d, eps=1e-6)
        self.projection, self.out = linear(d, (5 if memory else 4) * d), linear(d, d)
        self.up, self.down = linear(d, ffn if gelu else 2 * ffn), linear(ffn, d)
        if memory:
            self.bias = torch.nn.Parameter(torch.zeros(d))

    def forward(self, x, cos, sin):
        rows, tokens, d = x.shape
        parts = self.projection(self.norm1(x)).split(d, -1)
        o, q, k, v = parts[:4]
        if self.memory:
            from torch_scan import plain, scan

            # The gate's bias is added before the parts are cut, so that all three keep equal strides.
            kvf = torch.cat((k, v, parts[4] + self.bias.to(k.dtype)), -1)
            k, v = (scan if x.is_cuda else plain)(*kvf.split(d, -1))
        heads = lambda z: z.reshape(rows, tokens, self.heads, -1).transpose(1, 2)

        def rope(z):
            a, b = z.chunk(2, -1)
            return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(z.dtype)

        y = F.scaled_dot_product_attention(rope(heads(q)), rope(heads(k)), heads(v), is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(rows, tokens, d) * torch.sigmoid(o))
        h = self.up(self.norm2(x))
        if self.gelu:
            return x + self.down(F.gelu(h))
        gate, up = h.chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class Model(torch.nn.Module):
    def __init__(self, shape, memory):
        super().__init__()
        d, layers, heads, ffn, vocabulary, tokens, _, _, gelu, tied = shape
        self.embedding = torch.nn.Embedding(vocabulary, d)
        self.blocks = torch.nn.ModuleList(Block(d, heads, ffn, memory, gelu) for _ in range(layers))
        self.norm = torch.nn.RMSNorm(d, eps=1e-6)
        self.head = torch.nn.Linear(d, vocabulary, bias=False)
        torch.nn.init.normal_(self.embedding.weight, std=0.02)
        if tied:
            self.head.weight = self.embedding.weight
        width = d // heads
        angle = torch.outer(torch.arange(tokens).float(), 10000 ** (-torch.arange(0, width, 2).float() / width))
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())
        self.checkpoint = False

    def forward(self, ids, targets):
        x = self.embedding(ids)
        for block in self.blocks:
            if self.checkpoint:
                x = torch.utils.checkpoint.checkpoint(block, x, self.cos, self.sin, use_reentrant=False)
            else:
                x = block(x, self.cos, self.sin)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def median_step(step, warm, rounds):
    for _ in range(warm):
        step()
    seconds = []
    for _ in range(rounds):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def train(name, backbone, device, rounds, compiled):
    shape = SHAPES[name]
    vocabulary, tokens, rows, micro = shape[4:8]
    torch.manual_seed(0)
    model = Model(shape, backbone == "memory").to(device)
    model.checkpoint = name == "1b"
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), fused=device == "cuda")
    run = torch.compile(model) if compiled else model
    ids = torch.randint(0, vocabulary, (rows, tokens), device=device)
    targets = torch.randint(0, vocabulary, (rows, tokens), device=device)

    def step():
        for i in range(0, rows, micro):
            with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
                loss = run(ids[i : i + micro], targets[i : i + micro]) * (micro / rows)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss

    seconds = median_step(step, 4, rounds)
    peak = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else float("nan")
    return rows * tokens / seconds, sum(p.numel() for p in model.parameters()), peak


def compare(name, backbone, record):
    with open(record) as f:
        record = json.load(f)
    # The first stretch holds compilation of kernels; validation never runs here.
    ours = statistics.median(p["tokens_per_second"] for p in record["curve"][2:])
    gib = lambda b: b / 2**30 if b else float("nan")
    memory = f"{gib(record['measured_bytes']):.2f} GiB ({gib(record['predicted_bytes']):.2f} predicted)"
    mfu = f", MFU {100 * record['utilization']:.1f} %" if record.get("utilization") else ""
    try:
        theirs, parameters, peak = train(name, backbone, "cuda", 15, True)
    except Exception as error:  # out of memory, or a version that cannot compile this
        print(f"{name} {backbone}: wane {ours / 1e3:.1f}k tokens/s{mfu}, {memory}; torch failed: {repr(error)[:200]}")
        return
    print(f"{name} {backbone}: wane {ours / 1e3:.1f}k tokens/s{mfu}, {memory}; torch {theirs / 1e3:.1f}k, {peak:.2f} GiB,"
          f" {parameters / 1e6:.1f}M parameters; ratio {ours / theirs:.2f}")


def attention():
    for d, heads, kv in ((32, 32, 32), (64, 16, 16), (128, 16, 16), (128, 16, 4)):
        rows, tokens = 4, 4096
        make = lambda h: torch.randn(rows, h, tokens, d, device="cuda", dtype=torch.bfloat16, requires_grad=True)
        q, k, v = make(heads), make(kv), make(kv)
        run = lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=heads != kv)
        gradient = torch.randn_like(q)
        with torch.no_grad():
            forward = many(run)
        out = run()
        backward = many(lambda: torch.autograd.grad(out, (q, k, v), gradient, retain_graph=True))
        flops = 4 * rows * heads * tokens * tokens * d / 2
        print(f"torch sdpa T {tokens} d {d} heads {heads}/{kv} batch {rows}: forward {forward * 1e6:.0f} us, backward"
              f" {backward * 1e6:.0f} us, {flops / forward / 1e12:.0f} / {2.5 * flops / backward / 1e12:.0f} TFLOP/s")


def many(call, calls=10):
    def round_():
        for _ in range(calls):
            call()

    return median_step(round_, 1, 5) / calls


def scan():
    from torch_scan import scan as triton_scan, scan_backward

    source = torch.randn(256 << 20, device="cuda").bfloat16()
    target = torch.empty_like(source)
    copy = 2 * source.numel() * 2 / many(lambda: target.copy_(source))
    print(f"torch copy of 512 MiB: {copy / 1e9:.0f} GB/s")
    for rows, tokens, channels in (
        (8, 2048, 512), (8, 4096, 1024), (32, 2048, 1024), (1, 32_768, 1024), (2, 16_384, 256),
    ):
        kvf = torch.randn(rows, tokens, 3 * channels, device="cuda", dtype=torch.bfloat16)
        parts = kvf.split(channels, -1)
        ys = triton_scan(*parts)
        dys = [torch.randn_like(ys[0]) for _ in ys]
        elements = rows * tokens * channels * 2
        forward = many(lambda: triton_scan(*parts))
        backward = many(lambda: scan_backward(*dys, *parts, *ys))
        share = 15 * elements / (forward + backward) / copy
        print(f"triton scan {rows} x {tokens} x {channels}: forward {forward * 1e6:.0f} us, backward {backward * 1e6:.0f} us,"
              f" both {100 * share:.0f} % of copy")


if __name__ == "__main__":
    print("torch", torch.__version__, torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu")
    what = sys.argv[1]
    if what == "train":
        compare(*sys.argv[2:5])
    elif what == "check":
        for backbone in ("attention", "memory"):
            rate, parameters, _ = train("toy", backbone, "cpu", 2, False)
            print(f"toy {backbone}: {rate:.0f} tokens/s, {parameters} parameters")
    else:
        {"attention": attention, "scan": scan}[what]()
