"""Generated clips and transitions, many sessions a step, kept on disk in parts so that a killed run goes on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from kinestream.checkpoints import DEFAULT_MODEL_DIR, load_text_to_motion
from kinestream.checkpoints.folder import INFO_NAME
from kinestream.evaluation.pool import Workers
from kinestream.features import motion272_from_motion
from kinestream.inference.networks import Mode
from kinestream.io.atomic import atomic_path
from kinestream.motion import Motion, concatenate
from kinestream.streaming import Engine, Session, SessionOptions, StepResult

# Sessions that step together: enough to fill the matrix products, few enough to keep the caches small.
PART_SIZE = 24
# Latents that are made after a switch: more than the half window of 15 frames that is looked at.
LATENTS_AFTER_SWITCH = 5
# Where the code lies that decides how a wish is acted: a change there makes every clip anew.
CODE = ("models", "nn", "streaming", "features", "conditioning", "skeleton", "checkpoints", "motion.py", "rotations.py")

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

    def take(self, result: StepResult | None) -> None:
        """Keep the step's frames; finished when the stream ended or enough is seen of the switch."""
        if result is None:
            self.done = not self.wish.then or self.switched
            return
        self.chunks.append(result.motion)
        if self.switched and result.started and result.first_frame > 0:
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


class Job(NamedTuple):
    """One part to make: its number among the parts, its wishes, where they go, and how streams are made."""

    number: int
    wishes: list[Wish]
    path: Path
    options: SessionOptions


class Studio:
    """Acts wishes in parts on several processes; finished parts are kept in `cache` and never made twice.

    A context manager: the processes start when the first part is missing and end with the block.
    `model`: a model folder, None for the packaged one; `mode`: the engines'. One process is this one.
    """

    def __init__(
        self,
        model: Path | None,
        cache: Path,
        processes: int,
        options: SessionOptions = OPTIONS,
        mode: Mode = "exact",
    ) -> None:
        self.options, self.mode = options, mode
        self.model, self.cache, self.processes = model, cache, processes
        self._workers = Workers(processes, partial(_start_worker, model, mode))
        self._engine: Engine | None = None

    def __enter__(self) -> Studio:
        return self

    def __exit__(self, *_: object) -> None:
        self._workers.__exit__()

    def act(self, wishes: Sequence[Wish], on_done: Callable[[int, int], None]) -> list[Acted]:
        """What came of each wish, in their order; `on_done(wishes done, all)` after each part."""
        parts = [list(wishes[k : k + PART_SIZE]) for k in range(0, len(wishes), PART_SIZE)]
        self.cache.mkdir(parents=True, exist_ok=True)
        paths = [self.cache / f"{self._key(part)}.safetensors" for part in parts]
        made = {k: _read_part(path, len(part)) for k, (path, part) in enumerate(zip(paths, parts, strict=True))}
        missing = [k for k, acted in made.items() if acted is None]
        done = sum(len(part) for k, part in enumerate(parts) if k not in missing)
        on_done(done, len(wishes))
        for k in self._make([Job(k, parts[k], paths[k], self.options) for k in missing]):
            made[k] = _read_part(paths[k], len(parts[k]))
            done += len(parts[k])
            on_done(done, len(wishes))
        found: list[Acted] = []
        for acted in made.values():
            assert acted is not None, "every part was made"
            found.extend(acted)
        return found

    def _make(self, jobs: Sequence[Job]) -> Iterator[int]:
        """Numbers of the jobs as they are done; KinestreamError where a process died."""
        if not jobs:
            return
        if self.processes == 1:
            self._engine = self._engine or Engine(load_text_to_motion(self.model), mode=self.mode)
            for job in reversed(jobs):
                write_part(job.path, act(self._engine, job.wishes, job.options))
                yield job.number
            return
        # The longest parts come last in the wishes' order; beginning with them leaves no process idle at the end.
        yield from self._workers.work(_work, list(reversed(jobs)))

    def _model_digest(self) -> str:
        """A hash of model.json, which holds the settings and the hashes of all weights; empty without a model."""
        path = (DEFAULT_MODEL_DIR if self.model is None else self.model) / INFO_NAME
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""

    def _key(self, part: Sequence[Wish]) -> str:
        facts = [code_digest(), self._model_digest(), self.options.to_json(), [asdict(wish) for wish in part]]
        facts += [] if self.mode == "exact" else [self.mode]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


@lru_cache(maxsize=1)
def code_digest() -> str:
    """A hash of the code that decides how motions are generated."""
    package = Path(__file__).resolve().parents[2]
    paths = [Path(__file__)]
    for name in CODE:
        paths += sorted((package / name).rglob("*.py")) if (package / name).is_dir() else [package / name]
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


_engine: Engine | None = None


def _start_worker(model: Path | None, mode: Mode) -> None:
    global _engine
    torch.set_num_threads(1)
    _engine = Engine(load_text_to_motion(model), mode=mode)


def _work(job: Job) -> int:
    assert _engine is not None, "the pool's initializer has loaded the model"
    write_part(job.path, act(_engine, job.wishes, job.options))
    return job.number


def write_part(path: Path, acted: Sequence[Acted]) -> None:
    """Write one part's clips, whole or not at all."""
    tensors = {f"{k}.features": one.features.contiguous() for k, one in enumerate(acted)}
    tensors |= {f"{k}.switch": torch.tensor(one.switch_frame) for k, one in enumerate(acted)}
    write_tensors(path, tensors)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file, whole or not at all, that everybody may read who may read its neighbours."""
    with atomic_path(path) as temporary:
        mode = temporary.stat().st_mode
        save_file(dict(tensors), temporary)
        os.chmod(temporary, mode)  # safetensors writes files that only their owner can read


def _read_part(path: Path, count: int) -> list[Acted] | None:
    """One part's clips; None where they are not there or cannot be read, so that they are made again."""
    try:
        # Read, not mapped: what was given stays as it is whatever becomes of the file.
        tensors = load(path.read_bytes())
        return [Acted(tensors[f"{k}.features"], int(tensors[f"{k}.switch"])) for k in range(count)]
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
