"""Protocol "stream": how smoothly a body goes from one prompt to the next, and how soon frames come."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.evaluation.findings import Findings, clip_figure, further, mean_values, over_clips, without_interval
from kinestream.evaluation.items import Item
from kinestream.evaluation.plausibility import shown_joints
from kinestream.evaluation.result import Curve, Figure, Sample
from kinestream.evaluation.settings import EvaluationSettings, Progress, Update
from kinestream.evaluation.text.generation import Acted, Studio
from kinestream.evaluation.text.plan import switch_wishes
from kinestream.features import MOTION272
from kinestream.metrics import (
    bootstrap_rows,
    latency_summary,
    mean_transition_jerk,
    transition_curve,
)
from kinestream.metrics.transitions import TRANSITION_FRAMES
from kinestream.streaming import Engine, SessionOptions

HALF_WINDOW = TRANSITION_FRAMES // 2
FPS = MOTION272.fps
# Prompts that are said for the first frame's latency, and latents that are timed after them.
FIRST_FRAMES, TIMED_LATENTS = 12, 60


class _Switch(NamedTuple):
    """Jerk by frame around one switch, m/s³: ours, and with coordinates added up as published tables have it."""

    curve: Tensor
    published: Tensor

    @classmethod
    def of(cls, features: Float[Tensor, "t 272"], at_frame: int) -> _Switch:
        joints = shown_joints(features)
        return cls(*(transition_curve(joints, at_frame, FPS, compat=compat) for compat in (False, True)))

    def figures(self, baseline_mps3: float) -> dict[str, float]:
        """Peak and area of this switch alone."""
        peak, area = mean_transition_jerk(self.curve[None], baseline_mps3, FPS)
        return {"peak_jerk_mps3": float(peak), "jerk_area_mps2": float(area)}


def measure_stream(
    items: Sequence[Item], studio: Studio, engine: Engine, settings: EvaluationSettings, progress: Progress
) -> Findings:
    """Peak jerk and area under the jerk in the 30 frames around a switch (Barquero et al., FlowMDM, CVPR 2024).

    Items with two different prompts are generated, the second coming where the recording changes; recorded switches
    stand beside them. The area is measured from the recordings' mean jerk.
    """
    asked = [item for item in items if item.prompt != item.then]
    recorded = [item for item in items if item.real]
    if len(asked) < 2 or len(recorded) < 2:
        raise BadInputError(
            f"the stream protocol needs at least two pairs of different prompts and two recorded switches, got "
            f"{len(asked)} and {len(recorded)}"
        )
    real = [_Switch.of(item.features(), item.switch_frame) for item in recorded]
    baseline = float(torch.stack([one.curve for one in real]).mean())
    real_rows = [one.figures(baseline) for one in real]
    rows = [list[dict[str, float]]() for _ in asked]
    switches: list[_Switch] = []
    missed = 0
    total = settings.repeats * len(asked)
    with progress("generating switches", "streams") as update:
        for number in range(settings.repeats):
            made = studio.act(
                switch_wishes(asked, settings.seed, number),
                further(update, number * len(asked), total),
            )
            for row, one in enumerate(made):
                if not _has_window(one):
                    missed += 1
                    continue
                switches.append(_Switch.of(one.features, one.switch_frame))
                rows[row].append(switches[-1].figures(baseline))
    kept = [(item, mean_values(own)) for item, own in zip(asked, rows, strict=True) if own]
    if len(kept) < 2:
        raise BadInputError("no generated stream has a whole window around its switch: the model ends prompts at once")
    with progress("timing", "latents") as update:
        latency = _latency(engine, [item.prompt for item in asked], settings, update)
    figures = [
        *(
            clip_figure(name, [own[name] for _, own in kept], [own[name] for own in real_rows])
            for name in ("peak_jerk_mps3", "jerk_area_mps2")
        ),
        *_published_figures([one.published for one in switches], [one.published for one in real]),
        *latency,
    ]
    notes = (f"{missed} of {total} streams have no whole window around their switch and are left out.",)
    steps = tuple(float(k - HALF_WINDOW + 2) for k in range(len(switches[0].curve)))
    return Findings(
        tuple(figures),
        tuple(Sample(item.name, f"{item.prompt} → {item.then}", own) for item, own in kept),
        curves={
            "transition": tuple(
                Curve(label, steps, tuple(torch.stack([one.curve for one in side]).mean(0).tolist()))
                for label, side in (("generated", switches), ("real", real))
            ),
            "real_peak_jerk_mps3": (
                Curve("real", tuple(range(len(real_rows))), tuple(own["peak_jerk_mps3"] for own in real_rows)),
            ),
        },
        notes=notes if missed else (),
    )


def _published_figures(generated: Sequence[Tensor], real: Sequence[Tensor]) -> list[Figure]:
    """Peak jerk and AUJ as FlowMDM's tables have them: of the mean curve of all switches, coordinates added up."""
    ours, theirs = torch.stack(list(generated)), torch.stack(list(real))
    baseline = float(theirs.mean())

    def peak(curves: Tensor) -> Tensor:
        return mean_transition_jerk(curves, baseline, FPS).per_frame(FPS).peak

    # Curves drawn anew lie further from the mean than the curves do: an interval would not hold the area.
    areas = [
        without_interval(float(mean_transition_jerk(curves, baseline, FPS).per_frame(FPS).area), len(curves))
        for curves in (ours, theirs)
    ]
    says = "of all switches' mean curve, coordinates added up, as in FlowMDM's tables"
    return [
        Figure("published_peak_jerk", "Peak jerk, published", "m/frame³", "near real", says,
               "bootstrap over switches, 95 %", bootstrap_rows(peak, ours), bootstrap_rows(peak, theirs)),
        Figure("published_auj", "AUJ, published", "m/frame²", "lower", f"{says}; baseline of these recordings",
               "none", *areas),
    ]  # fmt: skip


