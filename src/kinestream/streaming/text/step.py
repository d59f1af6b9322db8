"""What one step is for one stream: nothing of it reaches the session before the whole step has succeeded."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.features import RootState
from kinestream.inference.networks import DecoderState
from kinestream.motion import Motion
from kinestream.streaming.chunk import Begun, Chunk
from kinestream.streaming.footlock import FootLockState
from kinestream.streaming.frames import damp_root
from kinestream.streaming.text.context import Context, Request
from kinestream.streaming.text.control import Control, Prompt, settle
from kinestream.streaming.text.networks import Decoded
from kinestream.streaming.text.session import Session
from kinestream.streaming.text.timeline import Record, keeps_snapshot


class StreamStep:
    """One stream's part of a step: nothing of it reaches the session before the whole step has succeeded."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.index = session.index
        before = session.control
        self.control: Control = settle(before, self.index, session.limits, session.idle)
        self.ended = before.prompt.kind == "text" and self.control.prompt is not before.prompt
        self.context: Context | None = session.context
        self.decoder: DecoderState | None = session.decoder
        self.settling: tuple[int, Tensor] | None = session.settling
        self.attempt = 0
        self.early_ends = 0
        self.calmer_samples = 0
        self.guidance = session.guidance
        self.from_end = self.deviation = 0.0
        self.candidate: Tensor | None = None
        self.ahead: Decoded | None = None
        self.latent: Tensor | None = None
        self.keep: Tensor | None = None
        self.features: Tensor | None = None
        self.posed: tuple[Motion, RootState, FootLockState | None] | None = None

    def request(self) -> Request:
        """What the autoregressive model has to know of this stream."""
        guided = self.session.guidance != 1.0
        return Request(self.control, self.index, guided, self.context, self.session.timeline.latents)

    def noise(self, steps: int, latent_dim: int) -> Float[Tensor, "s c"]:
        """All noise of this latent."""
        return latent_noise(self.session.seed, self.index, self.attempt, steps, latent_dim)

    def damped_features(self) -> Float[Tensor, "t 272"]:
        """What was decoded, its root at rest where the body holds or the stream begins."""
        assert self.features is not None, "a latent was decoded"
        features, keep = self.features.clone(), self.keep
        if self.index == 0:
            # A stream starts at the origin facing +Z: its first frame has no frame before it to move from.
            keep = torch.ones(len(features)) if keep is None else keep.clone()
            keep[0] = 0.0
        return features if keep is None else damp_root(features, keep)

    def record(self) -> Record | None:
        """What the step adds to the session's timeline; None when the stream has ended."""
        if self.latent is None or self.features is None or self.posed is None:
            return None
        features, (motion, root, feet) = self.features, self.posed
        prompt = self.control.prompt
        chunk = Chunk(
            index=self.index,
            first_frame=self.index * len(features),
            motion=replace(motion, name=prompt.text),
            features=features,
            tokens=self.latent.clone(),
            kind=prompt.kind,
            prompt=prompt.text,
            began=begun(prompt, self.index == self.control.began),
            ended=("prompt",) if self.ended else (),
        )
        return Record(chunk, self.control, root, feet, self.decoder if keeps_snapshot(self.index) else None)


def begun(prompt: Prompt, starts: bool) -> tuple[Begun, ...]:
    """What begins with the first latent of a prompt."""
    if not starts:
        return ()
    return ("prompt",) if prompt.kind == "text" else (prompt.kind,)


def latent_noise(seed: int, index: int, attempt: int, steps: int, latent_dim: int) -> Float[Tensor, "s c"]:
    """All noise of one latent: it depends on seed, latent and attempt only, never on what was drawn before.

    Row 0 starts the chain, the others are its steps' fresh noise.
    """
    generator = torch.Generator().manual_seed(_mixed_seed(seed, index, attempt))
    return torch.randn(steps + 1, latent_dim, generator=generator)


def _mixed_seed(seed: int, index: int, attempt: int) -> int:
    """A 63-bit seed from three numbers; neighbours get unrelated noise."""
    message = f"{seed} {index} {attempt}".encode()
    return int.from_bytes(hashlib.blake2b(message, digest_size=8).digest(), "little") >> 1
