"""Two reports side by side, paired by sample: which differences are beyond noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.evaluation.result import EMBEDDINGS_NAME, Figure, Result, load_result
from kinestream.metrics import (
    Estimate,
    bootstrap_rows,
    frechet_distance,
    mean_pairwise_distance,
    paired_difference,
)

RESAMPLES = 200
MIN_PAIRS = 5
# Figures of whole sets: what they measure, and how the embeddings' names in the report begin.
SETS = {
    "fid": ("fid", ""),
    "diversity": ("diversity", ""),
    "fid_k": ("fid", "k."),
    "div_k": ("diversity", "k."),
    "fid_g": ("fid", "g."),
    "div_g": ("diversity", "g."),
}

Verdict = Literal["a is better", "b is better", "differs", "within noise", "not known"]


@dataclass(frozen=True)
class Difference:
    """One figure of both reports; `difference` is a - b over the same samples, None where it can't be paired.

    For figures that are best near the recordings' own, it is the difference of the distances from those.
    """

    name: str
    label: str
    unit: str
    a: Estimate
    b: Estimate
    real: Estimate | None
    difference: Estimate | None
    verdict: Verdict


def compare(a: str | Path, b: str | Path) -> list[Difference]:
    """Differences of all figures that both reports have.

    Means over clips by a paired bootstrap over the clips; FID and diversity by drawing the same clips anew in both
    sets of embeddings. 95 % intervals: of twenty equal figures one looks different.

    Raises BadInputError where the reports are missing or can't be paired: other protocols, data, captions or
    evaluators.
    """
    first, second = load_result(a), load_result(b)
    _require_pairs(first, second, str(a), str(b))
    spaces = [_embeddings(path) for path in (a, b)]
    others = {figure.name: figure for figure in second.figures}
    return [
        _difference(figure, others[figure.name], first, second, spaces)
        for figure in first.figures
        if figure.name in others
    ]


def _difference(a: Figure, b: Figure, first: Result, second: Result, spaces: list[dict[str, Tensor]]) -> Difference:
    difference = _paired_samples(a, first, second)
    distance, space = SETS.get(a.name, ("", ""))
    if difference is None and distance and all(f"{space}real" in own for own in spaces):
        groups = [sample.group for sample in first.samples] if first.samples[0].group else None
        difference = _paired_sets(distance, space, spaces[0], spaces[1], groups)
    return Difference(a.name, a.label, a.unit, a.generated, b.generated, a.real, difference, _verdict(a, difference))


def _paired_samples(figure: Figure, first: Result, second: Result) -> Estimate | None:
    """a - b of a clip's figure; where near the recordings is best, of the distances from their mean."""
    others = {sample.name: sample.generated for sample in second.samples}
    pairs = [
        (sample.generated[figure.name], others[sample.name][figure.name], sample.group)
        for sample in first.samples
        if figure.name in sample.generated and figure.name in others.get(sample.name, {})
    ]
    if len(pairs) < MIN_PAIRS:
        return None
    a, b = (torch.tensor(values, dtype=torch.float64) for values in list(zip(*pairs, strict=True))[:2])
    groups = [group for _, _, group in pairs] if pairs[0][2] else None
    if figure.better == "near real" and figure.real is not None:
        return _nearness(a, b, figure.real.value, groups)
    return paired_difference(a, b, groups=groups)


def _nearness(a: Tensor, b: Tensor, real: float, groups: Sequence[str] | None) -> Estimate:
    """|mean a - real| - |mean b - real| with its interval."""
    return bootstrap_rows(
        lambda x, y: (x.mean() - real).abs() - (y.mean() - real).abs(), a[:, None], b[:, None],
        groups=groups, resamples=2000,
    )  # fmt: skip


def _paired_sets(
    distance: str, space: str, a: Mapping[str, Tensor], b: Mapping[str, Tensor], groups: Sequence[str] | None
) -> Estimate:
    real, ours, theirs = a[f"{space}real"], a[f"{space}generated"][0], b[f"{space}generated"][0]
    if distance == "fid":

        def measure(real: Tensor, ours: Tensor, theirs: Tensor) -> Tensor:
            return frechet_distance(real, ours) - frechet_distance(real, theirs)

    else:

        def measure(real: Tensor, ours: Tensor, theirs: Tensor) -> Tensor:
            goal = mean_pairwise_distance(real)
            return (mean_pairwise_distance(ours) - goal).abs() - (mean_pairwise_distance(theirs) - goal).abs()

    return bootstrap_rows(measure, real, ours, theirs, groups=groups, resamples=RESAMPLES)


def _verdict(figure: Figure, difference: Estimate | None) -> Verdict:
    if difference is None:
        return "not known"
    if not difference.excludes(0.0):
        return "within noise"
    if figure.better == "near real" and figure.real is None:
        return "differs"
    a_is_lower = difference.high < 0.0
    return "a is better" if a_is_lower == (figure.better != "higher") else "b is better"


def _require_pairs(first: Result, second: Result, a: str, b: str) -> None:
    for what, ours, theirs in (
        ("protocol", first.protocol, second.protocol),
        ("split", first.settings["split"], second.settings["split"]),
        ("recordings and captions", _key(first.data), _key(second.data)),
        ("evaluator", _key(first.evaluator), _key(second.evaluator)),
        ("batch of R-Precision", first.settings["batch"], second.settings["batch"]),
    ):
        if ours != theirs:
            raise BadInputError(
                f"{a} and {b} can't be paired: {what} {ours} and {theirs}; evaluate both with the same data, seed and "
                "evaluator"
            )


def _key(facts: Mapping[str, object]) -> str:
    return f"{facts.get('name', 'none')} {str(facts.get('sha256', ''))[:12]}".strip()


def _embeddings(path: str | Path) -> dict[str, Tensor]:
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    file = folder / EMBEDDINGS_NAME
    if not file.is_file():
        return {}
    try:
        return {**load(file.read_bytes())}
    except (OSError, SafetensorError, ValueError) as error:
        raise BadInputError(f"{file}: expected the embeddings of a report: {error}; evaluate again") from None
