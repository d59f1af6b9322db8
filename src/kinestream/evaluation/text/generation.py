"""Generated clips and transitions, many sessions a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from kinestream.checkpoints import DEFAULT_MODEL_DIR, load_text_to_motion
from kinestream.checkpoints.folder import INFO_NAME
from kinestream.evaluation.pieces import Tensors, Workshop, files_digest, piece_key
from kinestream.features import motion272_from_motion
from kinestream.inference.networks import Mode
from kinestream.motion import Motion, concatenate
from kinestream.streaming import Chunk, Engine, Session, SessionOptions

# Sessions that step together: enough to fill the matrix products, few enough to keep the caches small.
PART_SIZE = 24
# Latents that are made after a switch: more than the half window of 15 frames that is looked at.
LATENTS_AFTER_SWITCH = 5
OPTIONS = SessionOptions(when_idle="end", rewind_s=30.0)


@dataclass(frozen=True)
class Wish:
    """One stream to generate.

    `name`, `content`, `style`: what it is called and should show, labels only where the data has them; `prompt`: the
    sentence. With `then` it goes on to a second sentence, which asks for `then_content` and `then_style`: when the
    first ends by itself, or, with `switch_at`, from that latent on.
    """

    name: str
    content: str
    style: str
    prompt: str
    seed: int
    then: str = ""
    then_content: str = ""
    then_style: str = ""
    switch_at: int = 0

    @property
    def kind(self) -> Literal["queued", "interrupted"]:
        """How the second sentence comes in."""
        return "interrupted" if self.switch_at else "queued"


@dataclass(frozen=True, eq=False)
class Acted:
    """What came of a wish: features [T, 272] of the motion that a user sees; the frame of the switch or -1."""

    features: Tensor
    switch_frame: int = -1


class _Stream:
    """One session on its way through a wish."""

    def __init__(self, engine: Engine, wish: Wish, options: SessionOptions) -> None:
        self.session: Session = engine.session(wish.seed, options)
        self.wish, self.chunks, self.switch_frame = wish, list[Motion](), -1
        self.switched = self.done = False
        self.session.queue(wish.prompt)
        if wish.then and not wish.switch_at:
            self._switch()

    def before_step(self) -> None:
        """Say the second sentence when its time has come."""
        waits = self.wish.then and not self.switched
        if waits and (self.session.index >= self.wish.switch_at or self.session.finished):
            self._switch()

    def take(self, result: Chunk | None) -> None:
        """Keep the step's frames; finished when the stream ended or enough is seen of the switch."""
        if result is None:
            self.done = not self.wish.then or self.switched
            return
        self.chunks.append(result.motion)
        if self.switched and result.began and result.first_frame > 0:
            self.switch_frame = result.first_frame
        seen = self.switch_frame >= 0 and result.first_frame >= self.switch_frame + 4 * (LATENTS_AFTER_SWITCH - 1)
        self.done = seen or (self.session.finished and (not self.wish.then or self.switched))

    def acted(self) -> Acted:
        """Everything that was made."""
        return Acted(motion272_from_motion(concatenate(self.chunks)), self.switch_frame)

    def _switch(self) -> None:
        self.switched = True
        if self.wish.switch_at:
            self.session.prompt(self.wish.then)
        else:
            self.session.queue(self.wish.then)


def act(engine: Engine, wishes: Sequence[Wish], options: SessionOptions = OPTIONS) -> list[Acted]:
    """Act the wishes side by side; the result depends on the wishes and their order, never on time."""
    streams = [_Stream(engine, wish, options) for wish in wishes]
    while running := [stream for stream in streams if not stream.done]:
        for stream in running:
            stream.before_step()
        for stream, result in zip(running, engine.step([stream.session for stream in running]), strict=True):
            stream.take(result)
    return [stream.acted() for stream in streams]


class Studio:
    """Acts wishes in parts on several processes; finished parts are kept in `cache` and never made twice.

    A context manager, see `Workshop`. `model`: a model folder, None for the packaged one; `mode`: the engines'.
    """

    def __init__(
        self,
        model: Path | None,
        cache: Path,
        processes: int,
        options: SessionOptions = OPTIONS,
        mode: Mode = "exact",
    ) -> None:
        self.options, self.mode, self.model = options, mode, model
        self._workshop = Workshop[Sequence[Wish]](partial(_load, model, options, mode), cache, processes)

    def __enter__(self) -> Studio:
        return self

    def __exit__(self, *_: object) -> None:
        self._workshop.__exit__()

    def act(self, wishes: Sequence[Wish], on_done: Callable[[int, int], None]) -> list[Acted]:
        """What came of each wish, in their order; `on_done(wishes done, all)` after each part."""
        parts = [wishes[k : k + PART_SIZE] for k in range(0, len(wishes), PART_SIZE)]
        done = 0

        def count(part: Sequence[Wish]) -> None:
            nonlocal done
            done += len(part)
            on_done(done, len(wishes))

        on_done(0, len(wishes))
        made = self._workshop.make(parts, self._key, count)
        return [
            Acted(tensors[f"{k}.features"], int(tensors[f"{k}.switch"]))
            for part, tensors in zip(parts, made, strict=True)
            for k in range(len(part))
        ]

    def _key(self, part: Sequence[Wish]) -> str:
        # model.json holds the settings and the hashes of all weights.
        model = files_digest((DEFAULT_MODEL_DIR if self.model is None else self.model) / INFO_NAME)
        return piece_key(model, self.options.to_json(), [asdict(wish) for wish in part], self.mode)


def _load(model: Path | None, options: SessionOptions, mode: Mode) -> Callable[[Sequence[Wish]], Tensors]:
    engine = Engine(load_text_to_motion(model), mode=mode)

    def make(part: Sequence[Wish]) -> Tensors:
        acted = act(engine, part, options)
        tensors = {f"{k}.features": one.features for k, one in enumerate(acted)}
        return tensors | {f"{k}.switch": torch.tensor(one.switch_frame) for k, one in enumerate(acted)}

    return make
