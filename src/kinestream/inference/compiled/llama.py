"""ChoreoLLaMA's backbone as programs of some layers each: new positions attend to a key-value cache and to each other.

A program holds so many layers that its float weights stay small while it is compiled: the paper's sixteen layers need
four gigabytes at once, two at a time a tenth of that.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinestream.inference.graph import Array, Node, PastAttention, Precision, Program, Runtime, array
from kinestream.models.choreo_llama import ChoreoLlamaConfig
from kinestream.models.choreo_llama.backbone import RMS_EPS, LlamaBackbone, describe_block
from kinestream.models.choreo_llama.reading import CacheSlots
from kinestream.nn.operations import Affine

_HIDDEN = np.float32(-1e30)
# One new position sees itself.
_SELF = np.zeros((1, 1, 1, 1), np.float32)
# Weights of one program at most, where it has more than one layer.
_PROGRAM_WEIGHTS = 128 * 1024 * 1024


class LlamaProgram:
    """Runs a compiled backbone over one or many new positions of rows that are each as long as they are."""

    def __init__(self, backbone: LlamaBackbone, runtime: Runtime, precision: Precision) -> None:
        self.config = config = backbone.config
        positions = torch.arange(config.capacity)[None]
        cos, sin = backbone.llama.rotary_emb(torch.zeros(1), positions)
        half = config.head_dim // 2
        self._cos, self._sin = array(cos[0, :, :half]), array(sin[0, :, :half])
        layers = list(backbone.llama.layers)
        weights = sum(parameter.numel() for parameter in layers[0].parameters())
        size = max(1, _PROGRAM_WEIGHTS // weights)
        groups = [layers[start : start + size] for start in range(0, len(layers), size)]
        norms = [None] * (len(groups) - 1) + [backbone.llama.norm.weight]
        self._programs = [
            (_compile(config, group, norm, runtime, precision), 2 * len(group))
            for group, norm in zip(groups, norms, strict=True)
        ]
        # A program is run by one caller at a time; dances that don't share an engine take turns.
        self._lock = threading.Lock()

    def step(self, x: Array, cache: Array, lengths: Sequence[int], moving: Sequence[int]) -> Array:
        """Read the next positions [R, n, H] of rows that hold `lengths`; gives the last ones' outputs [R, H].

        cache: keys and values [2 layers, R, heads, capacity, head_dim]; those of `moving` rows are written.
        """
        config, new = self.config, x.shape[1]
        groups = config.num_heads // config.num_kv_heads
        held = np.array(lengths)[:, None]
        places = np.minimum(held + np.arange(new), config.capacity - 1)
        cos, sin = self._cos[places][:, None], self._sin[places][:, None]
        # First positions have nothing behind them: one hidden place stands for the empty cache. All others see whole
        # caches, so that no sum depends on how long the other rows are.
        seen = config.capacity if held.any() else 1
        old = np.where(np.arange(seen) < held, np.float32(0.0), _HIDDEN)[:, None, None]
        causal = _SELF if new == 1 else np.tile(np.triu(np.full((new, new), _HIDDEN), 1), (groups, 1))[None, None]
        first = 0
        with self._lock:
            for program, count in self._programs:
                past = cache[first : first + count, :, :, :seen]
                x, added = program(x, cos, sin, old, causal, *past)
                # [R, layers heads, n, d]
                parts = added.reshape(len(added), count, config.num_kv_heads, new, config.head_dim)
                for row in moving:
                    start = lengths[row]
                    cache[first : first + count, row, :, start : start + new] = parts[row]
                first += count
        return x[:, 0]


class LlamaSlots(CacheSlots):
    """Windows that a compiled backbone reads."""

    def __init__(self, program: LlamaProgram) -> None:
        super().__init__()
        self._program = program
        self._cache = self._empty(0)

    def _empty(self, rows: int) -> Array:
        config = self._program.config
        shape = (2 * config.num_layers, rows, config.num_kv_heads, config.capacity, config.head_dim)
        return np.zeros(shape, np.float32)

    def _resize(self, rows: int) -> None:
        old, self._cache = self._cache, self._empty(rows)
        if rows:
            self._cache[:, : old.shape[1]] = old

    def _read(self, inputs: Tensor, first: int, lengths: Sequence[int], moving: Sequence[int]) -> Tensor:
        cache = self._cache[:, first : first + len(inputs)]
        return torch.from_numpy(self._program.step(array(inputs), cache, lengths, moving))


def _compile(
    config: ChoreoLlamaConfig, layers: Sequence[Any], norm: Tensor | None, runtime: Runtime, precision: Precision
) -> Program:
    """(x, cos, sin, two masks, each layer's keys and values) -> (x or the last output, new keys and values)."""
    graph = runtime.graph(precision)
    half, heads, shared, size = config.head_dim // 2, config.num_heads, config.num_kv_heads, config.head_dim
    x = graph.input(-1, -1, config.hidden_dim)
    angles = graph.input(-1, 1, -1, half), graph.input(-1, 1, -1, half)
    masks = graph.input(-1, 1, 1, -1), graph.input(1, 1, -1, -1)
    past = PastAttention(graph, masks, [graph.input(-1, shared, -1, size) for _ in range(2 * len(layers))], [])

    def attend(q: Node, k: Node, v: Node) -> Node:
        # Grouped heads are rows of one product with the keys that they share; the cache itself is never copied.
        return graph.reshape(past(graph.reshape(q, 0, shared, -1, size), k, v), 0, heads, -1, size)

    for layer in layers:
        own = layer.self_attn
        projections = [Affine(own.q_proj.weight * size**-0.5), own.k_proj, own.v_proj]
        x = describe_block(graph, config, layer, projections, x, angles, attend)
    if norm is not None:
        x = graph.rms_norm(graph.slice(x, 1, -1, None), norm, RMS_EPS)
    return graph.compile(x, graph.concatenate(past.added, 1))
