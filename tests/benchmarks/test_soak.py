"""The soak in seconds: a crowd that comes, goes, speaks and pauses, and each stream as if it were alone."""

from __future__ import annotations

import pytest
import torch

from benchmarks.engine.soak import Soak, run
from kinestream.checkpoints import load_text_to_motion
from kinestream.inference import Mode, ModuleNetworks
from kinestream.inference.runtimes import has_kernels
from kinestream.streaming import Chunk, Engine
from tests.streaming.conftest import HashEncoder, tiny_model


def ticks(count: int) -> object:
    done = iter(range(count + 1))
    return lambda: next(done) / count


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_streams_of_the_packaged_model_are_the_same_bits_in_any_company(mode: Mode) -> None:
    if mode == "exact" and not has_kernels():
        pytest.skip("our kernels don't run on this processor")
    found = run(Soak(Engine(load_text_to_motion(), mode=mode), 4, seed=1), ticks(25), lambda _: None)  # type: ignore[arg-type]
    assert [what for what in found["failed"] if "stream" in what] == []
    assert found["compared"] == found["latents"] > 20


def plain(stop_threshold: float = 0.0) -> Engine:
    """What other processors run in exact mode."""
    model = tiny_model(stop_threshold)
    return Engine(model, HashEncoder(), networks=ModuleNetworks(model))


def test_streams_of_networks_as_they_are_are_the_same_to_rounding() -> None:
    found = run(Soak(plain(0.6), 5, seed=2), ticks(50), lambda _: None)  # type: ignore[arg-type]
    assert [what for what in found["failed"] if "stream" in what] == []
    assert found["compared"] > 20


def test_a_stream_that_hears_its_neighbours_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = plain()
    step = engine.step

    def leaking(sessions: list[object]) -> list[Chunk | None]:
        results = step(sessions)  # type: ignore[arg-type]
        if len(results) > 1:
            for result in results:
                if result is not None:
                    torch.Tensor.add_(result.features, 0.01)
        return results

    monkeypatch.setattr(engine, "step", leaking)
    found = run(Soak(engine, 5, seed=2), ticks(20), lambda _: None)  # type: ignore[arg-type]
    assert any("off when it is made alone" in what for what in found["failed"])
