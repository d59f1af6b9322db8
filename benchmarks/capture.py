"""Capture against known motion: films drawn of held-out recordings, three cameras each (one of them turning).

python -m benchmarks.capture DATA [--films FOLDER] [--motions 12] [--seed 0] [--still] [--json] [--out FILE]

DATA is a folder that `kinestream data build` wrote. Films are drawn into FOLDER and kept with
what was seen in them (else in a temporary one).
Figures: MPJPE of 22 joints with the roots put into one place, world axes; Procrustes-aligned MPJPE; the root's path
after the best turn and shift, over the distance travelled, for recordings that travel; the tilt of the one turn that
fits all poses to the true ones; and the landmark model's own world landmarks on the joints that both have.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.capture_films import Shot, camera_axes, held_out, shots, write_film
from benchmarks.harness import command_line, command_of, machine_facts, missed, run, save, show
from kinestream.capture.blazepose import BlazePose
from kinestream.capture.body import body_from_track
from kinestream.capture.film import Film
from kinestream.capture.landmarks import PersonTrack, landmark
from kinestream.capture.observing import observe_film
from kinestream.metrics.pose import mpjpe_mm, pa_mpjpe_mm
from kinestream.metrics.world_motion import gravity_error_rad, path_error
from kinestream.motion import Motion, turned
from kinestream.rotations import quat_from_matrix
from kinestream.skeleton import smpl22

COMMON = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
TRAVELS_M = 1.0
LIMITS = {"mpjpe_mm": ("at most", 60.0), "path_error_share": ("at most", 0.06), "gravity_error_deg": ("at most", 3.0)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = command_line("capture", __doc__, threads=1)
    options.add_argument("data", type=Path)
    options.add_argument("--films", type=Path, help="folder that keeps the films")
    options.add_argument("--motions", type=int, default=12)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--still", action="store_true", help="only the cameras that stand still")
    options.add_argument("--out", type=Path, help="JSON to write")
    options.add_argument("--json", action="store_true")
    options.add_argument("--check", action="store_true", help="exit with 1 where a limit is missed")
    return run(options, lambda given: _bench(given, options), arguments)


def _bench(given: argparse.Namespace, options: argparse.ArgumentParser) -> int:
    estimator = BlazePose()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.films or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for number, motion in enumerate(held_out(given.data, given.motions)):
            for shot in shots(motion, given.seed + number):
                if shot.moving and given.still:
                    continue
                path = folder / f"{shot.name}.mp4"
                if not path.is_file():
                    write_film(shot, path, given.seed + number)
                rows.append(measure(shot, path, estimator))
                print(rows[-1], file=sys.stderr, flush=True)
    results = {
        "command": command_of(options, given, "python -m benchmarks.capture DATA"),
        **machine_facts(),
        "summary": summary(rows),
        "still_camera": summary([row for row in rows if not row["moving"]]),
        "turning_camera": None if given.still else summary([row for row in rows if row["moving"]]),
        "films": rows,
    }
    if given.out:
        save(results, given.out)
    if given.json or not given.out:
        show(results["summary"])
    return int(bool(missed(results["summary"], LIMITS)) and given.check)


def measure(shot: Shot, path: Path, estimator: BlazePose) -> dict[str, Any]:
    """Errors on one film."""
    with Film(path) as film:
        track = observe_film(
            film, estimator, work=path.with_suffix(".seen"), moving_camera=shot.moving, focal_px=shot.focal_px
        )[0]
    motion = body_from_track(track, fps=shot.motion.fps)
    truth = as_seen(shot).slice(int(track.frames[0]), int(track.frames[-1]) + 1)
    count = min(truth.num_frames, motion.num_frames)
    motion, truth = motion.slice(0, count), truth.slice(0, count)
    a, b = motion.joint_positions_m(), truth.joint_positions_m()
    error_m, travelled_m = path_error(a[:, 0], b[:, 0])
    row = {
        "film": shot.name,
        "moving": shot.moving,
        "frames": count,
        "seen": round(float(track.seen.mean()), 4),
        "mpjpe_mm": float(mpjpe_mm(a, b)),
        "pa_mpjpe_mm": float(pa_mpjpe_mm(a, b)),
        "path_error_m": error_m,
        "travelled_m": travelled_m,
        "gravity_error_deg": math.degrees(gravity_error_rad(a, b)),
        **_landmarks_own(shot, track, a, count),
    }
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}


def as_seen(shot: Shot) -> Motion:
    """The true motion in the world that capture gives: the first camera looks along -Z."""
    axes = camera_axes(shot.cameras[0])
    up = axes @ np.array((0.0, 1.0, 0.0))
    back = np.array((0.0, 0.0, -1.0)) - (np.array((0.0, 0.0, -1.0)) @ up) * up
    back /= np.linalg.norm(back)
    level = np.stack((np.cross(up, back), up, back)) @ axes
    return turned(shot.motion, quat_from_matrix(torch.from_numpy(level)).float(), torch.zeros(3))


def _landmarks_own(shot: Shot, track: PersonTrack, solved_m: Tensor, count: int) -> dict[str, float]:
    """The landmark model's world landmarks against the truth in the camera's axes, and ours on the same joints."""
    names = [f"{side}_{part}" for side in ("left", "right") for part in COMMON]
    joints = [smpl22().index(name) for name in names]
    frames = track.frames[:count]
    axes = torch.from_numpy(np.stack([camera_axes(shot.cameras[k]) for k in frames])).float()
    true = torch.einsum("tij,tkj->tki", axes, shot.motion.joint_positions_m()[frames])[:, joints]
    own = torch.from_numpy(track.world_m[:count, [landmark(name) for name in names]])
    hips = [names.index("left_hip"), names.index("right_hip")]
    world = as_seen(shot).joint_positions_m()[frames][:, joints]
    ours = solved_m[:, joints]

    def error(a: Tensor, b: Tensor) -> float:
        from_hips = [points - points[:, hips].mean(dim=1, keepdim=True) for points in (a, b)]
        return 1000.0 * float((from_hips[0] - from_hips[1]).norm(dim=-1).mean())

    return {
        "landmarks_mpjpe_mm": error(own, true),
        "landmarks_pa_mpjpe_mm": float(pa_mpjpe_mm(own, true)),
        "same_joints_mpjpe_mm": error(ours, world),
        "same_joints_pa_mpjpe_mm": float(pa_mpjpe_mm(ours, world)),
    }


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over films; the path over those that travel, pooled."""
    figures = {
        name: round(statistics.fmean(row[name] for row in rows), 4)
        for name in (
            "mpjpe_mm", "pa_mpjpe_mm", "landmarks_mpjpe_mm", "landmarks_pa_mpjpe_mm", "same_joints_mpjpe_mm",
            "same_joints_pa_mpjpe_mm", "gravity_error_deg", "seen",
        )
    }  # fmt: skip
    going = [row for row in rows if row["travelled_m"] >= TRAVELS_M]
    travelled = sum(row["travelled_m"] for row in going)
    figures["path_error_share"] = round(sum(row["path_error_m"] for row in going) / travelled, 4) if going else 0.0
    figures["films"], figures["films_that_travel"] = len(rows), len(going)
    return figures


if __name__ == "__main__":
    sys.exit(main())
