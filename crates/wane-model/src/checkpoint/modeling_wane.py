"""Wane models for `transformers` (`trust_remote_code=True`).

A Llama-style decoder with two optional parts per attention layer: a memory over keys and values,
`k~_t = g_t k~_{t-1} + (1 - g_t) k_t` with `g = sigmoid(memory_gate(x))` (the same for v, before RoPE, f32),
and an output gate, `attention * sigmoid(output_gate(x))`. The memory's last state is kept in the cache.
Written beside every such model by `wane`; dual-licensed MIT or Apache-2.0.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn
from transformers import DynamicCache, PreTrainedModel
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration_wane import WaneConfig


class WaneCache(DynamicCache):
    """Keys and values of all positions, and per layer the last state of the memory."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.memory = {}

    def _map_memory(self, function):
        self.memory = {layer: function(state) for layer, state in self.memory.items()}

    def reorder_cache(self, beam_idx):
        super().reorder_cache(beam_idx)
        self._map_memory(lambda state: state.index_select(0, beam_idx.to(state.device)))

    def batch_repeat_interleave(self, repeats):
        super().batch_repeat_interleave(repeats)
        self._map_memory(lambda state: state.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices):
        super().batch_select_indices(indices)
        self._map_memory(lambda state: state[indices])

    def crop(self, *args, **kwargs):
        if self.memory:
            raise NotImplementedError("the memory cannot return to an earlier position")
        super().crop(*args, **kwargs)

    def reset(self):
        super().reset()
        self.memory = {}


class WaneRMSNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


