"""The causal temporal autoencoder (MotionStreamer, section 3.2 and Table 8), whole-sequence and streaming."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from kinestream.errors import BadInputError
from kinestream.models.causal_tae.config import CausalTAEConfig
from kinestream.nn.causal_conv import CausalConv1d
from kinestream.nn.streaming import select_rows, zero_inactive

Apply = Callable[[CausalConv1d, Tensor], Tensor]


class LatentDistribution(NamedTuple):
    """The diagonal Gaussian q(z|x) over latents: mean and logvar, both [B, L, C]."""

    mean: Tensor
    logvar: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Float[Tensor, "b l c"]:
        """Draw z = mean + std * noise (the reparameterisation that carries gradients)."""
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        return self.mean + noise * (0.5 * self.logvar).exp()


class ConvStates(NamedTuple):
    """Inputs that the convolutions still need, one tensor [B, channels, padding] per convolution, in their order."""

    convs: tuple[Tensor, ...]


class _Stepper:
    """Applies each convolution to a chunk with its own state, in the order of the network."""

    def __init__(self, state: ConvStates) -> None:
        self._old = iter(state.convs)
        self.new: list[Tensor] = []

    def __call__(self, conv: CausalConv1d, x: Tensor) -> Tensor:
        out, state = conv.step(x, next(self._old))
        self.new.append(state)
        return out


def _whole(conv: CausalConv1d, x: Tensor) -> Tensor:
    return conv.forward(x)


class ResidualBlock(nn.Module):
    """x + pointwise(relu(dilated(relu(x)))), causal."""

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        self.dilated = CausalConv1d(channels, channels, 3, dilation=dilation)
        self.pointwise = CausalConv1d(channels, channels, 1)

    def run(self, x: Tensor, apply: Apply) -> Tensor:
        """Run over a chunk or a whole sequence, as `apply` does it."""
        return x + apply(self.pointwise, functional.relu(apply(self.dilated, functional.relu(x))))


class ResizeStage(nn.Module):
    """One halving (encoder) or doubling (decoder) of time with its residual blocks."""

    def __init__(self, config: CausalTAEConfig, *, kernel_size: int, stride: int):
        super().__init__()
        self.resize = CausalConv1d(config.hidden_dim, config.hidden_dim, kernel_size, stride=stride)
        self.blocks = nn.ModuleList(ResidualBlock(config.hidden_dim, d) for d in config.dilations)

    def run_blocks(self, x: Tensor, apply: Apply) -> Tensor:
        """Run the residual blocks."""
        for block in self.blocks:
            assert isinstance(block, ResidualBlock)
            x = block.run(x, apply)
        return x


class _StreamingConvNet(nn.Module, ABC):
    """What encoder and decoder share: state of all their convolutions and the two ways to run them."""

    config: CausalTAEConfig

    def init_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> ConvStates:
        """Give the state before the first frame: zeros, as the whole-sequence form pads."""
        order: list[CausalConv1d] = []

        def record(conv: CausalConv1d, x: Tensor) -> Tensor:
            order.append(conv)
            return x.new_empty(1, conv.out_channels, x.shape[-1] // conv.hop)

        # The meta device would do, but costs a second: it imports torch's compiler.
        self._network(torch.zeros(1, self._in_channels, self._chunk), record)
        return ConvStates(tuple(conv.init_state(batch_size, device=device, dtype=dtype) for conv in order))

    _in_channels: int
    _chunk: int

    @abstractmethod
    def _network(self, x: Tensor, apply: Apply) -> Tensor:
        """Run every convolution through `apply`, in the network's order."""

    def _step_network(self, x: Tensor, state: ConvStates, active: Tensor | None) -> tuple[Tensor, ConvStates]:
        stepper = _Stepper(state)
        out = self._network(x, stepper)
        return out, select_rows(active, ConvStates(tuple(stepper.new)), state)


