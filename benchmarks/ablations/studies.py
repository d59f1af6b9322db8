"""The papers' tables: what each asks, how we read it, its columns, and how its rows are measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.ablations import compressors, dances, latency, text_models
from benchmarks.ablations.bench import GUIDANCE, Bench
from benchmarks.ablations.corpus import digest
from benchmarks.ablations.recipes import (
    AR_DESIGN,
    BANDS,
    CADENCE,
    CAUSAL_TAE,
    COMPRESSOR,
    COMPRESSORS,
    DANCE_COMPONENTS,
    FULL_TEXT,
    ROOT_WEIGHTS,
    TEXT,
)
from benchmarks.ablations.store import Measured
from kinestream.checkpoints import load_text_to_motion
from kinestream.checkpoints.dance import MusicToDanceModel
from kinestream.conditioning.text import text_encoder
from kinestream.errors import BadInputError

TEXT_COLUMNS = ("fid", "r_precision_3", "mm_distance", "diversity", "jitter_mps3")
DANCE_COLUMNS = ("fid_k", "fid_g", "div_k", "div_g", "bas", "bas_gain", "foot_skating_ratio", "jitter_mps3")
TRAINED_DANCE_COLUMNS = ("code_loss", *DANCE_COLUMNS)
GUIDANCE_SCALES = (1.0, 1.5, 2.5, 4.0, 6.0)
RANKS = (0, 10, 100, 500, 1000)
COPIED = 3
RECONSTRUCTION_COLUMNS = ("mpjpe_mm", "reconstruction_jitter_mps3", "reconstruction_fid")
# Rows of Table 3 on whose latents a generator is trained.
GENERATED_ON = tuple(variant for variant in COMPRESSORS if variant.name not in ("ae-wide", "causal-tae-again"))


PACKAGED = "the packaged model, nothing trained"
Row = tuple[str, Measured]
Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """One table: rows in order, the one that others are compared with, and the names of its columns."""

    rows: Sequence[Row]
    columns: Sequence[str]
    base: str | None
    budget: Facts
    data: Facts


@dataclass(frozen=True)
class Study:
    """A table of a paper. `reading`: what the paper leaves open or what differs here."""

    name: str
    source: str
    question: str
    reading: str
    measure: Callable[[Bench], Table] = field(repr=False)


def _compressors(bench: Bench) -> Table:
    rows = [("Real motion", _reconstructed(compressors.recordings(bench.items)))]
    rows += [(variant.says, _reconstructed(bench.compressor(variant)[0])) for variant in COMPRESSORS]
    budget = bench.text_budget(COMPRESSOR)
    return Table(rows, RECONSTRUCTION_COLUMNS, CAUSAL_TAE.says, budget, bench.text_facts())


def _latents(bench: Bench) -> Table:
    rows = [(variant.says, bench.text_model(FULL_TEXT, variant)) for variant in GENERATED_ON]
    return _text_table(bench, rows, CAUSAL_TAE.says)


def _text_table(bench: Bench, rows: Sequence[Row], base: str, *more: str, budget: Facts | None = None) -> Table:
    """Generated text to motion below the recordings' own figures."""
    budget = bench.text_budget(TEXT) if budget is None else budget
    return Table([("Real motion", bench.real_text()), *rows], (*more, *TEXT_COLUMNS), base, budget, bench.text_facts())


def _reconstructed(found: Measured) -> Measured:
    """Jitter and FID under names of their own: generation has some too."""
    clips = {name if name == "mpjpe_mm" else f"reconstruction_{name}": values for name, values in found.clips.items()}
    sets = {f"reconstruction_{name}": values for name, values in found.sets.items()}
    return dataclasses.replace(found, clips=clips, sets=sets)


def _root_weights(bench: Bench) -> Table:
    base = "λ = 7 (the paper's)"
    says = {CAUSAL_TAE.name: base, "causal-tae-again": "λ = 7, another seed"}
    rows = [
        (says.get(variant.name, variant.says), _reconstructed(bench.compressor(variant)[0])) for variant in ROOT_WEIGHTS
    ]
    return Table(rows, RECONSTRUCTION_COLUMNS, base, bench.text_budget(COMPRESSOR), bench.text_facts())


def _ar_design(bench: Bench) -> Table:
    rows = [(variant.says, bench.text_model(variant, CAUSAL_TAE)) for variant in AR_DESIGN]
    return _text_table(bench, rows, FULL_TEXT.says, "noise_error")


