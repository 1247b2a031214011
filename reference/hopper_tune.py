"""Runs the Hopper attention kernels' sources as they lie in the tree, without Rust: for finding faults and tuning.

    python3 reference/hopper_tune.py                                # every head size, checks and times
    python3 reference/hopper_tune.py CONSUMERS=2 POLYNOMIAL=6         # under these macros (see hopper_forward.cu)
    python3 reference/hopper_tune.py --tokens 300 --print           # small; prints where results differ

Needs an H100 or H200, PyTorch and NVRTC; compiles, launches and makes descriptors through the C libraries.
Prints ptxas's remarks (a serialized product is one), the largest errors against f64 and the speed
against scaled_dot_product_attention.
"""
import argparse
import ctypes
import glob
import os
import sys

SOURCES = os.path.join(os.path.dirname(__file__), "../crates/wane-kernels/src/ops/attention")
LOG2E = 1.4426950408889634


def library(name):
    places = [name, *glob.glob(f"/usr/local/cuda/lib64/{name}*"), *glob.glob(f"{sys.prefix}/lib/python*/site-packages/nvidia/*/lib/{name}*")]
    for place in places:
        try:
            return ctypes.CDLL(place, ctypes.RTLD_GLOBAL)
        except OSError:
            pass
    sys.exit(f"{name}: not found")


def compile_source(kernel, defines):
    """(machine code, log) of hopper_forward.cu or hopper_backward.cu."""
    builtins = glob.glob(f"{sys.prefix}/lib/python*/site-packages/nvidia/*/lib/libnvrtc-builtins.so*")
    if builtins:
        ctypes.CDLL(builtins[0], ctypes.RTLD_GLOBAL)
    nvrtc = library("libnvrtc.so")
    source = "".join(open(os.path.join(SOURCES, name)).read() for name in ("mma.cuh", "hopper.cuh", "hopper_tiles.cuh", kernel))
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), kernel.encode(), 0, None, None)
    options = ["--gpu-architecture=sm_90a", "--std=c++17", "--ptxas-options=-v", *(f"--define-macro={d}" for d in defines)]
    failed = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*(o.encode() for o in options)))
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    log = log.value.decode()
    if failed:
        sys.exit(log)
    nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
    code = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetCUBIN(program, code)
    return code, log


class Sizes(ctypes.Structure):
    """HopperSizes of hopper_tiles.cuh."""

    _fields_ = [(name, ctypes.c_int) for name in ("batch", "queries", "keys", "heads", "kv_heads", "section")] + [("scale", ctypes.c_float)]


class Gpu:
    def __init__(self):
        self.driver = library("libcuda.so.1")

    def call(self, name, *arguments):
        result = getattr(self.driver, name)(*arguments)
        if result:
            sys.exit(f"{name}: error {result}")

    def load(self, code):
        module = ctypes.c_void_p()
        self.call("cuModuleLoadData", ctypes.byref(module), code)
        return module

    def launch(self, module, name, blocks, threads, shared, *arguments):
        import torch

        function = ctypes.c_void_p()
        self.call("cuModuleGetFunction", ctypes.byref(function), module, name.encode())
        self.call("cuFuncSetAttribute", function, 8, max(shared, 1024))  # MAX_DYNAMIC_SHARED_SIZE_BYTES
        pointers = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(a) for a in arguments))
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        self.call("cuLaunchKernel", function, blocks, 1, 1, threads, 1, 1, shared, stream, pointers, None)

    def boxes(self, tensor, box_rows):
        """The descriptor of a bf16 tensor [sequences, rows, heads, columns]; as cuda/tensor_map.rs makes it."""
        sequences, rows, heads, columns = tensor.shape
        memory = ctypes.create_string_buffer(256)
        start = (ctypes.addressof(memory) + 127) // 128 * 128
        sizes = (ctypes.c_uint64 * 4)(columns, heads, rows, sequences)
        strides = (ctypes.c_uint64 * 3)(2 * columns, 2 * columns * heads, 2 * columns * heads * rows)
        box, steps = (ctypes.c_uint32 * 4)(64, 1, box_rows, 1), (ctypes.c_uint32 * 4)(1, 1, 1, 1)
        # bf16 = 9, no interleave, 128-byte swizzle = 3, 256-byte L2 promotion = 3, zeros outside.
        self.call("cuTensorMapEncodeTiled", ctypes.c_void_p(start), 9, 4, ctypes.c_void_p(tensor.data_ptr()), sizes, strides, box, steps, 0, 3, 3, 0)
        map = (ctypes.c_char * 128).from_address(start)
        map.memory = memory
        return map


