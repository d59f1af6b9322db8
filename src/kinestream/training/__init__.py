"""One training loop and a recipe for each model."""

from kinestream.training.ar_diffusion import train_ar_diffusion
from kinestream.training.causal_tae import train_causal_tae
from kinestream.training.choreo_llama import train_choreo_llama
from kinestream.training.evaluator import train_evaluator
from kinestream.training.retrieval import train_retrieval
from kinestream.training.rvq_vae import train_rvq_vae

__all__ = [
    "train_ar_diffusion",
    "train_causal_tae",
    "train_choreo_llama",
    "train_evaluator",
    "train_retrieval",
    "train_rvq_vae",
]
