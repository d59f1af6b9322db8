"""Data, models and runs that the papers' tables share: each is made once, when a table first asks for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.ablations import compressors, dances, latency, text_models
from benchmarks.ablations.corpus import digest, reduced
from benchmarks.ablations.recipes import (
    CADENCE,
    CAUSAL_TAE,
    DANCE,
    TEXT,
    Recipe,
    Variant,
)
from benchmarks.ablations.store import Measured, Store
from kinestream.checkpoints.dance import MusicToDanceModel, load_music_to_dance
from kinestream.checkpoints.evaluator import TextMotionEvaluator, load_evaluator
from kinestream.checkpoints.retrieval import load_retrieval
from kinestream.data.dance.windows import DanceClips
from kinestream.errors import BadInputError
from kinestream.evaluation.items import Item
from kinestream.evaluation.text.plan import reconstruction_plan, text_plan
from kinestream.training.config import TrainConfig
from kinestream.training.dance.codes import ReferenceDances

# What the packaged model is used with, and generators of the tables too.
GUIDANCE = 2.5


@dataclass(frozen=True)
class Options:
    """What the command was given; folders may be missing as long as no table needs them."""

    runs: Path
    data: Path | None = None
    dance_data: Path | None = None
    tokenizer: Path | None = None
    retrieval: Path | None = None
    dance_model: Path | None = None
    steps: int | None = None
    seed: int = 0
    recordings: int = 400
    samples: int = 96
    repeats: int = 2
    lengths: tuple[int, ...] = latency.LENGTHS


class Bench:
    """Models, data and test sets that several tables share, each made when it is first needed."""

    def __init__(self, options: Options) -> None:
        self.options, self.store = options, Store(options.runs)

    # Text ---------------------------------------------------------------------------------------------------------

    @cached_property
    def data(self) -> Path:
        """The reduced text data set."""
        if self.options.data is None:
            raise BadInputError("this table needs --data: a folder that `kinestream data build` wrote")
        count = self.options.recordings
        return reduced(self.options.data, self.options.runs / f"data-{count}", count, captions=4)

    @cached_property
    def evaluator(self) -> TextMotionEvaluator:
        """The packaged evaluator."""
        return load_evaluator()

    @cached_property
    def items(self) -> Sequence[Item]:
        """Test recordings of reconstruction."""
        return reconstruction_plan(self.data, "test", self.options.samples).items

    @cached_property
    def text_test(self) -> text_models.TextTest:
        """Test captions and their recordings."""
        items = text_plan(self.data, "test", self.options.seed, self.options.samples).items
        return text_models.TextTest.of(items, self.evaluator)

    def settings(self, variant: Variant, config: TrainConfig, **more: Any) -> dict[str, Any]:
        """All that a variant's figures depend on."""
        own = dataclasses.asdict(config)
        measured = {"samples": self.options.samples, "repeats": self.options.repeats, "seed": self.options.seed}
        return {"config": own, "parts": variant.parts, "measured": measured, **more}

    def text_config(self, recipe: Recipe, variant: Variant) -> TrainConfig:
        """A variant's configuration on the reduced text data."""
        return recipe.load((str(self.data),), variant, self.options.steps, self.options.seed)

    def compressor(self, variant: Variant) -> tuple[Measured, compressors.Autoencoder, Any]:
        """Figures of an autoencoder, and itself with its statistics."""
        config = self.text_config(compressors.recipe_of(variant), variant)

        def measure(folder: Path) -> Measured:
            model, statistics = compressors.train(variant, config, folder)
            return compressors.measure(model, statistics, self.items, self.evaluator)

        settings = self.settings(variant, config, data=digest(self.data))
        found = self.store.measured(variant.name, settings, measure)
        return found, *compressors.train(variant, config, self.store.folder / variant.name)

    def text_model(self, variant: Variant, compressor: Variant) -> Measured:
        """Figures of an autoregressive model on an autoencoder's latents."""
        config = self.text_config(TEXT, variant)
        under = self.text_config(compressors.recipe_of(compressor), compressor)
        name = variant.name if compressor is CAUSAL_TAE else f"{variant.name}-on-{compressor.name}"

        def task() -> text_models.TextTask:
            _, autoencoder, statistics = self.compressor(compressor)
            folder, texts = self.store.folder / name, self.store.folder / "captions"
            return text_models.train(variant, config, autoencoder, statistics, folder, texts)

        def generate(_: Path) -> Measured:
            model = text_models.TextModel.of(task())
            return self.text_test.measure(model, GUIDANCE, self.options.repeats, self.options.seed)

        settings = self.settings(variant, config, data=digest(self.data), under=dataclasses.asdict(under))
        generated = self.store.measured(name, settings | {"guidance": GUIDANCE}, generate)
        errors = self.store.measured(f"{name}-noise", settings, lambda _: text_models.noise_errors(task()))
        return dataclasses.replace(generated, clips={**errors.clips, **generated.clips})

    def real_text(self) -> Measured:
        """Figures of the recordings themselves."""
        settings = {"data": digest(self.data), "samples": self.options.samples, "repeats": self.options.repeats}
        return self.store.measured(
            "real", settings, lambda _: self.text_test.recordings(self.options.repeats, self.options.seed)
        )

    def text_budget(self, recipe: Recipe) -> dict[str, Any]:
        """What all rows of a table got."""
        config = recipe.load((str(self.data),), Variant("", ""), self.options.steps, self.options.seed)
        return {
            "steps": config.loop.steps, "batch": config.loop.batch_size, "learning_rate": config.loop.learning_rate,
            "training_recordings": self.options.recordings, "test_recordings": self.options.samples,
            "repeats": self.options.repeats, "seed": self.options.seed,
        }  # fmt: skip

    def text_facts(self) -> dict[str, Any]:
        """Which data it was."""
        assert self.options.data is not None
        return {"name": self.options.data.resolve().name, "manifest_sha256": digest(self.options.data)}

    # Dances -------------------------------------------------------------------------------------------------------

    @cached_property
    def dance_data(self) -> Path:
        """The dances, mirrored copies left out."""
        root = _given(self.options.dance_data, "--dance-data: a folder of dances that `kinestream data build` wrote")
        return reduced(root, self.options.runs / "dances", self.options.recordings, captions=4)

    @cached_property
    def dance_test(self) -> dances.DanceTest:
        """Windows of the test songs."""
        return dances.DanceTest.of(self.dance_data, "test")

    @cached_property
    def library(self) -> dances.Library:
        """The training dances as references."""
        retrieval = load_retrieval(_given(self.options.retrieval, "--retrieval: a trained retrieval network's folder"))
        return dances.Library.of(retrieval, DanceClips.load([self.dance_data], "train"))

    def dance_config(self, variant: Variant) -> TrainConfig:
        """A variant's configuration on the dances."""
        tokenizer = _given(self.options.tokenizer, "--tokenizer: a trained rvq-vae's folder")
        retrieval = _given(self.options.retrieval, "--retrieval: a trained retrieval network's folder")
        named = dataclasses.replace(
            DANCE, overrides=(*DANCE.overrides, f"task.tokenizer={tokenizer}", f"task.retrieval={retrieval}")
        )
        return named.load((str(self.dance_data),), variant, self.options.steps, self.options.seed)

    def dance_settings(self, config: TrainConfig) -> dict[str, Any]:
        """All that a dance's figures depend on; networks by their weights."""
        assert self.options.tokenizer is not None
        assert self.options.retrieval is not None
        networks = [(folder / "model.json").read_text() for folder in (self.options.tokenizer, self.options.retrieval)]
        return self.settings(Variant("", ""), config, data=digest(self.dance_data), networks=networks)

    def dance_model(self, variant: Variant) -> MusicToDanceModel:
        """The trained model of a variant."""
        return dances.train(variant, self.dance_config(variant), self.store.folder / variant.name)

    def dance_variant(self, variant: Variant) -> Measured:
        """Figures of a ChoreoLLaMA on the test songs' windows."""
        config = self.dance_config(variant)

        def measure(folder: Path) -> Measured:
            model = dances.train(variant, config, folder)
            return self.danced(model, 0)[0]

        def losses(_: Path) -> Measured:
            model = self.dance_model(variant)
            return dances.code_losses(self.dance_test, model, self.references(model, 0))

        settings = self.dance_settings(config)
        generated = self.store.measured(variant.name, settings, measure)
        told = self.store.measured(f"{variant.name}-codes", settings, losses)
        return dataclasses.replace(generated, clips={**told.clips, **generated.clips})

    def references(self, model: MusicToDanceModel, first_rank: int | None) -> ReferenceDances | None:
        """References of the test songs from a rank on; None for none at all, or where the model reads none."""
        if first_rank is None or not model.llama.config.uses_references:
            return None
        count = model.llama.config.num_references
        return self.library.references(model, self.dance_test.songs, count, first_rank)

    def danced(self, model: MusicToDanceModel, first_rank: int | None) -> tuple[Measured, list[dances.Dance]]:
        """Dances to the test windows with references from a rank on; None for none at all."""
        references = self.references(model, first_rank)
        return self.dance_test.measure(model, references, self.options.repeats, self.options.seed)

    def shown_dancer(self) -> tuple[MusicToDanceModel, dict[str, Any]]:
        """The model of the tables that train nothing: the one named, or the trained Cadence variant."""
        if self.options.dance_model is None:
            self.dance_variant(CADENCE)
            return self.dance_model(CADENCE), self.dance_settings(self.dance_config(CADENCE))
        return load_music_to_dance(self.options.dance_model), {
            "model": (self.options.dance_model / "model.json").read_text(), "data": digest(self.dance_data),
            "repeats": self.options.repeats, "seed": self.options.seed,
        }  # fmt: skip

    def real_dances(self) -> Measured:
        """Figures of the real dances."""
        settings = {"data": digest(self.dance_data), "repeats": self.options.repeats}
        return self.store.measured(
            "real-dances", settings, lambda _: self.dance_test.recordings(self.options.repeats, self.options.seed)
        )

    def dance_budget(self, trained: bool) -> dict[str, Any]:
        """What all rows of a table got."""
        found: dict[str, Any] = {}
        if trained or self.options.dance_model is None:
            config = self.dance_config(CADENCE)
            found = {
                "steps": config.loop.steps, "batch": config.loop.batch_size, "learning_rate": config.loop.learning_rate
            }  # fmt: skip
        else:
            found = {"model": "the dance model that was named, nothing trained"}
        if not trained and self.options.dance_model is None:
            found["model"] = "the Cadence-MoE row of Table 5"
        return found | {
            "test_windows": len(self.dance_test.places), "repeats": self.options.repeats, "seed": self.options.seed
        }  # fmt: skip

    def dance_facts(self) -> dict[str, Any]:
        """Which data it was."""
        return {"name": self.dance_data.resolve().name, "manifest_sha256": digest(self.dance_data)}


def _given(path: Path | None, what: str) -> Path:
    if path is None or not path.is_dir():
        raise BadInputError(f"this table needs {what}; got {path}")
    return path
