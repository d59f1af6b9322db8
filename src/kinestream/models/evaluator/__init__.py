"""Text-motion evaluator: one space for sentences and motions, in which generated motion is judged."""

from kinestream.models.evaluator.config import EvaluatorConfig
from kinestream.models.evaluator.loss import EvaluatorLoss, LossWeights, evaluator_loss, info_nce, kl_divergence
from kinestream.models.evaluator.model import Evaluator, LatentDistribution

__all__ = [
    "Evaluator",
    "EvaluatorConfig",
    "EvaluatorLoss",
    "LatentDistribution",
    "LossWeights",
    "evaluator_loss",
    "info_nce",
    "kl_divergence",
]
