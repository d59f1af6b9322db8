"""Cameras are read as they are, and what they see at once is where it was."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kinestream.capture.calibration import CalibratedCamera, read_calibration
from kinestream.capture.landmarks import PersonTrack
from kinestream.capture.triangulation import matched, triangulated
from kinestream.errors import BadInputError
from tests.capture.test_body import landmarks_of, seen, walking

# Three cameras around the origin: place in metres, Z up as calibration programs have it.
PLACES = ((4.0, 0.5, 1.5), (-2.0, 3.5, 1.2), (-1.5, -3.8, 2.0))


def axes_of(place: tuple[float, float, float]) -> NDArray[np.float64]:
    """Rows: the camera's right, down and ahead in the Z-up world; it looks at a point 1 m above the origin."""
    ahead = np.array((0.0, 0.0, 1.0)) - place
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    return np.stack((right, np.cross(ahead, right), ahead))


def qualisys(path: Path) -> Path:
    cameras = []
    for number, place in enumerate(PLACES):
        right, down, ahead = axes_of(place)
        rows = (right, -down, -ahead)
        turn = " ".join(f'r{i + 1}{j + 1}="{rows[i][j]}"' for i in range(3) for j in range(3))
        x, y, z = (1000.0 * value for value in place)
        cameras.append(
            f'<camera serial="cam{number}"><fov_video left="0" top="0" right="1279" bottom="719"/>'
            f'<transform {turn} x="{x}" y="{y}" z="{z}"/><intrinsic focalLengthU="57600" focalLengthV="57600" '
            f'centerPointU="{640 * 64}" centerPointV="{360 * 64}" skew="0" radialDistortion1="-0.05" '
            'radialDistortion2="0.02" radialDistortion3="0" tangentalDistortion1="0.001" tangentalDistortion2="0"/>'
            "</camera>"
        )
    path.write_text(f"<calibration><cameras>{''.join(cameras)}</cameras></calibration>")
    return path


def opencv(path: Path) -> Path:
    tables = {}
    for number, place in enumerate(PLACES):
        axes = axes_of(place)
        angle = math.acos((np.trace(axes) - 1.0) / 2.0)
        axis = np.array((axes[2, 1] - axes[1, 2], axes[0, 2] - axes[2, 0], axes[1, 0] - axes[0, 1]))
        tables[f"cam{number}"] = {
            "name": f"cam{number}",
            "matrix": [[900.0, 0.0, 640.0], [0.0, 900.0, 360.0], [0.0, 0.0, 1.0]],
            "distortions": [-0.05, 0.02, 0.001, 0.0],
            "rotation": list(axis / (2.0 * math.sin(angle)) * angle),
            "translation": list(-axes @ np.array(place)),
        }
    if path.suffix == ".json":
        path.write_text(json.dumps(tables))
    else:
        lines = []
        for name, table in tables.items():
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
        path.write_text("\n".join(lines))
    return path


def tracks_by(cameras: list[CalibratedCamera], points: NDArray[np.float64]) -> list[PersonTrack]:
    """The points as each camera sees them."""
    from dataclasses import replace

    base = seen(walking(len(points)))
    return [
        replace(base, keypoints_px=camera.project(points).astype(np.float32), confidence=base.confidence.copy())
        for camera in cameras
    ]


@pytest.mark.parametrize("kind", ["qca.txt", "toml", "json"])
def test_what_calibrated_cameras_see_is_where_it_was(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"calibration.{kind}"
    cameras = read_calibration(qualisys(path) if kind == "qca.txt" else opencv(path))
    points = landmarks_of(walking(12))
    # The camera at x = 4, 1.5 m up, sees the world's Y up: a point above another is higher in its picture.
    pixels = cameras[0].project(np.array(((0.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, -1.0))))
    assert pixels[1, 1] < pixels[0, 1]
    assert pixels[2, 0] > pixels[0, 0]
    found, confidence = triangulated(tracks_by(cameras, points), cameras)
    assert np.abs(found - points).max() < 2e-3
    assert confidence.min() > 0.5


def test_one_camera_that_is_wrong_is_outvoted_and_one_that_sees_nothing_is_not_asked(tmp_path: Path) -> None:
    cameras = read_calibration(qualisys(tmp_path / "calibration.qca.txt"))
    points = landmarks_of(walking(12))
    tracks = tracks_by(cameras, points)
    tracks[1].confidence[:, 15] = 0.0
    tracks[1].keypoints_px[:, 15] = 0.0
    found, confidence = triangulated(tracks, cameras)
    assert np.abs(found - points).max() < 2e-3
    tracks[0].confidence[4:6, 15] = 0.0
    found, confidence = triangulated(tracks, cameras)
    assert np.all(confidence[4:6, 15] == 0.0)
    assert np.abs(found[4:6, 15] - points[4:6, 15]).max() < 0.05


def test_films_are_matched_to_cameras_by_name_or_order(tmp_path: Path) -> None:
    cameras = read_calibration(qualisys(tmp_path / "calibration.qca.txt"))
    assert matched(["take-cam2", "take-cam0"], cameras) == [2, 0]
    assert matched(["a", "b", "c"], cameras) == [0, 1, 2]
    with pytest.raises(BadInputError, match="cam0, cam1, cam2"):
        matched(["a", "b"], cameras)
    with pytest.raises(BadInputError, match="at most 3"):
        matched(["a", "b", "c", "d"], cameras)


@pytest.mark.parametrize("text", ["", "<broken", "<a/>", "[x]\nmatrix = 3\n", "{}", "<!DOCTYPE a><a/>"])
def test_what_is_no_calibration_is_one_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "calibration.txt"
    path.write_text(text)
    with pytest.raises(BadInputError, match="expected a Qualisys calibration"):
        read_calibration(path)
