"""Measuring a model on a data set: what is generated, figures beside real recordings, reports and their comparison."""

from kinestream.evaluation.compare import Difference, compare
from kinestream.evaluation.evaluate import evaluate
from kinestream.evaluation.result import Figure, Result, Sample, load_result
from kinestream.evaluation.settings import EvaluationSettings, Place
from kinestream.metrics import Estimate

__all__ = [
    "Difference",
    "Estimate",
    "EvaluationSettings",
    "Figure",
    "Place",
    "Result",
    "Sample",
    "compare",
    "evaluate",
    "load_result",
]
