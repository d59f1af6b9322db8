"""The papers' tables: what each asks, how we read it, its columns, and how its rows are measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from benchmarks.ablations import compressors, dances, latency, text_models
from benchmarks.ablations.corpus import digest, reduced
from benchmarks.ablations.recipes import (
    AR_DESIGN,
    BANDS,
    CADENCE,
    CAUSAL_TAE,
    COMPRESSOR,
    COMPRESSORS,
    DANCE,
    DANCE_COMPONENTS,
    FULL_TEXT,
    ROOT_WEIGHTS,
    TEXT,
    Recipe,
    Variant,
)
from benchmarks.ablations.store import Measured, Store
from kinestream.checkpoints import load_text_to_motion
from kinestream.checkpoints.dance import MusicToDanceModel, load_music_to_dance
from kinestream.checkpoints.evaluator import TextMotionEvaluator, load_evaluator
from kinestream.checkpoints.retrieval import load_retrieval
from kinestream.conditioning.text import text_encoder
from kinestream.data.dance_windows import DanceClips
from kinestream.errors import BadInputError
from kinestream.evaluation.plan import Item, reconstruction_plan, text_plan
from kinestream.training.config import TrainConfig
from kinestream.training.dance_codes import ReferenceDances

TEXT_COLUMNS = ("fid", "r_precision_3", "mm_distance", "diversity", "jitter_mps3")
DANCE_COLUMNS = ("fid_k", "fid_g", "div_k", "div_g", "bas", "bas_gain", "foot_skating_ratio", "jitter_mps3")
TRAINED_DANCE_COLUMNS = ("code_loss", *DANCE_COLUMNS)
GUIDANCE_SCALES = (1.0, 1.5, 2.5, 4.0, 6.0)
RANKS = (0, 10, 100, 500, 1000)
GUIDANCE = 2.5
COPIED = 3
RECONSTRUCTION_COLUMNS = ("mpjpe_mm", "reconstruction_jitter_mps3", "reconstruction_fid")
# Rows of Table 3 on whose latents a generator is trained.
GENERATED_ON = tuple(variant for variant in COMPRESSORS if variant.name not in ("ae-wide", "causal-tae-again"))


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


@dataclass(frozen=True)
class Table:
    """One table: rows in order, the one that others are compared with, and the names of its columns."""

    rows: Sequence[tuple[str, Measured]]
    columns: Sequence[str]
    base: str | None
    budget: Mapping[str, Any]
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """A table of a paper. `reading`: what the paper leaves open or what differs here."""

    name: str
    source: str
    question: str
    reading: str
    measure: Callable[[Bench], Table] = field(repr=False)


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


def _nowhere(measure: Callable[[], Measured]) -> Callable[[Path], Measured]:
    """For what leaves no files behind."""
    return lambda folder: measure()


def _row(rows: Callable[[], Mapping[str, Measured]], name: str) -> Measured:
    return rows()[name]


def _danced(bench: Bench, model: MusicToDanceModel, rank: int | None) -> Measured:
    return bench.danced(model, rank)[0]


def _compressors(bench: Bench) -> Table:
    rows = [("Real motion", _reconstructed(compressors.recordings(bench.items)))]
    rows += [(variant.says, _reconstructed(bench.compressor(variant)[0])) for variant in COMPRESSORS]
    budget = bench.text_budget(COMPRESSOR)
    return Table(rows, RECONSTRUCTION_COLUMNS, CAUSAL_TAE.says, budget, bench.text_facts())


def _latents(bench: Bench) -> Table:
    rows = [("Real motion", bench.real_text())]
    rows += [(variant.says, bench.text_model(FULL_TEXT, variant)) for variant in GENERATED_ON]
    return Table(rows, TEXT_COLUMNS, CAUSAL_TAE.says, bench.text_budget(TEXT), bench.text_facts())


def _reconstructed(found: Measured) -> Measured:
    """Jitter and FID under names of their own: generation has some too."""
    clips = {name if name == "mpjpe_mm" else f"reconstruction_{name}": values for name, values in found.clips.items()}
    sets = {f"reconstruction_{name}": values for name, values in found.sets.items()}
    return dataclasses.replace(found, clips=clips, sets=sets)


def _root_weights(bench: Bench) -> Table:
    rows = []
    for variant in ROOT_WEIGHTS:
        says = {CAUSAL_TAE.name: "λ = 7 (the paper's)", "causal-tae-again": "λ = 7, another seed"}
        rows.append((says.get(variant.name, variant.says), _reconstructed(bench.compressor(variant)[0])))
    return Table(rows, RECONSTRUCTION_COLUMNS, "λ = 7 (the paper's)", bench.text_budget(COMPRESSOR), bench.text_facts())


def _ar_design(bench: Bench) -> Table:
    rows = [("Real motion", bench.real_text())]
    rows += [(variant.says, bench.text_model(variant, CAUSAL_TAE)) for variant in AR_DESIGN]
    return Table(rows, ("noise_error", *TEXT_COLUMNS), FULL_TEXT.says, bench.text_budget(TEXT), bench.text_facts())


def _guidance(bench: Bench) -> Table:
    rows = [("Real motion", bench.real_text())]
    options = bench.options
    model = load_text_to_motion()
    asked = text_models.TextModel(model.ar, model.tae, model.statistics, text_encoder(model.text_encoder))
    for scale in GUIDANCE_SCALES:
        settings = {
            "scale": scale, "data": digest(bench.data), "samples": options.samples, "repeats": options.repeats,
            "seed": options.seed, "model": str(model.provenance), "weights": float(model.ar.out.weight.double().sum()),
        }  # fmt: skip
        found = bench.store.measured(
            f"guidance-{scale:g}",
            settings,
            _nowhere(partial(bench.text_test.measure, asked, scale, options.repeats, options.seed)),
        )
        rows.append((f"s = {scale:g}", found))
    budget = {"model": "the packaged model, nothing trained", "test_recordings": options.samples}
    budget |= {"repeats": options.repeats, "seed": options.seed}
    return Table(rows, TEXT_COLUMNS, f"s = {GUIDANCE:g}", budget, bench.text_facts())


def _latency(bench: Bench) -> Table:
    lengths = bench.options.lengths
    model = load_text_to_motion()
    settings = {
        "lengths": lengths, "repeats": latency.REPEATS, "ar": model.ar.config.to_json(),
        "tae": model.tae.config.to_json(),
    }  # fmt: skip
    found = bench.store.measured(
        "latency", settings, _nowhere(partial(latency.first_frame, model, lengths, latency.REPEATS))
    )
    rows = []
    for length in lengths:
        own = {f"{name}_s": found.sets[f"{name} {length}"] for name in ("causal", "whole")}
        rows.append((f"{length} frames", Measured(sets=own)))
    budget = {"model": "the packaged model, nothing trained", "repeats": latency.REPEATS, "unit": "processor seconds"}
    return Table(rows, ("causal_s", "whole_s"), None, budget, {})


def _dance_components(bench: Bench) -> Table:
    rows = [("Real dances", bench.real_dances())]
    rows += [(variant.says, bench.dance_variant(variant)) for variant in DANCE_COMPONENTS]
    return Table(
        rows, TRAINED_DANCE_COLUMNS, "embeddings, no references", bench.dance_budget(True), bench.dance_facts()
    )


def _bands(bench: Bench) -> Table:
    says = {CADENCE.name: "2 bands (the paper's)"}
    rows = [("Real dances", bench.real_dances())]
    rows += [(says.get(variant.name, variant.says), bench.dance_variant(variant)) for variant in BANDS]
    return Table(rows, TRAINED_DANCE_COLUMNS, "2 bands (the paper's)", bench.dance_budget(True), bench.dance_facts())


def _ranks(bench: Bench) -> Table:
    model, settings = bench.shown_dancer()
    count = model.llama.config.num_references
    if not model.llama.config.uses_references:
        raise BadInputError("ranks: the dance model reads no references")
    rows = [("Real dances", bench.real_dances())]
    for rank in (*RANKS, None):
        says = "no references" if rank is None else f"ranks {rank + 1} to {rank + count}"
        found = bench.store.measured(
            f"rank-{'none' if rank is None else rank}",
            settings | {"first_rank": rank},
            _nowhere(partial(_danced, bench, model, rank)),
        )
        rows.append((says, found))
    return Table(rows, DANCE_COLUMNS, f"ranks 1 to {count}", bench.dance_budget(False), bench.dance_facts())


def _copying(bench: Bench) -> Table:
    model, settings = bench.shown_dancer()
    if not model.llama.config.uses_references:
        raise BadInputError("copying: the dance model reads no references")
    count = min(COPIED, model.llama.config.num_references)
    rows: dict[str, Measured] = {}

    def distances() -> dict[str, Measured]:
        if not rows:
            _, generated = bench.danced(model, 0)
            rows.update(dances.copying(bench.dance_test, generated, model, bench.library, count))
        return rows

    table = [
        (
            name,
            bench.store.measured(
                f"copying-{number}", settings | {"row": name}, _nowhere(partial(_row, distances, name))
            ),
        )
        for number, name in enumerate(dances.COPYING_ROWS)
    ]
    columns = ("kinetic", "geometric", "joints_mm")
    return Table(table, columns, "generated to retrieved", bench.dance_budget(False), bench.dance_facts())


def _long(bench: Bench) -> Table:
    model, settings = bench.shown_dancer()
    rows: dict[str, Measured] = {}

    def danced() -> dict[str, Measured]:
        if not rows:
            references = bench.references(model, 0)
            options = bench.options
            rows.update(dances.long_dances(bench.dance_test, model, references, options.repeats, options.seed))
        return rows

    table = [
        (name, bench.store.measured(f"long-{number}", settings | {"row": name}, _nowhere(partial(_row, danced, name))))
        for number, name in enumerate(dances.LONG_ROWS)
    ]
    return Table(table, DANCE_COLUMNS, dances.LONG_ROWS[0], bench.dance_budget(False), bench.dance_facts())


STUDIES = (
    Study(
        "compressors",
        "MotionStreamer, Table 3",
        "Which compressor reconstructs best?",
        "AE: no sampling, no divergence, not causal; once as narrow as the others and once as wide as its network, "
        "since the paper's error of 1.7 mm points to a wide one.",
        _compressors,
    ),
    Study(
        "latents",
        "MotionStreamer, Table 3",
        "On whose latents does the same generator do best?",
        "The second stage is the same for all. VQ-VAE: it makes code vectors, each is put onto its nearest code.",
        _latents,
    ),
    Study(
        "root-loss",
        "MotionStreamer, Table 5",
        "Which weight λ of the root loss reconstructs best?",
        "λ = 1 is ours, to show what happens far from the paper's range of 5 to 9.",
        _root_weights,
    ),
    Study(
        "ar-design",
        "MotionStreamer, Table 4",
        "What do QK-norm, Two-Forward, the diffusion head and the text encoder bring?",
        "Without diffusion head: residual blocks of the same width and depth give the latent, squared error, no "
        "guidance. CLIP is not at hand: the other text encoder is a bag of words. Noise error: of held-out sequences "
        "with their true past; it is the figure to read where R@3 (chance is 3 of 32) says that the diffusion head had "
        "too few steps to sample with.",
        _ar_design,
    ),
    Study(
        "guidance",
        "MotionStreamer, Figure 7",
        "Which scale of classifier-free guidance does the packaged model want?",
        "s = 1 is no guidance. The networks alone, in 20 steps of the chain: no foot is held, no latent drawn again, "
        "lengths are the recordings' up to 160 frames.",
        _guidance,
    ),
    Study(
        "latency",
        "MotionStreamer, Figure 4",
        "How long until the first frame, against the length of the motion?",
        "A decoder that isn't causal waits for the last latent. Processor seconds of one thread, so that a busy "
        "machine does not count; the text's embedding is known.",
        _latency,
    ),
    Study(
        "dance-components",
        "InfiniteDance, Table 5",
        "What do continuous embeddings, references and Cadence-MoE bring?",
        "Conditions stand beside the codes they belong to (the packaged arrangement). Indices: codes are learnt rows "
        "instead of projected code vectors; music stays continuous in all rows. Code loss: cross entropy of the real "
        "test dances' codes with their true past.",
        _dance_components,
    ),
    Study(
        "bands",
        "InfiniteDance, Table 10",
        "Two bands of the references' spectrum or four?",
        "The paper trains both on 60 % of its data; here both have all of it.",
        _bands,
    ),
    Study(
        "ranks",
        "InfiniteDance, Table 7",
        "Does it matter how well the references match the music?",
        "One model that was trained with the best matches is given worse ones, and none. Ranks count windows of the "
        "training dances, one a second.",
        _ranks,
    ),
    Study(
        "copying",
        "InfiniteDance, Table 8",
        "Are generated dances copies of their references?",
        "Distances of windows of 8 s that belong to the same music: features in standard deviations of the real "
        "dances, joints around the root in mm. The last row says how far real dances are from each other.",
        _copying,
    ),
    Study(
        "long-dances",
        "InfiniteDance, Table 9",
        "Do dances get worse beyond 30 s?",
        "Dances of 48 s in one go; their windows from 8 to 24 s against those from 32 to 48 s, beside the same "
        "windows of the real dances.",
        _long,
    ),
)