def pointer(tensor):
    return ctypes.c_void_p(tensor.data_ptr())


def median(call):
    import torch

    for _ in range(3):
        call()
    times = []
    for _ in range(5):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(10):
            call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 100)
    return sorted(times)[2]


def remarks(kernel, log):
    for line in log.splitlines():
        if "(C75" in line and "C7519" not in line or "spill" in line and " 0 bytes spill stores" not in line:
            print(f"  {kernel}: {line.strip()}")


def run(gpu, head_dim, options, defines):
    import torch
    import torch.nn.functional as F

    torch.manual_seed(options.seed)
    macros = dict(d.split("=") for d in defines)
    batch, tokens, heads, kv_heads = options.batch, options.tokens, options.heads, options.kv_heads or options.heads
    random = lambda n: torch.randn(batch, tokens, n, head_dim, device="cuda", dtype=torch.bfloat16)
    q, k, v, do = random(heads), random(kv_heads), random(kv_heads), random(heads)
    unwritten = lambda like: torch.full_like(like, float("nan"))
    o, dq, dk, dv = unwritten(q), unwritten(q), unwritten(k), unwritten(v)
    floats = lambda *shape: torch.full(shape, float("nan"), device="cuda")
    lse, counter = floats(batch, heads, tokens), torch.zeros(1, device="cuda", dtype=torch.int32)
    consumers, stages = int(macros.get("CONSUMERS", 3 if head_dim == 64 else 2)), int(macros.get("FORWARD_STAGES", 2))
    rows, tile = 64 * consumers, 8192 // head_dim
    tiles, group = -(-tokens // tile), heads // kv_heads
    lse2, delta, sums = floats(batch * heads, tiles * tile), floats(batch * heads, tiles * tile), floats(batch * heads, tiles * tile, head_dim)
    scale = head_dim**-0.5
    sizes = lambda section: Sizes(batch, tokens, tokens, heads, kv_heads, section, scale)
    forward_sizes = sizes(max(1, (32 << 20) // (4 * tokens * head_dim)) * group)
    backward_sizes = sizes(max(1, (32 << 20) // (8 * tokens * head_dim * group)))
    multiprocessors = torch.cuda.get_device_properties(0).multi_processor_count

    modules = {}
    for kernel in ("hopper_forward.cu", "hopper_backward.cu"):
        code, log = compile_source(kernel, [f"HEAD_DIM={head_dim}", *defines])
        remarks(kernel, log)
        modules[kernel] = gpu.load(code)
    forward_maps = [gpu.boxes(q, rows), gpu.boxes(k, 128), gpu.boxes(v, 128), gpu.boxes(o, 16)]
    maps = [gpu.boxes(q, tile), gpu.boxes(k, 128), gpu.boxes(v, 128), gpu.boxes(do, tile), gpu.boxes(dk, 16), gpu.boxes(dv, 16)]
    forward_shared = (2 * rows + 2 * stages * 128) * head_dim * 2 + 1152
    backward_shared = (256 + 4 * tile) * head_dim * 2 + 512 * tile + 32768 + 16 * tile + 1152

    def forward():
        blocks = min(-(-tokens // rows) * heads * batch, multiprocessors)
        gpu.launch(modules["hopper_forward.cu"], "hopper_forward", blocks, 128 * (consumers + 1), forward_shared, *forward_maps, pointer(lse), pointer(counter), forward_sizes)

    parts = [
        lambda: gpu.launch(modules["hopper_backward.cu"], "hopper_backward_prepare", -(-batch * heads * tiles * tile * (head_dim // 8) // 256), 256, 0, pointer(o), pointer(do), pointer(lse), pointer(lse2), pointer(delta), pointer(sums), backward_sizes),
        lambda: gpu.launch(modules["hopper_backward.cu"], "hopper_backward", -(-tokens // 128) * kv_heads * batch, 384, backward_shared, *maps, pointer(lse2), pointer(delta), pointer(sums), backward_sizes),
        lambda: gpu.launch(modules["hopper_backward.cu"], "hopper_backward_finish", batch * heads * tiles, 256, 16384, pointer(sums), pointer(dq), backward_sizes),
    ]

    def backward():
        for part in parts:
            part()

    forward()
    torch.cuda.synchronize()
    backward()
    torch.cuda.synchronize()

    # f64 on one sequence and one group of heads.
    exact = [x[-1:, :, n].transpose(1, 2).double().requires_grad_() for x, n in ((q, slice(-group, None)), (k, slice(-1, None)), (v, slice(-1, None)))]
    scores = (exact[0] @ exact[1].transpose(-1, -2)) * scale
    scores = scores.masked_fill(torch.ones(tokens, tokens, device="cuda", dtype=torch.bool).triu(1), float("-inf"))
    want = scores.softmax(-1) @ exact[2]
    want.backward(do[-1:, :, -group:].transpose(1, 2).double())
    got = {"o": (o[-1:, :, -group:], want), "dq": (dq[-1:, :, -group:], exact[0].grad), "dk": (dk[-1:, :, -1:], exact[1].grad), "dv": (dv[-1:, :, -1:], exact[2].grad)}
    errors = []
    for name, (ours, theirs) in got.items():
        ours, theirs = ours.double(), theirs.transpose(1, 2)
        errors.append(f"{name} {((ours - theirs).norm() / theirs.norm()).item():.1e}")
        if options.print:
            wrong = ((ours - theirs).abs() > 0.05 * theirs.abs().max()) | ours.isnan()
            print(f"  {name}: {wrong.sum().item()} of {wrong.numel()} differ; rows {wrong.any(-1).nonzero()[:, 1].unique().tolist()[:40]}, columns {wrong.any(1).any(1).nonzero()[:, 1].tolist()[:40]}")
    errors.append(f"lse {(lse[-1, -group:].double() - scores.logsumexp(-1)[0]).abs().max().item():.1e}")
    unfinished = sum(x.isnan().any().item() for x in (o, dq, dk, dv))

    sdpa = [x.transpose(1, 2).detach().requires_grad_() for x in (q, k, v)]
    attend = lambda: F.scaled_dot_product_attention(*sdpa, is_causal=True, enable_gqa=group > 1)
    output = attend()
    theirs = median(attend), median(lambda: torch.autograd.grad(output, sdpa, do.transpose(1, 2), retain_graph=True))
    ours = median(forward), median(backward)
    flops = 2 * batch * heads * tokens * tokens * head_dim
    print(
        f"d {head_dim} T {tokens} heads {heads}/{kv_heads} batch {batch} {' '.join(defines)}: forward {ours[0]:.0f} us ({flops / ours[0] * 1e-6:.0f} TFLOP/s, {theirs[0] / ours[0]:.2f} of sdpa),"
        f" backward {ours[1]:.0f} us ({2.5 * flops / ours[1] * 1e-6:.0f} TFLOP/s, {theirs[1] / ours[1]:.2f}; parts {' '.join(f'{median(part):.0f}' for part in parts)}); errors {', '.join(errors)}; tensors with NaN {unfinished}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("defines", nargs="*", metavar="NAME=VALUE")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--kv-heads", type=int)
    parser.add_argument("--head-dim", type=int, action="append", choices=(64, 128))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--print", action="store_true", help="where results differ")
    parser.add_argument("--compile", action="store_true", help="only compile (needs no GPU) and show ptxas's report")
    options = parser.parse_args()
    for head_dim in options.head_dim or (64, 128):
        if options.compile:
            for kernel in ("hopper_forward.cu", "hopper_backward.cu"):
                print(head_dim, kernel, compile_source(kernel, [f"HEAD_DIM={head_dim}", *options.defines])[1])
        else:
            run(Gpu(), head_dim, options, options.defines)


main()
