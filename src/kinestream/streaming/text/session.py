"""One listener's stream: prompts go in at any time, a latent's frames come out of every step."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.checkpoints import TextToMotionModel
from kinestream.errors import BadInputError
from kinestream.features import MOTION272, RootState
from kinestream.inference.networks import DecoderState
from kinestream.motion import Motion, concatenate
from kinestream.streaming.checks import checked_seed, is_whole
from kinestream.streaming.chunk import Chunk
from kinestream.streaming.events import ClearQueueEvent, Event, FinishEvent, PromptEvent
from kinestream.streaming.footlock import FootLockState
from kinestream.streaming.frames import initial_feet, initial_root
from kinestream.streaming.protocol import StreamEngine, StreamSession
from kinestream.streaming.text.context import Context
from kinestream.streaming.text.control import HOLD, Control, Limits, Prompt, begin, enqueue, settle
from kinestream.streaming.text.hold import LOOK_BACK_LATENTS, SETTLE_LATENTS
from kinestream.streaming.text.options import SessionOptions
from kinestream.streaming.text.timeline import Record, Timeline

MAX_QUEUE = 1_000
MAX_LOG = 10_000
OVERLAP_LATENTS = 8


@dataclass(frozen=True)
class LoggedEvent:
    """Something that was said to a stream and has taken effect: what, and before which latent."""

    index: int
    action: Literal["prompt", "queue", "clear", "seed", "finish"]
    text: str = ""
    seconds: float | None = None
    seed: int | None = None


@dataclass(frozen=True, eq=False)
class Scheduled:
    """A prompt for later: said before the latent `said`, it takes effect before the latent `due`."""

    said: int
    due: int
    prompt: Prompt
    seconds: float | None
    queue: bool


class TextEngine(StreamEngine["Session"]):
    """What a session needs of the engine that steps it."""

    model: TextToMotionModel
    initial_decoder_state: DecoderState

    @abstractmethod
    def encode(self, text: str) -> Float[Tensor, " d"]:
        """The embedding of one prompt."""

    @abstractmethod
    def replay_decoder(self, state: DecoderState | None, latents: Float[Tensor, "l c"]) -> DecoderState:
        """The decoder's state after these latents; None starts afresh."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of the weights."""

    @abstractmethod
    def save(self, session: Session, path: Path) -> None:
        """Write a session to a file."""


