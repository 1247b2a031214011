"""The memory scan in Triton, as a peer for timings: y_t = g_t y_{t-1} + (1 - g_t) x_t for keys and values with one gate
g = sigmoid(f), forward and backward, in chunks: local scans, a short scan over chunks, local scans with the carry.
Custom operators, so that torch.compile does not break the graph at them.

    TRITON_INTERPRET=1 python reference/torch_scan.py      checks it on a CPU against a plain loop
"""
import sys

import torch
import triton
import triton.language as tl

CHUNK = 64


@triton.jit
def forward_ends(k, v, f, ends, T, C, stride, chunks, CHUNK: tl.constexpr, BLOCK: tl.constexpr):
    row, c = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    batch, chunk = row // chunks, row % chunks
    ok = c < C
    sk, sv, prod = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32), tl.full([BLOCK], 1.0, tl.float32)
    for i in range(CHUNK):
        t = chunk * CHUNK + i
        use = c < tl.where(t < T, C, 0)
        at = (batch * T + t).to(tl.int64) * stride + c
        g = tl.sigmoid(tl.load(f + at, use, other=0.0).to(tl.float32))
        kt, vt = tl.load(k + at, use, other=0.0).to(tl.float32), tl.load(v + at, use, other=0.0).to(tl.float32)
        sk = tl.where(use, kt + g * (sk - kt), sk)
        sv = tl.where(use, vt + g * (sv - vt), sv)
        prod = tl.where(use, prod * g, prod)
    at = row.to(tl.int64) * 3 * C + c
    tl.store(ends + at, sk, ok)
    tl.store(ends + at + C, sv, ok)
    tl.store(ends + at + 2 * C, prod, ok)


@triton.jit
def carries(ends, C, chunks, REVERSE: tl.constexpr, BLOCK: tl.constexpr):
    # Replaces each chunk's ends by the state with which the chunk begins.
    batch, c = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    ok = c < C
    sk, sv = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    for i in range(chunks):
        chunk = chunks - 1 - i if REVERSE else i
        at = (batch * chunks + chunk).to(tl.int64) * 3 * C + c
        ek, ev, prod = tl.load(ends + at, ok), tl.load(ends + at + C, ok), tl.load(ends + at + 2 * C, ok)
        tl.store(ends + at, sk, ok)
        tl.store(ends + at + C, sv, ok)
        sk, sv = ek + prod * sk, ev + prod * sv


@triton.jit
def forward_outputs(k, v, f, ends, yk, yv, T, C, stride, chunks, CHUNK: tl.constexpr, BLOCK: tl.constexpr):
    row, c = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    batch, chunk = row // chunks, row % chunks
    ok = c < C
    first = row.to(tl.int64) * 3 * C + c
    sk, sv = tl.load(ends + first, ok), tl.load(ends + first + C, ok)
    for i in range(CHUNK):
        t = chunk * CHUNK + i
        use = c < tl.where(t < T, C, 0)
        at, to = (batch * T + t).to(tl.int64) * stride + c, (batch * T + t).to(tl.int64) * C + c
        g = tl.sigmoid(tl.load(f + at, use, other=0.0).to(tl.float32))
        kt, vt = tl.load(k + at, use, other=0.0).to(tl.float32), tl.load(v + at, use, other=0.0).to(tl.float32)
        sk, sv = kt + g * (sk - kt), vt + g * (sv - vt)
        tl.store(yk + to, sk, use)
        tl.store(yv + to, sv, use)


@triton.jit
def backward_ends(dyk, dyv, f, ends, T, C, stride, chunks, CHUNK: tl.constexpr, BLOCK: tl.constexpr):
    row, c = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    batch, chunk = row // chunks, row % chunks
    ok = c < C
    ck, cv, prod = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32), tl.full([BLOCK], 1.0, tl.float32)
    for i in range(CHUNK):
        t = chunk * CHUNK + CHUNK - 1 - i
        use = c < tl.where(t < T, C, 0)
        at, to = (batch * T + t).to(tl.int64) * stride + c, (batch * T + t).to(tl.int64) * C + c
        g = tl.sigmoid(tl.load(f + at, use, other=0.0).to(tl.float32))
        a, b = tl.load(dyk + to, use, other=0.0).to(tl.float32), tl.load(dyv + to, use, other=0.0).to(tl.float32)
        ck = tl.where(use, g * (a + ck), ck)
        cv = tl.where(use, g * (b + cv), cv)
        prod = tl.where(use, prod * g, prod)
    at = row.to(tl.int64) * 3 * C + c
    tl.store(ends + at, ck, ok)
    tl.store(ends + at + C, cv, ok)
    tl.store(ends + at + 2 * C, prod, ok)


