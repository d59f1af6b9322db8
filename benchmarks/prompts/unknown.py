"""Whether it is noticed that a prompt can't be known: before acting from the sentence, afterwards from the motion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.prompts.figures import share
from benchmarks.prompts.seen import Seen
from benchmarks.prompts.sentences import Ask, calibration_half, report_half
from kinestream.checkpoints.evaluator import TextMotionEvaluator
from kinestream.conditioning.known import KnownSentences
from kinestream.conditioning.text import check_prompt, text_encoder
from kinestream.errors import BadInputError

# Known prompts that may be taken for unknown ones: where other signals' thresholds are set on the calibration half.
FALSE_ALARMS = 0.05
ROC_POINTS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
LISTED = 15
TARGET = {"unknown_said": 0.80, "known_said": 0.05}


def refused(texts: Sequence[str]) -> dict[str, Any]:
    """Prompts without a word: how many are refused as no prompt at all."""
    said = 0
    for text in texts:
        try:
            check_prompt(text)
        except BadInputError:
            said += 1
    return {"prompts": len(texts), "refused": said}


def text_signal(index: KnownSentences, asks: Sequence[Ask]) -> Tensor:
    """The sentence's nearness to known sentences less that to others; higher is more familiar."""
    return index.differences(text_encoder(index.encoder).encode([ask.text for ask in asks]))


def motion_signal(evaluator: TextMotionEvaluator, asks: Sequence[Ask], seen: Sequence[Seen]) -> Tensor:
    """Less the distance of each motion to its sentence in the evaluator's space."""
    texts = evaluator.embed_text([ask.text for ask in asks])
    motions = evaluator.embed_motion([one.take.features for one in seen])
    return -(texts - motions).norm(dim=1)


def detection(known: Tensor, unknown: Tensor, threshold: float | None = None) -> dict[str, Any]:
    """How well a signal tells the two apart; figures of the half that no threshold was chosen on.

    `threshold`: what is unknown below it; without one it is chosen on the calibration half.
    """
    if threshold is None:
        chosen = torch.tensor(calibration_half(known.tolist()), dtype=torch.float64)
        threshold = float(chosen.quantile(FALSE_ALARMS))
    mine, others = (torch.tensor(report_half(signal.tolist())) for signal in (known, unknown))
    above = (mine[:, None] > others).double() + 0.5 * (mine[:, None] == others).double()
    return {
        "threshold": round(threshold, 5),
        "auc": round(float(above.mean()), 4),
        "unknown_said": share((others < threshold).double().tolist(), range(len(others))),
        "known_said": share((mine < threshold).double().tolist(), range(len(mine))),
        "calibration_half": {
            "unknown_said": _below(calibration_half(unknown.tolist()), threshold),
            "known_said": _below(calibration_half(known.tolist()), threshold),
        },
        "roc": [
            {"known_said": rate, "unknown_said": _below(others.tolist(), float(mine.double().quantile(rate)))}
            for rate in ROC_POINTS
        ],
    }


def together(known: Sequence[Tensor], unknown: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Two signals as one, weighed on the calibration half by Fisher's linear discriminant."""
    mine, others = torch.stack(list(known), dim=1).double(), torch.stack(list(unknown), dim=1).double()
    a, b = mine[::2], others[::2]
    spread = (a - a.mean(dim=0)).T @ (a - a.mean(dim=0)) + (b - b.mean(dim=0)).T @ (b - b.mean(dim=0))
    weights = torch.linalg.solve(spread, a.mean(dim=0) - b.mean(dim=0))
    weights = weights / weights.abs().sum()
    return mine @ weights, others @ weights


def knowing(
    index: KnownSentences,
    asks: Sequence[Ask],
    unknown: Sequence[Ask],
    motions: tuple[TextMotionEvaluator, Sequence[Seen], Sequence[Seen]],
) -> dict[str, Any]:
    """All signals with their curves, and the prompts that the packaged one gets wrong."""
    evaluator, seen, seen_unknown = motions
    text = text_signal(index, asks), text_signal(index, unknown)
    motion = motion_signal(evaluator, asks, seen), motion_signal(evaluator, unknown, seen_unknown)
    found = detection(*text, threshold=index.threshold)
    kept: Mapping[str, bool] = {
        "unknown_said": found["unknown_said"]["value"] >= TARGET["unknown_said"],
        "known_said": found["known_said"]["value"] <= TARGET["known_said"],
    }
    missed = sorted((float(value), ask.text) for value, ask in zip(text[1], unknown, strict=True))
    alarms = sorted((float(value), ask.text) for value, ask in zip(text[0], asks, strict=True))
    return {
        "target": TARGET,
        "met": all(kept.values()),
        "text": found,
        "motion": detection(*motion),
        "both": detection(*together((text[0], motion[0]), (text[1], motion[1]))),
        "by_group": _by_group(unknown, text[1], index.threshold),
        "missed": [text for value, text in reversed(missed) if value >= index.threshold][:LISTED],
        "false_alarms": [text for value, text in alarms if value < index.threshold][:LISTED],
    }


def _by_group(unknown: Sequence[Ask], signal: Tensor, threshold: float) -> dict[str, float]:
    groups: dict[str, list[float]] = {}
    for ask, value in zip(unknown, signal.tolist(), strict=True):
        groups.setdefault(ask.group, []).append(value)
    return {group: _below(values, threshold) for group, values in groups.items()}


def _below(values: Sequence[float], threshold: float) -> float:
    return round(sum(value < threshold for value in values) / len(values), 4)
