"""Whole motions in one call."""

from __future__ import annotations

import pytest
import torch

from kinestream.errors import BadInputError
from kinestream.streaming import Chunk, Engine, SessionOptions, generate
from tests.streaming.conftest import tiny_model


def test_generate_equals_the_stream(engine: Engine) -> None:
    (motion,) = generate(engine, ["walks", "waves"], [1.0, 0.5], seed=4)
    session = engine.session(seed=4, options=SessionOptions(when_idle="end"))
    session.queue("walks", 1.0)
    session.queue("waves", 0.5)
    for _ in session:
        pass
    assert motion.num_frames == 48
    assert motion.name == "walks, waves"
    assert torch.equal(motion.local_rotations, session.motion().local_rotations)
    assert torch.equal(motion.root_position_m, session.motion().root_position_m)


def test_samples_differ_and_the_first_does_not_depend_on_the_others(engine: Engine) -> None:
    (alone,) = generate(tiny_model(), "walks", 1.0, seed=4, encoder=engine.encoder)
    several = generate(engine, "walks", 1.0, seed=4, samples=3)
    torch.testing.assert_close(several[0].local_rotations, alone.local_rotations, atol=1e-3, rtol=0)
    assert not torch.allclose(several[1].local_rotations, several[2].local_rotations, atol=1e-3)


def test_progress_is_told_after_every_step(engine: Engine) -> None:
    told: list[int] = []

    def note(results: list[Chunk]) -> None:
        told.append(len(results))

    generate(engine, ["walks"], 0.6, samples=2, on_step=note)
    assert told == [2, 2, 2, 2]


def test_guidance_reaches_the_model(engine: Engine) -> None:
    (weak,) = generate(engine, "walks", 1.0, guidance=1.0)
    (strong,) = generate(engine, "walks", 1.0, guidance=9.0)
    assert not torch.equal(weak.local_rotations, strong.local_rotations)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompts": []}, "at least one"),
        ({"prompts": ["walks"], "seconds": [1.0, 2.0]}, "durations"),
        ({"prompts": ["walks"], "seconds": -1}, "seconds"),
        ({"prompts": ["walks"], "samples": 0}, "samples"),
        ({"prompts": ["walks"], "seed": -1}, "seed"),
        ({"prompts": ["walks"], "guidance": -1.0}, "guidance"),
    ],
)
def test_bad_requests_are_one_clear_error(engine: Engine, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        generate(engine, **arguments)
