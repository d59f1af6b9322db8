"""A stream in its tenth hour holds what it held in its first minutes, and a step does the same work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kinestream.streaming import Engine, Session, SessionOptions
from kinestream.streaming.text.control import Control
from kinestream.streaming.text.timeline import SNAPSHOT_EVERY, Record
from tests.streaming.conftest import HashEncoder, tiny_model

TEN_HOURS = 10 * 3600 * 30 // 4 // SNAPSHOT_EVERY * SNAPSHOT_EVERY
OPTIONS = SessionOptions(rewind_s=1.0, max_prompt_s=3600.0)


class Work(TorchDispatchMode):
    """Counts operations and the numbers that they give."""

    def __init__(self) -> None:
        super().__init__()
        self.done = [0, 0]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.done[0] += 1
        self.done[1] += out.numel() if isinstance(out, torch.Tensor) else 0
        return out


def held(thing: Any, seen: set[int]) -> Iterator[int]:
    """Bytes of every array that can be reached, each once; the engine is shared and doesn't count."""
    if id(thing) in seen or isinstance(thing, Engine):
        return
    seen.add(id(thing))
    if isinstance(thing, torch.Tensor):
        storage = thing.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            yield storage.nbytes()
    elif isinstance(thing, np.ndarray):
        yield thing.nbytes if thing.base is None else 0
        yield from held(thing.base, seen)
    elif isinstance(thing, dict):
        for value in thing.values():
            yield from held(value, seen)
    elif isinstance(thing, list | tuple):
        for value in thing:
            yield from held(value, seen)
    elif type(thing).__module__.startswith("kinestream"):
        yield from held(vars(thing), seen)


def later(control: Control, latents: int) -> Control:
    names = ("began", "restarted", "context_start", "prefilled_to")
    return replace(control, **{name: getattr(control, name) + latents for name in names})


def aged(session: Session, latents: int) -> Session:
    """The same stream as if it had begun so many latents earlier."""

    def renumbered(record: Record) -> Record:
        chunk = record.chunk
        moved = replace(chunk, index=chunk.index + latents, first_frame=chunk.first_frame + 4 * latents)
        return replace(record, chunk=moved, control=later(record.control, latents))

    old = session.branch()
    records = [renumbered(record) for record in old.timeline]
    old.timeline.restore(old.timeline.first + latents, records)
    old.control = later(old.control, latents)
    assert old.context is not None
    start, to, fed = old.context.start, old.context.prefilled_to, old.context.fed_to
    old.context = replace(old.context, start=start + latents, prefilled_to=to + latents, fed_to=fed + latents)
    return old


def steps(session: Session, count: int) -> list[tuple[int, ...]]:
    work = []
    for _ in range(count):
        with Work() as counted:
            session.step()
        work.append(tuple(counted.done))
    return work


@pytest.fixture(scope="module", params=["exact", "fast"])
def minutes(request: pytest.FixtureRequest) -> Session:
    """A stream of the age at which nothing it holds grows any more."""
    session = Engine(tiny_model(), HashEncoder(), mode=request.param).session(3, OPTIONS)
    session.prompt("walks")
    for _ in range(96):
        session.step()
    return session


def test_a_step_in_the_tenth_hour_does_the_work_of_one_in_the_first_minutes(minutes: Session) -> None:
    young, old = minutes.branch(), aged(minutes, TEN_HOURS)
    assert steps(old, 32) == steps(young, 32)
    assert old.index - young.index == TEN_HOURS


def test_a_stream_in_its_tenth_hour_holds_what_it_held_in_its_first_minutes(minutes: Session) -> None:
    young, old = minutes.branch(), aged(minutes, TEN_HOURS)
    for session in (young, old):
        for _ in range(32):
            session.step()
    sizes = [sum(held(session, set())) for session in (minutes, young, old)]
    assert sizes[0] == sizes[1] == sizes[2] > 100_000


def test_an_old_stream_still_goes_back_and_repeats_itself(minutes: Session) -> None:
    old = aged(minutes, TEN_HOURS)
    first = torch.cat([old.step().features for _ in range(6)])
    old.rewind(old.num_frames - len(first))
    assert torch.equal(torch.cat([old.step().features for _ in range(6)]), first)


def test_streams_that_have_stepped_together_hold_nothing_of_each_other() -> None:
    engine = Engine(tiny_model(), HashEncoder(), mode="fast")
    together, alone = ([engine.session(seed, OPTIONS) for seed in range(4)] for _ in range(2))
    for session in (*together, *alone):
        session.prompt("walks")
    for _ in range(5):
        engine.step(together)
        for session in alone:
            session.step()
    for session, single in zip(together, alone, strict=True):
        assert sum(held(session, set())) == sum(held(single, set()))
