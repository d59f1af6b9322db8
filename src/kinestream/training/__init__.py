"""One training loop and a recipe for each model."""

from kinestream.training.dance.choreo_llama import train_choreo_llama
from kinestream.training.dance.retrieval import train_retrieval
from kinestream.training.dance.rvq_vae import train_rvq_vae
from kinestream.training.restoration.foot_restoration import train_foot_restoration
from kinestream.training.text.ar_diffusion import train_ar_diffusion
from kinestream.training.text.causal_tae import train_causal_tae
from kinestream.training.text.evaluator import train_evaluator

__all__ = [
    "train_ar_diffusion",
    "train_causal_tae",
    "train_choreo_llama",
    "train_evaluator",
    "train_foot_restoration",
    "train_retrieval",
    "train_rvq_vae",
]
