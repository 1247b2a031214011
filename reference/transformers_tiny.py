"""Writes tiny random-weight models of every supported family with what `transformers` computes on them.

    python reference/transformers_tiny.py fixtures/transformers

Each directory holds a Hugging Face model (bf16, the first f32; vocabulary 256, hidden 64; computed in f32) and `expected.safetensors`:
`ids` i32 [2, 40], `logits` f32 [2, 40, 256] (one forward pass), `prompt` i32 [12] and `greedy` i32 [64]
(greedy continuation with the cache, no end token). Weights are larger than a usual initialization so
that attention is far from uniform and an error in any part shows.
"""

import hashlib
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

SIZES = dict(
    vocab_size=256,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    max_position_embeddings=512,
    bos_token_id=None,
    eos_token_id=None,
    pad_token_id=None,
)

MODELS = {
    # Grouped queries, tied head.
    "llama": lambda t: t.LlamaConfig(**SIZES, num_key_value_heads=2, tie_word_embeddings=True, rms_norm_eps=1e-5),
    # The frequency scaling of Llama 3.1, with a context short enough to pass all three regions.
    "llama3_rope": lambda t: t.LlamaConfig(
        **SIZES,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        rope_parameters=dict(
            rope_type="llama3",
            rope_theta=10000.0,
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=64,
        ),
    ),
    "yarn_rope": lambda t: t.LlamaConfig(
        **SIZES,
        num_key_value_heads=4,
        tie_word_embeddings=True,
        rope_parameters=dict(
            rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=128
        ),
    ),
    "mistral": lambda t: t.MistralConfig(
        **SIZES, num_key_value_heads=2, tie_word_embeddings=False, sliding_window=None, head_dim=24
    ),
    "olmo2": lambda t: t.Olmo2Config(**SIZES, num_key_value_heads=4, tie_word_embeddings=False),
    "qwen2": lambda t: t.Qwen2Config(**SIZES, num_key_value_heads=2, tie_word_embeddings=True),
    "qwen3": lambda t: t.Qwen3Config(**SIZES, num_key_value_heads=2, tie_word_embeddings=True, head_dim=32),
}


def randomize(model, seed):
    """Matrices and embeddings N(0, 0.12), norms around 1, biases around 0; values that bf16 holds exactly."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        with torch.no_grad():
            if "norm" in name:
                parameter.copy_(1 + 0.2 * noise)
            else:
                parameter.copy_(noise * (0.3 if parameter.dim() == 1 else 0.12))
            parameter.copy_(parameter.bfloat16())


@torch.no_grad()
def main(root):
    torch.set_num_threads(1)
    provenance = [
        "# Made by reference/transformers_tiny.py; random weights, nobody's data.",
        f'transformers = "{transformers.__version__}"',
        f'torch = "{torch.__version__}"',
    ]
    seeds, hashes = ["", "[seed]"], ["", "[sha256]"]
    for name, config in MODELS.items():
        directory = root / name
        model = transformers.AutoModelForCausalLM.from_config(
            config(transformers), dtype=torch.float32, attn_implementation="eager"
        ).eval()
        ids = torch.randint(0, 256, (2, 40), generator=torch.Generator().manual_seed(1))
        prompt = ids[:1, :12]
        # The first seed whose continuation is no short loop, so that 64 equal tokens say something.
        for seed in range(1000):
            randomize(model, seed)
            greedy = model.generate(prompt, max_new_tokens=64, do_sample=False, use_cache=True)[0, 12:]
            if len(set(greedy.tolist())) >= 20:
                break
        assert len(greedy) == 64
        logits = model(ids).logits
        seeds.append(f"{name} = {seed}")
        directory.mkdir(parents=True, exist_ok=True)
        save_file(
            {
                "ids": ids.int(),
                "logits": logits.float().contiguous(),
                "prompt": prompt[0].int().contiguous(),
                "greedy": greedy.int().contiguous(),
            },
            directory / "expected.safetensors",
        )
        (model if name == "llama" else model.bfloat16()).save_pretrained(directory)
        for file in sorted(directory.iterdir()):
            file.chmod(0o644)
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            hashes.append(f'"{name}/{file.name}" = "{digest}"')
    (root / "provenance.toml").write_text("\n".join(provenance + seeds + hashes) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
