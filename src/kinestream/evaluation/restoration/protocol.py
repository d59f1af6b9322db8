"""Protocol "capture": held-out recordings damaged on purpose, restored in several ways, beside the recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from kinestream.evaluation.findings import CLIP_FIGURES, Findings, mean_values, over_clips
from kinestream.evaluation.items import Item, seed_of
from kinestream.evaluation.restoration.damage import DAMAGES, STRENGTHS
from kinestream.evaluation.result import Curve, Figure, Sample
from kinestream.evaluation.settings import EvaluationSettings, Progress
from kinestream.evaluation.shown import Shown, worst_and_best
from kinestream.features import motion_from_motion272
from kinestream.features.humanml_legs import ANKLES, TOES
from kinestream.io.viewer import html_page
from kinestream.metrics import (
    foot_skating_ratio,
    jitter_mps3,
    mpjpe_mm,
    pa_mpjpe_mm,
    penetration_share,
    world_mpjpe_mm,
)
from kinestream.metrics.inspection import Body, Inspection, inspect_motion
from kinestream.motion import Motion
from kinestream.restoration import Restoration, restore_motion, stage_is_here

# The rows of Table 2, and what is asked of the stages one by one. "estimate" is the damaged take as it is.
ROWS: Mapping[str, tuple[str, ...]] = {
    "estimate": (),
    "smoothing": ("smooth",),
    "FRDM": ("feet",),
    "FRDM + smoothing": ("feet", "smooth"),
    "physics": ("physics",),
    "physics + smoothing": ("physics", "smooth"),
    "physics + FRDM": ("physics", "feet"),
    "physics + FRDM + smoothing": ("physics", "feet", "smooth"),
}
# What each clip's own plots and the ranking show.
MAIN_ROW = "FRDM"
FIGURES = (
    "foot_skating_ratio", "jitter_mps3", "share_below_floor_2cm", "self_penetration_share", "mpjpe_mm", "pa_mpjpe_mm",
    "world_mpjpe_mm", "foot_error_mm", "drift_share",
)  # fmt: skip
_AGAINST_TRUTH = FIGURES[4:]
_FEET = (*ANKLES, *TOES)


def measure_restoration(
    items: Sequence[Item], model: Path | None, settings: EvaluationSettings, progress: Progress
) -> Findings:
    """Each recording with each of the faults in four strengths, each of them through each row's stages.

    What is found by the detector is mended, nothing else, as users have it. Intervals draw whole recordings. The rows
    with physics need MuJoCo, and are left out, with a note, where it is not installed.
    """
    rows = {name: stages for name, stages in ROWS.items() if all(map(stage_is_here, stages))}
    options = {"feet": {"model": model, "seed": settings.seed}}
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in rows}
    real: list[dict[str, float]] = []
    samples: list[Sample] = []
    groups: list[str] = []
    faults: list[tuple[str, int]] = []
    total = len(items) * len(DAMAGES) * STRENGTHS
    with progress("restoring", "takes") as update:
        for item in items:
            truth = motion_from_motion272(item.features())
            own = measured(truth, inspect_motion(truth))
            for fault in DAMAGES:
                for strength in range(STRENGTHS):
                    name = f"{item.name} {fault} {strength + 1}"
                    estimate = damaged(truth, name, fault, strength, settings.seed)
                    for row, stages in rows.items():
                        taken[row].append(_restored(estimate, stages, options, truth))
                    samples.append(Sample(name, name, taken[MAIN_ROW][-1], own, item.name))
                    real.append(own)
                    groups.append(item.name)
                    faults.append((fault, strength))
                    update(len(samples), total)
    left_out = [name for name in ROWS if name not in rows]
    notes = (f"Left out, since what they need is not installed here: {', '.join(left_out)}.",) if left_out else ()
    return Findings(_figures(taken, real, groups), tuple(samples), curves=_by_strength(taken, faults), notes=notes)


def shown_takes(items: Sequence[Item], samples: Sequence[Sample], model: Path | None, seed: int) -> list[Shown]:
    """Pages of the worst and best takes: as they were damaged, restored, and as they were recorded."""
    by_name = {item.name: item for item in items}
    found = []
    for rank, sample in worst_and_best("capture", samples):
        truth = motion_from_motion272(by_name[sample.group].features())
        fault, strength = sample.name.removeprefix(f"{sample.group} ").split(" ")
        estimate = damaged(truth, sample.name, fault, int(strength) - 1, seed)
        options = {"feet": {"model": model, "seed": seed}}
        mended = restore_motion(estimate, ROWS[MAIN_ROW], options=options).motion
        named = zip((estimate, mended, truth), ("damaged", "restored", "recording"), strict=True)
        motions = [replace(motion, name=name) for motion, name in named]
        found.append(Shown(rank, sample, html_page(motions, sample.name)))
    return found


def damaged(truth: Motion, name: str, fault: str, strength: int, seed: int) -> Motion:
    """A recording with a fault of strength 0 to 3; `name` and seed say which."""
    return DAMAGES[fault](truth, strength, torch.Generator().manual_seed(seed_of(seed, name)))


def _restored(
    estimate: Motion, stages: tuple[str, ...], options: Mapping[str, Mapping[str, object]], truth: Motion
) -> dict[str, float]:
    if not stages:
        return measured(estimate, inspect_motion(estimate), truth)
    done: Restoration = restore_motion(estimate, stages, options=options)
    return measured(done.motion, done.after, truth)


def measured(motion: Motion, inspection: Inspection, truth: Motion | None = None) -> dict[str, float]:
    """Figures of one SMPL-22 take: Table 2's, and with the truth the distances to it."""
    joints = motion.joint_positions_m()
    soles = Body.of(motion).soles_m().flatten(1, 2)
    figures = {
        "foot_skating_ratio": float(foot_skating_ratio(joints[:, TOES], motion.fps)),
        "jitter_mps3": float(jitter_mps3(joints, motion.fps)),
        "share_below_floor_2cm": float(penetration_share(torch.cat((joints, soles), dim=1))),
        "self_penetration_share": inspection.flagged_share["self_collision"],
    }
    if truth is None:
        return figures
    real = truth.joint_positions_m()
    travelled = float(real[:, 0, (0, 2)].diff(dim=0).norm(dim=-1).sum())
    drifted = float((joints - real)[:, 0, (0, 2)].norm(dim=-1).mean())
    return figures | {
        "mpjpe_mm": float(mpjpe_mm(joints, real)),
        "pa_mpjpe_mm": float(pa_mpjpe_mm(joints, real)),
        "world_mpjpe_mm": float(world_mpjpe_mm(joints, real)),
        "foot_error_mm": float(world_mpjpe_mm(joints[:, _FEET], real[:, _FEET])),
        "drift_share": drifted / max(travelled, 1.0),
    }


