"""Measurements: pure functions on joints [.., T, J, 3] (metres, Y up, floor at 0) or embeddings [N, D].

Every figure carries its unit in its name or docstring, with its equation, its source and how it can be fooled; the
page docs/metrics.md is the overview.
"""

from kinestream.metrics.beats import BeatControl, beat_alignment, beat_alignment_control, motion_beats, step_beats
from kinestream.metrics.contact import physical_foot_contact
from kinestream.metrics.counting import acting_side, count_repeats, count_steps, reaching_side, standing_feet
from kinestream.metrics.dance import FeatureScores, feature_scores, standardized
from kinestream.metrics.distribution import (
    diversity,
    frechet_distance,
    mean_distance_of_others,
    mean_pairwise_distance,
    multimodality,
)
from kinestream.metrics.estimates import (
    Estimate,
    bootstrap,
    bootstrap_ratio,
    bootstrap_rows,
    over_repeats,
    paired_difference,
    repeat,
    repeat_generators,
)
from kinestream.metrics.geometric import geometric_features
from kinestream.metrics.ground import floating_share, floor_clearance_m, floor_penetration_m, penetration_share
from kinestream.metrics.heading import facing, travel_angle_rad, travelled_m, turned_rad
from kinestream.metrics.inputs import joints_and_rate
from kinestream.metrics.kinetic import kinetic_features, published_pose
from kinestream.metrics.latency import Latency, latency_summary
from kinestream.metrics.matching import (
    batches,
    chance_recall,
    multimodal_distance,
    r_precision,
    retrieval_hits,
    retrieval_recall,
)
from kinestream.metrics.pose import (
    foot_skating_ratio,
    jerk_mps3,
    jitter_mps3,
    mpjpe_mm,
    pa_mpjpe_mm,
    peak_jerk_mps3,
    world_mpjpe_mm,
)
from kinestream.metrics.song_permutation import beat_alignment_table, song_permutation_p
from kinestream.metrics.standstill import still_seconds
from kinestream.metrics.transitions import TransitionJerk, mean_transition_jerk, transition_curve, transition_jerk

__all__ = [
    "BeatControl",
    "Estimate",
    "FeatureScores",
    "Latency",
    "TransitionJerk",
    "acting_side",
    "batches",
    "beat_alignment",
    "beat_alignment_control",
    "beat_alignment_table",
    "bootstrap",
    "bootstrap_ratio",
    "bootstrap_rows",
    "chance_recall",
    "count_repeats",
    "count_steps",
    "diversity",
    "facing",
    "feature_scores",
    "floating_share",
    "floor_clearance_m",
    "floor_penetration_m",
    "foot_skating_ratio",
    "frechet_distance",
    "geometric_features",
    "jerk_mps3",
    "jitter_mps3",
    "joints_and_rate",
    "kinetic_features",
    "latency_summary",
    "mean_distance_of_others",
    "mean_pairwise_distance",
    "mean_transition_jerk",
    "motion_beats",
    "mpjpe_mm",
    "multimodal_distance",
    "multimodality",
    "over_repeats",
    "pa_mpjpe_mm",
    "paired_difference",
    "peak_jerk_mps3",
    "penetration_share",
    "physical_foot_contact",
    "published_pose",
    "r_precision",
    "reaching_side",
    "repeat",
    "repeat_generators",
    "retrieval_hits",
    "retrieval_recall",
    "song_permutation_p",
    "standardized",
    "standing_feet",
    "step_beats",
    "still_seconds",
    "transition_curve",
    "transition_jerk",
    "travel_angle_rad",
    "travelled_m",
    "turned_rad",
    "world_mpjpe_mm",
]
