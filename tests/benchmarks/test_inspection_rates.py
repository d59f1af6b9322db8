"""The inspection's rates: real clips are seldom flagged, broken ones at their frames; a tiny set by the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.broken_motion import BREAKAGES
from benchmarks.inspection_rates import clips, main
from kinestream.features import motion272_from_motion
from kinestream.io import read_motion
from kinestream.metrics.inspection import CHECKS, body_motion
from kinestream.motion import ground


@pytest.fixture(scope="module")
def tiny_set(bandai_namco_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two real recordings of two sources, and a mirrored copy that must not count."""
    root = tmp_path_factory.mktemp("set")
    (root / "motion_data").mkdir()
    names = {"BN2_wave": "dataset-2_wave-right-hand_normal_001", "BN1_bow": "dataset-1_bow_normal_001"}
    for name, recording in names.items():
        (path,) = bandai_namco_dir.rglob(f"{recording}.bvh")
        motion = ground(body_motion(read_motion(path))[0])
        np.save(root / "motion_data" / f"{name}.npy", motion272_from_motion(motion).numpy())
    np.save(root / "motion_data" / "M_BN1_bow.npy", np.zeros((1, 272), np.float32))
    return root


def test_mirrored_copies_are_left_out_and_the_draw_is_the_same_each_time(tiny_set: Path) -> None:
    assert {source: [path.stem for path in paths] for source, paths in clips(tiny_set, 5).items()} == {
        "BN1": ["BN1_bow"],
        "BN2": ["BN2_wave"],
    }


def test_rates_of_a_tiny_set(tiny_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tiny_set), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    for source in found["real"].values():
        assert set(source["share_of_frames"]) == set(CHECKS)
        assert max(source["share_of_frames"].values()) < 0.03
    assert set(found["broken"]) == set(BREAKAGES)
    for name, rates in found["broken"].items():
        assert rates["broken_frames_flagged"] > 0.75, name
        assert rates["other_frames_flagged"] < 0.1, name
