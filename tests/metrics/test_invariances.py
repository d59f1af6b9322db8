"""What must play no part in a figure, and that no figure is made from NaN; the benchmark of speed times them all."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks import metrics_speed
from kinestream import metrics
from kinestream.errors import BadInputError
from kinestream.metrics import (
    floating_share,
    floor_clearance_m,
    floor_penetration_m,
    foot_skating_ratio,
    geometric_features,
    jitter_mps3,
    kinetic_features,
    motion_beats,
    mpjpe_mm,
    peak_jerk_mps3,
    penetration_share,
    physical_foot_contact,
    transition_jerk,
)
from tests.metrics.clips import TOES, Clips

ON_JOINTS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "mpjpe_mm": lambda j, fps: mpjpe_mm(j, j.flip(0)),
    "foot_skating_ratio": lambda j, fps: foot_skating_ratio(j[..., list(TOES), :], fps),
    "jitter_mps3": jitter_mps3,
    "peak_jerk_mps3": peak_jerk_mps3,
    "physical_foot_contact": physical_foot_contact,
    "floor_penetration_m": lambda j, fps: floor_penetration_m(j),
    "floor_clearance_m": lambda j, fps: floor_clearance_m(j),
    "penetration_share": lambda j, fps: penetration_share(j),
    "floating_share": lambda j, fps: floating_share(j),
    "kinetic_features": kinetic_features,
    "geometric_features": geometric_features,
    "motion_beats": lambda j, fps: motion_beats(j[0], fps),
    "transition_jerk": lambda j, fps: torch.stack(transition_jerk(j[0], 40, fps)),
}


@pytest.mark.parametrize("name", ON_JOINTS)
def test_where_a_body_stands_and_faces_plays_no_part(name: str, any_clips: Clips) -> None:
    joints = any_clips.joints[:6].double()
    c, s = math.cos(0.7), math.sin(0.7)
    turn = torch.tensor(((c, 0.0, s), (0.0, 1.0, 0.0), (-s, 0.0, c)), dtype=torch.float64)
    elsewhere = joints @ turn.T + torch.tensor((3.0, 0.0, -2.0))
    measure = ON_JOINTS[name]
    torch.testing.assert_close(measure(elsewhere, any_clips.fps), measure(joints, any_clips.fps), rtol=1e-6, atol=1e-6)


def test_no_metric_says_anything_about_nan_or_takes_what_is_no_tensor() -> None:
    joints = torch.rand(2, 80, 22, 3)
    joints[0, 30, 11, 1] = torch.nan
    for measure in ON_JOINTS.values():
        with pytest.raises(BadInputError, match="NaN or infinite"):
            measure(joints, 30.0)
    for call in (
        lambda: metrics.frechet_distance(np.ones((3, 2)), np.ones((3, 2))),  # type: ignore[arg-type]
        lambda: metrics.jitter_mps3(np.ones((3, 2, 3)), 30.0),  # type: ignore[arg-type]
        lambda: metrics.beat_alignment([1.0], [1.0]),  # type: ignore[arg-type]
    ):
        with pytest.raises(BadInputError, match=r"expected a tensor, got (ndarray|list)"):
            call()


def test_every_metric_says_what_it_gives() -> None:
    public = [getattr(metrics, name) for name in metrics.__all__]
    assert all(len(inspect.getdoc(one) or "") > 30 for one in public)


def test_the_benchmark_times_every_metric(capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    options = ["--clips", "48", "--frames", "34", "--width", "16", "--threads", str(threads)]
    assert metrics_speed.main(options) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"FID", "kinetic features", "jitter", "R-Precision", "evaluator's embedding"} <= set(found["processor_s"])
    assert found["total_processor_s"] < 20.0
