"""Body-part mixing: the legs and trunk of one recording with one or both arms of another, where a body could do that.

An arm hangs from the chest, so its rotations from the collar bone down are taken as they are; what the rest of the body
does, its feet and its balance above all, stays as it was recorded.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from kinestream.data.journal import Journal
from kinestream.data.layout import MOTION_FOLDER, TEXT_FOLDER, TextLine, read_features, text_line
from kinestream.data.manifest import MIX_MARK, Clip
from kinestream.data.prepare import checked_features
from kinestream.data.processes import chunks, run_in_processes
from kinestream.data.sources.recording import Reject
from kinestream.data.text.captions import mixed_captions
from kinestream.errors import BadInputError
from kinestream.features import MOTION272, motion_from_motion272
from kinestream.io.atomic import atomic_path
from kinestream.motion import Motion

# Raised whenever the same clips would be mixed differently.
MIX_FORMAT = 1
PREFIX = "MIX_"
BASES = (
    "walk",
    "run",
    "jog",
    "walk-back",
    "walk-left",
    "walk-right",
    "walk-turn-left",
    "walk-turn-right",
    "stealthy-walk",
)
# Which arms a gesture needs; the other one goes on as the base has it.
GESTURES: Mapping[str, tuple[str, ...]] = {
    "wave-both-hands": ("left", "right"), "wave-left-hand": ("left",), "wave-right-hand": ("right",),
    "raise-up-both-hands": ("left", "right"), "raise-up-left-hand": ("left",), "raise-up-right-hand": ("right",),
    "byebye": ("left", "right"), "call": ("left", "right"),
}  # fmt: skip
_ARM = ("collar", "shoulder", "elbow", "wrist")
_MIXES_A_TASK = 16
_MIN_FRAMES, _MAX_FRAMES = 45, 240
# A mix may cost this much more than the worse of what it is made of: arms that go through the body cost hundreds.
_MORE_PENALTY = 8.0
_MORE_OF_ONE = 5.0

Judge = Callable[[Motion], Mapping[str, float]]
"""Penalties of a motion by check, 0 where nothing is wrong: `kinestream.metrics.inspection`'s."""


@dataclass(frozen=True)
class MixPlan:
    """A mix to try: a base, its first frame, and the clip whose arms it gets; `inputs` is a digest of all that."""

    name: str
    base: str
    arms: str
    base_content: str
    arms_content: str
    style: str
    inputs: str


@dataclass(frozen=True)
class Mix:
    """What became of a plan: frames and captions written, or the reason why it is rejected (else "")."""

    name: str
    inputs: str
    frames: int = 0
    captions: int = 0
    penalty: float = 0.0
    reject: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Mix:
        """From `to_dict`'s values; TypeError when they are others."""
        return cls(**values)


def plan_mixes(clips: Sequence[Clip], count: int) -> list[MixPlan]:
    """`count` plans out of the train split's recordings, the same every time, every pair of contents as often.

    Arms are of the base's style, or of the normal one where no recording of the gesture has it. Mirrored copies are
    bases and arms like others.
    """
    rng = random.Random(f"kinestream mixes {count}")
    by_content: dict[str, list[Clip]] = defaultdict(list)
    for clip in sorted(clips, key=lambda clip: clip.name):
        if clip.split == "train" and not clip.made and clip.frames >= _MIN_FRAMES:
            by_content[clip.content].append(clip)
    pairs = [(base, gesture) for base in BASES for gesture in GESTURES if by_content[base] and by_content[gesture]]
    plans: list[MixPlan] = []
    for number in range(count if pairs else 0):
        base_content, gesture = pairs[number % len(pairs)]
        base = rng.choice(by_content[base_content])
        alike = [c for c in by_content[gesture] if c.style == base.style]
        arms = rng.choice(alike or [c for c in by_content[gesture] if c.style == "normal"] or by_content[gesture])
        made_of = [MIX_FORMAT, number, *((c.name, c.sha256, c.frames) for c in (base, arms))]
        inputs = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]
        name = f"{PREFIX}{number:05d}"
        plans.append(MixPlan(name, base.name, arms.name, base_content, gesture, base.style, inputs))
    return plans


def make_mixes(
    root: Path, clips: Sequence[Clip], count: int, captions: int, judge: Judge, workers: int, *, progress: bool
) -> tuple[list[Clip], list[Reject]]:
    """Plan and make mixes of these clips under `root`; those of an earlier build are made anew where clips changed."""
    plans = plan_mixes(clips, count)
    found: dict[str, Mix] = {}
    with (
        Journal(root / "mixes.journal.jsonl", str(MIX_FORMAT), Mix.from_dict) as journal,
        tqdm(total=len(plans), desc="mixes", unit="clip", disable=not progress) as bar,
    ):
        known = journal.known
        tasks = [
            (root, chunk, {plan.name: known[plan.name] for plan in chunk if plan.name in known}, captions, judge)
            for chunk in chunks(plans, _MIXES_A_TASK)
        ]
        for results in run_in_processes(_mix_task, tasks, workers):
            for mix in results:
                journal.add(mix)
                found[mix.name] = mix
            bar.update(len(results))
    made = [mix_clip(plan, found[plan.name]) for plan in plans if not found[plan.name].reject]
    return made, [Reject(mix.name, "mixed", mix.reject) for mix in found.values() if mix.reject]


