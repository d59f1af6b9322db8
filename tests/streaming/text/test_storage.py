"""Sessions survive saving; damaged and foreign files are one clear error."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from kinestream.errors import BadInputError, KinestreamError
from kinestream.streaming import Engine, Session, SessionOptions
from tests.streaming.conftest import HashEncoder, tiny_model

MakeEngine = Callable[..., Engine]


def play(session: Session, steps: int) -> torch.Tensor:
    return torch.cat([session.step().features for _ in range(steps)])


@pytest.fixture
def saved(engine: Engine, tmp_path: Path) -> tuple[Session, Path]:
    """A session in the middle of a prompt, with a queue, and its file."""
    session = engine.session(seed=5, options=SessionOptions(idle_prompt="stands", rewind_s=3.0))
    session.prompt("walks")
    play(session, 20)
    session.prompt("waves", 4.0)
    session.queue("bows", 1.0)
    play(session, 25)
    path = tmp_path / "stream.safetensors"
    session.save(path)
    return session, path


def test_a_restored_session_goes_on_bit_for_bit(saved: tuple[Session, Path], make_engine: MakeEngine) -> None:
    session, path = saved
    restored = Session.restore(path, make_engine())
    assert restored.events == session.events
    assert restored.queued_prompts == session.queued_prompts
    assert restored.options == session.options
    assert torch.equal(restored.motion().local_rotations, session.motion().local_rotations)
    assert torch.equal(play(restored, 30), play(session, 30))
    assert restored.current_prompt == session.current_prompt == "stands"


def test_a_restored_session_can_be_rewound(saved: tuple[Session, Path], make_engine: MakeEngine) -> None:
    session, path = saved
    restored = Session.restore(path, make_engine())
    assert restored.earliest_frame == session.earliest_frame
    frame = session.num_frames - 40
    assert restored.rewind(frame) == session.rewind(frame)
    assert torch.equal(play(restored, 15), play(session, 15))


def test_a_session_that_has_said_nothing_yet_is_saved_too(engine: Engine, tmp_path: Path) -> None:
    session = engine.session(seed=2)
    session.save(tmp_path / "new.safetensors")
    restored = Session.restore(tmp_path / "new.safetensors", engine)
    assert torch.equal(play(restored, 3), play(session, 3))


def test_a_resting_session_is_saved_after_a_long_rest(engine: Engine, tmp_path: Path) -> None:
    session = engine.session(seed=2, options=SessionOptions(rewind_s=2.0))
    session.prompt("walks", 1.0)
    play(session, 200)
    session.save(tmp_path / "rest.safetensors")
    restored = Session.restore(tmp_path / "rest.safetensors", engine)
    for each in (session, restored):
        each.prompt("waves")
    assert torch.equal(play(restored, 5), play(session, 5))


def test_another_models_session_is_refused(saved: tuple[Session, Path]) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.ar.out.bias.add_(1.0)
    with pytest.raises(BadInputError, match="another model"):
        Session.restore(saved[1], Engine(model, HashEncoder()))


def test_saving_is_whole_or_not_at_all(saved: tuple[Session, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    session, path = saved
    before = path.read_bytes()

    def full(tensors: dict[str, torch.Tensor], file: str, metadata: dict[str, str]) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device", file)

    monkeypatch.setattr("kinestream.streaming.text.storage.save_file", full)
    with pytest.raises(KinestreamError, match="No space"):
        session.save(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_files_that_are_no_sessions_are_refused(engine: Engine, tmp_path: Path) -> None:
    missing, empty, other = tmp_path / "missing", tmp_path / "empty", tmp_path / "other.safetensors"
    empty.write_bytes(b"")
    save_file({"x": torch.zeros(3)}, other)
    for path in (missing, empty, other, tmp_path):
        with pytest.raises(BadInputError, match="session"):
            Session.restore(path, engine)


def test_a_later_version_is_refused(saved: tuple[Session, Path], engine: Engine) -> None:
    rewrite(saved[1], lambda facts, _: facts.update(version=99))
    with pytest.raises(BadInputError, match="version 99"):
        Session.restore(saved[1], engine)


@pytest.mark.parametrize(
    "damage",
    [
        lambda facts, tensors: tensors.pop("latents"),
        lambda facts, tensors: tensors.pop("decoder.now.convs.0"),
        lambda facts, tensors: tensors.update(features=tensors["features"][:, :2]),
        lambda facts, tensors: tensors["rotations"].fill_(float("nan")),
        lambda facts, tensors: tensors["controls"].fill_(10**6),
        lambda facts, tensors: tensors.update(seen=torch.tensor(10**6)),
        lambda facts, tensors: facts.update(first=3),
        lambda facts, tensors: facts.update(seed="seven"),
        lambda facts, tensors: facts.update(options={"speed": 3}),
        lambda facts, tensors: facts.update(options=[1]),
        lambda facts, tensors: facts.update(prompts=[{}]),
        lambda facts, tensors: facts.update(prompts=[{"kind": "song", "text": "la", "latents": None}]),
        lambda facts, tensors: facts.update(control=[0, 0, 0, 0, 0, 10**9, 0]),
        lambda facts, tensors: facts.update(control=[]),
        lambda facts, tensors: facts.update(events=[{"index": 0}]),
        lambda facts, tensors: facts.pop("queues"),
    ],
)
def test_damaged_sessions_are_one_clear_error(
    saved: tuple[Session, Path], engine: Engine, damage: Callable[..., object]
) -> None:
    rewrite(saved[1], damage)
    with pytest.raises(BadInputError, match="damaged"):
        Session.restore(saved[1], engine)


def test_mutated_files_never_raise_anything_else(saved: tuple[Session, Path], engine: Engine, tmp_path: Path) -> None:
    original = saved[1].read_bytes()
    dice = random.Random(0)
    path = tmp_path / "mutated.safetensors"
    for _ in range(60):
        data = bytearray(original)
        for _ in range(dice.randint(1, 4)):
            data[dice.randrange(min(len(data), 6_000))] = dice.randrange(256)
        path.write_bytes(bytes(data[: dice.choice([len(data), len(data), dice.randrange(len(data))])]))
        try:
            session = Session.restore(path, engine)
            session.step()
        except KinestreamError:
            continue


def rewrite(path: Path, damage: Callable[..., object]) -> None:
    with safe_open(str(path), framework="pt") as file:
        facts = json.loads(file.metadata()["session"])
    tensors = load_file(path)
    damage(facts, tensors)
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, path, metadata={"session": json.dumps(facts)})
