"""Restoration: from a motion with faults to one without, in stages that touch only what is wrong."""

from kinestream.restoration.detect import STAGE_CHECKS, faulty_spans
from kinestream.restoration.restore import DEFAULT_STAGES, Restoration, StageDone, restore_motion
from kinestream.restoration.stages import STAGE_NAMES, Span, Stage, StageResult, check_spans, stage_is_here, stage_named

__all__ = [
    "DEFAULT_STAGES",
    "STAGE_CHECKS",
    "STAGE_NAMES",
    "Restoration",
    "Span",
    "Stage",
    "StageDone",
    "StageResult",
    "check_spans",
    "faulty_spans",
    "restore_motion",
    "stage_is_here",
    "stage_named",
]
