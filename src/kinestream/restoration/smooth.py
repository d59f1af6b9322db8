"""The stage that smooths what trembles: as little as ends the tremble, with the feet kept on their own paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.features.humanml_legs import ANKLES, TOES
from kinestream.metrics.inspection import inspect_motion
from kinestream.motion import Motion
from kinestream.restoration.detect import findings_for
from kinestream.restoration.legs import with_feet_at
from kinestream.restoration.over_time import CUTOFF, faded, gaussian
from kinestream.restoration.stages import Span, StageResult, check_spans
from kinestream.rotations import quat_normalize, quat_unrolled
from kinestream.skeleton import smpl22

# Deviations of the Gaussian, tried in this order until nothing trembles in a span. What the detector just does not see
# any more the eye still does: the next wider one is taken, the widest in any case.
DEVIATIONS_S = (0.02, 0.035, 0.05, 0.07, 0.1)


def smooth_stage(motion: Motion, spans: Sequence[Span], /) -> StageResult:
    """Rotations and the root's place of an SMPL-22 motion smoothed within the spans.

    A Gaussian without phase, little wider than it takes to end what the detector calls jitter. Feet go along the
    smoothed paths of their *places*: feet that stood still stand, which smoothed rotations alone would not keep. Frames
    outside the spans keep every bit.
    """
    check_spans(motion, spans)
    if motion.skeleton.joint_names != smpl22().joint_names:
        raise BadInputError(f"smoothing needs the smpl22 skeleton, got {motion.skeleton.name!r}: retarget first")
    deviations: list[float] = []
    rotations, root = motion.local_rotations.clone(), motion.root_position_m.clone()
    for start, stop in spans:
        part, deviation = _quiet(motion, start, stop)
        rotations[start:stop], root[start:stop] = part.local_rotations, part.root_position_m
        deviations.append(deviation)
    report = {"frames": sum(stop - start for start, stop in spans), "deviations_s": deviations}
    return StageResult(replace(motion, local_rotations=rotations, root_position_m=root), report)


def _quiet(motion: Motion, start: int, stop: int) -> tuple[Motion, float]:
    """A span smoothed until nothing in it trembles, and with how much."""
    context = round(CUTOFF * DEVIATIONS_S[-1] * motion.fps)
    low, high = max(0, start - context), min(motion.num_frames, stop + context)
    around = motion.slice(low, high)
    share = faded(motion, start, stop)
    weight = torch.zeros(high - low)
    weight[start - low : stop - low] = share
    wider = iter(DEVIATIONS_S)
    for deviation in wider:
        smoothed = _smoothed(around, deviation * motion.fps, weight)
        found = findings_for("smooth", inspect_motion(smoothed).findings)
        if not any(f.first < stop - low and f.last >= start - low for f in found):
            break
    deviation = next(wider, DEVIATIONS_S[-1])
    smoothed = _smoothed(around, deviation * motion.fps, weight)
    return smoothed.slice(start - low, stop - low), deviation


def _smoothed(motion: Motion, frames: float, weight: Float[Tensor, " t"]) -> Motion:
    """All of a motion smoothed over so many frames, as far as each frame's weight goes."""
    turns = quat_unrolled(motion.local_rotations)
    mixed = turns + weight[:, None, None] * (gaussian(turns, frames) - turns)
    root = motion.root_position_m
    root = root + weight[:, None] * (gaussian(root, frames) - root)
    places = motion.joint_positions_m()
    feet = places + weight[:, None, None] * (gaussian(places, frames) - places)
    plain = replace(motion, local_rotations=quat_normalize(mixed), root_position_m=root)
    return with_feet_at(plain, root, feet[:, ANKLES], feet[:, TOES])
