"""The LLaMA of `transformers`, run on embeddings: whole sequences, and step by step with a state passed along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from kinestream.errors import BadInputError, MissingExtraError
from kinestream.models.choreo_llama.config import ChoreoLlamaConfig
from kinestream.nn.attention import AttentionCache
from kinestream.nn.streaming import select_rows, zero_inactive

if TYPE_CHECKING:
    from transformers import LlamaModel

_ROPE_THETA = 500_000.0
_ORIGINAL_POSITIONS = 8192


class LlamaState(NamedTuple):
    """Keys and values of every layer, and how many positions each row [B] holds."""

    layers: tuple[AttentionCache, ...]
    length: Tensor


def _build(config: ChoreoLlamaConfig) -> LlamaModel:
    try:
        from transformers import LlamaConfig, LlamaModel
    except ImportError:
        raise MissingExtraError("music to dance", "dance") from None
    rope: dict[str, Any] = {"rope_type": "default"}
    if config.rope_factor != 1.0:
        rope = {
            "rope_type": "llama3", "factor": config.rope_factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": _ORIGINAL_POSITIONS,
        }  # fmt: skip
    settings = LlamaConfig(
        vocab_size=1,
        hidden_size=config.hidden_dim,
        intermediate_size=config.mlp_dim,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        num_key_value_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        rms_norm_eps=1e-5,
        max_position_embeddings=131072,
        rope_parameters={**rope, "rope_theta": _ROPE_THETA},
        attention_dropout=config.dropout,
        use_cache=False,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
    )
    return LlamaModel(settings)


class LlamaBackbone(nn.Module):
    """`transformers.LlamaModel` without its word embeddings: [B, T, H] to [B, T, H], causal.

    The step form computes the same with the same weights, on caches of `config.capacity` positions in which every row
    has its own length.
    """

    def __init__(self, config: ChoreoLlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.llama: Any = _build(config)
        del self.llama.embed_tokens  # embeddings come in, never words
        self.register_load_state_dict_post_hook(_rebuild_rotary)  # type: ignore[no-untyped-call]

    def forward(self, x: Float[Tensor, "b t h"]) -> Float[Tensor, "b t h"]:
        """Run over whole sequences that start at position 0."""
        hidden: Tensor = self.llama(inputs_embeds=x, use_cache=False).last_hidden_state
        return hidden

    def init_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> LlamaState:
        """Give the state before the first position."""
        weight = self.llama.norm.weight
        device, dtype = device if device is not None else weight.device, dtype or weight.dtype
        shape = (batch_size, self.config.num_kv_heads, self.config.capacity, self.config.head_dim)
        layers = tuple(
            AttentionCache(
                torch.zeros(shape, device=device, dtype=dtype), torch.zeros(shape, device=device, dtype=dtype)
            )
            for _ in range(self.config.num_layers)
        )
        return LlamaState(layers, torch.zeros(batch_size, dtype=torch.long, device=device))

    def step(
        self, x: Float[Tensor, "b n h"], state: LlamaState, active: Tensor | None = None, *, reuse: bool = False
    ) -> tuple[Float[Tensor, "b n h"], LlamaState]:
        """Run over the next n positions of every row; gives their outputs and the next state.

        reuse: write into the caches of `state`, which is used up by that; a third of the time of a small model went
        into copying them. Only where all rows are active.

        Raises BadInputError where a row that moves has no room for them.
        """
        count, capacity = x.shape[1], self.config.capacity
        moving = state.length if active is None else state.length[active]
        longest = int(moving.max()) if len(moving) else 0
        if longest + count > capacity:
            raise BadInputError(f"A window holds {capacity} positions; {longest} are used and {count} more came.")
        start = state.length.clamp_max(capacity - count)
        positions = start[:, None] + torch.arange(count, device=x.device)
        reuse = reuse and active is None
        angles = self.llama.rotary_emb(x, positions)
        horizon = longest + count
        seen = torch.arange(horizon, device=x.device) <= positions[..., None]
        hidden, caches = x, []
        for layer, cache in zip(self.llama.layers, state.layers, strict=True):
            attended, cache = self._attend(layer, hidden, angles, cache, positions, seen[:, None], reuse)
            hidden = hidden + attended
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
            caches.append(cache)
        out = self.llama.norm(hidden)
        return zero_inactive(active, out), select_rows(active, LlamaState(tuple(caches), state.length + count), state)

    def _attend(
        self,
        layer: Any,
        x: Tensor,
        angles: tuple[Tensor, Tensor],
        cache: AttentionCache,
        positions: Tensor,
        seen: Tensor,
        reuse: bool,
    ) -> tuple[Tensor, AttentionCache]:
        attention, normed = layer.self_attn, layer.input_layernorm(x)
        size = self.config.head_dim
        q, k, v = (
            project(normed).unflatten(-1, (-1, size)).transpose(1, 2)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        q, k = _rotated(q, *angles), _rotated(k, *angles)
        place = positions[:, None, :, None].expand_as(k)
        write = Tensor.scatter_ if reuse else Tensor.scatter
        cache = AttentionCache(
            write(cache.keys, 2, place, k.to(cache.keys.dtype)), write(cache.values, 2, place, v.to(cache.values.dtype))
        )
        horizon = seen.shape[-1]
        out = functional.scaled_dot_product_attention(
            q, cache.keys[:, :, :horizon], cache.values[:, :, :horizon], attn_mask=seen, enable_gqa=True
        )
        return attention.o_proj(out.transpose(1, 2).flatten(2)), cache


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos[:, None] + torch.cat((-second, first), dim=-1) * sin[:, None]


def _rebuild_rotary(module: nn.Module, _: Any) -> None:
    """Rotary frequencies belong to no checkpoint: a model built without memory gets them after its weights."""
    assert isinstance(module, LlamaBackbone)
    llama = module.llama
    if llama.rotary_emb.inv_freq.is_meta:
        llama.rotary_emb = type(llama.rotary_emb)(config=llama.config)
