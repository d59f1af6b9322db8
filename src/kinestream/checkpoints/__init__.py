"""Model folders: safetensors and one JSON file; saving, loading, and import of released checkpoints."""

from kinestream.checkpoints.bundle import (
    DEFAULT_MODEL_DIR,
    EndLatentSource,
    TextToMotionModel,
    load_text_to_motion,
    reference_end_latent,
    save_text_to_motion,
)
from kinestream.checkpoints.folder import ModelInfo, load_causal_tae, load_model, read_model_info, save_model
from kinestream.checkpoints.released import import_motionstreamer

__all__ = [
    "DEFAULT_MODEL_DIR",
    "EndLatentSource",
    "ModelInfo",
    "TextToMotionModel",
    "import_motionstreamer",
    "load_causal_tae",
    "load_model",
    "load_text_to_motion",
    "read_model_info",
    "reference_end_latent",
    "save_model",
    "save_text_to_motion",
]