def _guidance(bench: Bench) -> Table:
    options, model = bench.options, load_text_to_motion()
    asked = text_models.TextModel(model.ar, model.tae, model.statistics, text_encoder(model.text_encoder))
    settings = {
        "data": digest(bench.data), "samples": options.samples, "repeats": options.repeats, "seed": options.seed,
        "model": str(model.provenance), "weights": float(model.ar.out.weight.double().sum()),
    }  # fmt: skip

    def at(scale: float) -> Measured:
        return bench.store.measured(
            f"guidance-{scale:g}",
            {"scale": scale, **settings},
            lambda _: bench.text_test.measure(asked, scale, options.repeats, options.seed),
        )

    rows = [(f"s = {scale:g}", at(scale)) for scale in GUIDANCE_SCALES]
    budget = {"model": PACKAGED, "test_recordings": options.samples, "repeats": options.repeats, "seed": options.seed}
    return _text_table(bench, rows, f"s = {GUIDANCE:g}", budget=budget)


def _latency(bench: Bench) -> Table:
    lengths, model = bench.options.lengths, load_text_to_motion()
    settings = {
        "lengths": lengths, "repeats": latency.REPEATS, "ar": model.ar.config.to_json(),
        "tae": model.tae.config.to_json(),
    }  # fmt: skip
    found = bench.store.measured(
        "latency", settings, lambda _: latency.first_frame(model, lengths, latency.REPEATS)
    ).sets
    rows = [
        (
            f"{length} frames",
            Measured(sets={f"{name}_s": found[f"{name} {length}"] for name in ("causal", "whole")}),
        )
        for length in lengths
    ]
    budget = {"model": PACKAGED, "repeats": latency.REPEATS, "unit": "processor seconds"}
    return Table(rows, ("causal_s", "whole_s"), None, budget, {})


def _dance_components(bench: Bench) -> Table:
    rows = [(variant.says, bench.dance_variant(variant)) for variant in DANCE_COMPONENTS]
    return _dance_table(bench, rows, "embeddings, no references", trained=True)


def _dance_table(bench: Bench, rows: Sequence[Row], base: str, *, trained: bool) -> Table:
    """Generated dances below the real ones."""
    columns = TRAINED_DANCE_COLUMNS if trained else DANCE_COLUMNS
    rows = [("Real dances", bench.real_dances()), *rows]
    return Table(rows, columns, base, bench.dance_budget(trained), bench.dance_facts())


def _bands(bench: Bench) -> Table:
    base = "2 bands (the paper's)"
    rows = [(base if variant is CADENCE else variant.says, bench.dance_variant(variant)) for variant in BANDS]
    return _dance_table(bench, rows, base, trained=True)


def _ranks(bench: Bench) -> Table:
    model, settings = _reads_references(bench, "ranks")
    count = model.llama.config.num_references

    def at(rank: int | None) -> Measured:
        return bench.store.measured(
            f"rank-{'none' if rank is None else rank}",
            settings | {"first_rank": rank},
            lambda _: bench.danced(model, rank)[0],
        )

    rows = [(f"ranks {rank + 1} to {rank + count}", at(rank)) for rank in RANKS]
    return _dance_table(bench, [*rows, ("no references", at(None))], f"ranks 1 to {count}", trained=False)


def _copying(bench: Bench) -> Table:
    model, settings = _reads_references(bench, "copying")
    count = min(COPIED, model.llama.config.num_references)

    def distances() -> Mapping[str, Measured]:
        return dances.copying(bench.dance_test, bench.danced(model, 0)[1], model, bench.library, count)

    rows = _together(bench, "copying", dances.COPYING_ROWS, settings, distances)
    columns = ("kinetic", "geometric", "joints_mm")
    return Table(rows, columns, "generated to retrieved", bench.dance_budget(False), bench.dance_facts())


def _reads_references(bench: Bench, table: str) -> tuple[MusicToDanceModel, dict[str, Any]]:
    model, settings = bench.shown_dancer()
    if not model.llama.config.uses_references:
        raise BadInputError(f"{table}: the dance model reads no references")
    return model, settings


def _together(
    bench: Bench, table: str, names: Sequence[str], settings: Facts, measure: Callable[[], Mapping[str, Measured]]
) -> list[Row]:
    """Rows that are measured together, the first time that one of them is missing."""
    found: dict[str, Measured] = {}

    def row(name: str, folder: Path) -> Measured:
        if not found:
            found.update(measure())
        return found[name]

    return [
        (name, bench.store.measured(f"{table}-{number}", {**settings, "row": name}, partial(row, name)))
        for number, name in enumerate(names)
    ]


def _long(bench: Bench) -> Table:
    (model, settings), options = bench.shown_dancer(), bench.options

    def danced() -> Mapping[str, Measured]:
        references = bench.references(model, 0)
        return dances.long_dances(bench.dance_test, model, references, options.repeats, options.seed)

    rows = _together(bench, "long", dances.LONG_ROWS, settings, danced)
    return Table(rows, DANCE_COLUMNS, dances.LONG_ROWS[0], bench.dance_budget(False), bench.dance_facts())


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
