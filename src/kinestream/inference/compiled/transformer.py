"""The causal transformer as one program: new positions attend to a key-value cache and to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from kinestream.inference.graph import Array, Node, PastAttention, Precision, Program, Runtime, array
from kinestream.models.ar_diffusion.model import ARDiffusion
from kinestream.nn.attention import rotary_tables

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
        cos, sin = rotary_tables(config.capacity, self._shape[2], torch.device("cpu"))
        self._cos, self._sin = array(cos), array(sin)
        graph = runtime.graph("float32")
        self._text_token = graph.compile(model.text_token(graph, graph.input(-1, config.text_dim)))
        graph = runtime.graph("float32")
        self._latent_tokens = graph.compile(model.latent_tokens(graph, graph.input(-1, -1, config.latent_dim)))
        self._program = _compile(model, runtime, precision)

    def prefill(self, text: Array, history: Array | None) -> tuple[Array, Contexts]:
        """A context of text [R, E] and history [R, K, C]; gives the conditions [R, H] of the next latents."""
        tokens = self._text_token(text)[0][:, None]
        if history is not None:
            tokens = np.concatenate([tokens, self._latent_tokens(history)[0]], axis=1)
        layers, heads, head_dim = self._shape
        cache = np.zeros((layers, len(text), heads, self._capacity, head_dim), np.float32)
        return self._run(tokens, (CacheState(cache, 0, [0]),))

    def step(self, latents: Array, contexts: Contexts) -> tuple[Array, Contexts]:
        """One latent [R, 1, C] a row; gives the conditions of the next ones."""
        tokens = self._latent_tokens(latents)[0]
        return self._run(tokens, tuple(context.writable() for context in contexts))

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


def _compile(model: ARDiffusion, runtime: Runtime, precision: Precision) -> Program:
    """(tokens, cos, sin, masks, each layer's cache) -> (last condition, keys and values [R, 2 layers heads, T, d])."""
    config = model.config
    graph = runtime.graph(precision)
    heads, head_dim = config.num_heads, config.hidden_dim // config.num_heads
    x = graph.input(-1, -1, config.hidden_dim)
    angles = graph.input(-1, 1, -1, head_dim // 2), graph.input(-1, 1, -1, head_dim // 2)
    masks = graph.input(-1, 1, 1, -1), graph.input(1, 1, -1, -1)
    past = PastAttention(graph, masks, [graph.input(-1, heads, -1, head_dim) for _ in range(2 * config.num_layers)], [])

    def attend(scale: Tensor, q: Node, k: Node, v: Node) -> Node:
        return past(graph.scale(q, float(scale)), k, v)

    x = graph.slice(model.transformer.describe(graph, x, angles, attend), 1, -1, None)
    last = graph.reshape(model.transformer.normalized(graph, x), 0, config.hidden_dim)
    return graph.compile(model.condition(graph, last), graph.concatenate(past.added, 1))
