"""Which frames of a motion are wrong, for each stage that can mend them: the checks of `kinestream inspect`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kinestream.metrics.inspection import Finding, Inspection
from kinestream.metrics.inspection.measurement import WHOLE_BODY
from kinestream.restoration.stages import Span

# What each stage mends. Frozen spans and joints bent too far are found and said, and mended by none.
STAGE_CHECKS: dict[str, tuple[str, ...]] = {
    "physics": ("skating", "penetration", "floating", "self_collision"),
    "feet": ("skating", "penetration", "floating", "jitter"),
    "smooth": ("jitter",),
}
# Restoring feet moves legs and root: it does nothing for arms that tremble or a hand in the floor.
_LOWER_PARTS = (WHOLE_BODY, "left foot", "right foot", "left leg", "right leg", "trunk")
# Changes come and go in this time before and after what was found; spans nearer than twice that are one.
PAD_S = 0.25


def findings_for(stage: str, findings: Iterable[Finding]) -> list[Finding]:
    """Those of the findings that a stage can mend."""
    chosen = [finding for finding in findings if finding.check in STAGE_CHECKS[stage]]
    if stage == "feet":
        chosen = [finding for finding in chosen if finding.part in _LOWER_PARTS]
    return chosen


def faulty_spans(stage: str, inspection: Inspection, frames: int, fps: float) -> list[Span]:
    """The spans of a motion of so many frames that a stage is to work on, in order, apart from each other."""
    pad = round(PAD_S * fps)
    found = [
        (max(0, round(f.start_s * fps) - pad), min(frames, round(f.end_s * fps) + pad))
        for f in findings_for(stage, inspection.findings)
    ]
    return merged(found)


def merged(spans: Sequence[Span]) -> list[Span]:
    """Spans in order, those that touch or overlap made one."""
    out: list[Span] = []
    for start, stop in sorted(spans):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], stop))
        else:
            out.append((start, stop))
    return out
