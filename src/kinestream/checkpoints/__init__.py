"""Model folders: safetensors and one JSON file; saving, loading, and import of released checkpoints."""

from kinestream.checkpoints.bundle import (
    DEFAULT_MODEL_DIR,
    EndLatentSource,
    TextToMotionModel,
    load_text_to_motion,
    reference_end_latent,
    save_text_to_motion,
)
from kinestream.checkpoints.dance import MusicToDanceModel, load_music_to_dance, save_music_to_dance
from kinestream.checkpoints.evaluator import (
    DEFAULT_EVALUATOR_DIR,
    TextMotionEvaluator,
    load_evaluator,
    save_evaluator,
)
from kinestream.checkpoints.folder import (
    ModelInfo,
    load_causal_tae,
    load_model,
    load_rvq_vae,
    read_model_info,
    save_model,
)
from kinestream.checkpoints.infinitedance import import_infinitedance
from kinestream.checkpoints.motionstreamer import import_motionstreamer, import_motionstreamer_evaluator

__all__ = [
    "DEFAULT_EVALUATOR_DIR",
    "DEFAULT_MODEL_DIR",
    "EndLatentSource",
    "ModelInfo",
    "MusicToDanceModel",
    "TextMotionEvaluator",
    "TextToMotionModel",
    "import_infinitedance",
    "import_motionstreamer",
    "import_motionstreamer_evaluator",
    "load_causal_tae",
    "load_evaluator",
    "load_model",
    "load_music_to_dance",
    "load_rvq_vae",
    "load_text_to_motion",
    "read_model_info",
    "reference_end_latent",
    "save_evaluator",
    "save_model",
    "save_music_to_dance",
    "save_text_to_motion",
]