def inverse_frequencies(config):
    """(inverse frequencies in f64, factor of cosines and sines)"""
    d, theta = config.head_dim, config.rope_theta
    base = theta ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    scaling = config.rope_scaling
    kind = "default" if scaling is None else scaling.get("rope_type", "default")
    if kind == "default":
        return base, 1.0
    factor = scaling["factor"]
    if kind == "linear":
        return base / factor, 1.0
    original = scaling["original_max_position_embeddings"]
    if kind == "llama3":
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        keep = ((original * base / (2 * math.pi) - low) / (high - low)).clamp(0, 1)
        return base * (keep + (1 - keep) / factor), 1.0
    if kind == "yarn":

        def index_of(rotations):
            return d * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(theta))

        low, high = index_of(scaling["beta_fast"]), index_of(scaling["beta_slow"])
        if scaling["truncate"]:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, d - 1)
        ramp = (torch.arange(d // 2, dtype=torch.float64) - low) / ((high - low) or 0.001)
        divide = ramp.clamp(0, 1)
        return base * ((1 - divide) + divide / factor), scaling["attention_factor"]
    raise ValueError(f"rope type {kind!r} is unknown")


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def decay_scan(gate, value, state):
    """States of `s_t = gate_t s_{t-1} + (1 - gate_t) value_t` for all t; all f32 [batch, t, width]."""
    total = (1 - gate) * value
    if state is not None:
        total[:, 0] += gate[:, 0] * state
    # Doubling: after the step of width w, every position has summed its last 2w inputs.
    width = 1
    while width < gate.shape[1]:
        total = torch.cat((total[:, :width], total[:, width:] + gate[:, width:] * total[:, :-width]), dim=1)
        gate = torch.cat((gate[:, :width], gate[:, width:] * gate[:, :-width]), dim=1)
        width *= 2
    return total


class WaneAttention(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        self.config, self.layer = config, layer
        hidden, d = config.hidden_size, config.head_dim
        q, kv = config.num_attention_heads * d, config.num_key_value_heads * d
        bias = config.attention_bias != "none"
        self.q_proj = nn.Linear(hidden, q, bias=bias)
        self.k_proj = nn.Linear(hidden, kv, bias=bias)
        self.v_proj = nn.Linear(hidden, kv, bias=bias)
        self.o_proj = nn.Linear(q, hidden, bias=config.attention_bias == "all")
        if config.output_gate:
            self.output_gate = nn.Linear(hidden, q, bias=False)
        if config.memory is not None:
            self.memory_gate = nn.Linear(hidden, kv, bias=config.memory["gate_bias"])
        if config.qk_norm == "full_width":
            self.q_norm = WaneRMSNorm(q, config.rms_norm_eps)
            self.k_norm = WaneRMSNorm(kv, config.rms_norm_eps)
        elif config.qk_norm == "per_head":
            self.q_norm = WaneRMSNorm(d, config.rms_norm_eps)
            self.k_norm = WaneRMSNorm(d, config.rms_norm_eps)

    def remember(self, x, k, v, padding, cache):
        """Replaces keys and values by the states of the memory."""
        gate = torch.sigmoid(self.memory_gate(x).float())
        kv = torch.cat((k, v), dim=-1).float()
        gate = torch.cat((gate, gate), dim=-1)
        if padding is not None:
            # A padded position keeps the state as it is.
            gate = torch.where(padding[:, :, None], torch.ones_like(gate), gate)
        states = decay_scan(gate, kv, None if cache is None else cache.memory.get(self.layer))
        if cache is not None:
            last = states[:, -1].clone()
            if self.config.memory.get("state_dtype") == "bfloat16":
                last = last.bfloat16().float()
            cache.memory[self.layer] = last
        k, v = states.to(x.dtype).chunk(2, dim=-1)
        return k, v

    def forward(self, x, rope, mask, padding, cache):
        batch, length, _ = x.shape
        config = self.config
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        if config.qk_norm == "full_width":
            q, k = self.q_norm(q), self.k_norm(k)
        elif config.qk_norm == "per_head":
            q = self.q_norm(q.unflatten(-1, (-1, config.head_dim))).flatten(-2)
            k = self.k_norm(k.unflatten(-1, (-1, config.head_dim))).flatten(-2)
        if config.memory is not None:
            k, v = self.remember(x, k, v, padding, cache)
        q, k, v = (part.view(batch, length, -1, config.head_dim).transpose(1, 2) for part in (q, k, v))
        q, k = rotate(q, *rope), rotate(k, *rope)
        if cache is not None:
            k, v = cache.update(k, v, self.layer)
        groups = config.num_attention_heads // config.num_key_value_heads
        if groups > 1:
            k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        y = y.transpose(1, 2).reshape(batch, length, -1)
        if config.output_gate:
            y = y * torch.sigmoid(self.output_gate(x))
        return self.o_proj(y)


class WaneMLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        hidden, inner = config.hidden_size, config.intermediate_size
        self.gated = config.hidden_act == "silu"
        if self.gated:
            self.gate_proj = nn.Linear(hidden, inner, bias=False)
            self.up_proj = nn.Linear(hidden, inner, bias=False)
            self.down_proj = nn.Linear(inner, hidden, bias=False)
        else:
            self.fc1 = nn.Linear(hidden, inner, bias=False)
            self.fc2 = nn.Linear(inner, hidden, bias=False)

    def forward(self, x):
        if self.gated:
            return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return self.fc2(F.gelu(self.fc1(x)))


class WaneDecoderLayer(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        self.post = config.norm_placement == "post"
        self.self_attn = WaneAttention(config, layer)
        self.mlp = WaneMLP(config)
        size, eps = config.hidden_size, config.rms_norm_eps
        self.post_attention_layernorm = WaneRMSNorm(size, eps)
        if self.post:
            self.post_feedforward_layernorm = WaneRMSNorm(size, eps)
        else:
            self.input_layernorm = WaneRMSNorm(size, eps)

    def forward(self, x, *attention):
        if self.post:
            x = x + self.post_attention_layernorm(self.self_attn(x, *attention))
            return x + self.post_feedforward_layernorm(self.mlp(x))
        x = x + self.self_attn(self.input_layernorm(x), *attention)
        return x + self.mlp(self.post_attention_layernorm(x))


class WaneModel(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(WaneDecoderLayer(config, i) for i in range(config.num_hidden_layers))
        self.norm = WaneRMSNorm(config.hidden_size, config.rms_norm_eps)

    def rope(self, positions, dtype):
        frequencies, factor = inverse_frequencies(self.config)
        angles = positions[:, None, :, None].double() * frequencies.to(positions.device)
        return (angles.cos() * factor).to(dtype), (angles.sin() * factor).to(dtype)

    def forward(self, x, attention_mask, positions, cache):
        batch, length, _ = x.shape
        past = 0 if cache is None else cache.get_seq_length()
        query = torch.arange(past, past + length, device=x.device)[:, None]
        key = torch.arange(past + length, device=x.device)[None, :]
        mask = key <= query
        if self.config.sliding_window is not None:
            mask = mask & (query - key < self.config.sliding_window)
        mask = mask[None, None]
        padding = None
        if attention_mask is not None:
            present = attention_mask.bool()
            padding = ~present[:, -length:]
            # Every query sees itself, so that the rows of padding stay finite.
            mask = mask & (present[:, None, None, :] | (key == query)[None, None])
        if positions is None:
            positions = query.T
            if attention_mask is not None:
                positions = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -length:]
        rope = self.rope(positions, x.dtype)
        for layer in self.layers:
            x = layer(x, rope, mask, padding, cache)
        return self.norm(x)


class WaneForCausalLM(PreTrainedModel, GenerationMixin):
    config_class = WaneConfig
    base_model_prefix = "model"
    _no_split_modules = ["WaneDecoderLayer"]
    _supports_sdpa = True
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config):
        super().__init__(config)
        self.model = WaneModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.model.embed_tokens

    def set_input_embeddings(self, value):
        self.model.embed_tokens = value

    def get_output_embeddings(self):
        return self.lm_head

    def set_output_embeddings(self, value):
        self.lm_head = value

    def _prepare_cache_for_generation(self, generation_config, model_kwargs, *args, **kwargs):
        if generation_config.use_cache and model_kwargs.get("past_key_values") is None:
            model_kwargs["past_key_values"] = WaneCache()
        return super()._prepare_cache_for_generation(generation_config, model_kwargs, *args, **kwargs)

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        inputs_embeds=None,
        labels=None,
        use_cache=None,
        logits_to_keep=0,
        **kwargs,
    ):
        if use_cache and past_key_values is None:
            past_key_values = WaneCache()
        if past_key_values is not None and self.config.memory is not None:
            if not isinstance(past_key_values, WaneCache):
                raise TypeError("a model with a memory needs a WaneCache as past_key_values")
        x = self.model.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        x = self.model(x, attention_mask, position_ids, past_key_values)
        logits = self.lm_head(x[:, -logits_to_keep:] if logits_to_keep else x)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=-100)
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=past_key_values)
