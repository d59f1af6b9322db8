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

from kinestream.inference.graph import Affine, Array, Graph, Node, Precision, Program, Runtime
from kinestream.inference.head_programs import affine, array
from kinestream.models.choreo_llama import ChoreoLlamaConfig
from kinestream.models.choreo_llama.backbone import RMS_EPS, LlamaBackbone
from kinestream.models.choreo_llama.reading import Rows

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
        norms = [None] * (len(groups) - 1) + [array(backbone.llama.norm.weight)]
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


class LlamaRows(Rows):
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
    config: ChoreoLlamaConfig, layers: Sequence[Any], norm: Array | None, runtime: Runtime, precision: Precision
) -> Program:
    """(x, cos, sin, two masks, each layer's keys and values) -> (x or the last output, new keys and values)."""
    graph = runtime.graph(precision)
    half = config.head_dim // 2
    x = graph.input(-1, -1, config.hidden_dim)
    rotation = graph.input(-1, 1, -1, half), graph.input(-1, 1, -1, half)
    masks = graph.input(-1, 1, 1, -1), graph.input(1, 1, -1, -1)
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
    size, heads, shared = config.head_dim, config.num_heads, config.num_kv_heads
    turned, wide = (heads + shared) * size, (heads + 2 * shared) * size
    scaled = Affine(array(attention.q_proj.weight) * np.float32(size**-0.5))
    joined = graph.linear(x, [scaled, affine(attention.k_proj), affine(attention.v_proj)])
    both, v = (
        graph.transpose(graph.reshape(graph.slice(joined, 2, start, stop), 0, 0, -1, size), 0, 2, 1, 3)
        for start, stop in ((0, turned), (turned, wide))
    )
    both = graph.rotate(both, *rotation)
    q, k = graph.slice(both, 1, 0, heads), graph.slice(both, 1, heads, None)
    q = graph.reshape(q, 0, shared, -1, size)
    behind = graph.add(graph.matmul(q, old[0], transpose_b=True), masks[0])
    here = graph.add(graph.matmul(q, k, transpose_b=True), masks[1])
    shares = graph.softmax(graph.concatenate([here, behind], 3))
    here, behind = graph.divide(shares, 3, k, 2)
    mixed = graph.add(graph.matmul(here, v), graph.matmul(behind, old[1]))
    mixed = graph.transpose(graph.reshape(mixed, 0, heads, -1, size), 0, 2, 1, 3)
    return graph.linear(graph.reshape(mixed, 0, 0, heads * size), [affine(attention.o_proj)]), [k, v]
