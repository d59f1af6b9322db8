"""Music, genre and reference dances to dance codes (InfiniteDance, section 4.2)."""

from kinestream.models.choreo_llama.config import ChoreoLlamaConfig
from kinestream.models.choreo_llama.loss import ChoreoLlamaLoss, choreo_llama_loss
from kinestream.models.choreo_llama.model import ChoreoLlama
from kinestream.models.choreo_llama.sampling import SamplingSettings
from kinestream.models.choreo_llama.window_sampling import SampledWindow, WindowSampler
from kinestream.models.choreo_llama.windows import (
    DanceContext,
    Piece,
    References,
    extend_dance,
    generate_codes,
    named_references,
    next_piece,
)

__all__ = [
    "ChoreoLlama",
    "ChoreoLlamaConfig",
    "ChoreoLlamaLoss",
    "DanceContext",
    "Piece",
    "References",
    "SampledWindow",
    "SamplingSettings",
    "WindowSampler",
    "choreo_llama_loss",
    "extend_dance",
    "generate_codes",
    "named_references",
    "next_piece",
]