def _latency(engine: Engine, prompts: Sequence[str], settings: EvaluationSettings, update: Update) -> list[Figure]:
    """First frame after a prompt in a playing stream, text encoding included, and the time each latent takes."""
    options = SessionOptions(guidance=settings.guidance, max_prompt_s=3_600.0, stop_threshold=0.0)
    session = engine.session(settings.seed, options)
    session.prompt("stands")
    session.step()
    first, steps = [], []
    total = FIRST_FRAMES + TIMED_LATENTS
    for number in range(FIRST_FRAMES):
        session.step()
        begun = time.perf_counter()
        session.prompt(f"{prompts[number % len(prompts)]} {number}")
        session.step()
        first.append(time.perf_counter() - begun)
        update(number + 1, total)
    for number in range(TIMED_LATENTS):
        begun = time.perf_counter()
        session.step()
        steps.append(time.perf_counter() - begun)
        update(FIRST_FRAMES + number + 1, total)
    summary = latency_summary(steps, sum(first) / len(first))
    real_time = engine.frames_per_step / FPS
    return [
        Figure(
            "first_frame_s", "First frame", "s", "lower", "from a prompt to its first frame, text encoding included",
            "bootstrap over prompts, 95 %", over_clips(first),
        ),
        Figure(
            "latent_s", "Time of a latent", "s", "lower", f"median of {TIMED_LATENTS}; real time is {real_time:.3f} s",
            "none", without_interval(summary.median_s, summary.count),
        ),
        Figure(
            "latent_p99_s", "99th percentile of a latent", "s", "lower", "of the same latents", "none",
            without_interval(summary.p99_s, summary.count),
        ),
    ]  # fmt: skip


def _has_window(one: Acted) -> bool:
    return one.switch_frame >= HALF_WINDOW and len(one.features) >= one.switch_frame + HALF_WINDOW
