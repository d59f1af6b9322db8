"""A take mended: faults found, stages run on them, and everything else left as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.metrics.inspection import Inspection, body_motion, inspect_motion
from kinestream.motion import Motion
from kinestream.restoration.detect import faulty_spans, merged
from kinestream.restoration.stages import STAGE_NAMES, Span, stage_named
from kinestream.rotations import quat_conjugate, quat_multiply, quat_normalize, quat_rotate
from kinestream.skeleton.bone_finding import bone_map
from kinestream.skeleton.retarget import retarget

DEFAULT_STAGES = ("feet", "smooth")


@dataclass(frozen=True, eq=False)
class StageDone:
    """A stage that ran: its name, the frames [start, stop) that it was given, and its own report."""

    stage: str
    spans: tuple[Span, ...]
    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Restoration:
    """What a restoration gives.

    `motion` is on the skeleton and at the rate of what came in; frames outside `spans` are the input's to the bit.
    `before` and `after` are inspections; `body` is what was worked on (SMPL-22), before and after.
    """

    motion: Motion
    before: Inspection
    after: Inspection
    body: tuple[Motion, Motion]
    stages: tuple[StageDone, ...]

    @property
    def spans(self) -> list[Span]:
        """The frames that any stage was given, in order."""
        return merged([span for done in self.stages for span in done.spans])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: what was found, what was done, what is left."""
        return {
            "frames": self.motion.num_frames,
            "fps": self.motion.fps,
            "changed_frames": sum(stop - start for start, stop in self.spans),
            "spans": [list(span) for span in self.spans],
            "stages": [
                {"stage": done.stage, "spans": [list(span) for span in done.spans], **done.report}
                for done in self.stages
            ],
            "before": {"penalty": self.before.penalty, "flagged_share": self.before.flagged_share},
            "after": {"penalty": self.after.penalty, "flagged_share": self.after.flagged_share},
        }


def restore_motion(
    motion: Motion,
    stages: Sequence[str] = DEFAULT_STAGES,
    *,
    everything: bool = False,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Restoration:
    """Find what is wrong with a human motion and mend it there; with `everything`, put all frames through the stages.

    stages: names out of `STAGE_NAMES`; they run in that order. options: keywords for a stage, by its name.
    Skeletons other than SMPL-22 are retargeted, and what changed is brought back onto their own bones. Raises
    BadInputError for stages that are unknown or named twice, and for skeletons that are no human body's.
    """
    chosen = _checked(stages)
    before = inspect_motion(motion)
    start, _ = body_motion(motion)
    body, done = start, []
    for name in chosen:
        # Each stage looks at what the one before left.
        found = before if body is start else inspect_motion(body)
        spans = [(0, body.num_frames)] if everything else faulty_spans(name, found, body.num_frames, body.fps)
        report: dict[str, Any] = {}
        if spans:
            result = stage_named(name)(body, spans, **(options or {}).get(name, {}))
            body, report = result.motion, result.report
        done.append(StageDone(name, tuple(spans), report))
    spans = merged([span for one in done for span in one.spans])
    out = _brought_back(motion, start, body, spans) if spans else motion
    return Restoration(out, before, inspect_motion(out) if spans else before, (start, body), tuple(done))


def _checked(stages: Sequence[str]) -> list[str]:
    unknown = [name for name in stages if name not in STAGE_NAMES]
    if unknown or not stages or len(set(stages)) != len(stages):
        raise BadInputError(
            f"stages: expected some of {', '.join(STAGE_NAMES)}, each once; got {', '.join(stages) or 'none'}"
        )
    return [name for name in STAGE_NAMES if name in stages]


def _brought_back(motion: Motion, start: Motion, body: Motion, spans: Sequence[Span]) -> Motion:
    """The changes from `start` to `body`, on the motion's own bones, within the spans."""
    if start.skeleton.joint_names == motion.skeleton.joint_names:
        own, changed = start, body
    else:
        own, changed = (retarget(one, motion.skeleton, target_example=motion, floor="rest")[0] for one in (start, body))
    order = [changed.skeleton.index(name) for name in motion.skeleton.joint_names]
    pelvis = 0 if own is start else _pelvis(motion)
    moved = (changed.joint_positions_m() - own.joint_positions_m())[:, order[pelvis]]
    rotations = motion.local_rotations.clone()
    inside = torch.zeros(motion.num_frames, 1, dtype=torch.bool)
    for first, last in spans:
        part = slice(first, last)
        was, now = own.local_rotations[part][:, order], changed.local_rotations[part][:, order]
        rotations[part] = _turned(motion.local_rotations[part], was, now)
        inside[part] = True
    carried = _carried(motion, pelvis, torch.where(inside, moved, torch.zeros_like(moved)))
    return replace(carried, local_rotations=rotations)


def _pelvis(motion: Motion) -> int:
    animated = motion.joint_translations_m
    bones = bone_map(motion.skeleton, offsets_m=None if animated is None else animated.median(dim=0).values)
    return motion.skeleton.index(bones.bone_of["pelvis"])


def _carried(motion: Motion, pelvis: int, moved_m: Tensor) -> Motion:
    """The body carried by so much in each frame: by its pelvis, where the file moves that itself, else by its root."""
    translations = motion.joint_translations_m
    if pelvis == 0 or translations is None:
        return replace(motion, root_position_m=motion.root_position_m + moved_m)
    above = motion.world_rotations()[:, motion.skeleton.parents[pelvis]]
    translations = translations.clone()
    translations[:, pelvis] += quat_rotate(quat_conjugate(above), moved_m)
    return replace(motion, joint_translations_m=translations)


def _turned(given: Tensor, was: Tensor, now: Tensor) -> Tensor:
    """Given rotations, turned by what was turned; those of joints that did not turn keep every bit."""
    same = (was == now).all(dim=-1, keepdim=True)
    turned = quat_normalize(quat_multiply(given, quat_multiply(quat_conjugate(was), now)))
    return torch.where(same, given, turned)
