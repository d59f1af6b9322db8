"""The motion tokenizer (InfiniteDance, section 4.1): frames to residual codes and back, whole and streaming."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kinestream.errors import BadInputError
from kinestream.models.rvq_vae.config import RVQVAEConfig
from kinestream.nn.motion_convs import ConvDecoder, ConvEncoder, ConvStates
from kinestream.nn.rvq import Quantized, ResidualQuantizer
from kinestream.nn.streaming import zero_inactive


class DecoderStates(NamedTuple):
    """State of the frame decoder and of the velocity decoder (None where the model has none)."""

    frames: ConvStates
    velocity: ConvStates | None


class CodeEncoder(nn.Module):
    """The streaming form of encoding: frames in, codes out."""

    def __init__(self, net: ConvEncoder, quantizer: ResidualQuantizer) -> None:
        super().__init__()
        self.net = net
        self._quantizer = [quantizer]  # belongs to the model

    def forward(self, x: Float[Tensor, "b t d"]) -> Int[Tensor, "b l k"]:
        """Encode whole sequences."""
        return self._quantizer[0].encode(self.net.run(x))

    def init_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> ConvStates:
        """Give the state before the first frame. Causal models only."""
        return self.net.init_state(batch_size, device=device, dtype=dtype)

    def step(
        self, x: Float[Tensor, "b n d"], state: ConvStates, active: Tensor | None = None
    ) -> tuple[Int[Tensor, "b m k"], ConvStates]:
        """Encode the next frames (a multiple of frames_per_step); inactive rows give code 0 and keep their state."""
        hidden, state = self.net.run_step(x, state, active)
        return zero_inactive(active, self._quantizer[0].encode(hidden)), state


class VectorDecoder(nn.Module):
    """Quantised vectors to frames; a velocity decoder of its own fills some columns where the model has one."""

    def __init__(self, config: RVQVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.net = ConvDecoder(config.sizes(config.code_dim, config.feature_dim))
        self.velocity = ConvDecoder(config.sizes(config.code_dim, config.velocity_dim)) if config.velocity_dim else None

    def _merged(self, frames: Tensor, velocity: Tensor | None) -> Tensor:
        if velocity is None:
            return frames
        first, stop = self.config.velocity_columns
        return torch.cat((frames[..., :first], velocity, frames[..., stop:]), dim=-1)

    def forward(self, vectors: Float[Tensor, "b l c"]) -> Float[Tensor, "b t d"]:
        """Decode whole sequences; gives frames_per_step frames per vector."""
        return self._merged(self.net.run(vectors), None if self.velocity is None else self.velocity.run(vectors))

    def init_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> DecoderStates:
        """Give the state before the first vector. Causal models only."""
        frames = self.net.init_state(batch_size, device=device, dtype=dtype)
        if self.velocity is None:
            return DecoderStates(frames, None)
        return DecoderStates(frames, self.velocity.init_state(batch_size, device=device, dtype=dtype))

    def step(
        self, vectors: Float[Tensor, "b n c"], state: DecoderStates, active: Tensor | None = None
    ) -> tuple[Float[Tensor, "b t d"], DecoderStates]:
        """Decode the next vectors (`RVQVAE.embed` of codes); gives their frames and the next state."""
        frames, frame_state = self.net.run_step(vectors, state.frames, active)
        if self.velocity is None or state.velocity is None:
            return frames, DecoderStates(frame_state, None)
        velocity, velocity_state = self.velocity.run_step(vectors, state.velocity, active)
        return self._merged(frames, velocity), DecoderStates(frame_state, velocity_state)


class RVQVAE(nn.Module):
    """Normalised motion features [B, T, D] to codes [B, L, K] and back, L = T // frames_per_step.

    `encoder` takes frames to codes, `decoder` vectors to frames; both stream where the model is causal.
    """

    def __init__(self, config: RVQVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.quantizer = ResidualQuantizer(
            config.num_codebooks, config.num_codes, config.code_dim,
            dropout=config.quantizer_dropout, decay=config.codebook_decay, revive_share=config.revive_share,
        )  # fmt: skip
        self.encoder = CodeEncoder(ConvEncoder(config.sizes(config.feature_dim, config.code_dim)), self.quantizer)
        self.decoder = VectorDecoder(config)

    @property
    def codebooks(self) -> Float[Tensor, "k n c"]:
        """The code vectors."""
        return self.quantizer.codebooks

    def hidden(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b l c"]:
        """Give the vectors before quantisation; frames after the last whole step have none.

        Raises BadInputError where the shape doesn't fit.
        """
        config = self.config
        if x.dim() != 3 or x.shape[-1] != config.feature_dim:
            raise BadInputError(f"encode expects features [B, T, {config.feature_dim}], got {tuple(x.shape)}.")
        if x.shape[1] < config.frames_per_step:
            raise BadInputError(f"A token stands for {config.frames_per_step} frames, but the motion has {x.shape[1]}.")
        whole = x.shape[1] - x.shape[1] % config.frames_per_step
        return self.encoder.net.run(x[:, :whole])

    def quantize(self, hidden: Float[Tensor, "b l c"], generator: torch.Generator | None = None) -> Quantized:
        """Quantise vectors; in training mode this updates the codebooks."""
        quantized: Quantized = self.quantizer(hidden, generator)
        return quantized

    def encode(self, x: Float[Tensor, "b t d"]) -> Int[Tensor, "b l k"]:
        """Give the codes of motion; raises BadInputError where the shape doesn't fit."""
        return self.quantizer.encode(self.hidden(x))

    def embed(self, codes: Int[Tensor, "b l k"]) -> Float[Tensor, "b l c"]:
        """Give the vectors that codes stand for; index -1 leaves a level out."""
        return self.quantizer.embed(codes)

    def decode(self, codes: Int[Tensor, "b l k"]) -> Float[Tensor, "b t d"]:
        """Give the features that codes stand for; raises BadInputError where the shape doesn't fit."""
        if codes.dim() != 3 or not codes.shape[1] or not 1 <= codes.shape[2] <= self.config.num_codebooks:
            raise BadInputError(
                f"decode expects codes [B, L >= 1, up to {self.config.num_codebooks}], got {tuple(codes.shape)}."
            )
        frames: Tensor = self.decoder(self.embed(codes))
        return frames

    def forward(
        self, x: Float[Tensor, "b t d"], generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "b t d"], Quantized]:
        """Encode, quantise, decode: what training needs."""
        quantized = self.quantize(self.hidden(x), generator)
        return self.decoder(quantized.vectors), quantized
