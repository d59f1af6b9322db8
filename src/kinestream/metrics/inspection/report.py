"""The inspection of a whole motion: what is wrong, where, how badly; and one penalty for ranking motions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.metrics.inspection.body import Body, body_motion, data_file
from kinestream.metrics.inspection.feet import skating
from kinestream.metrics.inspection.floor import floating, penetration
from kinestream.metrics.inspection.joint_limits import joint_limits
from kinestream.metrics.inspection.measurement import WHOLE_BODY, Measurement
from kinestream.metrics.inspection.self_collision import self_collision
from kinestream.metrics.inspection.smoothness import frozen, jitter
from kinestream.metrics.inspection.spans import spans_where
from kinestream.motion import Motion

CHECKS: tuple[str, ...] = tuple(data_file("checks.json")["order"])
# Checks that need no human body.
ANY_SKELETON = ("jitter", "penetration", "frozen")
# A value over its limit by more than the first is clear, by more than the second severe.
_LEVELS = ((3.0, "severe"), (1.5, "clear"), (0.0, "slight"))
# Findings in this many parts of the body at once are one.
WHOLE_BODY_PARTS = 4
# Beyond this many times its limit a value counts no further.
MOST_LIMITS = 4.0


@dataclass(frozen=True)
class Finding:
    """Something wrong: which check, which part of the body, frames `first` to `last` (both inclusive), how badly.

    `worst` is the largest value in `unit`, at `worst_frame`, of what `detail` names; `joint` is where to look.
    `severity`: slight, clear, severe (up to 1.5, up to 3, more times the limit).
    """

    check: str
    part: str
    detail: str
    joint: str
    first: int
    last: int
    start_s: float
    end_s: float
    worst: float
    unit: str
    worst_frame: int
    severity: str


@dataclass(frozen=True, eq=False)
class Inspection:
    """All findings of a motion, in the order of the checks and of time.

    `penalty` is 0 for a motion without findings: for each check its weight times the mean over frames of how many
    times its limit the worst part is over within findings (at most 4), added up, times 100. `parts` of it by check.
    `skipped` are checks that the skeleton does not allow. `motion` is what was looked at, `how` says how it was made.
    """

    motion: Motion
    findings: tuple[Finding, ...]
    flagged_share: dict[str, float]
    penalties: dict[str, float]
    skipped: tuple[str, ...]
    how: str

    @property
    def frames(self) -> int:
        """How many frames were looked at."""
        return self.motion.num_frames

    @property
    def fps(self) -> float:
        """Their rate."""
        return self.motion.fps

    @property
    def penalty(self) -> float:
        """The sum of the checks' penalties."""
        return sum(self.penalties.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.motion.name,
            "frames": self.frames,
            "fps": self.fps,
            "inspected": self.how,
            "skipped": list(self.skipped),
            "penalty": self.penalty,
            "penalties": self.penalties,
            "flagged_share": self.flagged_share,
            "findings": [asdict(finding) for finding in self.findings],
        }


def text_weight() -> float:
    """What a motion that does not fit its text at all is worth in penalties, where samples are ranked by both."""
    return float(data_file("checks.json")["text"]["weight"])


def inspect_motion(motion: Motion) -> Inspection:
    """Look for everything that `CHECKS` names in any motion.

    Human skeletons are retargeted to SMPL-22 first; of others only jitter, penetration and frozen spans are checked.
    """
    try:
        on_body, how = body_motion(motion)
    except BadInputError as error:
        reason = str(error).splitlines()[0]
        return _inspection(motion, _any_skeleton(motion), f"on its own skeleton, no human body's ({reason})")
    return _inspection(on_body, _on_body(on_body), how)


def _any_skeleton(motion: Motion) -> list[Measurement]:
    positions, names = motion.joint_positions_m(), motion.skeleton.joint_names
    return [jitter(positions, motion.fps, names), penetration(positions, names), frozen(positions, motion.fps, names)]


def _on_body(motion: Motion) -> list[Measurement]:
    body = Body.of(motion)
    positions, names = body.positions_m, motion.skeleton.joint_names
    return [
        skating(body),
        jitter(positions, body.fps, names),
        penetration(positions, names),
        floating(body),
        self_collision(body),
        joint_limits(body.local_rotations),
        frozen(positions, body.fps, names),
    ]


def _inspection(motion: Motion, measured: Sequence[Measurement], how: str) -> Inspection:
    findings: list[Finding] = []
    shares, penalties = {}, {}
    for measurement in measured:
        found, over = _findings(measurement, motion.fps)
        findings += found
        shares[measurement.check] = float((over > 0.0).float().mean())
        weight = float(data_file("checks.json")[measurement.check]["weight"])
        penalties[measurement.check] = 100.0 * weight * float(over.mean())
    findings.sort(key=lambda finding: (CHECKS.index(finding.check), finding.first, finding.part))
    skipped = tuple(check for check in CHECKS if check not in shares)
    return Inspection(motion, tuple(findings), shares, penalties, skipped, how)


def _findings(measurement: Measurement, fps: float) -> tuple[list[Finding], Tensor]:
    """The findings of a check, and for each frame by how many times its limit the worst part is over within them."""
    rule = data_file("checks.json")[measurement.check]
    limits = measurement.limits(float(rule["limit"]))
    least, gap = round(rule["least_s"] * fps), round(rule["gap_s"] * fps)
    over = torch.zeros(measurement.values.shape[0])
    findings = []
    for part in dict.fromkeys(measurement.parts):
        columns = [k for k, name in enumerate(measurement.parts) if name == part]
        ratios = measurement.values[:, columns] / limits[columns]
        worst = ratios.amax(dim=1)
        for first, last in spans_where(worst > 1.0, max(least, 1), gap):
            frame = first + int(worst[first : last + 1].argmax())
            column = columns[int(ratios[frame].argmax())]
            inside = worst[first : last + 1].clamp(max=MOST_LIMITS)
            over[first : last + 1] = torch.maximum(over[first : last + 1], inside)
            findings.append(
                Finding(
                    check=measurement.check,
                    part=part,
                    detail=measurement.names[column],
                    joint=measurement.joints[column],
                    first=first,
                    last=last,
                    start_s=first / fps,
                    end_s=(last + 1) / fps,
                    worst=float(measurement.values[frame, column]),
                    unit=str(rule["unit"]),
                    worst_frame=frame,
                    severity=next(level for times, level in _LEVELS if float(worst[frame]) > times),
                )
            )
    return _together(findings), over


def _together(findings: list[Finding]) -> list[Finding]:
    """Findings of so many parts at once that they are one of the whole body's, told by the worst of them."""
    clusters: list[list[Finding]] = []
    for finding in sorted(findings, key=lambda finding: finding.first):
        if clusters and finding.first <= max(other.last for other in clusters[-1]):
            clusters[-1].append(finding)
        else:
            clusters.append([finding])
    told = []
    for cluster in clusters:
        if len({finding.part for finding in cluster}) < WHOLE_BODY_PARTS:
            told += cluster
            continue
        worst = max(cluster, key=lambda finding: (_severity(finding), finding.worst))
        start, end = cluster[0], max(cluster, key=lambda finding: finding.last)
        told.append(
            replace(worst, part=WHOLE_BODY, first=start.first, start_s=start.start_s, last=end.last, end_s=end.end_s)
        )
    return told


def _severity(finding: Finding) -> int:
    return [level for _, level in reversed(_LEVELS)].index(finding.severity)
