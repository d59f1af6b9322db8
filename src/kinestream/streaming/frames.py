"""Features of one latent -> the frames that leave: a motion chunk on the floor, the root and the feet carried along."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.features import MOTION272, RootIntegrator, RootState
from kinestream.features.motion272 import pose_from_features
from kinestream.metrics.on_beat import on_beat_times
from kinestream.motion import Motion, at_frames
from kinestream.nn.streaming import join_rows, map_state, take_rows
from kinestream.skeleton import smpl22
from kinestream.streaming.footlock import FLOOR_TOLERANCE_M, FootLock, FootLockState, Pose

IDENTITY_ROT6D = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

_integrator = RootIntegrator()
_foot_lock = FootLock()


def initial_root() -> RootState:
    """The root before the first frame: at the origin, facing +Z."""
    return _integrator.init_state()


def initial_feet() -> FootLockState:
    """The feet of one stream before the first frame."""
    return _foot_lock.init_state(1)


def damp_root(features: Float[Tensor, "t 272"], keep: Float[Tensor, " t"]) -> Float[Tensor, "t 272"]:
    """The same frames with the root's travel and turning scaled by `keep` (0 stands, 1 leaves them as they are)."""
    damped = features.clone()
    weight = keep.to(features)[:, None]
    damped[:, MOTION272.slices["root_velocity"]] *= weight
    turning = MOTION272.slices["heading_change_rot6d"]
    still = features.new_tensor(IDENTITY_ROT6D)
    damped[:, turning] = still + weight * (features[:, turning] - still)
    return damped


def motion_chunk(features: Float[Tensor, "t 272"], root: RootState) -> tuple[Motion, RootState]:
    """The frames' motion, continued from `root`, and the root after them.

    Where the lowest joint would be more than a centimetre under the floor (y = 0), the body is lifted by the excess:
    a continuous function of each frame alone, so it needs no future and adds no jump.
    """
    ((motion, after, _),) = stream_chunks([features], [root], [None])
    return motion, after


def beat_locked_chunk(
    features: Float[Tensor, "t 272"], root: RootState, feet: FootLockState | None, beats_s: Float[Tensor, "m"]
) -> tuple[Motion, RootState, FootLockState | None]:
    """As `motion_chunk`, its steps brought to the beats (seconds from the first frame), then with the feet locked.

    The first and last frame stay where they are in time. Feet continue from `feet`, and what they need is given back.
    """
    ground, heading, after = _integrator.step(features, root)
    rotations, positions = pose_from_features(features, ground, heading)
    motion = Motion(smpl22(), rotations, positions, MOTION272.fps)
    read = on_beat_times(motion.joint_positions_m(), MOTION272.fps, beats_s, ends_stay=True)
    motion = at_frames(motion, read * MOTION272.fps)
    rotations, positions = motion.local_rotations, motion.root_position_m
    if feet is None:
        return _shown(rotations, positions, lift=True), after, None
    shown, carried = _foot_lock.step(Pose(rotations[None], positions[None]), feet)
    return _shown(shown.local_rotations[0], shown.root_position_m[0], lift=False), after, carried


def locked_chunk(
    features: Float[Tensor, "t 272"], root: RootState, feet: FootLockState
) -> tuple[Motion, RootState, FootLockState]:
    """As `motion_chunk`, with the feet locked: they continue from `feet`, and what they need is given back."""
    ((motion, after, carried),) = stream_chunks([features], [root], [feet])
    assert carried is not None, "feet that are locked stay so"
    return motion, after, carried


def stream_chunks(
    features: Sequence[Float[Tensor, "t 272"]], roots: Sequence[RootState], feet: Sequence[FootLockState | None]
) -> list[tuple[Motion, RootState, FootLockState | None]]:
    """`locked_chunk` of many streams at once, or `motion_chunk` of those without feet; all as long as each other.

    A stream's frames are the same bits in any company: all that is computed here is rounded number by number.
    """
    together = torch.stack(list(features))
    ground, heading, after = _integrator.step(together, map_state(lambda *tensors: torch.stack(tensors), *roots))
    rotations, positions = pose_from_features(together, ground, heading)
    locked = [row for row, state in enumerate(feet) if state is not None]
    carried: list[FootLockState | None] = [None] * len(features)
    if locked:
        before = join_rows([state for state in feet if state is not None])
        shown, states = _foot_lock.step(Pose(rotations[locked], positions[locked]), before)
        rotations[locked], positions[locked] = shown
        for place, row in enumerate(locked):
            carried[row] = take_rows(states, [place])
    # A row is copied, so that a stream's frames don't keep its neighbours'.
    return [
        (
            _shown(rotations[row].clone(), positions[row].clone(), lift=state is None),
            RootState(after.position_m[row].clone(), after.heading[row].clone()),
            state,
        )
        for row, state in enumerate(carried)
    ]


def _shown(rotations: Float[Tensor, "t 22 4"], position: Float[Tensor, "t 3"], *, lift: bool) -> Motion:
    motion = Motion(smpl22(), rotations, position, MOTION272.fps)
    if not lift:
        return motion
    lowest = motion.joint_positions_m()[..., 1].amin(dim=-1)
    excess = (-FLOOR_TOLERANCE_M - lowest).clamp(min=0.0)
    if bool((excess > 0).any()):
        position[:, 1] += excess
    return motion


def standing_still(features: Float[Tensor, "t 272"]) -> Float[Tensor, "t 272"]:
    """The same poses with every velocity and the turning set to none."""
    still = damp_root(features, torch.zeros(features.shape[0]))
    still[:, MOTION272.slices["velocities"]] = 0.0
    return still
