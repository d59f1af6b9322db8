"""What can be chosen for an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from kinestream.errors import BadInputError
from kinestream.evaluation.result import Protocol

PROTOCOLS: tuple[Protocol, ...] = ("text", "stream", "reconstruction", "dance", "capture")
DEFAULT_SPLIT = {"text": "test", "stream": "val", "reconstruction": "test", "dance": "test", "capture": "test"}

# `progress(what, unit)` gives `update(done, total)` for a piece of work.
Update = Callable[[int, int | None], None]
Progress = Callable[[str, str], AbstractContextManager[Update]]


@dataclass(frozen=True)
class EvaluationSettings:
    """How a model is measured.

    Attributes:
        protocol: "text": motions from captions; "stream": switches from one prompt to the next; "reconstruction": the
            autoencoder alone; "dance": dances to songs; "capture": damaged recordings, restored.
        split: of the data set; None takes "test", or "val" for streams, as the layouts have them.
        repeats: how often everything is generated anew; the literature takes 20. Reconstruction and capture have
            nothing to repeat.
        samples: measure so many recordings, evenly over the split; None for all.
        batch: captions that a motion is looked for among (R-Precision); the literature takes 32.
        seed: everything random follows from it.
        guidance: scale of classifier-free guidance; None takes the model's own.
        processes: that generate side by side.
    """

    protocol: Protocol = "text"
    split: str | None = None
    repeats: int = 20
    samples: int | None = None
    batch: int = 32
    seed: int = 0
    guidance: float | None = None
    processes: int = 2

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise BadInputError(f"expected one of the protocols {', '.join(PROTOCOLS)}, got {self.protocol!r}")
        for name in ("repeats", "batch", "processes"):
            if getattr(self, name) < 1:
                raise BadInputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.samples is not None and self.samples < 2:
            raise BadInputError(f"a measurement needs at least 2 samples, got {self.samples}")
        if self.seed < 0:
            raise BadInputError(f"the seed must be at least 0, got {self.seed}")

    @property
    def split_name(self) -> str:
        """The split that is read."""
        return DEFAULT_SPLIT[self.protocol] if self.split is None else self.split


@dataclass(frozen=True)
class Place:
    """Where things lie: a model folder (None: the packaged one), a data set, the report's folder, an evaluator's.

    For dances the evaluator is a retrieval network (None: the one beside the model, where one is).
    """

    model: Path | None
    data: Path
    out: Path
    evaluator: Path | None = None