class CausalEncoder(_StreamingConvNet):
    """Motion frames to latents: conv, twice (halve time, residual blocks), conv, projection to mean and logvar."""

    def __init__(self, config: CausalTAEConfig):
        super().__init__()
        self.config = config
        self._in_channels, self._chunk = config.feature_dim, config.frames_per_latent
        self.input = CausalConv1d(config.feature_dim, config.hidden_dim, 3)
        self.stages = nn.ModuleList(ResizeStage(config, kernel_size=4, stride=2) for _ in range(config.num_halvings))
        self.output = CausalConv1d(config.hidden_dim, config.hidden_dim, 3)
        self.to_posterior = nn.Linear(config.hidden_dim, 2 * config.latent_dim)

    def _network(self, x: Tensor, apply: Apply) -> Tensor:
        x = functional.relu(apply(self.input, x))
        for stage in self.stages:
            assert isinstance(stage, ResizeStage)
            x = stage.run_blocks(apply(stage.resize, x), apply)
        return apply(self.output, x)

    def _posterior(self, hidden: Tensor) -> LatentDistribution:
        mean, logvar = self.to_posterior(hidden.transpose(1, 2)).chunk(2, dim=-1)
        return LatentDistribution(mean, logvar.clamp(*self.config.logvar_range))

    def forward(self, x: Float[Tensor, "b t d"]) -> LatentDistribution:
        """Encode whole sequences; gives T // frames_per_latent latents."""
        return self._posterior(self._network(x.transpose(1, 2), _whole))

    def step(
        self, x: Float[Tensor, "b n d"], state: ConvStates, active: Tensor | None = None
    ) -> tuple[LatentDistribution, ConvStates]:
        """Encode the next frames (a multiple of frames_per_latent); gives their latents and the next state."""
        if x.shape[1] % self._chunk or not x.shape[1]:
            raise BadInputError(f"The encoder takes {self._chunk} frames (or a multiple) a step, got {x.shape[1]}.")
        hidden, state = self._step_network(x.transpose(1, 2), state, active)
        return zero_inactive(active, self._posterior(hidden)), state


class CausalDecoder(_StreamingConvNet):
    """Latents to motion frames: projection, conv, then twice (residual blocks, repeat each step, conv), two convs."""

    def __init__(self, config: CausalTAEConfig):
        super().__init__()
        self.config = config
        self._in_channels, self._chunk = config.hidden_dim, 1
        self.from_latent = nn.Linear(config.latent_dim, config.hidden_dim)
        self.input = CausalConv1d(config.hidden_dim, config.hidden_dim, 3)
        self.stages = nn.ModuleList(ResizeStage(config, kernel_size=3, stride=1) for _ in range(config.num_halvings))
        self.before_output = CausalConv1d(config.hidden_dim, config.hidden_dim, 3)
        self.output = CausalConv1d(config.hidden_dim, config.feature_dim, 3)

    def _network(self, x: Tensor, apply: Apply) -> Tensor:
        x = functional.relu(apply(self.input, x))
        for stage in self.stages:
            assert isinstance(stage, ResizeStage)
            x = stage.run_blocks(x, apply).repeat_interleave(2, dim=-1)
            x = apply(stage.resize, x)
        return apply(self.output, functional.relu(apply(self.before_output, x)))

    def forward(self, z: Float[Tensor, "b l c"]) -> Float[Tensor, "b t d"]:
        """Decode whole sequences; gives frames_per_latent frames per latent."""
        return self._network(self.from_latent(z).transpose(1, 2), _whole).transpose(1, 2)

    def step(
        self, z: Float[Tensor, "b n c"], state: ConvStates, active: Tensor | None = None
    ) -> tuple[Float[Tensor, "b t d"], ConvStates]:
        """Decode the next latents (one or more); gives their frames and the next state."""
        if not z.shape[1]:
            raise BadInputError("The decoder takes at least one latent a step, got none.")
        frames, state = self._step_network(self.from_latent(z).transpose(1, 2), state, active)
        return zero_inactive(active, frames.transpose(1, 2)), state


class CausalTAE(nn.Module):
    """Encoder and decoder between normalised motion features [B, T, D] and latents [B, L, C], L = T // 4."""

    def __init__(self, config: CausalTAEConfig):
        super().__init__()
        self.config = config
        self.encoder = CausalEncoder(config)
        self.decoder = CausalDecoder(config)

    def encode(self, x: Float[Tensor, "b t d"]) -> LatentDistribution:
        """Give q(z|x); frames after the last whole group of frames_per_latent have no latent.

        Raises BadInputError where the shape doesn't fit.
        """
        if x.dim() != 3 or x.shape[-1] != self.config.feature_dim:
            raise BadInputError(f"encode expects features [B, T, {self.config.feature_dim}], got {tuple(x.shape)}.")
        if x.shape[1] < self.config.frames_per_latent:
            raise BadInputError(
                f"A latent stands for {self.config.frames_per_latent} frames, but the motion has {x.shape[1]}."
            )
        posterior: LatentDistribution = self.encoder(x)
        return posterior

    def decode(self, z: Float[Tensor, "b l c"]) -> Float[Tensor, "b t d"]:
        """Give the features that latents stand for; raises BadInputError where the shape doesn't fit."""
        if z.dim() != 3 or z.shape[-1] != self.config.latent_dim or not z.shape[1]:
            raise BadInputError(f"decode expects latents [B, L >= 1, {self.config.latent_dim}], got {tuple(z.shape)}.")
        frames: Tensor = self.decoder(z)
        return frames

    def forward(
        self, x: Float[Tensor, "b t d"], generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "b t d"], LatentDistribution]:
        """Encode, draw one sample, decode: what training needs."""
        posterior = self.encode(x)
        return self.decode(posterior.sample(generator)), posterior
