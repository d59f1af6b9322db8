"""What can be chosen for a session."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kinestream.errors import BadInputError
from kinestream.streaming.checks import check_positive, check_switch, checked_whole, is_number


@dataclass(frozen=True)
class SessionOptions:
    """How one stream is made. Durations are rounded to whole latents (4 frames, 0.133 s).

    Attributes:
        guidance: scale of classifier-free guidance (MotionStreamer, equation 8); 1 turns it off and halves the work;
            None takes the model's own.
        sampling_steps: denoising steps a latent; None for all that the model was trained with, or in fast mode for as
            few as do no harm.
        when_idle: what follows when nothing is left to act: "idle" keeps the body alive until the next prompt, "end"
            ends the stream.
        idle_prompt: text that is acted while idle; None takes the model's own, and without one the body comes to rest
            in its last pose.
        min_prompt_s: the model cannot end a prompt earlier.
        max_prompt_s: a prompt without a length of its own ends after so long.
        history_latents: latents that stay in the model's sight when a prompt starts or the context is full; None for
            half of the context.
        stop_threshold: distance to the reference end latent under which a prompt ends; None takes the model's own.
        foot_lock: standing feet hold still and the body stands on the floor (decisions/0007); False shows what the
            model made, only lifted where it would sink.
        rewind_s: how far back the stream can be rewound; bounds the memory of a session (about 60 kB a second).
    """

    guidance: float | None = None
    sampling_steps: int | None = None
    when_idle: Literal["idle", "end"] = "idle"
    idle_prompt: str | None = None
    min_prompt_s: float = 0.5
    max_prompt_s: float = 15.0
    history_latents: int | None = None
    stop_threshold: float | None = None
    foot_lock: bool = True
    rewind_s: float = 300.0

    def __post_init__(self) -> None:
        if self.guidance is not None:
            check_positive("guidance", self.guidance, 100.0)
        check_positive("min_prompt_s", self.min_prompt_s, 3_600.0)
        check_positive("max_prompt_s", self.max_prompt_s, 3_600.0)
        check_positive("rewind_s", self.rewind_s, 86_400.0)
        if self.min_prompt_s > self.max_prompt_s:
            raise BadInputError(
                f"min_prompt_s ({self.min_prompt_s}) must not be larger than max_prompt_s ({self.max_prompt_s})."
            )
        if self.when_idle not in ("idle", "end"):
            raise BadInputError(f"when_idle is 'idle' or 'end'; got {self.when_idle!r}.")
        check_switch("foot_lock", self.foot_lock)
        if self.sampling_steps is not None:
            checked_whole("sampling_steps", self.sampling_steps)
        if self.history_latents is not None:
            checked_whole("history_latents", self.history_latents)
        threshold = self.stop_threshold
        if threshold is not None and (not is_number(threshold) or threshold < 0):
            raise BadInputError(f"stop_threshold is a distance from 0 on, or None; got {threshold!r}.")

    def to_json(self) -> dict[str, Any]:
        """JSON values that `from_json` turns back into equal options."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SessionOptions:
        """Options from `to_json`'s dictionary; BadInputError for unknown names or wrong values."""
        try:
            return cls(**values)
        except TypeError as error:
            raise BadInputError(f"These are not a session's options: {error}.") from error
