"""Causal attention's speed in PyTorch on a GPU, beside that of cuda_attention_bench:

    ./cuda_attention_bench causal | tee bench.txt; python3 reference/torch_attention_speed.py bench.txt

For each shape of bench.txt: forward and backward of scaled_dot_product_attention (bf16; the backend that
PyTorch chooses, and the better of cuDNN and flash where both run), the median of five rounds of ten
calls timed with events, and the ratio of each variant's speed to the better one.
"""
import re
import sys

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

CALLS, ROUNDS = 10, 5
LINE = re.compile(
    r"(\w+) causal T (\d+) d (\d+) heads (\d+)/(\d+) batch (\d+): forward (\d+) us, backward (\d+) us"
)


def median(call):
    for _ in range(3):
        call()
    times = []
    for _ in range(ROUNDS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(CALLS):
            call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 1e3 / CALLS)
    return sorted(times)[ROUNDS // 2]


def measure(tokens, head_dim, heads, kv_heads, batch):
    def random(n):
        x = torch.randn(batch, tokens, n, head_dim, device="cuda", dtype=torch.bfloat16)
        return x.transpose(1, 2).requires_grad_()

    q, k, v, doutput = random(heads), random(kv_heads), random(kv_heads), random(heads).detach()

    def forward():
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=heads != kv_heads)

    def times():
        output = forward()
        return median(forward), median(lambda: torch.autograd.grad(output, (q, k, v), doutput, retain_graph=True))

    best = {"default": times()}
    for name, backend in (("cudnn", SDPBackend.CUDNN_ATTENTION), ("flash", SDPBackend.FLASH_ATTENTION)):
        try:
            with sdpa_kernel(backend):
                best[name] = times()
        except RuntimeError:
            pass
    return best


def main():
    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    measured = {}
    for match in map(LINE.match, open(sys.argv[1])):
        if match is None:
            continue
        variant, (tokens, head_dim, heads, kv_heads, batch, forward, backward) = match[1], map(int, match.groups()[1:])
        shape = (tokens, head_dim, heads, kv_heads, batch)
        if shape not in measured:
            measured[shape] = measure(*shape)
            flops = 2 * batch * heads * tokens * tokens * head_dim
            for name, (f, b) in measured[shape].items():
                rates = f"{flops / f * 1e-6:.0f} / {2.5 * flops / b * 1e-6:.0f} TFLOP/s"
                print(f"sdpa {name}: T {tokens} d {head_dim} heads {heads}/{kv_heads}: {f:.0f} / {b:.0f} us, {rates}")
        best = [min(times[i] for times in measured[shape].values()) for i in range(2)]
        default = measured[shape]["default"]
        print(
            f"{variant}: T {tokens} d {head_dim} heads {heads}/{kv_heads}: speed over sdpa default"
            f" {default[0] / forward:.2f} / {default[1] / backward:.2f}, best {best[0] / forward:.2f} / {best[1] / backward:.2f}"
        )


main()
