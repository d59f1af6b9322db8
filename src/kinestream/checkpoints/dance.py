"""The whole music-to-dance model: tokenizer, ChoreoLLaMA, statistics, genres and how codes are sampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kinestream.checkpoints.family import Family, Setting
from kinestream.checkpoints.folder import CHOREO_LLAMA, RVQ_VAE
from kinestream.errors import BadInputError
from kinestream.features import MOTION272, Statistics
from kinestream.models.choreo_llama.model import ChoreoLlama
from kinestream.models.choreo_llama.sampling import SamplingSettings
from kinestream.models.rvq_vae.model import RVQVAE

MUSIC_TO_DANCE = "music-to-dance"
DEFAULT_DANCE_DIR = Path(__file__).parents[1] / "assets" / "default_dance"


@dataclass(frozen=True, eq=False)
class MusicToDanceModel:
    """Everything that dancing needs, retrieval aside.

    Attributes:
        tokenizer, llama: the networks.
        statistics: of the motion features that the tokenizer and the references have.
        music_statistics: of the music features that the LLaMA reads.
        genres: names of the genres, in the order of the model's indices.
        music_features: name of the music features, for example "kinestream-30hz" or "muq-25hz".
        sampling: how codes are sampled.
        layout: name of the motion features' layout.
        provenance: data, licence, recipe and figures, for the model card.
    """

    tokenizer: RVQVAE
    llama: ChoreoLlama
    statistics: Statistics
    music_statistics: Statistics
    genres: tuple[str, ...]
    music_features: str
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    layout: str = MOTION272.name
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        own, theirs = self.tokenizer.config, self.llama.config
        codes = (own.num_codebooks, own.num_codes, own.code_dim)
        if codes != (theirs.num_codebooks, theirs.num_codes, theirs.code_dim):
            raise BadInputError(
                f"The networks don't belong together: the tokenizer has codebooks {codes}, the ChoreoLLaMA reads "
                f"{(theirs.num_codebooks, theirs.num_codes, theirs.code_dim)}."
            )
        for statistics, width, what in (
            (self.statistics, own.feature_dim, "motion"),
            (self.music_statistics, theirs.music_dim, "music"),
        ):
            if statistics.mean.shape != (width,):
                raise BadInputError(
                    f"The statistics are of {statistics.mean.shape[0]} {what} features, the networks have {width}."
                )
        if theirs.uses_references and theirs.reference_dim != own.feature_dim:
            raise BadInputError(
                f"References have {theirs.reference_dim} features, the tokenizer's motion {own.feature_dim}."
            )
        if len(self.genres) != theirs.num_genres or len(set(self.genres)) != len(self.genres):
            raise BadInputError(
                f"Expected {theirs.num_genres} different genres, got {', '.join(self.genres) or 'none'}."
            )

    def genre_index(self, name: str | None) -> int:
        """Index of a genre, -1 for None; BadInputError lists the known ones."""
        if name is None:
            return -1
        wanted = {genre.casefold(): index for index, genre in enumerate(self.genres)}
        if name.casefold() not in wanted:
            raise BadInputError(f"The model knows the genres {', '.join(self.genres)}, not {name!r}.")
        return wanted[name.casefold()]

    @torch.no_grad()
    def decode(self, codes: Int[Tensor, "b l k"]) -> Float[Tensor, "b t d"]:
        """Un-normalised motion features of whole dances' codes."""
        return self.statistics.denormalize(self.tokenizer.decode(codes))

    @torch.no_grad()
    def encode(self, features: Float[Tensor, "b t d"]) -> Int[Tensor, "b l k"]:
        """Codes of un-normalised motion features."""
        return self.tokenizer.encode(self.statistics.normalize(features))


def _names(values: Sequence[Any]) -> tuple[str, ...]:
    if not all(isinstance(value, str) for value in values):
        raise TypeError("expected names")
    return tuple(values)


_FAMILY = Family(
    MUSIC_TO_DANCE,
    MusicToDanceModel,
    networks={"tokenizer": RVQ_VAE, "llama": CHOREO_LLAMA},
    settings={
        "genres": Setting(list, read=_names, write=list),
        "music_features": Setting(str),
        "sampling": Setting(dict, read=lambda values: SamplingSettings(**values), write=asdict),
    },
    statistics={"statistics": "", "music_statistics": "music_"},
    tied={CHOREO_LLAMA: {"codebooks": (RVQ_VAE, "codebooks")}},
    packaged=DEFAULT_DANCE_DIR,
)
save_music_to_dance, load_music_to_dance = _FAMILY.save, _FAMILY.load
