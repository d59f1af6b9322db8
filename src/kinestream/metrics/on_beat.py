"""Bodies put onto the beat: slowly varying shifts of a motion's clock that bring its steps to the beats near them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.metrics.beats import step_beats

# A beat looks for its step so far away; offsets are averaged over such a span, and half a step's weight pulls to none.
_REACH_S = 0.15
_SPAN_S = 1.0
_INERTIA = 0.5
_ROUNDS = 4
# The motion is never slower or faster than this for the sake of a beat.
_RATES = (0.8, 1.25)
# Where the ends of a piece must stay, they pull as so many steps over such a span.
_END_WEIGHT = 4.0
_END_SPAN_S = 0.35


def on_beat_times(
    joints_m: Float[Tensor, "t j 3"], fps: float, beats_s: Float[Tensor, "m"], *, ends_stay: bool = False
) -> Float[Tensor, "t"]:
    """Where to read a motion, in seconds of its own clock, at each frame of a clock on which its steps meet the beats.

    Steps (`step_beats`) near beats are late or early. The clock is shifted by their offsets, averaged over a second or
    so: the timing of single steps stays the dancer's own. Without beats or steps the clock stays. `ends_stay`: the
    first and last frame stay where they are, so that pieces of one motion can be shifted one by one.
    """
    times = torch.arange(len(joints_m), dtype=torch.float64) / fps
    if len(joints_m) < 4:
        return times
    steps, beats = step_beats(joints_m, fps), beats_s.double()
    read = times.clone()
    if not len(steps) or not len(beats):
        return read
    ends = _end_weights(times) if ends_stay else torch.zeros_like(times)
    for _ in range(_ROUNDS):
        seen = _interpolated(steps, read, times)
        apart = seen[None, :] - beats[:, None]
        offsets = apart.gather(1, apart.abs().argmin(dim=1, keepdim=True))[:, 0]
        near = offsets.abs() <= _REACH_S
        if not bool(near.any()):
            return read
        weights = torch.exp(-0.5 * ((times[:, None] - beats[near]) / _SPAN_S).square())
        shift = (weights * offsets[near]).sum(dim=1) / (weights.sum(dim=1) + _INERTIA + ends)
        read = _within_rates(_interpolated(times + shift, times, read), times, ends_stay)
    return read.clamp(0.0, float(times[-1]))


def _end_weights(times: Tensor) -> Tensor:
    away = torch.minimum(times, times[-1] - times)
    return _END_WEIGHT * torch.exp(-0.5 * (away / _END_SPAN_S).square())


def _within_rates(read: Tensor, times: Tensor, ends_stay: bool) -> Tensor:
    slow, fast = _RATES
    if ends_stay:
        shift = read - times
        shift = shift - torch.lerp(shift[0], shift[-1], times / times[-1])
        change = shift.diff() / times.diff()
        needed = torch.maximum(change.max() / (fast - 1.0), change.min() / (slow - 1.0))
        return times + shift / needed.clamp_min(1.0)
    frame = times[1]
    steps = read.diff().clamp(slow * frame, fast * frame)
    moved = torch.cat((read[:1], read[0] + steps.cumsum(0)))
    return moved + (read - moved).mean()


def _interpolated(where: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """Piecewise linear values at `where`, of a rising line of places; the first and last pieces go on."""
    right = torch.searchsorted(places, where.contiguous()).clamp(1, len(places) - 1)
    low, high = places[right - 1], places[right]
    share = (where - low) / (high - low)
    return values[right - 1] * (1 - share) + values[right] * share
