"""From the landmarks of a person to a body that moves in the world: SMPL-22's rotations and the root's path.

Solved by geometry alone, frame by frame with some smoothing: the landmarks' directions turn the bones, the size of the
body in the picture tells how far away it is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from kinestream.capture.landmarks import PersonTrack, landmark
from kinestream.capture.placing import level_rotation, placed, smoothed, towards_ray, up_direction
from kinestream.errors import BadInputError
from kinestream.motion import Motion
from kinestream.rotations import quat_between, quat_conjugate, quat_multiply, quat_rotate, quat_slerp
from kinestream.skeleton import Skeleton, smpl22
from kinestream.skeleton.position_ik import bounded_turn, frame_from_axes, hinged_limb

Array = NDArray[np.float64]

# A standing SMPL-22 body is this tall from its soles to its crown.
SKELETON_HEIGHT_M = 1.72
HEIGHT_RANGE_M = (0.5, 2.6)
# Landmarks are smoothed over this time, a body's distance (which its size in the picture tells) over a longer one.
_LANDMARK_SMOOTHING_S = 0.035
_DISTANCE_SMOOTHING_S = 0.2
_HAND_RAD = (0.5, 1.2)
# Soles lie below the joints of toes and ankles by what the skeleton stands on.
_FLOOR_QUANTILE = 0.05
# What the nose is below the level of the ears' line seen from the side, in a head that looks straight ahead.
_NOSE_DOWN_RAD = 0.2
_LIMBS = (
    ("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"),
)  # fmt: skip


def body_from_track(track: PersonTrack, *, height_m: float | None = None, fps: float | None = None) -> Motion:
    """The person's motion on SMPL-22: metres, Y up, the camera looks along -Z, soles on y = 0 where they are lowest.

    `height_m` is how tall the person is (None: as tall as the skeleton; distances follow it). `fps` is its rate
    (None: the film's mean rate); frames of variable rate are interpolated by their times. A camera that turns is taken
    from `track.camera_turn`. Raises BadInputError for a height outside 0.5 to 2.6 m.
    """
    skeleton = skeleton_of(height_m)
    times, world, keypoints, confidence, turns = _even(track, fps)
    world = smoothed(world, confidence, times, _LANDMARK_SMOOTHING_S) * _scale(world, confidence, skeleton)
    keypoints = smoothed(keypoints, confidence, times, _LANDMARK_SMOOTHING_S)
    middle = 0.5 * np.array(track.image_size_px, np.float64)
    place = placed(world, keypoints, confidence, track.focal_px, middle)
    world = np.einsum("tij,tkj->tki", towards_ray(place), world)
    place = placed(world, keypoints, confidence, track.focal_px, middle)
    place = _steady(place, confidence.mean(axis=1), times)
    joints = world + place[:, None]
    if turns is not None:
        joints = np.einsum("tij,tkj->tki", turns, joints)
    to_world = level_rotation(up_direction(joints, confidence))
    points = torch.from_numpy(joints @ to_world.T)
    rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else fps or track.fps
    motion = _solved(points, skeleton, float(rate))
    return replace(_on_the_floor(motion), name=f"person {track.person}")


def body_from_points(points_m: Float[Tensor, "t 33 3"], confidence: Float[Tensor, "t 33"], fps: float) -> Motion:
    """The motion of a person whose landmarks are known in the world (metres, Y up): measured by several cameras.

    The skeleton is SMPL-22 made as large as the person's limbs.
    """
    world, sure = points_m.double().numpy(), confidence.double().numpy()
    times = np.arange(len(world)) / fps
    own = 1.0 / _scale(world, sure, smpl22())
    skeleton = _resized(smpl22(), own)
    return _solved(torch.from_numpy(smoothed(world, sure, times, _LANDMARK_SMOOTHING_S)), skeleton, fps)


def skeleton_of(height_m: float | None) -> Skeleton:
    """SMPL-22 of a person's height. Raises BadInputError for heights that no person has."""
    if height_m is None:
        return smpl22()
    if not HEIGHT_RANGE_M[0] <= height_m <= HEIGHT_RANGE_M[1]:
        low, high = HEIGHT_RANGE_M
        raise BadInputError(f"expected a person's height from {low} to {high} metres, got {height_m:g}")
    return _resized(smpl22(), height_m / SKELETON_HEIGHT_M)


def _resized(rest: Skeleton, share: float) -> Skeleton:
    ends = {name: (share * x, share * y, share * z) for name, (x, y, z) in rest.end_sites.items()}
    return replace(rest, offsets_m=rest.offsets_m * share, end_sites=ends)


def _even(track: PersonTrack, fps: float | None) -> tuple[Array, Array, Array, Array, Array | None]:
    """Times in even steps, and the track's values there."""
    start, stop = float(track.times_s[0]), float(track.times_s[-1])
    rate = fps or track.fps
    times = start + np.arange(int((stop - start) * rate + 1e-6) + 1) / rate

    def at(values: NDArray[np.float32]) -> Array:
        flat = values.reshape(len(values), -1).astype(np.float64)
        after = np.clip(np.searchsorted(track.times_s, times), min(1, len(flat) - 1), len(flat) - 1)
        before = np.maximum(after - 1, 0)
        step = np.maximum(track.times_s[after] - track.times_s[before], 1e-9)
        share = np.clip((times - track.times_s[before]) / step, 0.0, 1.0)[:, None]
        mixed = flat[before] * (1.0 - share) + flat[after] * share
        return np.asarray(mixed.reshape(len(times), *values.shape[1:]))

    turns = None
    if track.camera_turn is not None:
        left, _, right = np.linalg.svd(at(track.camera_turn))
        turns = left @ right
    return times, at(track.world_m), at(track.keypoints_px), at(track.confidence), turns


def _scale(world: Array, confidence: Array, skeleton: Skeleton) -> float:
    """What makes the landmarks' limbs as long as the skeleton's, together: medians over the film."""
    own, wanted = 0.0, 0.0
    for side in ("left", "right"):
        for a, b in _LIMBS:
            first, second = landmark(f"{side}_{a}"), landmark(f"{side}_{b}")
            sure = np.minimum(confidence[:, first], confidence[:, second]) > 0.5
            if sure.sum() >= min(5, len(sure)):
                own += float(np.median(np.linalg.norm(world[sure, first] - world[sure, second], axis=1)))
                wanted += float(skeleton.offsets_m[skeleton.index(f"{side}_{b}")].norm())
    return wanted / own if own > 0.0 else 1.0


def _steady(place: Array, sure: Array, times: Array) -> Array:
    """A body's distance changes slowly, its direction from the camera as fast as it is seen to."""
    distance = np.exp(smoothed(np.log(place[:, 2]), sure, times, _DISTANCE_SMOOTHING_S))
    return np.asarray(place * (distance / place[:, 2])[:, None])


def _solved(points: Tensor, skeleton: Skeleton, fps: float) -> Motion:
    """Bones turned as the landmarks [T, 33, 3] say, in the world's axes."""

    def at(name: str) -> Tensor:
        return points[:, landmark(name)]

    def between(part: str) -> Tensor:
        return 0.5 * (at(f"left_{part}") + at(f"right_{part}"))

    rest = skeleton.offsets_m.double()
    index = skeleton.index
    world = torch.zeros(len(points), skeleton.num_joints, 4, dtype=torch.float64)
    trunk = between("shoulder") - between("hip")
    across = {part: at(f"left_{part}") - at(f"right_{part}") for part in ("hip", "shoulder")}
    pelvis, chest = _trunk(across["hip"], trunk, across["shoulder"])
    # The rest pose's own hips and shoulders are not quite level, nor above each other.
    resting = _at_rest(skeleton)
    lines = {part: resting[f"left_{part}"] - resting[f"right_{part}"] for part in ("hip", "shoulder")}
    sides = [resting[f"{side}_shoulder"] - resting[f"{side}_hip"] for side in ("left", "right")]
    upright = 0.5 * (sides[0] + sides[1])
    at_rest = _trunk(lines["hip"][None], upright[None], lines["shoulder"][None])
    pelvis, chest = (
        quat_multiply(now, quat_conjugate(rest_turn).expand_as(now))
        for now, rest_turn in zip((pelvis, chest), at_rest, strict=True)
    )
    for name, share in (("pelvis", 0.0), ("spine1", 0.33), ("spine2", 0.67), ("spine3", 1.0)):
        world[:, index(name)] = quat_slerp(pelvis, chest, share)
    head = _head(at, between)
    world[:, index("neck")] = quat_slerp(chest, head, 0.5)
    world[:, index("head")] = head
    sideways = torch.tensor((1.0, 0.0, 0.0), dtype=torch.float64)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        collar, shoulder, elbow, wrist = (index(f"{side}_{part}") for part in ("collar", "shoulder", "elbow", "wrist"))
        world[:, collar] = chest
        upper = at(f"{side}_elbow") - at(f"{side}_shoulder")
        lower = at(f"{side}_wrist") - at(f"{side}_elbow")
        hinge = torch.tensor((0.0, -sign, 0.0), dtype=torch.float64)
        world[:, shoulder], world[:, elbow] = hinged_limb(chest, rest[elbow], hinge, upper, lower, fps)
        hand = 0.5 * (at(f"{side}_index") + at(f"{side}_pinky")) - at(f"{side}_wrist")
        bone = quat_rotate(world[:, elbow], rest[wrist].expand_as(hand))
        world[:, wrist] = quat_multiply(bounded_turn(quat_between(bone, hand), *_HAND_RAD), world[:, elbow])
        hip, knee, ankle, foot = (index(f"{side}_{part}") for part in ("hip", "knee", "ankle", "foot"))
        heel, toe = at(f"{side}_heel"), at(f"{side}_foot_index")
        sole = frame_from_axes(toe - heel, at(f"{side}_ankle") - 0.5 * (heel + toe), "zy")
        neutral = quat_rotate(sole, sideways.expand_as(heel)) + quat_rotate(pelvis, sideways.expand_as(heel))
        thigh, shin = at(f"{side}_knee") - at(f"{side}_hip"), at(f"{side}_ankle") - at(f"{side}_knee")
        world[:, hip], world[:, knee] = hinged_limb(pelvis, rest[knee], sideways, thigh, shin, fps, neutral=neutral)
        world[:, ankle] = world[:, foot] = sole
    local = world.clone()
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            local[:, joint] = quat_multiply(quat_conjugate(world[:, parent]), world[:, joint])
    middle = 0.5 * (rest[index("left_hip")] + rest[index("right_hip")])
    root = between("hip") - quat_rotate(pelvis, middle.expand(len(points), 3))
    return Motion(skeleton, local.float(), root.float(), fps)


def _trunk(hips: Tensor, upright: Tensor, shoulders: Tensor) -> tuple[Tensor, Tensor]:
    """Frames of pelvis and chest: from the lines across hips and shoulders, and the one between their middles."""
    return frame_from_axes(hips, upright, "xy"), frame_from_axes(upright, shoulders, "yx")


def _at_rest(skeleton: Skeleton) -> dict[str, Tensor]:
    """Where the joints are in the rest pose, by name."""
    places = [skeleton.offsets_m[0].double()]
    for joint in range(1, skeleton.num_joints):
        places.append(places[skeleton.parents[joint]] + skeleton.offsets_m[joint].double())
    return dict(zip(skeleton.joint_names, places, strict=True))


def _head(at, between) -> Tensor:  # type: ignore[no-untyped-def]
    """The head's orientation: across the ears, and from them to the nose."""
    across, ahead = at("left_ear") - at("right_ear"), at("nose") - between("ear")
    level = frame_from_axes(across, ahead, "xz")
    down = torch.zeros(4, dtype=torch.float64)
    down[0], down[1] = np.cos(0.5 * _NOSE_DOWN_RAD), -np.sin(0.5 * _NOSE_DOWN_RAD)
    return quat_multiply(level, down.expand_as(level))


def _on_the_floor(motion: Motion) -> Motion:
    """Moved so that the body is lowest, as a rule, at height 0, and begins above the origin."""
    lowest = motion.joint_positions_m()[..., 1].amin(dim=1)
    shift = motion.root_position_m.new_tensor((0.0, -float(torch.quantile(lowest, _FLOOR_QUANTILE)), 0.0))
    shift[[0, 2]] = -motion.root_position_m[0, [0, 2]]
    return replace(motion, root_position_m=motion.root_position_m + shift)
