"""ChoreoLLaMA's backbone as programs of some layers each: new positions attend to a key-value cache and to each other.

A program holds so many layers that its float weights stay small while it is compiled: the paper's sixteen layers need
four gigabytes at once, two at a time a tenth of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from kinestream.inference.graph import Affine, Array, Graph, Node, Precision, Program, Runtime
from kinestream.inference.head_programs import affine, array
from kinestream.inference.transformer_program import rotated
from kinestream.models.choreo_llama import ChoreoLlamaConfig
from kinestream.models.choreo_llama.backbone import RMS_EPS, LlamaBackbone

_HIDDEN = np.float32(-1e30)
# Weights of one program at most, where it has more than one layer.
_PROGRAM_WEIGHTS = 128 * 1024 * 1024
# Positions that are read at once: every program keeps room for its largest input, half a megabyte a position.
_BLOCK = 64


class LlamaCache(NamedTuple):
    """Keys and values of all layers [2 layers, B, heads, capacity, head_dim], of which `length` positions count."""

    values: Array
    length: int


class LlamaProgram:
    """Runs a compiled backbone over one or many new positions; all rows are equally long."""

    def __init__(self, backbone: LlamaBackbone, runtime: Runtime, precision: Precision) -> None:
        self._config = config = backbone.config
        positions = torch.arange(config.capacity)[None]
        cos, sin = backbone.llama.rotary_emb(torch.zeros(1), positions)
        half = config.head_dim // 2
        self._cos, self._sin = array(cos[0, :, :half]), array(sin[0, :, :half])
        layers = list(backbone.llama.layers)
        weights = sum(parameter.numel() for parameter in layers[0].parameters())
        size = max(1, _PROGRAM_WEIGHTS // weights)
        groups = [layers[start : start + size] for start in range(0, len(layers), size)]
        norms = [None] * (len(groups) - 1) + [array(backbone.llama.norm.weight)]
        self._programs = [
            (_compile(config, group, norm, runtime, precision), 2 * len(group))
            for group, norm in zip(groups, norms, strict=True)
        ]

    def begin(self, rows: int) -> LlamaCache:
        """The cache before the first position."""
        config = self._config
        shape = (2 * config.num_layers, rows, config.num_kv_heads, config.capacity, config.head_dim)
        return LlamaCache(np.zeros(shape, np.float32), 0)

    def step(self, x: Array, cache: LlamaCache) -> tuple[Array, LlamaCache]:
        """Read the next positions [B, n, H], writing into the cache's array; gives the last one's output [B, H].

        There has to be room for them: a window's capacity is the model's.
        """
        for start in range(0, x.shape[1], _BLOCK):
            out, cache = self._block(x[:, start : start + _BLOCK], cache)
        return out[:, 0], cache

    def _block(self, x: Array, cache: LlamaCache) -> tuple[Array, LlamaCache]:
        config, (values, length) = self._config, cache
        new, groups = x.shape[1], config.num_heads // config.num_kv_heads
        stop = length + new
        cos, sin = (table[None, None, length:stop] for table in (self._cos, self._sin))
        # The first positions have nothing behind them: one hidden place stands for the empty cache.
        seen = slice(0, config.capacity if length else 1)
        old = np.where(np.arange(seen.stop) < length, np.float32(0.0), _HIDDEN)[None, None, None]
        causal = np.tile(np.triu(np.full((new, new), _HIDDEN), 1), (groups, 1))[None, None]
        first = 0
        for program, count in self._programs:
            past = values[first : first + count, :, :, seen]
            x, added = program(x, cos, sin, old, causal, *past)
            # [B, layers heads, n, d]
            parts = added.reshape(len(added), count, config.num_kv_heads, new, config.head_dim)
            values[first : first + count, :, :, length:stop] = parts.swapaxes(0, 1)
            first += count
        return x, LlamaCache(values, stop)


def _compile(
    config: ChoreoLlamaConfig, layers: Sequence[Any], norm: Array | None, runtime: Runtime, precision: Precision
) -> Program:
    """(x, cos, sin, two masks, each layer's keys and values) -> (x or the last output, new keys and values)."""
    graph = runtime.graph(precision)
    half = config.head_dim // 2
    x = graph.input(-1, -1, config.hidden_dim)
    rotation = graph.input(1, 1, -1, half), graph.input(1, 1, -1, half)
    masks = graph.input(1, 1, 1, -1), graph.input(1, 1, -1, -1)
    caches = [graph.input(-1, config.num_kv_heads, -1, config.head_dim) for _ in range(2 * len(layers))]
    added: list[Node] = []
    for index, layer in enumerate(layers):
        normed = graph.rms_norm(x, array(layer.input_layernorm.weight), RMS_EPS)
        attended, new = _attention(
            graph, config, layer.self_attn, normed, rotation, masks, caches[2 * index : 2 * index + 2]
        )
        added += new
        x = graph.add(x, attended)
        normed = graph.rms_norm(x, array(layer.post_attention_layernorm.weight), RMS_EPS)
        both = graph.linear(normed, [affine(layer.mlp.gate_proj), affine(layer.mlp.up_proj)])
        gate, up = graph.split(both, 2, 2)
        x = graph.add(x, graph.linear(graph.multiply(graph.silu(gate), up), [affine(layer.mlp.down_proj)]))
    if norm is not None:
        x = graph.rms_norm(graph.slice(x, 1, -1, None), norm, RMS_EPS)
    return graph.compile(x, graph.concatenate(added, 1))


def _attention(
    graph: Graph,
    config: ChoreoLlamaConfig,
    attention: Any,
    x: Node,
    rotation: tuple[Node, Node],
    masks: tuple[Node, Node],
    old: Sequence[Node],
) -> tuple[Node, list[Node]]:
    """Grouped heads are rows of one product with the keys that they share; the cache itself is never copied."""
    size, shared = config.head_dim, config.num_kv_heads
    groups, wide, narrow = config.num_heads // shared, config.num_heads * size, shared * size
    scaled = Affine(array(attention.q_proj.weight) * np.float32(size**-0.5))
    joined = graph.linear(x, [scaled, affine(attention.k_proj), affine(attention.v_proj)])
    q = graph.reshape(graph.slice(joined, 2, 0, wide), 0, 0, shared, groups, size)
    q = rotated(graph, graph.transpose(q, 0, 2, 3, 1, 4), rotation, axis=4)
    q = graph.reshape(q, 0, 0, -1, size)
    k, v = (
        graph.transpose(graph.reshape(graph.slice(joined, 2, start, start + narrow), 0, 0, shared, size), 0, 2, 1, 3)
        for start in (wide, wide + narrow)
    )
    k = rotated(graph, k, rotation)
    behind = graph.add(graph.matmul(q, old[0], transpose_b=True), masks[0])
    here = graph.add(graph.matmul(q, k, transpose_b=True), masks[1])
    shares = graph.softmax(graph.concatenate([here, behind], 3))
    here, behind = graph.divide(shares, 3, k, 2)
    mixed = graph.add(graph.matmul(here, v), graph.matmul(behind, old[1]))
    mixed = graph.transpose(graph.reshape(mixed, 0, shared, groups, -1, size), 0, 3, 1, 2, 4)
    return graph.linear(graph.reshape(mixed, 0, 0, wide), [affine(attention.o_proj)]), [k, v]
