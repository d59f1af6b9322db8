"""Protocol capture: recordings damaged on purpose, restored, each row beside the recordings, one report."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.errors import BadInputError
from kinestream.evaluation import EvaluationSettings, Place, evaluate, load_result
from kinestream.evaluation.restoration.damage import DAMAGES, JITTER_RAD, OFF_FLOOR_M, STRENGTHS
from kinestream.features import MOTION272, Statistics, motion272_from_motion
from kinestream.metrics import floating_share, foot_skating_ratio, jitter_mps3, penetration_share
from kinestream.motion import face_forward, ground
from tests.io.walking import walking
from tests.restoration.test_restore import standing, tiny_model

__all__ = ["tiny_model"]


@contextlib.contextmanager
def quiet(what: str, unit: str) -> Iterator[Callable[[int, int | None], None]]:
    yield lambda done, total: None


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recordings")
    for folder in ("motion_data", "texts", "split", "mean_std"):
        (root / folder).mkdir()
    clips = {"walk": walking(40), "stand": standing(36)}
    for name, motion in clips.items():
        np.save(root / "motion_data" / f"{name}.npy", motion272_from_motion(face_forward(ground(motion))).numpy())
    (root / "split" / "test.txt").write_text("walk\nstand\n")
    statistics = Statistics.of([motion272_from_motion(walking(40))], MOTION272)
    np.save(root / "mean_std" / "Mean.npy", statistics.mean.numpy())
    np.save(root / "mean_std" / "Std.npy", statistics.std.numpy())
    return root


def test_each_damage_shows_in_its_own_figure_and_grows() -> None:
    clean = standing(90)
    figures = {
        "skating": lambda joints: float(foot_skating_ratio(joints[:, [10, 11]], 30.0)),
        "jitter": lambda joints: float(jitter_mps3(joints, 30.0)),
        "floating": lambda joints: float(floating_share(joints)),
        "sinking": lambda joints: float(penetration_share(joints)),
    }
    assert set(figures) == set(DAMAGES)
    assert len(JITTER_RAD) == len(OFF_FLOOR_M) == STRENGTHS
    for fault, damage in DAMAGES.items():
        values = [figures[fault](clean.joint_positions_m())]
        for strength in (0, STRENGTHS - 1):
            taken = damage(clean, strength, torch.Generator().manual_seed(1))
            again = damage(clean, strength, torch.Generator().manual_seed(1))
            assert torch.equal(taken.root_position_m, again.root_position_m)
            values.append(figures[fault](taken.joint_positions_m()))
        assert values[0] <= values[1] <= values[2], fault
        assert values[0] < values[2], fault


@pytest.mark.slow
def test_a_report_has_every_row_beside_the_recordings(recordings: Path, tiny_model: Path, tmp_path: Path) -> None:
    settings = EvaluationSettings("capture", samples=2, processes=1)
    result = evaluate(Place(tiny_model, recordings, tmp_path / "report"), settings, quiet)
    saved = load_result(tmp_path / "report")
    assert [figure.name for figure in saved.figures] == [figure.name for figure in result.figures]
    assert len(result.samples) == 2 * len(DAMAGES) * STRENGTHS
    for row in ("estimate", "FRDM", "FRDM + smoothing"):
        assert result.figure(f"foot_skating_ratio {row}").real is not None
        assert result.figure(f"world_mpjpe_mm {row}").real is None
    sunk = result.curves["share_below_floor_2cm by strength of sinking"]
    by_row = {line.label: line.y for line in sunk}
    assert by_row["estimate"][-1] > 0.9
    assert sum(by_row["FRDM"]) < 0.5 * sum(by_row["estimate"])
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Damaged takes, restored" in page


def test_another_kind_of_model_is_refused_before_anything_is_restored(recordings: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="model"):
        evaluate(Place(recordings, recordings, tmp_path / "report"), EvaluationSettings("capture"), quiet)
    assert not (tmp_path / "report").exists()
