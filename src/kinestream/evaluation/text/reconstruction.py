"""Protocol "reconstruction": what the autoencoder loses of recordings that it never saw."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kinestream.checkpoints.evaluator import TextMotionEvaluator
from kinestream.evaluation.findings import Findings, clip_figure, fid_figures, random_halves
from kinestream.evaluation.items import Item
from kinestream.evaluation.plausibility import clip_physics, shown_joints
from kinestream.evaluation.result import Sample
from kinestream.evaluation.settings import EvaluationSettings, Progress
from kinestream.evaluation.text.reconstruct import reconstructed
from kinestream.features import Statistics, positions_from_motion272
from kinestream.metrics import mpjpe_mm
from kinestream.models.causal_tae import CausalTAE

PHYSICS = ("foot_skating_ratio", "jitter_mps3", "worst_depth_m")


def measure_reconstruction(
    items: Sequence[Item],
    tae: CausalTAE,
    statistics: Statistics,
    evaluator: TextMotionEvaluator,
    settings: EvaluationSettings,
    progress: Progress,
) -> Findings:
    """MPJPE of each recording through encoder and decoder (positions, root aligned), FID to the recordings, physics."""
    recordings = [item.features() for item in items]
    given, real_rows, rows = [], [], []
    with progress("reconstructing", "clips") as update:
        for number, features in enumerate(recordings, start=1):
            given.append(reconstructed(tae, statistics, features))
            error = mpjpe_mm(positions_from_motion272(given[-1]), positions_from_motion272(features))
            real_rows.append(_physics(features))
            rows.append(_physics(given[-1]) | {"mpjpe_mm": float(error)})
            update(number, len(items))
    real_set, our_set = evaluator.embed_motion(recordings), evaluator.embed_motion(given)
    fid, _ = fid_figures(real_set, [our_set], "none", random_halves(len(real_set), settings.seed))
    figures = [clip_figure("mpjpe_mm", [row["mpjpe_mm"] for row in rows], None), *fid]
    figures += [clip_figure(name, [row[name] for row in rows], [row[name] for row in real_rows]) for name in PHYSICS]
    return Findings(
        tuple(figures),
        tuple(
            Sample(item.name, item.name, own, theirs) for item, own, theirs in zip(items, rows, real_rows, strict=True)
        ),
        embeddings={"real": real_set, "generated": our_set[None]},
    )


def _physics(features: Tensor) -> dict[str, float]:
    physics = clip_physics(shown_joints(features))
    return {name: physics[name] for name in PHYSICS}
