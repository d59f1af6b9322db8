"""Fast mode keeps the streaming promises, and says what it needs."""

from __future__ import annotations

import gc
import sys
import weakref
from pathlib import Path

import pytest
import torch

from kinestream.errors import BadInputError, MissingExtraError
from kinestream.inference import Mode, runtimes
from kinestream.streaming import Engine, Session, SessionOptions, generate
from tests.streaming.conftest import HashEncoder, tiny_model


@pytest.fixture(scope="module")
def fast() -> Engine:
    """A tiny model in fast mode."""
    return Engine(tiny_model(), HashEncoder(), mode="fast")


def act(session: Session, latents: int = 30) -> torch.Tensor:
    """Several contexts and two prompts; the features of all frames."""
    frames = []
    for index in range(latents):
        if index % 15 == 0:
            session.prompt(f"prompt {index}")
        frames.append(session.step().features)
    return torch.cat(frames)


def test_the_same_seed_gives_the_same_frames(fast: Engine) -> None:
    torch.testing.assert_close(act(fast.session(3)), act(fast.session(3)), rtol=0, atol=0)


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_streams_together_equal_streams_alone(fast: Engine, mode: Mode) -> None:
    engine = fast if mode == "fast" else Engine(tiny_model(), HashEncoder())
    alone = [act(engine.session(seed), 12) for seed in (1, 2, 3)]
    sessions = [engine.session(seed) for seed in (1, 2, 3)]
    for session in sessions:
        session.prompt("prompt 0")
    steps = [engine.step(sessions) for _ in range(12)]
    # So small a model has no int8 products: other runtimes sum its float ones in an order of their own.
    close = {"rtol": 0.0, "atol": 0.0} if runtimes.has_kernels() else {"rtol": 1e-3, "atol": 1e-4}
    for row, expected in enumerate(alone):
        together = torch.cat([results[row].features for results in steps if results[row] is not None])
        torch.testing.assert_close(together, expected, **close)


def test_a_rewound_stream_repeats_itself_and_a_branch_leaves_it_alone(fast: Engine) -> None:
    session = fast.session(5)
    before = act(session)
    twin = session.branch(frame=80, seed=9)
    for _ in range(8):
        twin.step()
    session.rewind(80)
    session_frames = [session.step().features for _ in range(10)]
    torch.testing.assert_close(torch.cat(session_frames), before[80:], rtol=0, atol=0)


def test_a_stream_saved_in_one_mode_goes_on_in_the_other(fast: Engine, tmp_path: Path) -> None:
    exact = Engine(tiny_model(), HashEncoder())
    session = fast.session(5)
    act(session, 6)
    session.save(tmp_path / "stream.safetensors")
    other = Session.restore(tmp_path / "stream.safetensors", exact)
    assert other.num_frames == session.num_frames
    assert other.step().features.shape == session.step().features.shape


def test_a_body_comes_to_rest(fast: Engine) -> None:
    session = fast.session(1)
    session.prompt("walks", seconds=0.5)
    kinds = [session.step().kind for _ in range(12)]
    assert kinds[-1] == "hold"


def test_all_steps_of_the_trained_chain_can_still_be_asked_for(fast: Engine) -> None:
    motion = generate(fast, "walks", 0.5, options=SessionOptions(sampling_steps=6))[0]
    assert motion.num_frames == 16


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_the_networks_weights_are_released(mode: Mode) -> None:
    if mode == "exact" and not runtimes.has_kernels():
        pytest.skip("our kernels don't run on this processor")
    model = tiny_model()
    transformer, encoder = weakref.ref(model.ar.transformer), model.tae.encoder.state_dict()
    engine = Engine(model, HashEncoder(), mode=mode)
    del model
    gc.collect()
    assert transformer() is None
    for name, weights in engine.model.tae.encoder.state_dict().items():
        assert torch.equal(weights, encoder[name])
    assert list(engine.model.ar.parameters()) == []
    with pytest.raises(BadInputError, match="load it again"):
        Engine(engine.model, HashEncoder())


def test_a_prompt_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(tiny_model(), HashEncoder())
    texts: list[str] = []
    encode = engine.encoder.encode
    monkeypatch.setattr(engine.encoder, "encode", lambda asked: texts.extend(asked) or encode(asked))
    monkeypatch.setattr("kinestream.streaming.text.engine.MAX_EMBEDDINGS", 2)
    for text in ("a", "b", "a", "c", "a", "b"):
        engine.encode(text)
    assert texts == ["a", "b", "c", "b"]


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(BadInputError, match=r'"exact" or "fast"; got \'turbo\''):
        Engine(tiny_model(), HashEncoder(), mode="turbo")  # type: ignore[arg-type]


def test_without_the_extra_fast_mode_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "has_kernels", lambda: False)
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "kinestream.inference.openvino", raising=False)
    with pytest.raises(MissingExtraError, match=r"kinestream\[fast\]"):
        runtimes.load_runtime()


def test_a_processor_without_int8_products_keeps_full_precision_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino", reason="needs the extra fast")
    from kinestream.inference import openvino as openvino_runtime

    monkeypatch.setattr(runtimes, "has_kernels", lambda: False)

    class Core(openvino_runtime.openvino.Core):
        def get_property(self, *_: object) -> list[str]:
            return ["FP32"]

    monkeypatch.setattr(openvino_runtime.openvino, "Core", Core)
    engine = Engine(tiny_model(), HashEncoder(), mode="fast")
    assert len(engine.notes) == 1
    assert "float32" in engine.notes[0]
    assert act(engine.session(1), 3).isfinite().all()
