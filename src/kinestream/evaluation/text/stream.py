"""Protocol "stream": how smoothly a body goes from one prompt to the next, and how soon frames come."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.evaluation.findings import Findings, clip_figure, further, mean_values, over_clips, without_interval
from kinestream.evaluation.result import Curve, Figure, Sample
from kinestream.evaluation.settings import EvaluationSettings, Progress, Update
from kinestream.evaluation.text.generation import Acted, Studio
from kinestream.evaluation.text.plan import Item, switch_wishes
from kinestream.features import MOTION272, motion_from_motion272
from kinestream.metrics import (
    bootstrap_rows,
    latency_summary,
    mean_transition_jerk,
    transition_curve,
    transition_jerk,
)
from kinestream.metrics.transitions import TRANSITION_FRAMES
from kinestream.streaming import Engine, SessionOptions

HALF_WINDOW = TRANSITION_FRAMES // 2
FPS = MOTION272.fps
# Prompts that are said for the first frame's latency, and latents that are timed after them.
FIRST_FRAMES, TIMED_LATENTS = 12, 60


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
    real_curves = [
        transition_curve(_joints(item.features()), item.switch_frame, FPS, TRANSITION_FRAMES) for item in recorded
    ]
    baseline = float(torch.stack(real_curves).mean())
    real_rows = [_jerk(_joints(item.features()), item.switch_frame, baseline) for item in recorded]
    rows = [list[dict[str, float]]() for _ in asked]
    curves: list[Tensor] = []
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
                joints = _joints(one.features)
                rows[row].append(_jerk(joints, one.switch_frame, baseline))
                curves.append(transition_curve(joints, one.switch_frame, FPS, TRANSITION_FRAMES))
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
        *_mean_curve_figures(torch.stack(curves), torch.stack(real_curves), baseline),
        *latency,
    ]
    notes = (f"{missed} of {total} streams have no whole window around their switch and are left out.",)
    steps = tuple(float(k - HALF_WINDOW + 2) for k in range(len(curves[0])))
    return Findings(
        tuple(figures),
        tuple(Sample(item.name, f"{item.prompt} → {item.then}", own) for item, own in kept),
        curves={
            "transition": (
                Curve("generated", steps, tuple(torch.stack(curves).mean(0).tolist())),
                Curve("real", steps, tuple(torch.stack(real_curves).mean(0).tolist())),
            ),
            "real_peak_jerk_mps3": (
                Curve("real", tuple(range(len(real_rows))), tuple(own["peak_jerk_mps3"] for own in real_rows)),
            ),
        },
        notes=notes if missed else (),
    )


def _mean_curve_figures(generated: Float[Tensor, "n f"], real: Float[Tensor, "m f"], baseline: float) -> list[Figure]:
    """Peak and area of the mean curve: what published tables give."""
    figures = []
    for place, (name, label, unit) in enumerate(
        (
            ("peak_of_mean_mps3", "Peak of the mean curve", "m/s³"),
            ("area_of_mean_mps2", "Area of the mean curve", "m/s²"),
        )
    ):

        def of_mean(curves: Tensor, place: int = place) -> Tensor:
            return mean_transition_jerk(curves, baseline, FPS)[place]

        if place == 0:
            own, theirs = bootstrap_rows(of_mean, generated), bootstrap_rows(of_mean, real)
        else:  # curves drawn anew lie further from the mean than the curves do: an interval would not hold the figure
            own, theirs = (without_interval(float(of_mean(curves)), len(curves)) for curves in (generated, real))
        figures.append(
            Figure(
                name,
                label,
                unit,
                "near real",
                "of all switches' mean jerk by frame, as in FlowMDM's tables",
                "bootstrap over switches, 95 %" if place == 0 else "none",
                own,
                theirs,
            )
        )
    return figures


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
    real_time = engine.frames_per_latent / FPS
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


def _jerk(joints_m: Tensor, at_frame: int, baseline: float) -> dict[str, float]:
    peak, area = transition_jerk(joints_m, at_frame, FPS, TRANSITION_FRAMES, baseline)
    return {"peak_jerk_mps3": float(peak), "jerk_area_mps2": float(area)}


def _has_window(one: Acted) -> bool:
    return one.switch_frame >= HALF_WINDOW and len(one.features) >= one.switch_frame + HALF_WINDOW


def _joints(features: Tensor) -> Tensor:
    return motion_from_motion272(features).joint_positions_m()
