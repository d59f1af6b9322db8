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
