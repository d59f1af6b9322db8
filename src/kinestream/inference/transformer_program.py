"""The causal transformer as one program: new positions attend to a key-value cache and to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from kinestream.inference.graph import Affine, Array, Graph, Node, Precision, Program, Runtime
from kinestream.inference.head_programs import affine, array
from kinestream.models.ar_diffusion.model import ARDiffusion
from kinestream.models.ar_diffusion.transformer import Block
from kinestream.nn.attention import rotary_tables

_RMS_EPS = 1e-5
_HIDDEN = np.float32(-1e30)


@dataclass(frozen=True)
class CacheState:
    """Keys and values of a context's R rows, [2 layers, R, heads, capacity, head_dim], of which `length` places count.

    States that follow each other share the array: a step writes behind the places that older states read. `written` is
    the longest length that any state of the array has; a state that is shorter is copied before it goes on, so that
    branches don't write over each other.
    """

    cache: Array
    length: int
    written: list[int] = field(default_factory=list)

    def writable(self) -> CacheState:
        """This state, alone on its array or the newest on it."""
        return self if self.written == [self.length] else CacheState(self.cache.copy(), self.length, [self.length])

    def followed(self, added: Array) -> CacheState:
        """The state after new keys and values [R, 2 layers, heads, n, head_dim]."""
        length = self.length + added.shape[3]
        self.cache[:, :, :, self.length : length] = added.swapaxes(0, 1)
        self.written[0] = length
        return CacheState(self.cache, length, self.written)


# Contexts side by side: each keeps its own array, whoever it steps with.
Contexts = tuple[CacheState, ...]


class TransformerProgram:
    """Runs a compiled transformer over one or many new positions."""

    def __init__(self, model: ARDiffusion, runtime: Runtime, precision: Precision) -> None:
        config = model.config
        self._capacity = config.capacity
        self._shape = (2 * config.num_layers, config.num_heads, config.hidden_dim // config.num_heads)
        self._text_in, self._latent_in = affine(model.text_in), affine(model.latent_in)
        self._text_scale = np.float32(config.text_scale)
        cos, sin = rotary_tables(config.capacity, self._shape[2], torch.device("cpu"))
        self._cos, self._sin = array(cos), array(sin)
        self._program = _compile(model, runtime, precision)

    def prefill(self, text: Array, history: Array | None) -> tuple[Array, Contexts]:
        """A context of text [R, E] and history [R, K, C]; gives the conditions [R, H] of the next latents."""
        tokens = _apply(self._text_in, text * self._text_scale)[:, None]
        if history is not None:
            tokens = np.concatenate([tokens, _apply(self._latent_in, history)], axis=1)
        layers, heads, head_dim = self._shape
        cache = np.zeros((layers, len(text), heads, self._capacity, head_dim), np.float32)
        return self._run(tokens, (CacheState(cache, 0, [0]),))

    def step(self, latents: Array, contexts: Contexts) -> tuple[Array, Contexts]:
        """One latent [R, 1, C] a row; gives the conditions of the next ones."""
        return self._run(_apply(self._latent_in, latents), tuple(context.writable() for context in contexts))

    def join(self, parts: Sequence[Contexts]) -> Contexts:
        """Put contexts together."""
        return tuple(context for contexts in parts for context in contexts)

    def take(self, contexts: Contexts, rows: Sequence[int]) -> Contexts:
        """Take rows out, in their order."""
        taken, first = [], 0
        for context in contexts:
            count = context.cache.shape[1]
            mine = [row - first for row in rows if first <= row < first + count]
            if mine == list(range(count)):
                taken.append(context)
            elif mine:
                taken.append(CacheState(context.cache[:, mine], context.length, [context.length]))
            first += count
        return tuple(taken)

    def _run(self, tokens: Array, contexts: Contexts) -> tuple[Array, Contexts]:
        new, counts = tokens.shape[1], [context.cache.shape[1] for context in contexts]
        lengths = np.repeat([context.length for context in contexts], counts)[:, None]
        places = lengths + np.arange(new)
        cos, sin = self._cos[places][:, None], self._sin[places][:, None]
        # The first positions have nothing behind them: one hidden place stands for the empty cache.
        seen = self._capacity if lengths.any() else 1
        behind = np.where(np.arange(seen) < lengths, np.float32(0.0), _HIDDEN)[:, None, None]
        causal = np.triu(np.full((new, new), _HIDDEN), 1)[None, None]
        past = [[context.cache[layer, :, :, :seen] for context in contexts] for layer in range(self._shape[0])]
        out, added = self._program(tokens, cos, sin, behind, causal, *past)
        added = added.reshape(len(added), *self._shape[:2], new, self._shape[2])
        parts = np.split(added, np.cumsum(counts)[:-1])
        return out, tuple(context.followed(part) for context, part in zip(contexts, parts, strict=True))


def _apply(layer: Affine, x: Array) -> Array:
    out: Array = x @ layer.weight.T
    return out if layer.bias is None else out + layer.bias


def _compile(model: ARDiffusion, runtime: Runtime, precision: Precision) -> Program:
    """(tokens, cos, sin, masks, each layer's cache) -> (last condition, keys and values [R, 2 layers heads, T, d])."""
    config = model.config
    graph = runtime.graph(precision)
    heads, head_dim = config.num_heads, config.hidden_dim // config.num_heads
    x = graph.input(-1, -1, config.hidden_dim)
    cos, sin = graph.input(-1, 1, -1, head_dim // 2), graph.input(-1, 1, -1, head_dim // 2)
    masks = graph.input(-1, 1, 1, -1), graph.input(1, 1, -1, -1)
    caches = [graph.input(-1, heads, -1, head_dim) for _ in range(2 * config.num_layers)]
    added: list[Node] = []
    for index, block in enumerate(model.transformer.blocks):
        assert isinstance(block, Block)
        normed = graph.rms_norm(x, array(block.attention_norm.scale), _RMS_EPS)
        old = caches[2 * index : 2 * index + 2]
        attended, new = _attention(graph, block, normed, (cos, sin), masks, old)
        added += new
        x = graph.add(x, attended)
        normed = graph.rms_norm(x, array(block.mlp_norm.scale), _RMS_EPS)
        gate = graph.silu(graph.linear(normed, [affine(block.mlp.gate)]))
        inner = graph.multiply(gate, graph.linear(normed, [affine(block.mlp.up)]))
        x = graph.add(x, graph.linear(inner, [affine(block.mlp.down)]))
    last = graph.rms_norm(graph.slice(x, 1, -1, None), array(model.transformer.final_norm.scale), _RMS_EPS)
    condition = graph.linear(graph.reshape(last, 0, config.hidden_dim), [affine(model.out)])
    return graph.compile(condition, graph.concatenate(added, 1))


def _attention(
    graph: Graph, block: Block, x: Node, rotation: tuple[Node, Node], masks: tuple[Node, Node], old: Sequence[Node]
) -> tuple[Node, list[Node]]:
    attention = block.attention
    heads = attention.num_heads
    width = attention.qkv.in_features
    head_dim = width // heads
    # Pairs are turned as halves here: even numbers first, then odd ones, in queries and keys alike.
    order = np.concatenate([np.arange(0, head_dim, 2), np.arange(1, head_dim, 2)])
    rows = (np.arange(heads)[:, None] * head_dim + order).reshape(-1)
    weights = array(attention.qkv.weight).reshape(3, width, width)
    q, k, v = (
        graph.transpose(graph.reshape(part, 0, 0, heads, head_dim), 0, 2, 1, 3)
        for part in graph.split(
            graph.linear(x, [Affine(weights[0][rows]), Affine(weights[1][rows]), Affine(weights[2])]), 3, 2
        )
    )
    scale = graph.constant(float(attention.scale))
    if attention.normalize:
        q, k = graph.unit_norm(q), graph.unit_norm(k)
    q, k = graph.multiply(graph.rotate(q, *rotation), scale), graph.rotate(k, *rotation)
    # The cache is read where it lies and never joined with what is new.
    behind = graph.add(graph.matmul(q, old[0], transpose_b=True), masks[0])
    here = graph.add(graph.matmul(q, k, transpose_b=True), masks[1])
    shares = graph.softmax(graph.concatenate([here, behind], 3))
    here, behind = graph.divide(shares, 3, k, 2)
    mixed = graph.add(graph.matmul(here, v), graph.matmul(behind, old[1]))
    mixed = graph.transpose(mixed, 0, 2, 1, 3)
    return graph.linear(graph.reshape(mixed, 0, 0, width), [affine(attention.out)]), [k, v]
