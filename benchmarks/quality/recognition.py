"""Whether generated clips show what was asked: the classifier's hits on them beside its hits on real clips."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.quality.classifier import Classifier
from benchmarks.quality.estimates import estimate, ratio
from benchmarks.quality.takes import Take

MOST_CONFUSIONS = 15


def recognition(classifier: Classifier, real: Sequence[Take], generated: Sequence[Take]) -> dict[str, Any]:
    """Accuracy of content and style on real and generated clips of equal label counts, their ratio, and every label."""
    real_hits, generated_hits = classifier.hits(real), classifier.hits(generated)
    guessed = classifier.guesses(generated)
    misread = classifier.guesses(real)
    found: dict[str, Any] = {}
    for place, kind in enumerate(("content", "style")):
        truth_real, truth = [getattr(take, kind) for take in real], [getattr(take, kind) for take in generated]
        mine, theirs = generated_hits[place].double(), real_hits[place].double()
        found[kind] = {
            "real": estimate(theirs),
            "generated": estimate(mine),
            "ratio": ratio(mine, theirs),
            "labels_alike": {"real": _per_label_mean(truth_real, theirs), "generated": _per_label_mean(truth, mine)},
            "by_label": _by_label(truth_real, theirs, truth, mine),
            "confusions_generated": _confusions(truth, guessed[place]),
            "confusions_real": _confusions(truth_real, misread[place]),
        }
    return found


def few_shot(classifier: Classifier, generated: Sequence[Take], recordings: Counter[str]) -> dict[str, Any]:
    """Contents without test recordings: how many of the generated clips the classifier names rightly, and as what else.

    `recordings`: real recordings per content. The classifier was trained on those same few, so this only says whether
    a clip resembles them, not whether the model can do more than repeat them.
    """
    guessed = classifier.guesses(generated)[0]
    by_content: dict[str, list[str]] = defaultdict(list)
    for take, guess in zip(generated, guessed, strict=True):
        by_content[take.content].append(guess)
    return {
        "note": "few-shot: the classifier knows these contents from the same one to three recordings as the model does",
        "share_named": estimate(torch.tensor([float(a.content == b) for a, b in zip(generated, guessed, strict=True)]))
        if generated
        else None,
        "by_content": {
            content: {
                "recordings": recordings[content],
                "generated": len(guesses),
                "named": guesses.count(content),
                "named_otherwise": dict(Counter(guess for guess in guesses if guess != content).most_common()),
            }
            for content, guesses in sorted(by_content.items())
        },
    }


def _per_label_mean(labels: Sequence[str], hits: Tensor) -> float:
    groups = _grouped(labels, hits)
    return round(sum(sum(values) / len(values) for values in groups.values()) / len(groups), 4)


def _by_label(real_labels: Sequence[str], real: Tensor, labels: Sequence[str], generated: Tensor) -> dict[str, Any]:
    groups, real_groups = _grouped(labels, generated), _grouped(real_labels, real)
    return {
        label: {
            "n": len(values),
            "real": round(sum(values) / len(values), 4),
            "n_generated": len(groups.get(label, [])),
            "generated": round(sum(groups[label]) / len(groups[label]), 4) if label in groups else None,
        }
        for label, values in sorted(real_groups.items())
    }


def _grouped(labels: Sequence[str], hits: Tensor) -> dict[str, list[float]]:
    groups: dict[str, list[float]] = defaultdict(list)
    for label, hit in zip(labels, hits.tolist(), strict=True):
        groups[label].append(hit)
    return groups


def _confusions(truth: Sequence[str], guessed: Sequence[str]) -> list[dict[str, Any]]:
    pairs = Counter((a, b) for a, b in zip(truth, guessed, strict=True) if a != b)
    ordered = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:MOST_CONFUSIONS]
    return [{"is": a, "named": b, "n": count} for (a, b), count in ordered]
