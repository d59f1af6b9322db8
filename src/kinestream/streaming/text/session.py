"""One listener's stream: prompts go in at any time, a latent's frames come out of every step."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from kinestream.errors import BadInputError, KinestreamError
from kinestream.features import MOTION272, RootState
from kinestream.inference.networks import DecoderState
from kinestream.motion import Motion, concatenate
from kinestream.streaming.footlock import FootLockState
from kinestream.streaming.frames import initial_feet, initial_root
from kinestream.streaming.text.context import Context
from kinestream.streaming.text.control import HOLD, Control, Limits, Prompt, begin, enqueue, settle
from kinestream.streaming.text.hold import LOOK_BACK_LATENTS, SETTLE_LATENTS
from kinestream.streaming.text.options import SessionOptions
from kinestream.streaming.text.timeline import Record, StepResult, Timeline

if TYPE_CHECKING:
    from kinestream.streaming.text.engine import Engine

MAX_PROMPT_S = 3_600.0
MAX_QUEUE = 1_000
MAX_EVENTS = 10_000
OVERLAP_LATENTS = 8


@dataclass(frozen=True)
class Event:
    """Something that was said to a stream: what, and before which latent."""

    index: int
    action: Literal["prompt", "queue", "clear", "seed"]
    text: str = ""
    seconds: float | None = None
    seed: int | None = None


class Session:
    """All state of one stream. Prompts may come from other threads while it steps.

    Args:
        engine: the model that makes the motion.
        seed: the same seed and the same prompts at the same latents give the same motion.
        options: how the stream is made.

    Raises:
        BadInputError: options that this model can't follow.
    """

    def __init__(self, engine: Engine, *, seed: int = 0, options: SessionOptions | None = None) -> None:
        self.engine = engine
        self.options = SessionOptions() if options is None else options
        self.lock = threading.RLock()
        self.seed = _checked_seed(seed)
        chosen = self.options.guidance
        self.guidance = engine.model.guidance if chosen is None else chosen
        self.limits = self._limits()
        self.idle = self._idle_prompt()
        look_back = max(self.limits.capacity, LOOK_BACK_LATENTS + SETTLE_LATENTS)
        self.timeline = Timeline(self._latents(self.options.rewind_s), look_back)
        self.control = Control()
        self.root: RootState = initial_root()
        self.feet = self._initial_feet()
        self.decoder: DecoderState | None = None
        self.context: Context | None = None
        self.settling: tuple[int, Tensor] | None = None
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)

    # What is asked of the stream.

    def prompt(self, text: str, seconds: float | None = None) -> None:
        """Act `text` from the next latent on, in place of what is acted now; what is queued still follows.

        Args:
            text: a sentence.
            seconds: how long (to the nearest latent, 0.133 s); None until the motion ends by itself. A motion that
                ends before its time is acted again.

        Raises:
            BadInputError: the text is empty or too long, or the duration is not a positive number.
        """
        prompt = self._prompt(text, seconds)
        with self.lock:
            self.control = begin(self.control, prompt, self.index, self.limits)
            self._events.append(Event(self.index, "prompt", prompt.text, seconds))

    def queue(self, text: str, seconds: float | None = None) -> None:
        """Act `text` when everything before it is over; at once if the body idles. As `prompt` otherwise."""
        prompt = self._prompt(text, seconds)
        with self.lock:
            if len(self.control.queue) >= MAX_QUEUE:
                raise BadInputError(f"The queue holds at most {MAX_QUEUE} prompts. Wait until some are acted.")
            self.control = enqueue(self.control, prompt)
            self._events.append(Event(self.index, "queue", prompt.text, seconds))

    def clear_queue(self) -> None:
        """Forget the prompts that wait; the one that is acted goes on."""
        with self.lock:
            self.control = replace(self.control, queue=())
            self._events.append(Event(self.index, "clear"))

    def step(self) -> StepResult:
        """Make the next latent and its frames.

        Raises:
            KinestreamError: the stream has ended (only with `when_idle="end"`).
        """
        result = self.advance()
        if result is None:
            raise KinestreamError("The stream has ended: nothing is left to act. Give it a prompt.")
        return result

    def advance(self) -> StepResult | None:
        """As `step`, but gives None when the stream has ended: a prompt may turn out to be over only in the step."""
        (result,) = self.engine.step([self])
        return result

    def __iter__(self) -> Iterator[StepResult]:
        """Steps until the stream ends; without end where it idles."""
        while (result := self.advance()) is not None:
            yield result

    # Where it stands.

    @property
    def index(self) -> int:
        """Number of the next latent."""
        return self.timeline.end

    @property
    def num_frames(self) -> int:
        """Frames made so far."""
        return self.index * self.engine.frames_per_latent

    @property
    def current_prompt(self) -> str:
        """The text that the next step acts; empty when there is none."""
        with self.lock:
            return settle(self.control, self.index, self.limits, self.idle).prompt.text

    @property
    def queued_prompts(self) -> tuple[str, ...]:
        """The texts that wait."""
        with self.lock:
            return tuple(prompt.text for prompt in settle(self.control, self.index, self.limits, self.idle).queue)

    @property
    def finished(self) -> bool:
        """Whether the stream is known to have ended; a prompt may still end by itself at the next step."""
        with self.lock:
            return settle(self.control, self.index, self.limits, self.idle).finished

    @property
    def ready(self) -> bool:
        """Whether a step goes on with the stream, as far as is known."""
        return not self.finished

    @property
    def events(self) -> tuple[Event, ...]:
        """What was said and when, the newest ten thousand."""
        with self.lock:
            return tuple(self._events)

    @property
    def earliest_frame(self) -> int:
        """The oldest frame that `rewind` can go back to."""
        return self.timeline.earliest * self.engine.frames_per_latent

    def motion(self, start_frame: int | None = None, stop_frame: int | None = None) -> Motion:
        """Frames that are still kept (the newest `rewind_s` seconds), bit for bit as they were first given.

        Raises:
            BadInputError: the frames are not made yet, no longer kept, or none.
        """
        with self.lock:
            per_latent = self.engine.frames_per_latent
            oldest = self.timeline.first * per_latent
            start = oldest if start_frame is None else start_frame
            stop = self.num_frames if stop_frame is None else stop_frame
            if not oldest <= start < stop <= self.num_frames:
                raise BadInputError(
                    f"Frames {start} to {stop} are not there: this session keeps frames {oldest} to {self.num_frames}."
                )
            first = start // per_latent
            chunks = [self.timeline[index].result.motion for index in range(first, -(-stop // per_latent))]
            return concatenate(chunks).slice(start - first * per_latent, stop - first * per_latent)

    # Composition.

    def rewind(self, frame: int) -> int:
        """Go back so that all frames before `frame` stay; what was said at or after that moment is forgotten.

        Gives the first frame that will be made anew: `frame`, or up to 3 more where `frame` lies inside a latent,
        since a latent's frames are made together and earlier ones never change. With no other prompt the stream
        repeats itself, bit for bit.

        Raises:
            BadInputError: the frame is not made yet, or lies further back than the session remembers.
        """
        with self.lock:
            per_latent = self.engine.frames_per_latent
            if not is_whole(frame) or not 0 <= frame <= self.num_frames:
                raise BadInputError(f"The stream has frames 0 to {self.num_frames}; it can't be rewound to {frame!r}.")
            index = -(-frame // per_latent)
            if index < self.timeline.earliest:
                raise BadInputError(
                    f"Frame {frame} is too long ago: this session can be rewound to frame {self.earliest_frame} or "
                    "later. Give it a larger rewind_s."
                )
            if index < self.index:
                self._go_back(index)
            return index * per_latent

    def _go_back(self, index: int) -> None:
        moment, state = self.timeline.snapshot(index)
        if index > moment:
            state = self.engine.replay_decoder(state, self.timeline.latents(moment, index))
        before = self.timeline[index - 1] if index else None
        self.control = before.control if before else Control()
        self.root = before.root if before else initial_root()
        self.feet = before.feet if before else self._initial_feet()
        self.decoder = state
        self.context = self.settling = None
        self.timeline.truncate(index)
        kept = [event for event in self._events if event.index < index]
        self._events = deque(kept, maxlen=MAX_EVENTS)

    def branch(self, frame: int | None = None, seed: int | None = None) -> Session:
        """A second stream that shares everything so far (or before `frame`) and then goes its own way.

        Args:
            frame: where it leaves this one; None for now.
            seed: noise for what follows; None keeps this session's, so that the same prompts give the same motion.

        Raises:
            BadInputError: as `rewind`.
        """
        with self.lock:
            twin = Session(self.engine, seed=self.seed, options=self.options)
            twin.idle = self.idle
            twin.timeline = self.timeline.copy()
            twin.control, twin.root, twin.feet, twin.decoder = self.control, self.root, self.feet, self.decoder
            twin.context, twin.settling = self.context, self.settling
            twin._events = deque(self._events, maxlen=MAX_EVENTS)
        if frame is not None:
            twin.rewind(frame)
        if seed is not None:
            twin.seed = _checked_seed(seed)
            twin._events.append(Event(twin.index, "seed", seed=twin.seed))
        return twin

    # Saving.

    def save(self, path: str | Path) -> None:
        """Write the whole session to one safetensors file (no pickle), complete or not at all."""
        from kinestream.streaming.text.storage import save_session

        with self.lock:
            save_session(self, Path(path))

    @classmethod
    def restore(cls, path: str | Path, engine: Engine) -> Session:
        """A session from `save`'s file; it goes on where it stood.

        Raises:
            BadInputError: the file is damaged, is no session, or was made with another model.
        """
        from kinestream.streaming.text.storage import load_session

        return load_session(Path(path), engine)

    # What the engine needs.

    def commit(
        self,
        control: Control,
        record: Record | None,
        decoder: DecoderState | None,
        context: Context | None,
        settling: tuple[int, Tensor] | None,
    ) -> StepResult | None:
        """Take over what a successful step has made; called by the engine under this session's lock."""
        self.control = control
        if record is None:
            return None
        self.decoder, self.context, self.settling = decoder, context, settling
        self.root, self.feet = record.root, record.feet
        self.timeline.append(record)
        return record.result

    def restore_events(self, events: list[Event]) -> None:
        """Take over the events of a saved session."""
        self._events = deque(events, maxlen=MAX_EVENTS)

    def _initial_feet(self) -> FootLockState | None:
        return initial_feet() if self.options.foot_lock else None

    def _latents(self, seconds: float) -> int:
        return max(1, round(seconds * MOTION272.fps / self.engine.frames_per_latent))

    def _limits(self) -> Limits:
        options, capacity = self.options, self.engine.model.ar.config.context_latents
        history = capacity // 2 if options.history_latents is None else options.history_latents
        if history >= capacity:
            raise BadInputError(
                f"history_latents ({history}) must be smaller than the model's context of {capacity} latents."
            )
        most = self.engine.model.ar.config.diffusion_steps
        if options.sampling_steps is not None and options.sampling_steps > most:
            raise BadInputError(f"sampling_steps is at most {most} for this model; got {options.sampling_steps}.")
        return Limits(
            capacity=capacity,
            history=history,
            overlap=min(OVERLAP_LATENTS, history),
            min_latents=self._latents(options.min_prompt_s),
            max_latents=self._latents(options.max_prompt_s),
        )

    def _idle_prompt(self) -> Prompt | None:
        if self.options.when_idle == "end":
            return None
        text = self.options.idle_prompt or self.engine.model.provenance.get("idle_prompt")
        return HOLD if not text else Prompt(text, self.engine.encode(text), None, "idle")

    def _prompt(self, text: str, seconds: float | None) -> Prompt:
        if seconds is not None and (not _is_number(seconds) or not 0 < seconds <= MAX_PROMPT_S):
            raise BadInputError(f"A prompt lasts more than 0 and at most {MAX_PROMPT_S:g} seconds; got {seconds!r}.")
        embedding = self.engine.encode(text)
        return Prompt(text.strip(), embedding, None if seconds is None else self._latents(seconds))


def is_whole(value: object) -> bool:
    """Whether a user gave a whole number (True and False are none)."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _checked_seed(seed: int) -> int:
    if not is_whole(seed) or not 0 <= seed < 2**63:
        raise BadInputError(f"A seed is a whole number from 0 to 2^63 - 1; got {seed!r}.")
    return seed


def seeded(seed: int, number: int) -> int:
    """A seed for sample `number` of a request with `seed`; sample 0 has the seed itself."""
    if number == 0:
        return _checked_seed(seed)
    generator = torch.Generator().manual_seed(_checked_seed(seed))
    return int(torch.randint(2**62, (number,), generator=generator)[-1])
