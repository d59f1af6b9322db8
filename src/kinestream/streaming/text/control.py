"""What a stream is doing, as values: the prompt that is acted, the queue, and which latents the model looks back on.

**The context rule** (MotionStreamer, section 3.3, "Inference"). The autoregressive model sees
`[current text, previous prompt's latents, current latents]`, at most `capacity` latents (77 in the paper):

- when a prompt starts, the context is its text and the latents of the prompt before it, the newest `history` of them at
  most and the newest `overlap` at least (a prompt replaced after an instant has hardly any latents of its own);
- each new latent joins the context, and everything before it stays in the key/value cache;
- when the context is full, it starts again under the same text from the newest `history` latents. The decoder is not
  touched by any of this, so frames have no seam.

Everything here is immutable: a transition gives a new `Control`, so any earlier moment can be returned to.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError

PromptKind = Literal["text", "idle", "hold"]


@dataclass(frozen=True, eq=False)
class Prompt:
    """One thing to act.

    Attributes:
        text: what was asked; empty for a hold.
        embedding: the text's embedding `[D]`; None for a hold.
        latents: how many latents it lasts; None until it ends by itself.
        kind: "text" for a user's prompt, "idle" for the prompt acted when there is none, "hold" for resting in a pose.
    """

    text: str
    embedding: Float[Tensor, " d"] | None
    latents: int | None = None
    kind: PromptKind = "text"


HOLD = Prompt("", None, None, "hold")


@dataclass(frozen=True)
class Limits:
    """Bounds that the transitions keep; all counted in latents.

    Attributes:
        capacity: most latents in the context.
        history: most latents kept when the context starts again.
        overlap: fewest latents kept then (where so many exist).
        min_latents: a prompt is not ended by the model before so many.
        max_latents: a prompt without a length of its own ends after so many.
    """

    capacity: int
    history: int
    overlap: int
    min_latents: int
    max_latents: int

    def __post_init__(self) -> None:
        if not 0 <= self.overlap <= self.history < self.capacity:
            raise BadInputError(
                "The context needs 0 <= overlap <= history < capacity; "
                f"got overlap {self.overlap}, history {self.history}, capacity {self.capacity}."
            )
        if not 1 <= self.min_latents <= self.max_latents:
            raise BadInputError(
                "A prompt's bounds need 1 <= min_latents <= max_latents; "
                f"got {self.min_latents} and {self.max_latents}. A prompt must last at least one latent."
            )


@dataclass(frozen=True, eq=False)
class Control:
    """Where the stream stands before the latent `index`.

    Attributes:
        prompt: what is acted.
        began: index of the prompt's first latent.
        restarted: first latent since the prompt (re)started; later than `began` when a prompt of fixed length ended
            early and was started again.
        context_start: first latent that the model sees.
        prefilled_to: latents before this one entered the context at once, later ones one by one.
        queue: prompts that follow.
        finished: nothing is left to act, and the stream ends instead of idling.
    """

    prompt: Prompt = HOLD
    began: int = 0
    restarted: int = 0
    context_start: int = 0
    prefilled_to: int = 0
    queue: tuple[Prompt, ...] = ()
    finished: bool = False


def begin(control: Control, prompt: Prompt, index: int, limits: Limits) -> Control:
    """Act `prompt` from the latent `index` on, with the finished prompt's latents as history."""
    return _start(replace(control, prompt=prompt, began=index, finished=False), index, limits)


def _start(control: Control, index: int, limits: Limits) -> Control:
    if index == control.restarted:
        first = max(control.context_start, index - limits.history)
    else:
        first = max(index - limits.history, min(control.restarted, index - limits.overlap), 0)
    return replace(control, restarted=index, context_start=first, prefilled_to=index)


def fit_context(control: Control, index: int, limits: Limits) -> Control:
    """Start the context again from the newest latents when the latent `index` would no longer fit behind it."""
    if index - control.context_start <= limits.capacity:
        return control
    return replace(control, context_start=index - limits.history, prefilled_to=index)


def enqueue(control: Control, prompt: Prompt) -> Control:
    """Act `prompt` after everything that is already waiting."""
    return replace(control, queue=(*control.queue, prompt), finished=False)


def settle(control: Control, index: int, limits: Limits, idle: Prompt | None) -> Control:
    """What to act at `index`: goes on when a prompt's time is up, and leaves idling when something is queued.

    `idle` is what to do when nothing is left; None ends the stream.
    """
    if control.finished:
        return control
    if control.prompt.kind != "text":
        if control.queue:
            return _next(control, index, limits, idle)
        if idle is None or idle is not control.prompt:
            return _rest(control, index, limits, idle)
        return control
    lasts = limits.max_latents if control.prompt.latents is None else control.prompt.latents
    return _next(control, index, limits, idle) if index - control.began >= lasts else control


def after_end(control: Control, index: int, limits: Limits, idle: Prompt | None) -> Control:
    """What to act when the model says at `index` that the prompt is over.

    A prompt of fixed length is acted again until its time is up; so is the idle prompt.
    """
    if control.prompt.kind == "idle" or control.prompt.latents is not None:
        return _start(control, index, limits)
    return _next(control, index, limits, idle)


def _next(control: Control, index: int, limits: Limits, idle: Prompt | None) -> Control:
    if control.queue:
        following, *rest = control.queue
        return begin(replace(control, queue=tuple(rest)), following, index, limits)
    return _rest(control, index, limits, idle)


def _rest(control: Control, index: int, limits: Limits, idle: Prompt | None) -> Control:
    if idle is None:
        return replace(control, prompt=HOLD, finished=True)
    return begin(control, idle, index, limits)
