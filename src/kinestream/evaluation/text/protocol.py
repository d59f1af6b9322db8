"""Protocol "text": motions from the captions of a split, in an evaluator's space and by their physics."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.checkpoints.evaluator import TextMotionEvaluator
from kinestream.errors import BadInputError
from kinestream.evaluation.findings import (
    CLIP_FIGURES,
    Findings,
    clip_figure,
    fid_figures,
    further,
    mean_values,
    of_repeats,
    random_halves,
    repeat_curves,
)
from kinestream.evaluation.items import Item
from kinestream.evaluation.plausibility import PHYSICS, clip_physics, shown_joints
from kinestream.evaluation.result import Figure, Sample
from kinestream.evaluation.settings import EvaluationSettings, Progress, Update
from kinestream.evaluation.text.generation import Studio
from kinestream.evaluation.text.plan import clip_wishes
from kinestream.metrics import batches, diversity, multimodality, repeat, repeat_generators
from kinestream.metrics.distribution import DIVERSITY_PAIRS, MULTIMODALITY_PAIRS
from kinestream.metrics.matching import EXACT

TOP = 3
REAL_REPEATS = 20
MATCHING = tuple(f"r_precision_{k}" for k in range(1, TOP + 1))


def measure_text(
    items: Sequence[Item],
    studio: Studio,
    evaluator: TextMotionEvaluator,
    settings: EvaluationSettings,
    progress: Progress,
) -> Findings:
    """Generate each caption `repeats` times and measure.

    Whole sets: FID, R-Precision, diversity by repeat, as the literature has them (Guo et al., CVPR 2022). Clips: the
    distance from the caption, multimodality, physics; means over the repeats, the interval over clips. Real clips
    stand beside every figure: the same captions for matching, two random halves for FID.
    """
    captions = [item.prompt for item in items]
    _require_batches(captions, settings.batch)
    with progress("embedding recordings", "clips") as update:
        text, real, real_rows = _recordings(items, evaluator, update)
    embedded, rows = [], [list[dict[str, float]]() for _ in items]
    total = settings.repeats * len(items)
    with progress("generating clips", "clips") as update:
        for number, generator in enumerate(repeat_generators(settings.seed, settings.repeats)):
            made = studio.act(
                clip_wishes(items, settings.seed, number),
                further(update, number * len(items), total),
            )
            motions = [one.features for one in made]
            embedded.append(evaluator.embed_motion(motions))
            hits = matching_hits(text, embedded[-1], captions, settings.batch, generator)
            for row, (motion, own, mine) in enumerate(zip(motions, embedded[-1], hits, strict=True)):
                distance = {"mm_distance": float((own - text[row]).norm())}
                rows[row].append(clip_physics(shown_joints(motion)) | distance | mine)
    generated = torch.stack(embedded)
    samples = [mean_values(own) for own in rows]
    notes = []
    if settings.repeats > 1:
        for place, own in enumerate(_multimodality(generated, settings.seed)):
            samples[place]["multimodality"] = own
    else:
        notes.append("One repeat: FID, R-Precision and diversity have no interval, multimodality can't be measured.")
    figures, repeats = _set_figures(text, real, generated, captions, rows, settings)
    figures += [
        clip_figure(name, [own[name] for own in samples], _column(real_rows, name))
        for name in ("mm_distance", "multimodality", *PHYSICS, "length_s")
        if name in samples[0]
    ]
    if len(items) < 10 * evaluator.dim:
        notes.append(
            f"FID of {len(items)} clips in {evaluator.dim} dimensions is larger than that of many: compare it with "
            "reports on the same clips and with the real halves beside it."
        )
    return Findings(
        tuple(figures),
        tuple(
            Sample(item.name, item.prompt, own, theirs)
            for item, own, theirs in zip(items, samples, real_rows, strict=True)
        ),
        repeats,
        repeat_curves(repeats),
        tuple(notes),
        {"real": real, "generated": generated, "text": text},
    )


def matching_hits(
    text: Float[Tensor, "n d"],
    motion: Float[Tensor, "n d"],
    captions: Sequence[str],
    batch: int,
    generator: torch.Generator,
) -> list[dict[str, float]]:
    """R-Precision of every row: 1 where its motion is among the k nearest of its batch; {} for rows in no full batch.

    The mean over the rows is `kinestream.metrics.r_precision` of the same generator; by row, reports can be compared
    caption by caption.
    """
    rows = batches(len(text), batch, generator, captions)
    distances = torch.cdist(text.double()[rows], motion.double()[rows], compute_mode=EXACT)
    right = distances.diagonal(dim1=-2, dim2=-1)[..., None]
    ahead = ((distances <= right).sum(dim=-1) - 1).flatten().tolist()
    hits: list[dict[str, float]] = [{} for _ in range(len(text))]
    for row, nearer in zip(rows.flatten().tolist(), ahead, strict=True):
        hits[row] = {name: float(nearer <= k) for k, name in enumerate(MATCHING)}
    return hits


def _set_figures(
    text: Tensor,
    real: Tensor,
    generated: Tensor,
    captions: Sequence[str],
    rows: Sequence[Sequence[dict[str, float]]],
    settings: EvaluationSettings,
) -> tuple[list[Figure], dict[str, tuple[float, ...]]]:
    pairs = min(DIVERSITY_PAIRS, len(real))
    generators = list(repeat_generators(settings.seed, settings.repeats))
    over = f"{settings.repeats} repeats, 95 %" if settings.repeats > 1 else "one repeat"
    figures, distances = fid_figures(real, list(generated), over, random_halves(len(real), settings.seed))
    repeats = {
        "fid": distances,
        **{
            name: tuple(_mean([own[k][name] for own in rows if name in own[k]]) for k in range(settings.repeats))
            for name in MATCHING
        },
        "diversity": tuple(float(diversity(own, pairs, g)) for own, g in zip(generated, generators, strict=True)),
    }
    matched = [
        mean_values([hit for hit in matching_hits(text, real, captions, settings.batch, g) if hit])
        for g in repeat_generators(settings.seed, REAL_REPEATS)
    ]
    figures += [
        *(
            Figure(name, *CLIP_FIGURES[name], over, of_repeats(repeats[name]), of_repeats([m[name] for m in matched]))
            for name in MATCHING
        ),
        Figure(
            "diversity", "Diversity", "", "near real", "distance between motions of different captions", over,
            of_repeats(repeats["diversity"]),
            repeat(lambda g: diversity(real, pairs, g), REAL_REPEATS, settings.seed),
        ),
    ]  # fmt: skip
    return figures, repeats


def _recordings(
    items: Sequence[Item], evaluator: TextMotionEvaluator, update: Update
) -> tuple[Tensor, Tensor, list[dict[str, float]]]:
    text = evaluator.embed_text([item.prompt for item in items])
    recordings = [item.features() for item in items]
    embedded = evaluator.embed_motion(recordings)
    rows = []
    for number, (features, own, asked) in enumerate(zip(recordings, embedded, text, strict=True), start=1):
        rows.append(clip_physics(shown_joints(features)) | {"mm_distance": float((own - asked).norm())})
        update(number, len(items))
    return text, embedded, rows


def _multimodality(generated: Float[Tensor, "r n d"], seed: int) -> list[float]:
    """Of each caption: the mean distance of pairs of its samples."""
    pairs = min(MULTIMODALITY_PAIRS, len(generated))
    return [
        float(multimodality(own[None], pairs, torch.Generator().manual_seed(seed))) for own in generated.transpose(0, 1)
    ]


def _column(rows: Sequence[dict[str, float]], name: str) -> list[float] | None:
    return [row[name] for row in rows] if name in rows[0] else None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _require_batches(captions: Sequence[str], batch: int) -> None:
    """Say at once, before hours of generating, that R-Precision can't be measured."""
    try:
        batches(len(captions), batch, torch.Generator().manual_seed(0), captions)
    except BadInputError as error:
        raise BadInputError(f"{error}. Measure more clips, or take a smaller --batch.") from None
