"""One person seen by several calibrated cameras at once: landmarks in the world without any guess of depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from kinestream.capture.blazepose import BlazePose
from kinestream.capture.body import body_from_points
from kinestream.capture.calibration import CalibratedCamera
from kinestream.capture.film import Film
from kinestream.capture.landmarks import LANDMARKS, PersonTrack
from kinestream.capture.observing import observe_film
from kinestream.errors import BadInputError
from kinestream.motion import Motion

Array = NDArray[np.float64]

_LEAST_CONFIDENCE = 0.3
_ROUNDS = 6
# Views that disagree by more than this many pixels per thousand of focal length are trusted less (Cauchy's weight).
_DISAGREEMENT = 0.008
_FRAME_TOLERANCE = 0.05


def capture_calibrated(
    films: Sequence[Path],
    cameras: Sequence[CalibratedCamera],
    *,
    fps: float | None = None,
    models: Path | None = None,
    on_frame: Callable[[int, int | None], None] | None = None,
) -> Motion:
    """The most prominent person of synchronous films, one for each camera in the calibration's order.

    Films whose names hold a camera's name are matched by it. Metres, Y up, the calibration's origin. Raises
    BadInputError where films and cameras don't fit or the films are not equally fast.
    """
    order = matched([path.stem for path in films], cameras)
    estimator, tracks = BlazePose(models), []
    for number, path in enumerate(films):
        with Film(path) as film:

            def update(done: int, total: int | None, before: int = number) -> None:
                if on_frame is not None:
                    on_frame(done + before * (total or 0), (total or 0) * len(films) or None)

            tracks.append(observe_film(film, estimator, on_frame=update)[0])
    rates = [track.fps for track in tracks]
    if max(rates) > min(rates) * (1.0 + _FRAME_TOLERANCE):
        raise BadInputError(
            f"expected synchronous films of one rate, got {', '.join(f'{rate:g}' for rate in rates)} fps"
        )
    points, sure = triangulated(tracks, [cameras[k] for k in order])
    motion = body_from_points(torch.from_numpy(points), torch.from_numpy(sure), rates[0])
    if fps is None:
        return replace(motion, name="person 1")
    from kinestream.motion import resample

    return replace(resample(motion, fps), name="person 1")


def matched(names: Sequence[str], cameras: Sequence[CalibratedCamera]) -> list[int]:
    """For each film which camera took it: by the camera's name in the film's, else by their order."""
    if len(names) > len(cameras):
        raise BadInputError(f"expected at most {len(cameras)} films, as many as calibrated cameras, got {len(names)}")
    found = [[k for k, camera in enumerate(cameras) if camera.name and camera.name in name] for name in names]
    if all(len(each) == 1 for each in found) and len({each[0] for each in found}) == len(found):
        return [each[0] for each in found]
    if len(names) != len(cameras):
        raise BadInputError(
            "expected a film for each calibrated camera, or films named after their cameras: "
            + ", ".join(camera.name for camera in cameras)
        )
    return list(range(len(cameras)))


def triangulated(tracks: Sequence[PersonTrack], cameras: Sequence[CalibratedCamera]) -> tuple[Array, Array]:
    """Landmarks [T, 33, 3] in the world and their confidence [T, 33], in frames that all tracks share.

    Least squares of the views' rays, weighted by confidence and again by agreement; a landmark that fewer than two
    cameras see takes its place by interpolation, with confidence 0. Raises BadInputError where no frame is shared.
    """
    first, last = max(int(t.frames[0]) for t in tracks), min(int(t.frames[-1]) for t in tracks)
    if last < first:
        raise BadInputError("expected a person whom all cameras see at once; no frame is shared")
    parts = [slice(first - int(t.frames[0]), last + 1 - int(t.frames[0])) for t in tracks]
    rays = np.stack(
        [
            c.undistorted(t.keypoints_px[part].astype(np.float64))
            for c, t, part in zip(cameras, tracks, parts, strict=True)
        ]
    )
    sure = np.stack([t.confidence[part].astype(np.float64) for t, part in zip(tracks, parts, strict=True)])
    seen = np.where(sure > _LEAST_CONFIDENCE, sure, 0.0)
    turns, places = np.stack([c.rotation for c in cameras]), np.stack([c.translation_m for c in cameras])
    # Each view gives two rows: (R_x - u R_z) p = u t_z - t_x, and the same for y.
    rows = turns[:, None, None, :2] - rays[..., None] * turns[:, None, None, 2:]
    wanted = rays * places[:, None, None, 2:] - places[:, None, None, :2]
    weight, points = seen.copy(), np.zeros((*seen.shape[1:], 3))
    for _ in range(_ROUNDS):
        normal = np.einsum("ctkri,ctk,ctkrj->tkij", rows, weight, rows) + 1e-9 * np.eye(3)
        points = np.linalg.solve(normal, np.einsum("ctkri,ctk,ctkr->tki", rows, weight, wanted)[..., None])[..., 0]
        there = np.einsum("cij,tkj->ctki", turns, points) + places[:, None, None]
        depth = np.maximum(there[..., 2], 0.1)
        apart = np.linalg.norm(there[..., :2] / depth[..., None] - rays, axis=-1)
        weight = seen / (1.0 + (apart / _DISAGREEMENT) ** 2) / depth**2
    known = (seen > 0.0).sum(axis=0) >= 2
    confidence = np.where(known, (seen / (1.0 + (apart / _DISAGREEMENT) ** 2)).max(axis=0), 0.0)
    for k in range(len(LANDMARKS)):
        if not known[:, k].any():
            raise BadInputError(f"two cameras never see the person's {LANDMARKS[k].replace('_', ' ')} at once")
        at, frames = np.flatnonzero(known[:, k]), np.arange(len(points))
        for axis in range(3):
            points[:, k, axis] = np.interp(frames, at, points[at, k, axis])
    return points, confidence
