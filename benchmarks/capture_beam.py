"""One camera against four: a real film with calibrated cameras, where the triangulated body is the truth.

python -m benchmarks.capture_beam FOLDER [--json] [--out FILE] [--check]

FOLDER holds cam01.mp4 to cam04.mp4 and Calib.qca.txt. For each camera alone: Procrustes-aligned MPJPE of 22 joints to
the body that all cameras give, and of the landmark model's own world landmarks to the triangulated landmarks (12
joints). For the triangulation: how far its landmarks are from what each camera saw, in pixels (median).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.capture import COMMON
from benchmarks.harness import command_line, command_of, machine_facts, missed, run, save, show
from kinestream.capture.blazepose import BlazePose
from kinestream.capture.body import body_from_points, body_from_track
from kinestream.capture.calibration import read_calibration
from kinestream.capture.film import Film
from kinestream.capture.landmarks import landmark
from kinestream.capture.observing import observe_film
from kinestream.capture.triangulation import matched, triangulated
from kinestream.metrics.pose import pa_mpjpe_mm

LIMITS = {"worst_pa_mpjpe_mm": ("at most", 60.0)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = command_line("capture_beam", __doc__, threads=1)
    options.add_argument("data", type=Path, metavar="FOLDER")
    options.add_argument("--out", type=Path, help="JSON to write")
    options.add_argument("--json", action="store_true")
    options.add_argument("--check", action="store_true", help="exit with 1 where a limit is missed")
    return run(options, lambda given: _bench(given, options), arguments)


def _bench(given: argparse.Namespace, options: argparse.ArgumentParser) -> int:
    films = sorted(given.data.glob("cam*.mp4"))
    cameras = read_calibration(given.data / "Calib.qca.txt")
    cameras = [cameras[k] for k in matched([film.stem for film in films], cameras)]
    estimator, tracks = BlazePose(), []
    for path in films:
        with Film(path) as film:
            tracks.append(observe_film(film, estimator)[0])
    points, sure = triangulated(tracks, cameras)
    truth = body_from_points(torch.from_numpy(points), torch.from_numpy(sure), tracks[0].fps).joint_positions_m()
    chosen = [landmark(f"{side}_{part}") for side in ("left", "right") for part in COMMON]
    rows: list[dict[str, Any]] = []
    for camera, track in zip(cameras, tracks, strict=True):
        alone = body_from_track(track).joint_positions_m()
        count = min(len(alone), len(truth))
        own = torch.from_numpy(track.world_m[:count, chosen])
        measured = torch.from_numpy(points[:count, chosen]).float()
        away = np.linalg.norm(camera.project(points) - track.keypoints_px[: len(points)], axis=-1)
        rows.append(
            {
                "camera": camera.name,
                "pa_mpjpe_mm": round(float(pa_mpjpe_mm(alone[:count], truth[:count])), 1),
                "landmarks_pa_mpjpe_mm": round(float(pa_mpjpe_mm(own, measured)), 1),
                "reprojection_px": round(float(np.median(away)), 1),
            }
        )
    worst = max(row["pa_mpjpe_mm"] for row in rows)
    results = {
        "command": command_of(options, given, "python -m benchmarks.capture_beam FOLDER"),
        **machine_facts(),
        "worst_pa_mpjpe_mm": worst,
        "cameras": rows,
    }
    if given.out:
        save(results, given.out)
    if given.json or not given.out:
        show(results)
    return int(bool(missed({"worst_pa_mpjpe_mm": worst}, LIMITS)) and given.check)


if __name__ == "__main__":
    sys.exit(main())
