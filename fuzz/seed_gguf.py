#!/usr/bin/env python3
"""Writes the smallest whole GGUF file (one layer of width 2, a tokenizer of five tokens, a chat template)
for the fuzzer to change: seed_gguf.py FILE"""

import struct
import sys


def text(value):
    return struct.pack("<Q", len(value.encode())) + value.encode()


def array(kind, items):
    return struct.pack("<IQ", kind, len(items)) + b"".join(items)


METADATA = [
    ("general.architecture", 8, text("llama")),
    ("llama.block_count", 4, struct.pack("<I", 1)),
    ("llama.context_length", 4, struct.pack("<I", 8)),
    ("llama.embedding_length", 4, struct.pack("<I", 2)),
    ("llama.feed_forward_length", 4, struct.pack("<I", 2)),
    ("llama.attention.head_count", 4, struct.pack("<I", 1)),
    ("llama.attention.layer_norm_rms_epsilon", 6, struct.pack("<f", 1e-5)),
    ("tokenizer.ggml.model", 8, text("gpt2")),
    ("tokenizer.ggml.pre", 8, text("smollm")),
    ("tokenizer.ggml.tokens", 9, array(8, [text(t) for t in ["<|im_end|>", "a", "b", "ab", "\u0120"]])),
    ("tokenizer.ggml.token_type", 9, array(5, [struct.pack("<i", t) for t in [3, 1, 1, 1, 1]])),
    ("tokenizer.ggml.merges", 9, array(8, [text("a b")])),
    ("tokenizer.ggml.eos_token_id", 4, struct.pack("<I", 0)),
    ("tokenizer.chat_template", 8, text("{{ messages[0]['content'] + eos_token }}")),
]
# Name and shape, innermost first; all f32 (type 0).
TENSORS = [
    ("token_embd.weight", [2, 5]),
    ("output_norm.weight", [2]),
    ("blk.0.attn_norm.weight", [2]),
    ("blk.0.ffn_norm.weight", [2]),
    ("blk.0.attn_q.weight", [2, 2]),
    ("blk.0.attn_k.weight", [2, 2]),
    ("blk.0.attn_v.weight", [2, 2]),
    ("blk.0.attn_output.weight", [2, 2]),
    ("blk.0.ffn_gate.weight", [2, 2]),
    ("blk.0.ffn_up.weight", [2, 2]),
    ("blk.0.ffn_down.weight", [2, 2]),
]

infos, data = b"", b""
for name, shape in TENSORS:
    data += b"\0" * (-len(data) % 32)
    infos += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, len(data))
    count = shape[0] * (shape[1] if len(shape) > 1 else 1)
    data += struct.pack(f"<{count}f", *[1.0] * count)
head = b"GGUF" + struct.pack("<IQQ", 3, len(TENSORS), len(METADATA))
head += b"".join(text(key) + struct.pack("<I", kind) + value for key, kind, value in METADATA) + infos
with open(sys.argv[1], "wb") as file:
    file.write(head + b"\0" * (-len(head) % 32) + data)
