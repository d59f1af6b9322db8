"""What comes out of any stream: the frames that one step has completed, and what happens in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from kinestream.motion import Motion

Kind = Literal["text", "idle", "hold", "dance"]
"""What the body does: acts a prompt, acts the idle prompt, comes to rest, or dances."""

Begun = Literal["prompt", "idle", "hold", "genre"]
Ended = Literal["prompt", "music"]


@dataclass(frozen=True, eq=False)
class Chunk:
    """The frames that a stream gives at once: those of a latent, or of a piece of music.

    Chunks follow each other without a gap: the first frame of one is the frame after the last of the one before.

    Attributes:
        index: number of the chunk in its stream, from 0.
        first_frame: number of its first frame in the stream.
        motion: its frames in the world, 30 fps, continued from the frames before, on the floor and with their feet
            locked (unless the options say not to).
        features: `[T, 272]` motion272 features (metres, not normalised), as the model decoded them.
        tokens: what they were decoded from: a latent `[C]` of the autoencoder for text, codes `[L, K]` for a dance.
        kind: what the body does.
        prompt: the text that is acted; empty where there is none.
        genre: what is danced; None where none was named.
        began: what begins with its first frame.
        ended: what is over: the prompt before it, by itself or by its time and not replaced; the music, with its last
            frame.
    """

    index: int
    first_frame: int
    motion: Motion
    features: Float[Tensor, "t 272"]
    tokens: Tensor
    kind: Kind
    prompt: str = ""
    genre: str | None = None
    began: tuple[Begun, ...] = ()
    ended: tuple[Ended, ...] = ()

    @property
    def num_frames(self) -> int:
        """How many frames it has."""
        return self.motion.num_frames

    @property
    def start_s(self) -> float:
        """When its first frame is played, in seconds of the stream."""
        return self.first_frame / self.motion.fps

    @property
    def idle(self) -> bool:
        """Whether nothing that was asked for is acted."""
        return self.kind in ("idle", "hold")
