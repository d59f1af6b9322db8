"""What is wrong with a motion, frame by frame: the checks behind `kinestream inspect` and `--pick best`.

Each check is a pure function of joints or rotations that gives a value a frame and part of the body; rules in
checks.json turn values into findings. Distances are metres, the floor is y = 0.
"""

from kinestream.metrics.inspection.body import Body, body_motion
from kinestream.metrics.inspection.report import ANY_SKELETON, CHECKS, Finding, Inspection, inspect_motion, text_weight

__all__ = ["ANY_SKELETON", "CHECKS", "Body", "Finding", "Inspection", "body_motion", "inspect_motion", "text_weight"]
