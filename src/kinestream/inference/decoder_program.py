"""The causal decoder as one program: a latent and what the convolutions still need give the new frames."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from kinestream.inference.graph import Affine, Array, Graph, Node, Precision, Program, Runtime
from kinestream.inference.head_programs import affine, array
from kinestream.models.causal_tae.model import CausalDecoder
from kinestream.nn.causal_conv import CausalConv1d
from kinestream.nn.motion_convs import ConvStates, ResidualBlock, ResizeStage


class DecoderProgram:
    """Runs a compiled decoder. Its states are the module's own, so either can go on from the other's."""

    def __init__(self, decoder: CausalDecoder, runtime: Runtime, precision: Precision) -> None:
        self._program = _compile(decoder, runtime, precision)

    def step(self, latents: Array, state: ConvStates) -> tuple[Tensor, ConvStates]:
        """The frames [B, T, D] of one latent [B, C] a row, and the next state."""
        # The program keeps time before channels; a transposed view costs nothing.
        needed = [tensor.transpose(1, 2).numpy() for tensor in state.convs if tensor.shape[2]]
        frames, *new = self._program(latents, *needed)
        states = iter(new)
        convs = [torch.from_numpy(next(states)).transpose(1, 2) if old.shape[2] else old for old in state.convs]
        return torch.from_numpy(frames), ConvStates(tuple(convs))


class _Recorder:
    """Puts one convolution after the other into a graph, with an input and an output for its state."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.states: list[Node] = []

    def __call__(self, conv: nn.Conv1d, x: Node, length: int) -> Node:
        """Convolve `length` new inputs [B, length, channels] at stride 1."""
        assert isinstance(conv, CausalConv1d), "the decoder streams"
        graph, padding = self.graph, conv.left_padding
        taps, dilation = conv.kernel_size[0], conv.dilation[0]
        weight = array(conv.weight).transpose(0, 2, 1).reshape(conv.out_channels, -1)
        layer = Affine(np.ascontiguousarray(weight), None if conv.bias is None else array(conv.bias))
        if not padding:
            return graph.linear(x, [layer])
        window = graph.concatenate([graph.input(-1, padding, conv.in_channels), x], 1)
        self.states.append(graph.slice(window, 1, length, None))
        parts = [graph.slice(window, 1, tap * dilation, tap * dilation + length) for tap in range(taps)]
        return graph.linear(graph.concatenate(parts, 2), [layer])


def _compile(decoder: CausalDecoder, runtime: Runtime, precision: Precision) -> Program:
    graph = runtime.graph(precision)
    apply = _Recorder(graph)
    width = decoder.config.hidden_dim
    length = 1
    latent = graph.input(-1, decoder.config.latent_dim)
    x = graph.reshape(graph.linear(latent, [affine(decoder.from_latent)]), 0, 1, width)
    x = graph.relu(apply(decoder.input, x, length))
    for stage in decoder.stages:
        assert isinstance(stage, ResizeStage)
        for block in stage.blocks:
            assert isinstance(block, ResidualBlock)
            inner = apply(block.dilated, graph.relu(x), length)
            x = graph.add(x, apply(block.pointwise, graph.relu(inner), length))
        apart = graph.reshape(x, 0, length, 1, width)
        length *= 2
        x = graph.reshape(graph.concatenate([apart, apart], 2), 0, length, width)
        x = apply(stage.resize, x, length)
    x = graph.relu(apply(decoder.before_output, x, length))
    frames = apply(decoder.output, x, length)
    return graph.compile(frames, *apply.states)
