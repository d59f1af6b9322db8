"""What can be chosen for a dance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Float
from torch import Tensor

from kinestream.models.choreo_llama import References, SamplingSettings
from kinestream.streaming.checks import check_positive, check_switch


class ReferenceSource(Protocol):
    """Where a window's reference dances come from: `RetrievedReferences` or `NamedReferences`."""

    def find(self, first_step: int, music: Float[Tensor, "t m"], genre: str | None) -> References | None:
        """References that last as long as the window of `music` (un-normalised) that begins with `first_step`."""


@dataclass(frozen=True)
class DanceOptions:
    """How one dance is made.

    Attributes:
        piece_s: the music is danced in pieces of so many seconds, rounded to whole token steps; None for half of the
            model's window. Shorter ones shorten the look-ahead, longer ones let the dance see more of what comes.
        foot_lock: standing feet hold still and the body stands on the floor (decisions/0007); False shows what the
            model made, only lifted where it would sink.
        beat_lock: steps that come a little before or after a beat come on it (decisions/0010); False leaves their
            timing to the model.
        sampling: how codes are sampled; None takes the model's own.
        rewind_s: how far back the dance can be rewound; bounds the memory of a session.
    """

    piece_s: float | None = None
    foot_lock: bool = True
    beat_lock: bool = True
    sampling: SamplingSettings | None = None
    rewind_s: float = 60.0

    def __post_init__(self) -> None:
        check_switch("foot_lock", self.foot_lock)
        check_switch("beat_lock", self.beat_lock)
        if self.piece_s is not None:
            check_positive("piece_s", self.piece_s, 60.0)
        check_positive("rewind_s", self.rewind_s, 86_400.0)
