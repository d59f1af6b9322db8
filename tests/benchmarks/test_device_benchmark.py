"""The device's benchmark counts rightly and runs as it is on the processor; the figures themselves need a GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.engine import device as bench
from benchmarks.engine.device import Device, crowds, device_subject, floor_seconds, in_time, measured_device, table
from benchmarks.engine.machine import parts_of_a_latent
from benchmarks.engine.models import HashedText
from kinestream.inference import DeviceNetworks
from tests.streaming.conftest import TEXT_DIM, tiny_model

GPU = Device("a GPU", bandwidth=4e12, bfloat16=800e12, float32=50e12)


def test_one_stream_waits_for_memory_and_thousands_for_arithmetic() -> None:
    parts = parts_of_a_latent("paper", 8)
    one, many = (floor_seconds("paper", "fast", streams, 8, GPU) for streams in (1, 4096))
    assert one["sampling steps"] == pytest.approx(2 * parts["sampling steps"].weights / GPU.bandwidth)
    assert one["decoder"] == pytest.approx(4 * parts["decoder"].weights / GPU.bandwidth)
    assert many["modulations"] == pytest.approx(2 * 4096 * parts["modulations"].products / GPU.bfloat16)
    assert many["caches"] == pytest.approx(4096 * one["caches"])
    assert one["step"] == pytest.approx(sum(seconds for name, seconds in one.items() if name != "step"))
    exact = floor_seconds("paper", "exact", 1, 50, GPU)
    assert exact["transformer"] == pytest.approx(2 * one["transformer"])


def test_streams_double_until_a_step_is_late() -> None:
    asked: list[tuple[str, int]] = []

    def ask(**request: Any) -> list[dict[str, Any]]:
        asked.append((request["do"], request["streams"]))
        return [{"seconds": [0.05 * request["streams"]] * 3}] * 2

    found = crowds(ask, 2, 4096)
    assert [streams for do, streams in asked if do == "streams"] == [1, 2, 4]
    assert list(found) == ["2", "4", "8"]
    assert in_time(found) == 4
    assert list(crowds(ask, 2, 2)) == ["2"]
    assert in_time({}) == 0


def test_the_engine_that_is_timed_runs_on_the_processor_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "encoder_of", lambda model: HashedText(TEXT_DIM))
    subject = device_subject(tiny_model(), "fast", torch.device("cpu"), 2)
    networks = subject.engine.networks
    assert isinstance(networks, DeviceNetworks)
    assert networks.contexts_in_use == 0
    monkeypatch.setattr(bench.engine_worker, "CROWD_STEPS", 2)
    requests: list[dict[str, Any]] = [{"do": "first", "count": 1}, {"do": "latents", "count": 2}]
    requests += [{"do": "streams", "streams": 3}]
    for request in requests:
        assert all(seconds > 0 for seconds in bench.answer(subject, request)["seconds"])
    assert len(bench.networks_alone(networks, 3, 2)) == 2
    memory = bench.answer(subject, {"do": "memory"})
    assert memory["stream_mb"] > memory["decoder_mb"] > 0


def test_the_table_names_streams_that_fit() -> None:
    step = {"step_median_s": 0.1, "step_p99_s": 0.12, "networks_median_s": 0.02}
    figures = {
        "latent_median_s": 0.003,
        "latent_p99_s": 0.004,
        "first_frame_s": 0.005,
        "memory": {"stream_mb": 6.0},
        "streams": {"4": {"2048": step, "4096": step | {"step_p99_s": 0.2}}},
    }
    text = table("paper", "fast", figures, lambda streams: streams * 1e-5)
    assert "| 4 | 2048 | 100.00 ms | 120.00 ms | 20.00 ms | 20.48 ms | 1.0 |" in text
    assert "4 processes: 2048 streams in time; 2,000 fit" in text


def test_rates_are_measured_and_without_a_gpu_nothing_else_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = measured_device(torch.device("cpu"), read_bytes=1 << 16, width=16)
    assert min(rates.bandwidth, rates.bfloat16, rates.float32) > 0
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert bench.main([]) == 2
    assert "no CUDA device" in capsys.readouterr().err
