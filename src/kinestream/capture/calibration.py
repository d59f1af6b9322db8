"""Cameras whose place, direction and lens are known: Qualisys' files, and OpenCV's parameters as TOML or JSON."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from kinestream.errors import BadInputError

Array = NDArray[np.float64]

_MOST_BYTES = 4 * 2**20
_UNDISTORTIONS = 12
# Qualisys counts pixels in 64ths and lengths in millimetres; its cameras look along -Z with Y up.
_SUBPIXELS = 64.0
_MILLIMETRES = 1000.0
_FLIP = np.diag((1.0, -1.0, -1.0))
# Z up (both kinds of file) to the world's Y up: x stays, y goes to -z.
_Y_UP = np.array(((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0)))
_EXPECTED = "expected a Qualisys calibration (XML), or TOML or JSON with matrix, distortions, rotation and translation"


@dataclass(frozen=True, eq=False)
class CalibratedCamera:
    """A camera: `matrix` [3, 3] in pixels, `distortion` [5] (k1 k2 p1 p2 k3, OpenCV's), and the pose.

    A point p of the world (metres, Y up) is at `rotation` @ p + `translation_m` in the camera's axes (x right, y down,
    z away).
    """

    name: str
    matrix: Array
    distortion: Array
    rotation: Array
    translation_m: Array

    def undistorted(self, pixels: Array) -> Array:
        """Pixels [..., 2] as directions (x / z, y / z): the lens' distortion is taken out by fixed-point iteration."""
        k1, k2, p1, p2, k3 = self.distortion
        y0 = (pixels[..., 1] - self.matrix[1, 2]) / self.matrix[1, 1]
        x0 = (pixels[..., 0] - self.matrix[0, 2] - self.matrix[0, 1] * y0) / self.matrix[0, 0]
        x, y = x0, y0
        for _ in range(_UNDISTORTIONS):
            r2 = x * x + y * y
            radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))
            x = (x0 - 2.0 * p1 * x * y - p2 * (r2 + 2.0 * x * x)) / radial
            y = (y0 - p1 * (r2 + 2.0 * y * y) - 2.0 * p2 * x * y) / radial
        return np.stack((x, y), axis=-1)

    def project(self, points_m: Array) -> Array:
        """Pixels [..., 2] of points [..., 3] in the world."""
        k1, k2, p1, p2, k3 = self.distortion
        seen = points_m @ self.rotation.T + self.translation_m
        x, y = seen[..., 0] / seen[..., 2], seen[..., 1] / seen[..., 2]
        r2 = x * x + y * y
        radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))
        u = x * radial + 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x)
        v = y * radial + p1 * (r2 + 2.0 * y * y) + 2.0 * p2 * x * y
        m = self.matrix
        return np.stack((m[0, 0] * u + m[0, 1] * v + m[0, 2], m[1, 1] * v + m[1, 2]), axis=-1)


def read_calibration(path: Path) -> list[CalibratedCamera]:
    """The cameras of a file, in its order. Raises BadInputError where it is none of the known kinds.

    TOML and JSON hold a table for each camera with `matrix` [3, 3], `distortions` [4 or 5], `rotation` (Rodrigues'
    vector) and `translation` in metres: OpenCV's parameters as Pose2Sim and anipose name them, Z up.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise BadInputError(f"{path}: {_EXPECTED}; it is larger than {_MOST_BYTES >> 20} MiB")
        text = path.read_text(encoding="utf-8")
        if text.lstrip().startswith("<"):
            cameras = _qualisys(text)
        else:
            tables = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
            cameras = [
                _opencv(name, table) for name, table in tables.items() if isinstance(table, dict) and "matrix" in table
            ]
    except (
        OSError,
        UnicodeDecodeError,
        ValueError,
        KeyError,
        TypeError,
        ElementTree.ParseError,
        RecursionError,
    ) as error:
        raise BadInputError(f"{path}: {_EXPECTED}; {type(error).__name__}: {str(error)[:100]}") from None
    numbers = [
        np.concatenate([np.ravel(getattr(c, n)) for n in ("matrix", "rotation", "translation_m")]) for c in cameras
    ]
    if len(cameras) < 2 or not all(np.isfinite(row).all() for row in numbers):
        raise BadInputError(f"{path}: {_EXPECTED}, of two or more cameras; found {len(cameras)}")
    return cameras


def _qualisys(text: str) -> list[CalibratedCamera]:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("document types are not read")
    cameras: list[CalibratedCamera] = []
    for element in ElementTree.fromstring(text).iter("camera"):
        lens, pose, view = (_numbers(element.find(name)) for name in ("intrinsic", "transform", "fov_video"))
        matrix = (
            np.array(
                (
                    (lens["focalLengthU"], lens.get("skew", 0.0), lens["centerPointU"] - _SUBPIXELS * view["left"]),
                    (0.0, lens["focalLengthV"], lens["centerPointV"] - _SUBPIXELS * view["top"]),
                    (0.0, 0.0, _SUBPIXELS),
                )
            )
            / _SUBPIXELS
        )
        radial = [lens[f"radialDistortion{k}"] for k in (1, 2, 3)]
        tangential = [lens[f"tangentalDistortion{k}"] for k in (1, 2)]
        axes = np.array([[pose[f"r{row}{column}"] for column in (1, 2, 3)] for row in (1, 2, 3)])
        place = np.array([pose[axis] for axis in "xyz"]) / _MILLIMETRES
        rotation = _FLIP @ axes
        cameras.append(
            CalibratedCamera(
                str(element.get("serial", f"camera {len(cameras) + 1}")),
                matrix,
                np.array((*radial[:2], *tangential, radial[2])),
                rotation @ _Y_UP.T,
                -rotation @ place,
            )
        )
    return cameras


def _numbers(element: ElementTree.Element | None) -> dict[str, float]:
    if element is None:
        raise ValueError("a camera lacks intrinsic, transform or fov_video")
    return {name: float(value) for name, value in element.attrib.items()}


def _opencv(name: str, table: Mapping[str, Any]) -> CalibratedCamera:
    distortions = [float(value) for value in table["distortions"]]
    vector = np.array(table["rotation"], np.float64).reshape(3)
    angle = float(np.linalg.norm(vector))
    x, y, z = vector / max(angle, 1e-12)
    cross = np.array(((0.0, -z, y), (z, 0.0, -x), (-y, x, 0.0)))
    rotation = np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross
    return CalibratedCamera(
        str(table.get("name", name)),
        np.array(table["matrix"], np.float64).reshape(3, 3),
        np.array((distortions + [0.0] * 5)[:5]),
        rotation @ _Y_UP.T,
        np.array(table["translation"], np.float64).reshape(3),
    )
