"""The stage that restores feet: the Foot Restoration Diffusion Model on spans of a motion, and legs that follow it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kinestream.checkpoints.restoration import DEFAULT_RESTORATION_DIR, load_foot_restoration
from kinestream.errors import BadInputError
from kinestream.features import HUMANML259, Statistics, humanml259_from_motion
from kinestream.features.humanml import first_heading_rad, positions_from_humanml
from kinestream.features.humanml_legs import ANKLES, KNEES, TOES
from kinestream.metrics.inspection import Body
from kinestream.models.foot_restoration import FootRestoration, Guidance, restore_features
from kinestream.motion import Motion, resample
from kinestream.restoration.floor import floor_offset_m
from kinestream.restoration.legs import with_feet_at
from kinestream.restoration.over_time import faded
from kinestream.restoration.stages import Span, StageResult, check_spans
from kinestream.rotations import quat_about_axis, quat_rotate
from kinestream.skeleton import smpl22

# Around a span the network sees so much.
CONTEXT_S = 0.5
_MOVED = (0, *ANKLES, *TOES)


def feet_stage(
    motion: Motion,
    spans: Sequence[Span],
    /,
    *,
    guidance: Guidance | None = None,
    seed: int = 0,
    model: str | Path | None = None,
) -> StageResult:
    """Root, knees and feet made anew within the spans of an SMPL-22 motion (InfiniteDance, section 3.1).

    Frames outside keep every bit; within them, trunk, arms and head keep their rotations. `model` is a folder in place
    of the packaged one. Bodies of other sizes are scaled to the network's and back, other rates resampled.
    """
    check_spans(motion, spans)
    if motion.skeleton.joint_names != smpl22().joint_names:
        raise BadInputError(f"restoring feet needs the smpl22 skeleton, got {motion.skeleton.name!r}: retarget first")
    if not spans or motion.num_frames < 2:
        return StageResult(motion, {"frames": 0})
    network, statistics = _loaded(DEFAULT_RESTORATION_DIR if model is None else Path(model))
    share = torch.zeros(motion.num_frames)
    for start, stop in spans:
        share[start:stop] = faded(motion, start, stop)
    offset = share[:, None] * floor_offset_m(motion)[:, None] * torch.tensor((0.0, 1.0, 0.0))
    carried = replace(motion, root_position_m=motion.root_position_m + offset)
    wanted, stands = _restored_places(carried, spans, network, statistics, guidance or Guidance(), seed)
    restored = motion
    for start, stop in spans:
        part = _placed(carried.slice(start, stop), wanted[start:stop], share[start:stop])
        restored = _spliced(restored, part, start, stop)
    moved = (restored.joint_positions_m() - motion.joint_positions_m()).norm(dim=-1)
    inside = torch.cat([torch.arange(start, stop) for start, stop in spans])
    report = {
        "frames": len(inside),
        "root_moved_m": float(moved[inside, 0].mean()),
        "feet_moved_m": float(moved[inside][:, [*ANKLES, *TOES]].mean()),
        "feet_moved_most_m": float(moved[inside][:, [*ANKLES, *TOES]].max()),
        "feet_stand_share": float(stands.float().mean()),
    }
    return StageResult(restored, report)


@lru_cache(maxsize=2)
def _loaded(folder: Path) -> tuple[FootRestoration, Statistics]:
    return load_foot_restoration(folder)


def _restored_places(
    motion: Motion,
    spans: Sequence[Span],
    network: FootRestoration,
    statistics: Statistics,
    guidance: Guidance,
    seed: int,
) -> tuple[Float[Tensor, "t 5 3"], Bool[Tensor, "u 4"]]:
    """World places of root, ankles and toes at the motion's own rate, and which feet stand, at the network's."""
    size = _size(motion)
    own = resample(motion, HUMANML259.fps)
    standard = replace(own, skeleton=smpl22(), root_position_m=own.root_position_m / size, joint_translations_m=None)
    # The layout looks one frame ahead: the last frame is held.
    held = replace(
        standard,
        local_rotations=torch.cat((standard.local_rotations, standard.local_rotations[-1:])),
        root_position_m=torch.cat((standard.root_position_m, standard.root_position_m[-1:])),
    )
    given = humanml259_from_motion(held)
    turn = quat_about_axis(first_heading_rad(held.joint_positions_m()), "Y")
    rate = HUMANML259.fps / motion.fps
    places = own.joint_positions_m()[:, _MOVED].clone()
    generator = torch.Generator().manual_seed(seed)
    standing = []
    for start, stop in spans:
        first, last = int(start * rate), min(len(given), int((stop - 1) * rate) + 2)
        context = round(CONTEXT_S * HUMANML259.fps)
        low, high = max(0, first - context), min(len(given), last + context)
        inside = torch.zeros(high - low, dtype=torch.bool)
        inside[first - low : last - low] = True
        part = given[low:high]
        made, stands = restore_features(network, statistics, part, guidance, generator, inside)
        change = positions_from_humanml(made, HUMANML259) - positions_from_humanml(part, HUMANML259)
        yaw = _yaw_before(given, low)
        world = quat_rotate(turn, quat_rotate(yaw, change[:, _MOVED]))
        places[first:last] += size * world[first - low : last - low]
        standing.append(stands[first - low : last - low])
    return _at_rate(places, motion, rate), torch.cat(standing)


def _yaw_before(given: Tensor, frame: int) -> Tensor:
    """The turn from a later frame's heading to the first's: parts of features begin facing +Z again."""
    half = HUMANML259.take(given, "yaw_velocity")[:frame, 0].sum()
    return quat_about_axis(-2.0 * half, "Y")


def _size(motion: Motion) -> float:
    """How long the body's legs are, as a share of SMPL-22's."""
    own, standard = (
        float(skeleton.offsets_m[[*KNEES, *ANKLES]].norm(dim=-1).sum()) for skeleton in (motion.skeleton, smpl22())
    )
    return own / standard


def _at_rate(places: Float[Tensor, "u k 3"], motion: Motion, rate: float) -> Float[Tensor, "t k 3"]:
    """Places at the network's rate, read at the motion's frames along a smooth curve (Catmull-Rom)."""
    if rate == 1.0:
        return places
    where = (torch.arange(motion.num_frames, dtype=torch.float64) * rate).clamp(max=len(places) - 1)
    low = where.floor().long().clamp(max=max(0, len(places) - 2))
    t = (where - low).to(places)[:, None, None]
    before, here, after, beyond = (places[(low + k).clamp(0, len(places) - 1)] for k in (-1, 0, 1, 2))
    slope, next_slope = 0.5 * (after - before), 0.5 * (beyond - here)
    bend = 3.0 * (after - here) - 2.0 * slope - next_slope
    return here + t * (slope + t * (bend + t * (2.0 * (here - after) + slope + next_slope)))


def _placed(part: Motion, wanted: Float[Tensor, "n 5 3"], share: Float[Tensor, " n"]) -> Motion:
    own = part.joint_positions_m()[:, _MOVED]
    goal = own + share[:, None, None] * (wanted - own)
    placed = with_feet_at(part, goal[:, 0], goal[:, 1:3], goal[:, 3:5])
    # A sole in the floor, at the heel, the ball or the tip, is lifted out of it, ankle and toe alike.
    sunk = (-Body.of(placed).soles_m()[..., 1]).amax(dim=-1).clamp_min(0.0)
    lift = (share[:, None] * sunk)[..., None] * torch.tensor((0.0, 1.0, 0.0))
    return with_feet_at(part, goal[:, 0], goal[:, 1:3] + lift, goal[:, 3:5] + lift)


def _spliced(motion: Motion, part: Motion, start: int, stop: int) -> Motion:
    rotations, root = motion.local_rotations.clone(), motion.root_position_m.clone()
    rotations[start:stop], root[start:stop] = part.local_rotations, part.root_position_m
    return replace(motion, local_rotations=rotations, root_position_m=root)
