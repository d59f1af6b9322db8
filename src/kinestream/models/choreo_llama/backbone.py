"""The LLaMA of `transformers`, run on embeddings: whole sequences, and step by step with a state passed along."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from kinestream.errors import BadInputError, MissingExtraError
from kinestream.models.choreo_llama.config import ChoreoLlamaConfig
from kinestream.models.choreo_llama.reading import CacheSlots
from kinestream.nn.attention import AttentionCache, attention
from kinestream.nn.operations import EAGER, Layer, Operations, Value, swiglu
from kinestream.nn.streaming import select_rows, zero_inactive

if TYPE_CHECKING:
    from transformers import LlamaModel

_ROPE_THETA = 500_000.0
_ORIGINAL_POSITIONS = 8192
RMS_EPS = 1e-5


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
        rms_norm_eps=RMS_EPS,
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

    def _angles(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines [B, 1, n, head_dim / 2] of positions."""
        half = self.config.head_dim // 2
        cos, sin = (table[:, None, :, :half] for table in self.llama.rotary_emb(x, positions))
        return cos, sin

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
        places = _Places(
            self._angles(x, positions),
            positions,
            torch.arange(longest + count, device=x.device) <= positions[..., None],
            longest if active is None and int(state.length.min()) == longest else None,
            reuse and active is None,
        )
        hidden, caches = x, list[AttentionCache]()
        for layer, cache in zip(self.llama.layers, state.layers, strict=True):
            projections = [layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj]
            attend = partial(self._attend, places, cache, caches)
            hidden = describe_block(EAGER, self.config, layer, projections, hidden, places.angles, attend)
        out = EAGER.rms_norm(hidden, self.llama.norm.weight, RMS_EPS)
        return zero_inactive(active, out), select_rows(active, LlamaState(tuple(caches), state.length + count), state)

    def _attend(
        self, places: _Places, cache: AttentionCache, caches: list[AttentionCache], q: Tensor, k: Tensor, v: Tensor
    ) -> Tensor:
        """Attend to a layer's cache; the one with the new keys and values goes to `caches`."""
        cache = AttentionCache(places.written(cache.keys, k), places.written(cache.values, v))
        caches.append(cache)
        horizon = places.seen.shape[-1]
        keys, values = cache.keys[:, :, :horizon], cache.values[:, :, :horizon]
        if q.shape[2] == 1 and places.common is not None:
            # One new position sees everything: heads that share keys are rows of one product, and nothing is copied.
            grouped = q[:, :, 0].unflatten(1, (self.config.num_kv_heads, -1))
            return functional.scaled_dot_product_attention(grouped, keys, values).flatten(1, 2)[:, :, None]
        return functional.scaled_dot_product_attention(q, keys, values, attn_mask=places.seen[:, None], enable_gqa=True)


def describe_block(
    ops: Operations,
    config: ChoreoLlamaConfig,
    layer: Any,
    projections: Sequence[Layer],
    x: Value,
    angles: Any,
    attend: Callable[[Value, Value, Value], Value],
) -> Value:
    """One of `transformers`' decoder layers, by any operations; projections: of queries, keys and values."""
    heads = config.num_heads, config.num_kv_heads, config.head_dim
    normed = ops.rms_norm(x, layer.input_layernorm.weight, RMS_EPS)
    mixed = attention(ops, ops.linear(normed, projections), heads, lambda qk: ops.rotate(qk, angles), attend)
    x = ops.add(x, ops.linear(mixed, [layer.self_attn.o_proj]))
    normed, mlp = ops.rms_norm(x, layer.post_attention_layernorm.weight, RMS_EPS), layer.mlp
    return ops.add(x, swiglu(ops, normed, mlp.gate_proj, mlp.up_proj, mlp.down_proj))


class BackboneSlots(CacheSlots):
    """Windows that a backbone reads; keys and values lie in caches that are written in place.

    Rows that don't move write too, behind what they hold: their next reading writes there again.
    """

    def __init__(self, backbone: LlamaBackbone) -> None:
        super().__init__()
        self._backbone = backbone
        self._layers: tuple[AttentionCache, ...] = ()

    def _resize(self, rows: int) -> None:
        old = self._layers
        self._layers = self._backbone.init_state(rows).layers if rows else ()
        for new, kept in zip(self._layers, old, strict=False):
            new.keys[: len(kept.keys)], new.values[: len(kept.values)] = kept.keys, kept.values

    def _read(self, inputs: Tensor, first: int, lengths: Sequence[int], moving: Sequence[int]) -> Tensor:
        rows = slice(first, first + len(inputs))
        layers = tuple(AttentionCache(cache.keys[rows], cache.values[rows]) for cache in self._layers)
        last = self._backbone.config.capacity - inputs.shape[1]
        held = [length if row in moving else min(length, last) for row, length in enumerate(lengths)]
        state = LlamaState(layers, torch.tensor(held, device=inputs.device))
        hidden, _ = self._backbone.step(inputs, state, reuse=True)
        return hidden[:, -1]


class _Places(NamedTuple):
    """Where new positions stand: rotary angles, positions [B, n], what each sees [B, n, T], the first position where
    it is the same in all rows (else None), and whether caches are written in place."""

    angles: tuple[Tensor, Tensor]
    positions: Tensor
    seen: Tensor
    common: int | None
    reuse: bool

    def written(self, cache: Tensor, new: Tensor) -> Tensor:
        """The cache [B, heads, capacity, d] with `new` [B, heads, n, d] at its place."""
        new = new.to(cache.dtype)
        if self.common is not None:
            cache = cache if self.reuse else cache.clone()
            cache[:, :, self.common : self.common + new.shape[2]] = new
            return cache
        place = self.positions[:, None, :, None].expand_as(new)
        return cache.scatter_(2, place, new) if self.reuse else cache.scatter(2, place, new)


def _rebuild_rotary(module: nn.Module, _: Any) -> None:
    """Rotary frequencies belong to no checkpoint: a model built without memory gets them after its weights."""
    assert isinstance(module, LlamaBackbone)
    llama = module.llama
    if llama.rotary_emb.inv_freq.is_meta:
        llama.rotary_emb = type(llama.rotary_emb)(config=llama.config)
