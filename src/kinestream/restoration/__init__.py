"""Restoration: from a motion with faults to one without, in stages that touch only what is wrong."""

from kinestream.restoration.stages import STAGE_NAMES, Span, Stage, StageResult, check_spans, stage_named

__all__ = ["STAGE_NAMES", "Span", "Stage", "StageResult", "check_spans", "stage_named"]
