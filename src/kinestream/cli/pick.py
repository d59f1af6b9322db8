"""Choosing among samples: the inspection's penalty, and how well the motion's embedding fits the text's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kinestream.checkpoints import TextMotionEvaluator
    from kinestream.motion import Motion

# (start, end, text) in seconds: when each prompt is acted.
Timeline = Sequence[tuple[float, float, str]]


@dataclass(frozen=True)
class Score:
    """A sample's score, lower is better: the penalty of its inspection, plus that of what the text says and it lacks.

    `parts` are the checks' penalties above 0. `fit` is the cosine of the embeddings of motion and text (the mean over
    prompts), None where no evaluator is there; 1 - fit counts with the weight of `text` in the inspection's rules.
    """

    penalty: float
    parts: dict[str, float]
    fit: float | None
    text_weight: float

    @property
    def total(self) -> float:
        """What samples are ranked by."""
        return self.penalty + (0.0 if self.fit is None else self.text_weight * (1.0 - self.fit))

    def __str__(self) -> str:
        parts = [f"{name.replace('_', ' ')} {value:.1f}" for name, value in self.parts.items()] or ["no problems"]
        if self.fit is not None:
            parts.append(f"text fits {self.fit:.2f}")
        return f"{self.total:.1f} ({', '.join(parts)})"


def packaged_evaluator() -> TextMotionEvaluator | None:
    """The packaged evaluator, or None where this installation carries none."""
    from kinestream.checkpoints import DEFAULT_EVALUATOR_DIR, load_evaluator

    return load_evaluator() if DEFAULT_EVALUATOR_DIR.is_dir() else None


def score_samples(
    motions: Sequence[Motion], prompts: Sequence[str], timeline: Timeline, evaluator: TextMotionEvaluator | None
) -> list[Score]:
    """A score for each sample.

    With a timeline each prompt is compared with its own stretch of the motion, else with the whole of it.
    """
    from kinestream.metrics.inspection import inspect_motion, text_weight

    fits = [None] * len(motions) if evaluator is None else text_fits(motions, prompts, timeline, evaluator)
    scores = []
    for motion, fit in zip(motions, fits, strict=True):
        inspection = inspect_motion(motion)
        parts = {check: value for check, value in inspection.penalties.items() if value > 0.0}
        scores.append(Score(inspection.penalty, parts, fit, text_weight()))
    return scores


def text_fits(
    motions: Sequence[Motion], prompts: Sequence[str], timeline: Timeline, evaluator: TextMotionEvaluator
) -> list[float]:
    """The cosine between motion and text for each sample, the mean over its prompts."""
    from torch.nn.functional import cosine_similarity

    from kinestream.features import motion272_from_motion

    spans = timeline or [(0.0, float("inf"), prompt) for prompt in prompts]
    texts = evaluator.embed_text([text for _, _, text in spans])
    stretches = []
    for motion in motions:
        features = motion272_from_motion(motion)
        for start, end, _ in spans:
            first = min(round(start * motion.fps), len(features) - 1)
            last = len(features) if end == float("inf") else max(round(end * motion.fps), first + 1)
            stretches.append(features[first:last])
    embedded = evaluator.embed_motion(stretches).unflatten(0, (len(motions), len(spans)))
    fits: list[float] = cosine_similarity(embedded, texts, dim=-1).mean(dim=1).tolist()
    return fits
