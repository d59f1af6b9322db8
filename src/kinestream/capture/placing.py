"""Where a body stands before the camera, and which way is up: geometry of landmarks and a pinhole camera."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kinestream.capture.landmarks import landmark

Array = NDArray[np.float64]

# Camera axes (x right, y down, z away) to a level world's (x right, y up, z towards the camera).
LEVEL_WORLD = np.diag((1.0, -1.0, -1.0))
_UP = np.array((0.0, -1.0, 0.0))
# Landmarks that place a body: joints, no hands and no face.
_PLACING = [landmark(f"{side}_{part}") for side in ("left", "right") for part in (
    "shoulder", "elbow", "wrist", "hip", "knee", "ankle", "heel", "foot_index")]  # fmt: skip
_FEET = [landmark(f"{side}_{part}") for side in ("left", "right") for part in ("heel", "foot_index")]
_NEAREST_M = 0.3
_REFINEMENTS = 4
# How surely a camera is held level (radians), and how surely a standing body is upright; metres that soles are off.
_LEVEL_RAD = 0.25
_UPRIGHT_RAD = 0.06
_SOLE_M = 0.05
_LOW_SHARE = 0.35
# Neighbouring frames say the same again: what soles say counts as this many steps.
_SOLE_STEPS = 5.0


def smoothed(values: Array, weights: Array, times_s: Array, sigma_s: float) -> Array:
    """Gaussian mean of `values` [T, ...] over time with `weights` [T, ...] (of the leading axes), in flat memory."""
    step = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 1.0
    reach = max(1, round(3.0 * sigma_s / max(step, 1e-6)))
    weights = np.maximum(weights, 1e-3)
    weights = weights.reshape(weights.shape + (1,) * (values.ndim - weights.ndim))
    total, mass = np.zeros(values.shape), np.zeros(weights.shape)
    for shift in range(-reach, reach + 1):
        kernel = np.exp(-0.5 * (shift * step / sigma_s) ** 2)
        to = slice(max(0, -shift), len(values) - max(0, shift))
        come = slice(max(0, shift), len(values) + min(0, shift))
        total[to] += kernel * weights[come] * values[come]
        mass[to] += kernel * weights[come]
    return np.asarray(total / mass)


def placed(world_m: Array, keypoints_px: Array, confidence: Array, focal_px: float, middle_px: Array) -> Array:
    """[T, 3] what must be added to `world_m` [T, 33, 3] (camera axes) so that it is seen at `keypoints_px`.

    Weighted least squares of the rays' equations, linear in the shift, weighted again by distance: pixels count alike.
    """
    joints, pixels = world_m[:, _PLACING], keypoints_px[:, _PLACING] - middle_px
    sure = np.maximum(confidence[:, _PLACING], 1e-3)
    weight = np.concatenate((sure, sure), axis=1) ** 2
    rows = np.zeros((len(joints), 2 * len(_PLACING), 3))
    half = len(_PLACING)
    rows[:, :half, 0] = rows[:, half:, 1] = focal_px
    rows[:, :half, 2], rows[:, half:, 2] = -pixels[..., 0], -pixels[..., 1]
    wanted = np.concatenate([pixels[..., k] * joints[..., 2] - focal_px * joints[..., k] for k in (0, 1)], axis=1)
    shift = np.zeros((len(joints), 3))
    depth = np.ones((len(joints), half))
    for _ in range(_REFINEMENTS):
        scaled = weight / np.concatenate((depth, depth), axis=1) ** 2
        normal = np.einsum("tni,tn,tnj->tij", rows, scaled, rows) + 1e-9 * np.eye(3)
        shift = np.linalg.solve(normal, np.einsum("tni,tn,tn->ti", rows, scaled, wanted)[..., None])[..., 0]
        shift[:, 2] = np.maximum(shift[:, 2], _NEAREST_M)
        depth = np.maximum(joints[..., 2] + shift[:, 2:], _NEAREST_M)
    return shift


def towards_ray(place_m: Array) -> Array:
    """[T, 3, 3]: the turn from the camera's axis to the ray on which a body stands.

    Landmark networks see a person's crop as if the camera looked straight at it.
    """
    forward = place_m / np.linalg.norm(place_m, axis=1, keepdims=True)
    right = np.cross(np.array((0.0, 1.0, 0.0)), forward)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    return np.stack((right, np.cross(forward, right), forward), axis=-1)


def up_direction(joints_m: Array, confidence: Array) -> Array:
    """[3] the world's up in camera axes, from joints [T, 33, 3] placed before a camera that stands still.

    Three kinds of evidence, each as sure as it is: cameras are held level; bodies whose legs are straight stand
    upright; soles that are low lie on one plane.
    """
    up = _median_upright(joints_m, confidence)
    for _ in range(3):
        height = joints_m[:, _FEET] @ up
        low = height < np.quantile(height, _LOW_SHARE)
        weight = low * confidence[:, _FEET]
        soles = joints_m[:, _FEET][low]
        weights = weight[low]
        if weights.sum() < 4.0:
            return up
        side = np.cross(up, (0.0, 0.0, 1.0))
        side /= np.linalg.norm(side)
        ahead = np.cross(side, up)
        centred = soles - np.average(soles, axis=0, weights=weights)
        x, z, y = centred @ side, centred @ ahead, centred @ up
        share = min(1.0, _SOLE_STEPS / weights.sum()) / _SOLE_M**2
        rows = np.stack((x, z), axis=1)
        normal = share * (rows * weights[:, None]).T @ rows + np.eye(2) / _UPRIGHT_RAD**2
        slope = np.linalg.solve(normal, share * (rows * weights[:, None]).T @ y)
        up = up - slope[0] * side - slope[1] * ahead
        up /= np.linalg.norm(up)
    return np.asarray(up)


def _median_upright(joints_m: Array, confidence: Array) -> Array:
    """Where heads are from feet while legs are straight, with the prior that the camera is level."""
    mean = {
        part: 0.5 * (joints_m[:, landmark(f"left_{part}")] + joints_m[:, landmark(f"right_{part}")])
        for part in ("shoulder", "hip", "ankle")
    }
    body = mean["shoulder"] - mean["ankle"]
    length = np.linalg.norm(body, axis=1)
    bent = np.linalg.norm(mean["shoulder"] - mean["hip"], axis=1) + np.linalg.norm(mean["hip"] - mean["ankle"], axis=1)
    sure = confidence[:, _PLACING].mean(axis=1)
    standing = sure * np.clip((length / np.maximum(bent, 1e-6) - 0.9) / 0.08, 0.0, 1.0)
    if standing.sum() < 1.0:
        return _UP
    directions = body / np.maximum(length, 1e-6)[:, None]
    middle = np.average(directions, axis=0, weights=standing)
    for _ in range(20):
        middle /= np.linalg.norm(middle)
        apart = np.linalg.norm(directions - middle, axis=1)
        middle = np.average(directions, axis=0, weights=standing / np.maximum(apart, 0.03))
    middle = middle / np.linalg.norm(middle) / _UPRIGHT_RAD**2 + _UP / _LEVEL_RAD**2
    return np.asarray(middle / np.linalg.norm(middle))


def level_rotation(up: Array) -> Array:
    """[3, 3] from camera axes to the world's: `up` becomes +Y, the camera looks along -Z."""
    back = np.array((0.0, 0.0, -1.0))
    back = back - (back @ up) * up
    if np.linalg.norm(back) < 1e-3:  # looking straight down or up: what is up in the picture is ahead
        back = np.array((0.0, 1.0, 0.0)) - up[1] * up
    back /= np.linalg.norm(back)
    return np.stack((np.cross(up, back), up, back))