def _figures(
    taken: Mapping[str, Sequence[Mapping[str, float]]], real: Sequence[Mapping[str, float]], groups: Sequence[str]
) -> tuple[Figure, ...]:
    figures = []
    for name in FIGURES:
        label, unit, better, says = CLIP_FIGURES[name]
        theirs = None if name in _AGAINST_TRUTH else over_clips([one[name] for one in real], groups)
        for row, values in taken.items():
            ours = over_clips([one[name] for one in values], groups)
            figures.append(
                Figure(f"{name} {row}", f"{label}, {row}", unit, better, says, "bootstrap over recordings, 95 %", ours,
                       theirs)
            )  # fmt: skip
    return tuple(figures)


def _by_strength(
    taken: Mapping[str, Sequence[Mapping[str, float]]], faults: Sequence[tuple[str, int]]
) -> dict[str, tuple[Curve, ...]]:
    """Each figure over the four strengths of each fault, a line a row."""
    curves: dict[str, tuple[Curve, ...]] = {}
    x = tuple(float(k + 1) for k in range(STRENGTHS))
    for fault in DAMAGES:
        for name in FIGURES:
            lines = []
            for row, values in taken.items():
                means = [
                    mean_values([one for one, at in zip(values, faults, strict=True) if at == (fault, k)])[name]
                    for k in range(STRENGTHS)
                ]
                lines.append(Curve(row, x, tuple(means)))
            curves[f"{name} by strength of {fault}"] = tuple(lines)
    return curves
