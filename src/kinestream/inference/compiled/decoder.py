"""The causal decoder as one program: a latent and what the convolutions still need give the new frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kinestream.inference.graph import Array, Graph, Node, Precision, Runtime
from kinestream.models.causal_tae.model import CausalDecoder
from kinestream.nn.causal_conv import CausalConv1d
from kinestream.nn.motion_convs import ConvStates
from kinestream.nn.operations import Affine


class DecoderProgram:
    """Runs a compiled decoder. Its states are the module's own, so either can go on from the other's."""

    def __init__(self, decoder: CausalDecoder, runtime: Runtime, precision: Precision) -> None:
        graph = runtime.graph(precision)
        vectors = decoder.vectors(graph, graph.input(-1, decoder.config.latent_dim))
        time = _Latent(graph)
        frames = decoder.describe(time, graph.reshape(vectors, 0, 1, decoder.config.hidden_dim))
        self._program = graph.compile(frames, *time.states)

    def step(self, latents: Array, state: ConvStates) -> tuple[Tensor, ConvStates]:
        """The frames [B, T, D] of one latent [B, C] a row, and the next state."""
        # The program keeps time before channels; a transposed view costs nothing.
        needed = [tensor.transpose(1, 2).numpy() for tensor in state.convs if tensor.shape[2]]
        frames, *new = self._program(latents, *needed)
        states = iter(new)
        convs = [torch.from_numpy(next(states)).transpose(1, 2) if old.shape[2] else old for old in state.convs]
        return torch.from_numpy(frames), ConvStates(tuple(convs))


class _Latent:
    """The time of one latent, before channels; each convolution gets an input and an output for its state."""

    def __init__(self, graph: Graph) -> None:
        self.operations = graph
        self.states: list[Node] = []
        self._length, self._width = 1, 0

    def convolve(self, conv: nn.Conv1d, x: Node) -> Node:
        """Convolve the new inputs [B, length, channels] at stride 1."""
        assert isinstance(conv, CausalConv1d), "the decoder streams"
        graph, padding, length = self.operations, conv.left_padding, self._length
        self._width = conv.out_channels
        layer = Affine(conv.weight.detach().transpose(1, 2).flatten(1), conv.bias)
        if not padding:
            return graph.linear(x, [layer])
        window = graph.concatenate([graph.input(-1, padding, conv.in_channels), x], 1)
        self.states.append(graph.slice(window, 1, length, None))
        starts = [tap * conv.dilation[0] for tap in range(conv.kernel_size[0])]
        taps = [graph.slice(window, 1, start, start + length) for start in starts]
        return graph.linear(graph.concatenate(taps, 2), [layer])

    def repeat(self, x: Node) -> Node:
        """Each moment twice."""
        graph, length = self.operations, self._length
        apart = graph.reshape(x, 0, length, 1, self._width)
        self._length = 2 * length
        return graph.reshape(graph.concatenate([apart, apart], 2), 0, self._length, self._width)
