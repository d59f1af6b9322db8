"""The engine's benchmark counts work and compares clouds rightly; timings themselves are no test."""

from __future__ import annotations

import time

import pytest
import torch

from benchmarks.engine import runtimes
from benchmarks.engine.__main__ import quantile, rounds_of, table, with_floor
from benchmarks.engine.machine import Machine, floor_seconds, parts_of_a_latent
from benchmarks.engine.models import HashedText, random_model
from benchmarks.engine.sampling import compared, energy_distance
from kinestream.models.ar_diffusion import ARDiffusionConfig
from tests.inference.conftest import small_model

MACHINE = Machine(threads=2, bandwidth=45e9, float32=215e9, int8=900e9)


def test_parts_hold_the_weights_that_the_networks_have() -> None:
    model = random_model("default")
    head = model.ar.head
    parts = parts_of_a_latent("default", 50)
    assert parts["decoder"].weights == sum(p.numel() for p in model.tae.decoder.parameters())
    blocks = sum(layer.weight.numel() for block in head.blocks for layer in (block.up, block.down))
    assert parts["sampling steps"].weights == 50 * (blocks + head.input.weight.numel() + head.output.weight.numel())
    modulations = sum(block.modulation.weight.numel() for block in head.blocks) + head.output_modulation.weight.numel()
    assert parts["modulations"].weights == modulations
    assert parts["modulations"].products == 100 * modulations


def test_floor_is_bandwidth_for_single_rows_and_arithmetic_for_many() -> None:
    exact = floor_seconds("paper", ARDiffusionConfig().diffusion_steps, MACHINE, int8=False)
    parts = parts_of_a_latent("paper", 50)
    assert exact["sampling steps"] == pytest.approx(4 * parts["sampling steps"].weights / MACHINE.bandwidth)
    assert exact["modulations"] == pytest.approx(2 * parts["modulations"].products / MACHINE.float32)
    fast = floor_seconds("paper", 8, MACHINE, int8=True)
    assert fast["latent"] < exact["latent"] / 15


def test_random_models_leave_no_layer_at_zero() -> None:
    head = random_model("default").ar.head
    assert all(float(parameter.abs().max()) > 0 for name, parameter in head.named_parameters() if "bias" not in name)


def test_a_stand_in_encoder_gives_each_text_its_own_unit_vector() -> None:
    encoder = HashedText(16)
    first, second = encoder.encode(["a", "b"])
    torch.testing.assert_close(encoder.encode(["a"])[0], first)
    assert float(first.norm()) == pytest.approx(1.0)
    assert float((first - second).abs().max()) > 0.1


def test_equal_clouds_have_no_energy_distance_and_moved_ones_have() -> None:
    drawn = torch.Generator().manual_seed(0)
    cloud, other = torch.randn(4, 200, 3, generator=drawn), torch.randn(4, 200, 3, generator=drawn)
    assert abs(energy_distance(other, cloud)) < 0.01
    assert energy_distance(other + 1.0, cloud) > 0.2
    assert compared(2 * other, cloud)["spread"] == pytest.approx(2.0, rel=0.1)


def test_the_table_has_a_row_for_each_subject() -> None:
    row = {
        "first_frame_s": 0.1, "latent_median_s": 0.2, "latent_p99_s": 0.3, "frames_per_second": 20.0,
        "times_real_time": 0.7, "times_baseline": 1.0, "resident_mb": 500.0, "peak_mb": 600.0,
    }  # fmt: skip
    figures = with_floor({kind: dict(row) for kind in ("baseline", "exact", "fast")}, "default", MACHINE)
    text = table({"default": figures})
    assert [line.split("|")[2].strip() for line in text.splitlines()[2:]] == ["baseline", "exact", "fast"]
    assert figures["exact"]["times_floor"] > figures["exact"]["floor_s"]["latent"]


def test_quantiles_and_rounds() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.99) == 3.0
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert rounds_of("baseline", "paper", 100) == 1
    assert rounds_of("fast", "paper", 100) > rounds_of("exact", "paper", 100) >= 1


def test_runtimes_take_turns_at_the_parts_of_a_latent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "random_model", lambda size: small_model())
    monkeypatch.setattr(runtimes, "ROUNDS", 2)
    found = runtimes.measured("default", 1, time.perf_counter)
    assert "exact, torch" in found
    assert all(set(of) == {"new context", "transformer", "head", "decoder"} for of in found.values())
    assert all(value > 0 for of in found.values() for value in of.values())