def _mix_task(task: tuple[Path, Sequence[MixPlan], Mapping[str, Mix], int, Judge]) -> list[Mix]:
    return build_mixes(*task)


def build_mixes(
    root: Path, plans: Sequence[MixPlan], known: Mapping[str, Mix], captions: int, judge: Judge
) -> list[Mix]:
    """Make the planned mixes under `root`; those that `known` has, of the same clips, only get their texts anew."""
    return [_build_mix(root, plan, known.get(plan.name), captions, judge) for plan in plans]


def mix_clip(plan: MixPlan, mix: Mix) -> Clip:
    """The manifest's entry of a mix that was written."""
    content = f"{plan.base_content}{MIX_MARK}{plan.arms_content}"
    details = {"base": plan.base, "arms": plan.arms, "penalty": round(mix.penalty, 2)}
    return Clip(
        name=plan.name, source="mixed", content=content, style=plan.style, source_content=content, source_style="",
        recording=plan.name, recording_id=plan.base, split="train", frames=mix.frames, captions=mix.captions,
        mirrored=False, sha256=plan.inputs, details=details,
    )  # fmt: skip


def mixed(base: Motion, arms: Motion, sides: Sequence[str]) -> Motion:
    """`base` (SMPL-22) with the arms of another motion on these sides, as long as both last, at the same rate."""
    if base.fps != arms.fps:
        raise BadInputError(f"motions can be mixed at one rate only, got {base.fps:g} and {arms.fps:g}")
    frames = min(base.num_frames, arms.num_frames)
    rotations = base.local_rotations[:frames].clone()
    joints = [base.skeleton.index(f"{side}_{part}") for side in sides for part in _ARM]
    rotations[:, joints] = arms.local_rotations[:frames, joints]
    return replace(base, local_rotations=rotations, root_position_m=base.root_position_m[:frames])


def _build_mix(root: Path, plan: MixPlan, known: Mix | None, captions: int, judge: Judge) -> Mix:
    path = root / MOTION_FOLDER / f"{plan.name}.npy"
    if known is not None and known.inputs == plan.inputs:
        if known.reject:
            return known
        if path.is_file() and path.stat().st_size == 128 + known.frames * MOTION272.width * 4:
            return replace(known, captions=_write_texts(root, plan, captions))
    try:
        features, penalty = _mixed_features(root, plan, judge)
    except BadInputError as error:
        return Mix(plan.name, plan.inputs, reject=str(error))
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, features.numpy())
    return Mix(plan.name, plan.inputs, len(features), _write_texts(root, plan, captions), penalty)


def _mixed_features(root: Path, plan: MixPlan, judge: Judge) -> tuple[Float[Tensor, "t 272"], float]:
    """Features of the mix and its penalty; BadInputError where a body could not move like that."""
    base, arms = (
        motion_from_motion272(torch.from_numpy(np.array(read_features(root / MOTION_FOLDER / f"{name}.npy"))))
        for name in (plan.base, plan.arms)
    )
    sides = GESTURES[plan.arms_content]
    frames = min(base.num_frames, arms.num_frames, _MAX_FRAMES)
    start = _busiest(arms, sides, frames)
    base, arms = base.slice(0, frames), arms.slice(start, start + frames)
    result = mixed(base, arms, sides)
    own, other, both = judge(base), judge(arms), judge(result)
    for check, penalty in both.items():
        worst = max(own.get(check, 0.0), other.get(check, 0.0))
        if penalty > worst + _MORE_OF_ONE:
            raise BadInputError(f"{check}: {penalty:.1f} where the parts have {worst:.1f}")
    total, worst = sum(both.values()), max(sum(own.values()), sum(other.values()))
    if total > worst + _MORE_PENALTY:
        raise BadInputError(f"penalties of {total:.1f} in all where the parts have {worst:.1f}")
    return checked_features(result), total


def _busiest(arms: Motion, sides: Sequence[str], frames: int) -> int:
    """First of `frames` frames in which the hands are highest above the shoulders: where the gesture is made."""
    position = arms.joint_positions_m()
    index = arms.skeleton.index
    height = sum(
        (position[:, index(f"{side}_wrist"), 1] - position[:, index(f"{side}_shoulder"), 1] for side in sides),
        start=torch.zeros(arms.num_frames),
    )
    if arms.num_frames <= frames:
        return 0
    means = torch.nn.functional.avg_pool1d(height[None, None], frames, 1)[0, 0]
    return int(means.argmax())


def _write_texts(root: Path, plan: MixPlan, count: int) -> int:
    lines = mixed_captions(plan.base_content, plan.arms_content, plan.style, count, plan.name)
    with atomic_path(root / TEXT_FOLDER / f"{plan.name}.txt") as path:
        path.write_text("".join(text_line(TextLine(caption)) + "\n" for caption in lines), encoding="utf-8")
    return len(lines)
