"""Whole motions from prompts: the stream, run until nothing is left to act."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from kinestream.checkpoints import TextToMotionModel
from kinestream.conditioning.text import TextEncoder
from kinestream.errors import BadInputError
from kinestream.motion import Motion, concatenate
from kinestream.streaming.checks import is_whole
from kinestream.streaming.chunk import Chunk
from kinestream.streaming.text.engine import Engine
from kinestream.streaming.text.options import SessionOptions
from kinestream.streaming.text.session import Session, seeded

MAX_SAMPLES = 256


def generate(
    model: TextToMotionModel | Engine,
    prompts: str | Sequence[str],
    seconds: float | Sequence[float | None] | None = None,
    seed: int = 0,
    guidance: float | None = None,
    samples: int = 1,
    *,
    options: SessionOptions | None = None,
    encoder: TextEncoder | None = None,
    on_step: Callable[[Sequence[Chunk]], None] | None = None,
) -> list[Motion]:
    """Act the prompts one after the other; gives one motion a sample, all different, computed together.

    A motion is on the SMPL-22 skeleton at 30 fps and starts at the origin facing +Z, on the floor (y = 0).

    Args:
        model: a text-to-motion model, or an engine that holds one.
        prompts: one sentence or several.
        seconds: how long each prompt is acted, one number for all or one (or None) for each; None until the model ends
            it. Rounded to 0.133 s.
        seed: the same seed gives the same motions; sample 0 does not depend on how many there are.
        guidance: scale of classifier-free guidance, in place of the options'.
        samples: how many motions.
        options: everything else that can be chosen; its `when_idle` is not used.
        encoder: the sentence encoder in place of the one that the model names.
        on_step: called after every step with its results, for progress.

    Raises:
        BadInputError: no prompts, an empty or over-long prompt, or numbers out of range.
    """
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not texts:
        raise BadInputError("Nothing to generate: give at least one prompt, for example 'walks forward'.")
    if not is_whole(samples) or not 1 <= samples <= MAX_SAMPLES:
        raise BadInputError(f"samples is a whole number from 1 to {MAX_SAMPLES}; got {samples!r}.")
    durations = _durations(seconds, len(texts))
    chosen = replace(SessionOptions() if options is None else options, when_idle="end")
    if guidance is not None:
        chosen = replace(chosen, guidance=guidance)
    engine = model if isinstance(model, Engine) else Engine(model, encoder)
    sessions = [engine.session(seeded(seed, number), chosen) for number in range(samples)]
    for session in sessions:
        for text, duration in zip(texts, durations, strict=True):
            session.queue(text, duration)
    chunks = _run(engine, sessions, on_step)
    name = ", ".join(text.strip() for text in texts)
    return [replace(concatenate(parts), name=name) for parts in chunks]


def _run(
    engine: Engine, sessions: Sequence[Session], on_step: Callable[[Sequence[Chunk]], None] | None
) -> list[list[Motion]]:
    chunks: list[list[Motion]] = [[] for _ in sessions]
    running = list(range(len(sessions)))
    while running:
        results = engine.step([sessions[row] for row in running])
        made = []
        for row, result in zip(running, results, strict=True):
            if result is not None:
                chunks[row].append(result.motion)
                made.append(result)
        running = [row for row, result in zip(running, results, strict=True) if result and not sessions[row].finished]
        if on_step is not None and made:
            on_step(made)
    return chunks


def _durations(seconds: float | Sequence[float | None] | None, count: int) -> list[float | None]:
    if seconds is None or isinstance(seconds, int | float):
        return [seconds] * count
    durations = list(seconds)
    if len(durations) != count:
        raise BadInputError(
            f"There are {count} prompts and {len(durations)} durations. "
            "Give one number for all, or one for each prompt."
        )
    return durations