class Session(StreamSession):
    """All state of one stream of text. Prompts may come from other threads while it steps.

    Args:
        engine: the model that makes the motion.
        seed: the same seed and the same prompts at the same latents give the same motion.
        options: how the stream is made.

    Raises:
        BadInputError: options that this model can't follow.
    """

    kind: ClassVar[str] = "stream of text"
    takes = (PromptEvent, ClearQueueEvent, FinishEvent)
    engine: TextEngine

    def __init__(self, engine: TextEngine, *, seed: int = 0, options: SessionOptions | None = None) -> None:
        super().__init__(engine, seed)
        self.options = SessionOptions() if options is None else options
        chosen = self.options.guidance
        self.guidance = engine.model.guidance if chosen is None else chosen
        self.limits = self._limits()
        self.idle_prompt = self._idle_prompt()
        look_back = max(self.limits.capacity, LOOK_BACK_LATENTS + SETTLE_LATENTS)
        self.timeline = Timeline(self._latents(self.options.rewind_s), look_back)
        self.control = Control()
        self.root: RootState = initial_root()
        self.feet = self._initial_feet()
        self.decoder: DecoderState | None = None
        self.context: Context | None = None
        self.settling: tuple[int, Tensor] | None = None
        self._log: deque[LoggedEvent] = deque(maxlen=MAX_LOG)
        # Those that have taken effect stay as long as the stream can be rewound to before that.
        self.scheduled: list[Scheduled] = []

    # What is asked of the stream.

    def prompt(self, text: str, seconds: float | None = None, at_s: float | None = None) -> None:
        """Act `text` in place of what is acted; what is queued still follows. See `PromptEvent`.

        Raises:
            BadInputError: the text is empty or too long, the duration is not a positive number, the time is none, or
                the stream is finished.
        """
        self.apply(PromptEvent(text, seconds, at_s=at_s))

    def queue(self, text: str, seconds: float | None = None, at_s: float | None = None) -> None:
        """Act `text` when everything before it is over; at once if the body idles. As `prompt` otherwise."""
        self.apply(PromptEvent(text, seconds, queue=True, at_s=at_s))

    def clear_queue(self) -> None:
        """Forget the prompts that wait; the one that is acted goes on."""
        self.apply(ClearQueueEvent())

    def _apply(self, event: Event) -> None:
        if isinstance(event, PromptEvent):
            self._say(event)
            return
        with self.lock:
            if isinstance(event, ClearQueueEvent):
                self.control = replace(self.control, queue=())
                self._log.append(LoggedEvent(self.index, "clear"))
            else:
                self._check_open()
                self._log.append(LoggedEvent(self.index, "finish"))

    def _say(self, event: PromptEvent) -> None:
        latents = None if event.seconds is None else self._latents(event.seconds)
        prompt = Prompt(event.text.strip(), self.engine.encode(event.text), latents)
        with self.lock:
            self._check_open()
            waiting = len(self.control.queue) + len(self._pending)
            due = self.index if event.at_s is None else max(self.index, self._latent_at(event.at_s))
            if waiting >= MAX_QUEUE and (event.queue or due > self.index):
                raise BadInputError(f"At most {MAX_QUEUE} prompts can wait. Wait until some are acted.")
            said = Scheduled(self.index, due, prompt, event.seconds, event.queue)
            if due == self.index:
                self._act(said)
            else:
                kept = [other for other in self.scheduled if other.due >= self.timeline.earliest]
                self.scheduled = sorted([*kept, said], key=lambda other: other.due)

    def _act(self, said: Scheduled) -> None:
        if said.queue:
            self.control = enqueue(self.control, said.prompt)
        else:
            self.control = begin(self.control, said.prompt, self.index, self.limits)
        action: Literal["queue", "prompt"] = "queue" if said.queue else "prompt"
        self._log.append(LoggedEvent(self.index, action, said.prompt.text, said.seconds))

    def _act_scheduled(self) -> None:
        for said in self.scheduled:
            if said.due == self.index:
                self._act(said)

    @property
    def _pending(self) -> list[Scheduled]:
        return [said for said in self.scheduled if said.due > self.index]

    def _check_open(self) -> None:
        if self.closed:
            raise BadInputError("The stream is finished; begin a new session for more prompts.")

    # Where it stands.

    @property
    def index(self) -> int:
        """Number of the next latent."""
        return self.timeline.end

    @property
    def num_frames(self) -> int:
        """Frames made so far."""
        return self.index * self.engine.frames_per_step

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
    def closed(self) -> bool:
        """Whether `finish` was said: no more prompts are taken."""
        return any(event.action == "finish" for event in reversed(self._log))

    @property
    def idle(self) -> Prompt | None:
        """What is acted when nothing is left; None ends the stream."""
        ends = self.options.when_idle == "end" or self.closed
        return None if ends and not self._pending else self.idle_prompt

    @property
    def events(self) -> tuple[LoggedEvent, ...]:
        """What was said and has taken effect, the newest ten thousand."""
        with self.lock:
            return tuple(self._log)

    @property
    def earliest_frame(self) -> int:
        """The oldest frame that `rewind` can go back to."""
        return self.timeline.earliest * self.engine.frames_per_step

    def motion(self, start_frame: int | None = None, stop_frame: int | None = None) -> Motion:
        """Frames that are still kept (the newest `rewind_s` seconds), bit for bit as they were first given.

        Raises:
            BadInputError: the frames are not made yet, no longer kept, or none.
        """
        with self.lock:
            per_latent = self.engine.frames_per_step
            oldest = self.timeline.first * per_latent
            start = oldest if start_frame is None else start_frame
            stop = self.num_frames if stop_frame is None else stop_frame
            if not oldest <= start < stop <= self.num_frames:
                raise BadInputError(
                    f"Frames {start} to {stop} are not there: this session keeps frames {oldest} to {self.num_frames}."
                )
            first = start // per_latent
            chunks = [self.timeline[index].chunk.motion for index in range(first, -(-stop // per_latent))]
            return concatenate(chunks).slice(start - first * per_latent, stop - first * per_latent)

    # Composition.

    @property
    def recent(self) -> list[Chunk]:
        """The chunks of the last `rewind_s` seconds, oldest first."""
        with self.lock:
            return [record.chunk for record in self.timeline]

    def rewind(self, frame: int) -> int:
        """Go back so that all frames before `frame` stay; what was said at or after that moment is forgotten.

        Gives the first frame that will be made anew: `frame`, or up to 3 more where `frame` lies inside a latent,
        since a latent's frames are made together and earlier ones never change. With no other prompt the stream
        repeats itself, bit for bit.

        Raises:
            BadInputError: the frame is not made yet, or lies further back than the session remembers.
        """
        with self.lock:
            per_latent = self.engine.frames_per_step
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
        kept = [event for event in self._log if event.index < index]
        self._log = deque(kept, maxlen=MAX_LOG)
        self.scheduled = [said for said in self.scheduled if said.said < index]
        self._act_scheduled()

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
            twin.idle_prompt, twin.scheduled = self.idle_prompt, list(self.scheduled)
            twin.timeline = self.timeline.copy()
            twin.control, twin.root, twin.feet, twin.decoder = self.control, self.root, self.feet, self.decoder
            twin.context, twin.settling = self.context, self.settling
            twin._log = deque(self._log, maxlen=MAX_LOG)
        if frame is not None:
            twin.rewind(frame)
        if seed is not None:
            twin.seed = checked_seed(seed)
            twin._log.append(LoggedEvent(twin.index, "seed", seed=twin.seed))
        return twin

    def save(self, path: str | Path) -> None:
        """Write the whole session to one safetensors file (no pickle), complete or not at all."""
        with self.lock:
            self.engine.save(self, Path(path))

    # What the engine needs.

    def commit(
        self,
        control: Control,
        record: Record | None,
        decoder: DecoderState | None,
        context: Context | None,
        settling: tuple[int, Tensor] | None,
    ) -> Chunk | None:
        """Take over what a successful step has made; called by the engine under this session's lock."""
        self.control = control
        if record is None:
            return None
        self.decoder, self.context, self.settling = decoder, context, settling
        self.root, self.feet = record.root, record.feet
        self.timeline.append(record)
        self._act_scheduled()
        return record.chunk

    def restore_events(self, events: list[LoggedEvent]) -> None:
        """Take over the events of a saved session."""
        self._log = deque(events, maxlen=MAX_LOG)

    def _initial_feet(self) -> FootLockState | None:
        return initial_feet() if self.options.foot_lock else None

    def _latent_at(self, seconds: float) -> int:
        """The first latent that begins at or after a time."""
        return math.ceil(seconds * MOTION272.fps / self.engine.frames_per_step - 1e-6)

    def _latents(self, seconds: float) -> int:
        return max(1, round(seconds * MOTION272.fps / self.engine.frames_per_step))

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

    def _idle_prompt(self) -> Prompt:
        text = self.options.idle_prompt or self.engine.model.provenance.get("idle_prompt")
        if not text or self.options.when_idle == "end":
            return HOLD
        return Prompt(text, self.engine.encode(text), None, "idle")


def seeded(seed: int, number: int) -> int:
    """A seed for sample `number` of a request with `seed`; sample 0 has the seed itself."""
    if number == 0:
        return checked_seed(seed)
    generator = torch.Generator().manual_seed(checked_seed(seed))
    return int(torch.randint(2**62, (number,), generator=generator)[-1])
