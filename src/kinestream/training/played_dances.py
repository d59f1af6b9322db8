"""Dances as training hears and sees them: at another tempo, their steps on the beat."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.conditioning.music import at_rows, features_at_tempo
from kinestream.data.dance_windows import DanceClips
from kinestream.features import motion272_from_motion, motion_from_motion272
from kinestream.metrics.beats import step_beats
from kinestream.motion import at_frames

# A beat looks for its step so far away, offsets are averaged over such a span, and half a step's weight pulls to none.
_REACH_S = 0.15
_SPAN_S = 1.0
_INERTIA = 0.5
_ROUNDS = 4
# The motion is never slower or faster than this for the sake of a beat.
_RATES = (0.8, 1.25)


def played(dances: DanceClips, tempo: float = 1.0, *, on_beat: bool = False) -> DanceClips:
    """The same dances in memory, `tempo` times as fast with their music as if it were played so.

    on_beat: first bring the steps to the beats of the music (`on_beat_times`), where its beats are known.
    """
    clips = []
    for index, clip in enumerate(dances.clips):
        motion = motion_from_motion272(dances.dance(index, 0, clip.frames))
        music = features_at_tempo(clip.music[: clip.frames], tempo)
        where = torch.arange(len(music), dtype=torch.float64) * tempo
        if on_beat and clip.beats_s is not None:
            read = on_beat_times(motion.joint_positions_m(), motion.fps, clip.beats_s) * motion.fps
            where = at_rows(read[:, None], where)[:, 0]
        features = motion272_from_motion(at_frames(motion, where))
        clips.append(replace(clip, name=f"{clip.name}@{tempo:g}", music=music, frames=len(music), motion=features))
    return replace(dances, clips=clips)


def on_beat_times(joints_m: Float[Tensor, "t j 3"], fps: float, beats_s: Float[Tensor, "m"]) -> Float[Tensor, "t"]:
    """Where to read a motion, in seconds of its own clock, at each frame of a clock on which its steps meet the beats.

    Steps (`step_beats`) near beats are late or early. The clock is shifted by their offsets, averaged over a second or
    so: the timing of single steps stays the dancer's own. Without beats or steps the clock stays.
    """
    times = torch.arange(len(joints_m), dtype=torch.float64) / fps
    steps, beats = step_beats(joints_m, fps), beats_s.double()
    read = times.clone()
    if not len(steps) or not len(beats):
        return read
    for _ in range(_ROUNDS):
        seen = _interpolated(steps, read, times)
        apart = seen[None, :] - beats[:, None]
        offsets = apart.gather(1, apart.abs().argmin(dim=1, keepdim=True))[:, 0]
        near = offsets.abs() <= _REACH_S
        if not bool(near.any()):
            return read
        weights = torch.exp(-0.5 * ((times[:, None] - beats[near]) / _SPAN_S).square())
        shift = (weights * offsets[near]).sum(dim=1) / (weights.sum(dim=1) + _INERTIA)
        read = _within_rates(_interpolated(times + shift, times, read), fps)
    return read.clamp(0.0, float(times[-1]))


def _within_rates(read: Tensor, fps: float) -> Tensor:
    steps = read.diff().clamp(_RATES[0] / fps, _RATES[1] / fps)
    moved = torch.cat((read[:1], read[0] + steps.cumsum(0)))
    return moved + (read - moved).mean()  # of one line of times to the other, nobody knows which end is right


def _interpolated(where: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """Piecewise linear values at `where`, of a rising line of places; the first and last pieces go on."""
    right = torch.searchsorted(places, where.contiguous()).clamp(1, len(places) - 1)
    low, high = places[right - 1], places[right]
    share = (where - low) / (high - low)
    return values[right - 1] * (1 - share) + values[right] * share
