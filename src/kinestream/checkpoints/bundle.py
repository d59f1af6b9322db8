"""The whole text-to-motion model: autoencoder, autoregressive model, statistics, end latent, text encoder's name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.checkpoints.family import Family, Setting
from kinestream.checkpoints.folder import AR_DIFFUSION, CAUSAL_TAE
from kinestream.conditioning.text import text_encoder
from kinestream.errors import BadInputError
from kinestream.features import MOTION272, Statistics
from kinestream.models.ar_diffusion.model import ARDiffusion
from kinestream.models.causal_tae.model import CausalTAE

TEXT_TO_MOTION = "text-to-motion"
DEFAULT_MODEL_DIR = Path(__file__).resolve().parent.parent / "assets" / "default_model"

EndLatentSource = Literal["raw-zero", "normalized-zero"]


@dataclass(frozen=True, eq=False)
class TextToMotionModel:
    """Everything that generating needs.

    Attributes:
        tae, ar: the networks.
        statistics: of the features that `tae` reads and writes.
        end_latent: `[C]`, the reference end latent, in the autoencoder's units.
        stop_threshold: a latent nearer to `end_latent` than this (Euclidean) ends its prompt.
        guidance: scale of classifier-free guidance that suits the model (equation 8).
        usual_latents: deviations (largest over a latent's values) that nine of ten training motions stay within; a
            candidate beyond is drawn again with less guidance. None where it is not known: then none is.
        text_encoder: name of the sentence encoder that `ar` was trained with.
        provenance: data, licence, recipe and figures, for the model card.
        layout: name of the feature layout.
        empty_text_known: whether `ar.empty_text` holds the encoder's embedding of the empty text already.
    """

    tae: CausalTAE
    ar: ARDiffusion
    statistics: Statistics
    end_latent: Float[Tensor, " c"]
    stop_threshold: float
    text_encoder: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    layout: str = MOTION272.name
    guidance: float = 4.0
    empty_text_known: bool = True
    usual_latents: float | None = None

    def __post_init__(self) -> None:
        tae, ar = self.tae.config, self.ar.config
        if tae.latent_dim != ar.latent_dim:
            raise BadInputError(
                f"The networks don't belong together: the autoencoder's latents have {tae.latent_dim} values, "
                f"the autoregressive model's {ar.latent_dim}."
            )
        if tuple(self.end_latent.shape) != (tae.latent_dim,) or not bool(torch.isfinite(self.end_latent).all()):
            raise BadInputError(f"The end latent must be {tae.latent_dim} finite values, got {self.end_latent}.")
        if self.statistics.mean.shape != (tae.feature_dim,):
            raise BadInputError(
                f"The statistics are of {self.statistics.mean.shape[0]} features, "
                f"the autoencoder has {tae.feature_dim}."
            )
        if not math.isfinite(self.stop_threshold) or self.stop_threshold < 0:
            raise BadInputError(f"The stop threshold must be a number from 0 up, got {self.stop_threshold}.")
        if not math.isfinite(self.guidance) or self.guidance <= 0:
            raise BadInputError(f"The guidance must be a number above 0, got {self.guidance}.")
        if self.usual_latents is not None and not 0 < self.usual_latents < math.inf:
            raise BadInputError(f"The range of usual latents must be a number above 0, got {self.usual_latents}.")


@torch.no_grad()
def reference_end_latent(
    tae: CausalTAE, statistics: Statistics, source: EndLatentSource = "raw-zero"
) -> Float[Tensor, " c"]:
    """Encode the "impossible pose" (MotionStreamer, section 3.3): the posterior mean of one latent of it.

    source: "raw-zero" is what the paper says, features that are all zero, which no body can have; "normalized-zero" is
    what the release computed, zeros after normalisation, that is the mean pose.
    """
    frames = tae.config.frames_per_latent
    weight = tae.encoder.input.weight
    zeros = torch.zeros(1, frames, tae.config.feature_dim, device=weight.device)
    if source == "raw-zero":
        zeros = statistics.normalize(zeros)
    elif source != "normalized-zero":
        raise BadInputError(f'The end latent comes from "raw-zero" or "normalized-zero", got {source!r}.')
    return tae.encode(zeros.to(weight.dtype)).mean[0, 0].float().cpu()


_FAMILY = Family(
    TEXT_TO_MOTION,
    TextToMotionModel,
    networks={"tae": CAUSAL_TAE, "ar": AR_DIFFUSION},
    settings={
        "text_encoder": Setting(str),
        "stop_threshold": Setting((int, float), float),
        "guidance": Setting((int, float), float),
        "empty_text_known": Setting(bool),
        "usual_latents": Setting((int, float), float, default=None),
    },
    tensors=("end_latent",),
    packaged=DEFAULT_MODEL_DIR,
)
save_text_to_motion = _FAMILY.save


def load_text_to_motion(folder: str | Path | None = None, *, complete: bool = True) -> TextToMotionModel:
    """Load a text-to-motion model in float32 and eval mode; without a folder, the packaged one.

    An imported model doesn't hold the embedding of the empty text until its encoder has been there: with `complete` it
    is computed now where it is missing, which needs the encoder's files.

    Raises:
        BadInputError: the folder is missing, damaged or of another kind, or the encoder it needs isn't there.
    """
    model = _FAMILY.load(folder)
    if model.empty_text_known or not complete:
        return model
    model.ar.empty_text.copy_(text_encoder(model.text_encoder).encode_blank())
    return replace(model, empty_text_known=True)
