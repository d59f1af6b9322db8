"""One training loop and a recipe for each model."""

from kinestream.training.ar_diffusion import train_ar_diffusion
from kinestream.training.causal_tae import train_causal_tae
from kinestream.training.evaluator import train_evaluator
from kinestream.training.retrieval import train_retrieval

__all__ = ["train_ar_diffusion", "train_causal_tae", "train_evaluator", "train_retrieval"]
