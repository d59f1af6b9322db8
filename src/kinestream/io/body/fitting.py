"""How the default body, made for SMPL-22's T-pose, sits on another humanoid skeleton in its own rest pose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from kinestream.errors import BadInputError
from kinestream.rotations import matrix_from_quat, quat_between
from kinestream.skeleton import Skeleton, forward_kinematics, smpl22
from kinestream.skeleton.bone_finding import bone_map
from kinestream.skeleton.humanoid import HumanoidRig
from kinestream.skeleton.rest_pose import Recording, humanoid_rig

FloatArray = NDArray[np.float64]

# Feature sets put the lowest joint on the floor, a body puts its soles there: SMPL's toe joint is this high above.
SOLE_M = 0.022

_TRUNK = ("pelvis", "spine1", "spine2", "spine3", "neck", "head")
_STRETCH_LIMITS = (0.5, 2.0)


@dataclass(frozen=True, eq=False)
class BodyFit:
    """Where the default body goes on a skeleton with J joints.

    A point that rests `o` from SMPL-22's joint s goes to `anchors_m[s] + matrices[s] @ o` ([22, 3], [22, 3, 3]) and
    moves with `joints[s]`; thicknesses scale by `thickness`. The skeleton then stands in its bind pose: world positions
    `bind_positions_m` [J, 3] with the root at the origin, and world rotations `bind_rotations` [J, 3, 3].
    """

    joints: NDArray[np.int64]
    anchors_m: FloatArray
    matrices: FloatArray
    thickness: float
    bind_positions_m: FloatArray
    bind_rotations: FloatArray


def rest_positions_m(skeleton: Skeleton) -> FloatArray:
    """Where the joints are [J, 3] at identity rotations when the root is at the origin."""
    identity = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64).expand(skeleton.num_joints, 4)
    return forward_kinematics(skeleton, identity, torch.zeros(3, dtype=torch.float64))[0].numpy()


def fit_for(skeleton: Skeleton, example: Recording | None = None) -> BodyFit | None:
    """The fit for a humanoid skeleton, recognised by its joints' names; None for any other.

    `example` is a recording on the skeleton, from which a rest pose is learnt where zero rotations are none.
    """
    names = smpl22().joint_names
    if skeleton.joint_names == names:
        still = np.tile(np.eye(3), (len(names), 1, 1))
        roles = {name: joint for joint, name in enumerate(names)}
        return _fit(roles, rest_positions_m(skeleton), still, sole_m=None)
    try:
        rig = humanoid_rig(skeleton, bone_map(skeleton), example=example)
    except BadInputError:
        return None
    positions = rig.rest_positions_m.numpy()
    return _fit(rig.joint_of, positions, matrix_from_quat(rig.rest_world).numpy(), sole_m=_ankle_over_sole_m(rig))


def _ankle_over_sole_m(rig: HumanoidRig) -> float:
    return rig.ankle_height_m if rig.standing_is_known else rig.ankle_height_m + SOLE_M


def _fit(roles: Mapping[str, int], positions: FloatArray, rotations: FloatArray, sole_m: float | None) -> BodyFit:
    skeleton = smpl22()
    old = rest_positions_m(skeleton)
    scale = _height_ratio(roles, positions, old)
    new = _joint_targets(roles, positions, old, scale)
    if sole_m is None:
        shoe = scale
    else:
        ankle, toe = (old[skeleton.index(name), 1] for name in ("left_ankle", "left_foot"))
        shoe = float(np.clip(sole_m / (ankle - toe + SOLE_M), 0.8 * scale, 1.25 * scale))
    anchors, matrices, joints = new.copy(), np.zeros((len(old), 3, 3)), np.zeros(len(old), np.int64)
    for s, name in enumerate(skeleton.joint_names):
        parent = skeleton.parents[s]
        joints[s] = roles.get(name, joints[parent] if parent >= 0 else 0)
        if name in _TRUNK:
            matrices[s] = np.diag([scale, _trunk_stretch(name, old, new, scale), scale])
        elif name.endswith("_collar"):
            matrices[s] = scale * np.eye(3)
            shoulder = skeleton.children(s)[0]
            anchors[s] = new[shoulder] - scale * (old[shoulder] - old[s])
        elif name.endswith(("_ankle", "_foot")):
            matrices[s] = np.diag([scale, shoe, scale])
            if name.endswith("_foot"):
                anchors[s, 1] = anchors[parent, 1] + shoe * (old[s, 1] - old[parent, 1])
        elif name.endswith("_wrist"):
            matrices[s] = scale * _turn(old[s] - old[parent], new[s] - new[parent])
        else:
            end = skeleton.children(s)[0]
            matrices[s] = _limb(old[end] - old[s], new[end] - new[s], scale)
    return BodyFit(joints, anchors, matrices, scale, positions, rotations)


def _height_ratio(roles: Mapping[str, int], positions: FloatArray, old: FloatArray) -> float:
    """How much larger the skeleton is than SMPL's: legs and trunk, each along its bones."""
    index = smpl22().index

    def length(points: FloatArray, joint: Mapping[str, int]) -> float:
        legs = [
            np.linalg.norm(points[joint[f"{side}_{a}"]] - points[joint[f"{side}_{b}"]])
            for side in ("left", "right")
            for a, b in (("hip", "knee"), ("knee", "ankle"))
        ]
        hips, shoulders = (
            0.5 * (points[joint[f"left_{part}"]] + points[joint[f"right_{part}"]]) for part in ("hip", "shoulder")
        )
        return float(sum(legs) / 2.0 + np.linalg.norm(shoulders - hips))

    return length(positions, roles) / length(old, {name: index(name) for name in smpl22().joint_names})


