"""Configuration of wane models: a Llama-style decoder whose keys and values may carry an
exponentially decaying memory. Written beside every such model by `wane`; dual-licensed MIT or Apache-2.0."""

from transformers import PretrainedConfig


class WaneConfig(PretrainedConfig):
    model_type = "wane"
    keys_to_ignore_at_inference = ["past_key_values"]

    def __init__(
        self,
        vocab_size=32000,
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=None,
        head_dim=None,
        hidden_act="silu",
        rms_norm_eps=1e-6,
        rope_theta=10000.0,
        rope_scaling=None,
        max_position_embeddings=4096,
        attention_bias="none",
        qk_norm="none",
        norm_placement="pre",
        output_gate=False,
        memory=None,
        sliding_window=None,
        **kwargs,
    ):
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = num_key_value_heads or num_attention_heads
        self.head_dim = head_dim or hidden_size // num_attention_heads
        # "silu": down(silu(gate) * up); "gelu": fc2(gelu(fc1)).
        self.hidden_act = hidden_act
        self.rms_norm_eps = rms_norm_eps
        self.rope_theta = rope_theta
        self.rope_scaling = rope_scaling
        self.max_position_embeddings = max_position_embeddings
        # "none", "qkv", "all"
        self.attention_bias = attention_bias
        # "none", "per_head", "full_width"
        self.qk_norm = qk_norm
        # "pre", "post"
        self.norm_placement = norm_placement
        self.output_gate = output_gate
        # None or {"gate_bias": bool, "state_dtype": "float32" | "bfloat16"}
        self.memory = memory
        self.sliding_window = sliding_window
        super().__init__(**kwargs)
