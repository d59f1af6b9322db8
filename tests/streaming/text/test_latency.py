"""The default size is fast enough on a plain processor, counted in its seconds so that other work does not count."""

from __future__ import annotations

import statistics
import time

import pytest
import torch

from benchmarks.streaming_latency import plain_loop, random_model
from kinestream.checkpoints import TextToMotionModel
from kinestream.streaming import Engine


@pytest.fixture(scope="module")
def model() -> TextToMotionModel:
    return random_model()


@pytest.fixture(scope="module")
def default_size(model: TextToMotionModel) -> Engine:
    torch.set_num_threads(1)
    return Engine(model)


@pytest.mark.perf
def test_a_latent_takes_less_than_half_of_its_duration_on_one_thread(default_size: Engine) -> None:
    session = default_size.session()
    session.prompt("walks")
    taken = []
    for _ in range(30):
        start = time.process_time()
        session.step()
        taken.append(time.process_time() - start)
    assert statistics.median(taken) < 4 / 30 / 2


@pytest.mark.perf
def test_a_new_prompt_gives_frames_within_the_limit(default_size: Engine) -> None:
    session = default_size.session()
    session.prompt("walks")
    taken = []
    for number in range(8):
        for _ in range(6):
            session.step()
        start = time.process_time()
        session.prompt(f"turns around {number} times and waves")
        session.step()
        taken.append(time.process_time() - start)
    assert statistics.median(taken) < 0.15


@pytest.mark.perf
def test_caches_pay_against_a_loop_without_them(model: TextToMotionModel, default_size: Engine) -> None:
    session, plain = default_size.session(), plain_loop(model, default_size)
    session.prompt("walks")
    ratios = []
    for _ in range(60):
        start = time.process_time()
        session.step()
        middle = time.process_time()
        plain()
        ratios.append((time.process_time() - middle) / (middle - start))
    assert statistics.median(ratios[-15:]) > 1.3