def _joint_targets(roles: Mapping[str, int], positions: FloatArray, old: FloatArray, scale: float) -> FloatArray:
    """Where each of SMPL-22's joints would be on the skeleton [22, 3]: its own joint, or a place between or beyond."""
    skeleton = smpl22()
    new = np.zeros_like(old)
    chain = [skeleton.index(name) for name in _TRUNK]
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(old[chain], axis=0), axis=-1))])
    known = [k for k, name in enumerate(_TRUNK) if name in roles]
    for s, name in enumerate(skeleton.joint_names):
        parent = skeleton.parents[s]
        later = [k for k in known if name in _TRUNK and k > _TRUNK.index(name)]
        if name in roles:
            new[s] = positions[roles[name]]
        elif later and parent >= 0:
            k = _TRUNK.index(name)
            share = (along[k] - along[k - 1]) / (along[later[0]] - along[k - 1])
            new[s] = new[parent] + share * (positions[roles[_TRUNK[later[0]]]] - new[parent])
        else:
            above = skeleton.parents[parent]
            step = scale * (old[s] - old[parent])
            if name.endswith("_wrist"):
                step = _turn(old[parent] - old[above], new[parent] - new[above]) @ step
            new[s] = new[parent] + step
    return new


def _trunk_stretch(name: str, old: FloatArray, new: FloatArray, scale: float) -> float:
    """Height of a trunk joint's part over that of SMPL's; the head keeps its shape."""
    if name == "head":
        return scale
    a, b = smpl22().index(name), smpl22().index(_TRUNK[_TRUNK.index(name) + 1])
    ratio = (new[b, 1] - new[a, 1]) / (old[b, 1] - old[a, 1])
    return float(np.clip(ratio, _STRETCH_LIMITS[0] * scale, _STRETCH_LIMITS[1] * scale))


def _limb(before: FloatArray, after: FloatArray, scale: float) -> FloatArray:
    """[3, 3]: turns a bone to its new direction and stretches it to its new length; across it all scales evenly."""
    length = float(np.linalg.norm(before))
    ratio = float(np.linalg.norm(after)) / length
    axis = before / length
    stretch = scale * np.eye(3) + (ratio - scale) * np.outer(axis, axis)
    return np.asarray(_turn(before, after) @ stretch)


def _turn(before: FloatArray, after: FloatArray) -> FloatArray:
    """[3, 3]: the shortest turn from one direction to another."""
    if np.linalg.norm(after) < 1e-9:
        return np.eye(3)
    return matrix_from_quat(quat_between(torch.from_numpy(before), torch.from_numpy(after))).numpy()