@triton.jit
def backward_outputs(dyk, dyv, k, v, f, yk, yv, ends, dk, dv, df, T, C, stride, chunks, CHUNK: tl.constexpr, BLOCK: tl.constexpr):
    row, c = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    batch, chunk = row // chunks, row % chunks
    ok = c < C
    first = row.to(tl.int64) * 3 * C + c
    ck, cv = tl.load(ends + first, ok), tl.load(ends + first + C, ok)
    for i in range(CHUNK):
        t = chunk * CHUNK + CHUNK - 1 - i
        use = c < tl.where(t < T, C, 0)
        at, to = (batch * T + t).to(tl.int64) * stride + c, (batch * T + t).to(tl.int64) * C + c
        g = tl.sigmoid(tl.load(f + at, use, other=0.0).to(tl.float32))
        kt, vt = tl.load(k + at, use, other=0.0).to(tl.float32), tl.load(v + at, use, other=0.0).to(tl.float32)
        a = tl.load(dyk + to, use, other=0.0).to(tl.float32) + ck
        b = tl.load(dyv + to, use, other=0.0).to(tl.float32) + cv
        before = c < tl.where((t > 0) & (t < T), C, 0)
        pk, pv = tl.load(yk + to - C, before, other=0.0).to(tl.float32), tl.load(yv + to - C, before, other=0.0).to(tl.float32)
        tl.store(dk + to, (1 - g) * a, use)
        tl.store(dv + to, (1 - g) * b, use)
        tl.store(df + to, (a * (pk - kt) + b * (pv - vt)) * g * (1 - g), use)
        ck, cv = tl.where(use, g * a, ck), tl.where(use, g * b, cv)


def _plan(k):
    batch, tokens, channels = k.shape
    chunks, block = triton.cdiv(tokens, CHUNK), min(128, triton.next_power_of_2(channels))
    ends = torch.empty(batch * chunks, 3, channels, device=k.device, dtype=torch.float32)
    strips = triton.cdiv(channels, block)
    return ends, chunks, block, (batch * chunks, strips), (batch, strips)


@torch.library.custom_op("wane::scan", mutates_args=())
def scan(k: torch.Tensor, v: torch.Tensor, f: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """k, v, f: [batch, tokens, channels], equal strides (parts of one projection). Returns k~ and v~."""
    batch, tokens, channels = k.shape
    assert k.stride() == v.stride() == f.stride() and k.stride(2) == 1 and k.stride(0) == tokens * k.stride(1)
    ends, chunks, block, grid, short = _plan(k)
    yk, yv = (torch.empty(k.shape, device=k.device, dtype=k.dtype) for _ in range(2))
    sizes = (tokens, channels, k.stride(1), chunks)
    forward_ends[grid](k, v, f, ends, *sizes, CHUNK=CHUNK, BLOCK=block)
    carries[short](ends, channels, chunks, REVERSE=False, BLOCK=block)
    forward_outputs[grid](k, v, f, ends, yk, yv, *sizes, CHUNK=CHUNK, BLOCK=block)
    return yk, yv


@scan.register_fake
def _(k, v, f):
    return torch.empty(k.shape, device=k.device, dtype=k.dtype), torch.empty(k.shape, device=k.device, dtype=k.dtype)


@torch.library.custom_op("wane::scan_backward", mutates_args=())
def scan_backward(dyk: torch.Tensor, dyv: torch.Tensor, k: torch.Tensor, v: torch.Tensor, f: torch.Tensor, yk: torch.Tensor,
                  yv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    batch, tokens, channels = k.shape
    dyk, dyv = dyk.contiguous(), dyv.contiguous()
    ends, chunks, block, grid, short = _plan(k)
    dk, dv, df = (torch.empty(k.shape, device=k.device, dtype=k.dtype) for _ in range(3))
    sizes = (tokens, channels, k.stride(1), chunks)
    backward_ends[grid](dyk, dyv, f, ends, *sizes, CHUNK=CHUNK, BLOCK=block)
    carries[short](ends, channels, chunks, REVERSE=True, BLOCK=block)
    backward_outputs[grid](dyk, dyv, k, v, f, yk, yv, ends, dk, dv, df, *sizes, CHUNK=CHUNK, BLOCK=block)
    return dk, dv, df


@scan_backward.register_fake
def _(dyk, dyv, k, v, f, yk, yv):
    return tuple(torch.empty(k.shape, device=k.device, dtype=k.dtype) for _ in range(3))


def _save(ctx, inputs, output):
    ctx.save_for_backward(*inputs, *output)


def _backward(ctx, dyk, dyv):
    return scan_backward(dyk, dyv, *ctx.saved_tensors)


scan.register_autograd(_backward, setup_context=_save)


def plain(k, v, f):
    """The definition, step by step."""
    g, ys = torch.sigmoid(f), []
    for x in (k, v):
        state, out = torch.zeros_like(x[:, 0]), []
        for t in range(x.shape[1]):
            state = g[:, t] * state + (1 - g[:, t]) * x[:, t]
            out.append(state)
        ys.append(torch.stack(out, 1))
    return ys


if __name__ == "__main__":
    torch.manual_seed(0)
    for batch, tokens, channels in ((2, 5, 8), (1, 64, 12), (2, 150, 20)):
        base = torch.randn(batch, tokens, 3 * channels, requires_grad=True)
        weights = torch.randn(2, batch, tokens, channels)
        grads = []
        for function in (scan, plain):
            ys = function(*base.chunk(3, -1))
            (ys[0] * weights[0] + ys[1] * weights[1]).sum().backward()
            grads.append((ys[0].detach(), ys[1].detach(), base.grad.clone()))
            base.grad = None
        worst = max((a - b).abs().max().item() for a, b in zip(*grads))
        print(f"{batch} x {tokens} x {channels}: largest difference {worst:.1e}")
        if worst > 1e-4:
            sys.exit("the scan is wrong")
