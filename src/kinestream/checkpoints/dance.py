"""The whole music-to-dance model: tokenizer, ChoreoLLaMA, statistics, genres and how codes are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kinestream.checkpoints.folder import (
    CHOREO_LLAMA,
    RVQ_VAE,
    ModelInfo,
    load_model,
    load_network,
    load_statistics,
    load_tensors,
    model_tensors,
    read_model_info,
    statistics_tensors,
    write_folder,
)
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
        sampling: how codes are drawn.
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


def load_rvq_vae(folder: str | Path) -> tuple[RVQVAE, Statistics, ModelInfo]:
    """Give the tokenizer of a model folder of kind "rvq-vae", its statistics and what model.json says."""
    model, statistics, info = load_model(folder, RVQ_VAE)
    assert isinstance(model, RVQVAE)
    return model, statistics, info


def save_music_to_dance(
    folder: str | Path, model: MusicToDanceModel, *, weights_dtype: torch.dtype | None = None
) -> None:
    """Write a model folder, whole or not at all; `weights_dtype=torch.float16` halves its size.

    Raises BadInputError where the folder holds something else, KinestreamError where it can't be written.
    """
    info = ModelInfo(
        MUSIC_TO_DANCE,
        {RVQ_VAE: model.tokenizer.config.to_json(), CHOREO_LLAMA: model.llama.config.to_json()},
        model.layout,
        {"genres": list(model.genres), "music_features": model.music_features, "sampling": asdict(model.sampling)},
        dict(model.provenance),
    )
    music = statistics_tensors(model.music_statistics)
    extra = {**statistics_tensors(model.statistics), "music_mean": music["mean"], "music_std": music["std"]}
    llama = model_tensors(model.llama, weights_dtype)
    llama.pop("codebooks")  # the tokenizer's
    tensors = {RVQ_VAE: model_tensors(model.tokenizer, weights_dtype), CHOREO_LLAMA: llama, "statistics": extra}
    write_folder(Path(folder), info, tensors)


def load_music_to_dance(folder: str | Path | None = None) -> MusicToDanceModel:
    """Load a music-to-dance model in float32 and eval mode: that of a folder, or the packaged one.

    Raises BadInputError where the folder is missing or damaged.
    """
    where = DEFAULT_DANCE_DIR if folder is None else Path(folder)
    info = read_model_info(where, MUSIC_TO_DANCE)
    genres, sampling = _checked_settings(info, where)
    tokenizer = load_network(where, info, RVQ_VAE)
    assert isinstance(tokenizer, RVQVAE)
    llama = load_network(where, info, CHOREO_LLAMA, {"codebooks": tokenizer.codebooks.clone()})
    assert isinstance(llama, ChoreoLlama)
    extra = load_tensors(where, info, "statistics")
    if not {"music_mean", "music_std"} <= extra.keys():
        raise BadInputError(f"{where / 'statistics.safetensors'} lacks the statistics of the music.")
    return MusicToDanceModel(
        tokenizer=tokenizer,
        llama=llama,
        statistics=load_statistics(where, info),
        music_statistics=Statistics(extra["music_mean"].float(), extra["music_std"].float()),
        genres=genres,
        music_features=info.settings["music_features"],
        sampling=sampling,
        layout=info.layout,
        provenance=info.provenance,
    )


def _checked_settings(info: ModelInfo, where: Path) -> tuple[tuple[str, ...], SamplingSettings]:
    genres, sampling = info.settings.get("genres"), info.settings.get("sampling")
    if (
        not isinstance(genres, Sequence)
        or isinstance(genres, str)
        or not all(isinstance(genre, str) for genre in genres)
        or not isinstance(info.settings.get("music_features"), str)
        or not isinstance(sampling, Mapping)
    ):
        raise BadInputError(f"{where / 'model.json'}: genres, music_features or sampling is missing or wrong.")
    try:
        return tuple(genres), SamplingSettings(**sampling)
    except TypeError as error:
        raise BadInputError(f"{where / 'model.json'}: the sampling settings are wrong: {error}.") from error
