"""Beats of a dancing body, and how well they meet the beats of the music."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.metrics.estimates import Estimate, bootstrap, paired_difference
from kinestream.metrics.inputs import require_fps, require_joints, require_rows

# Published code smooths speeds with a Gaussian of 5 frames and forgives 3 frames, at 30 frames per second.
PUBLISHED_FPS = 30.0
SMOOTHING_FRAMES = 5.0
SMOOTHING_S = SMOOTHING_FRAMES / PUBLISHED_FPS
TOLERANCE_S = 3.0 / PUBLISHED_FPS
# Finer changes of speed are rounding.
RESOLUTION_MPS = 1e-5
# Steps: the joints of SMPL-22 that strike (ankles, toes, wrists), and how far their speeds are smoothed.
STEP_JOINTS = (7, 8, 10, 11, 20, 21)
STEP_SMOOTHING_S = 0.08

Over = Literal["music", "motion", "both"]


def kinetic_speed_mps(joints_m: Float[Tensor, "t j 3"], fps: float) -> Float[Tensor, "t1"]:
    """Mean speed of the joints between each two frames, m/s."""
    require_joints(joints_m, "motion beats", frames=2)
    require_fps(fps, "motion beats")
    length: Tensor = joints_m.double().diff(dim=-3).norm(dim=-1)
    return length.mean(dim=-1) * fps


def motion_beats(
    joints_m: Float[Tensor, "t j 3"], fps: float, *, smoothing_s: float = SMOOTHING_S, compat: bool = False
) -> Float[Tensor, "k"]:
    """Times in seconds at which a body comes to rest: local minima of the joints' smoothed mean speed.

    (Davis and Agrawala, SIGGRAPH 2018; Li et al., AIST++, ICCV 2021; Siyao et al., Bailando, CVPR 2022.) The speed
    between frames k and k + 1 belongs to the time (k + ½) / fps; a Gaussian of `smoothing_s` smooths it. `compat` gives
    what published code does: it smooths over 5 frames at any rate and takes k / fps, half a frame early.

    All joints in 1/6 s are the published choice, and see the pulse of large movements only: ballroom dances have
    some two rests in three seconds. Feet alone (`joints_m[:, [7, 8, 10, 11]]`) with 0.08 s follow the steps.

    A body at rest has no beats. A trembling one has many, as have fast steps: count them before reading anything into
    a beat alignment.
    """
    if not smoothing_s > 0.0:
        raise BadInputError(f"motion beats: expected a positive smoothing in seconds, got {smoothing_s}")
    speed = kinetic_speed_mps(joints_m, fps)
    smooth = smoothed(speed, SMOOTHING_FRAMES if compat else smoothing_s * fps)
    if compat:
        return _minima(smooth).double() / fps
    # A rest between two frames leaves both their speeds alike: such a run is one beat, at its middle.
    levels, lengths = torch.unique_consecutive((smooth / RESOLUTION_MPS).round(), return_counts=True)
    middles: Tensor = lengths.cumsum(0).double() - 0.5 * (lengths + 1)
    return (middles[_minima(levels)] + 0.5) / fps


def step_beats(
    joints_m: Float[Tensor, "t j 3"],
    fps: float,
    *,
    joints: Sequence[int] = STEP_JOINTS,
    smoothing_s: float = STEP_SMOOTHING_S,
) -> Float[Tensor, "k"]:
    """Times in seconds at which feet and hands are caught: local maxima of how strongly they brake, SMPL-22's joints.

    max(0, -dv/dt) of each of `joints`, v its speed after a Gaussian of `smoothing_s`, and the mean over them. A
    foot brakes while it is set down, which is on the beat; the body rests (`motion_beats`) some time later, sooner or
    later as the step is long. On the training dances of Dance with Melody (28 songs, windows of 8 s) own songs score
    above others in 26 of 28, where rests of all joints tell no more than a coin does: docs/metrics.md has the search.

    Twice as many a second as rests, so a song fits more easily by luck: read the gain over other songs, never the
    score. Trembling adds beats: count them beside.
    """
    require_joints(joints_m, "step beats", frames=4, joints=max(joints) + 1)
    require_fps(fps, "step beats")
    if not smoothing_s > 0.0:
        raise BadInputError(f"step beats: expected a positive smoothing in seconds, got {smoothing_s}")
    speed = joints_m[:, list(joints)].double().diff(dim=0).norm(dim=-1) * fps
    smooth = torch.stack([smoothed(own, smoothing_s * fps) for own in speed.unbind(dim=1)], dim=1)
    braking = (-smooth.diff(dim=0)).clamp_min(0.0).mean(dim=1)
    levels, lengths = torch.unique_consecutive((braking / RESOLUTION_MPS).round(), return_counts=True)
    middles: Tensor = lengths.cumsum(0).double() - 0.5 * (lengths + 1)
    return (middles[_minima(-levels)] + 1.0) / fps


def _minima(values: Tensor) -> Tensor:
    inner = values[1:-1]
    lower: Tensor = (inner < values[:-2]) & (inner < values[2:])
    return 1 + torch.nonzero(lower)[:, 0]


def smoothed(values: Float[Tensor, "t"], sigma: float) -> Float[Tensor, "t"]:
    """Gaussian of `sigma` samples, cut at four of them, the ends mirrored (half a sample beyond the last)."""
    reach = int(4.0 * sigma + 0.5)
    weights = torch.exp(
        -0.5 * (torch.arange(-reach, reach + 1, dtype=values.dtype, device=values.device) / sigma).square()
    )
    count = len(values)
    places = torch.arange(-reach, count + reach, device=values.device) % (2 * count)
    mirrored = values[torch.where(places < count, places, 2 * count - 1 - places)]
    return torch.nn.functional.conv1d(mirrored[None, None], (weights / weights.sum())[None, None])[0, 0]


def beat_alignment(
    motion_beats_s: Float[Tensor, "k"],
    music_beats_s: Float[Tensor, "m"],
    *,
    tolerance_s: float = TOLERANCE_S,
    over: Over = "music",
) -> Float[Tensor, ""]:
    """Beat alignment score in 0..1: mean of exp(-d² / 2σ²), d a beat's distance in time to the nearest of the other.

    Higher is better. `over="music"` asks for each beat of the music how near the body's are (Bailando, InfiniteDance:
    σ of 3 frames at 30 per second, 0.1 s); `over="motion"` for each beat of the body (AIST++, which has 3 frames at
    60); "both" is the mean of the two. Both tensors count seconds from one origin, and reach over one stretch of time.

    Over music, a body that trembles or steps twice as fast wins; over motion, one that hardly moves. Real dances score
    below generated ones in published tables. So never give it alone: `beat_alignment_control` says how much is left
    over other songs, which have the tempo but not the beat. 0 for a body without beats; BadInputError for music
    without.
    """
    _require_beats(motion_beats_s, music_beats_s, tolerance_s)
    if len(music_beats_s) == 0:
        raise BadInputError("beat alignment needs at least one beat of the music while it is danced to, got none")
    return _score(motion_beats_s, music_beats_s, tolerance_s, over)


def _require_beats(motion_beats_s: Tensor, music_beats_s: Tensor, tolerance_s: float) -> None:
    for beats, what in ((motion_beats_s, "motion beats"), (music_beats_s, "music beats")):
        require_rows(beats, "beat alignment", least=0, what=f"{what} in seconds", dims=1)
    if not tolerance_s > 0.0:
        raise BadInputError(f"beat alignment: expected a positive tolerance in seconds, got {tolerance_s}")


def _score(motion_beats_s: Tensor, music_beats_s: Tensor, tolerance_s: float, over: Over) -> Tensor:
    if len(motion_beats_s) == 0:
        return torch.zeros((), dtype=torch.float64)
    apart = (music_beats_s.double()[:, None] - motion_beats_s.double()).abs()
    closeness = torch.exp(-0.5 * (apart / tolerance_s).square())
    by_music, by_motion = closeness.amax(dim=1).mean(), closeness.amax(dim=0).mean()
    return {"music": by_music, "motion": by_motion, "both": 0.5 * (by_music + by_motion)}[over]


class BeatControl(NamedTuple):
    """Beat alignment with the own song, with other songs, and the paired difference; figures of each dance beside."""

    own: Estimate
    others: Estimate
    gain: Estimate
    own_scores: Float[Tensor, "n"]
    other_scores: Float[Tensor, "n"]


def beat_alignment_control(
    motion_beats_s: Sequence[Float[Tensor, "_"]],
    music_beats_s: Sequence[Float[Tensor, "_"]],
    durations_s: Sequence[float],
    *,
    songs: Sequence[Hashable] | None = None,
    tolerance_s: float = TOLERANCE_S,
    over: Over = "music",
) -> BeatControl:
    """Beat alignment of dances with their own songs beside that with all other dances' songs (shuffled songs).

    Row k of `music_beats_s` is danced by row k of `motion_beats_s` for `durations_s[k]` seconds; `songs` names the song
    of each row, so that windows of one song are not others to each other, and are drawn together for the intervals. A
    dance meets another song over the shorter of the two stretches, and its own over the same: the gain is paired.

    The gain is what a dance owes to its song. A steady song at nearly the same tempo still fits by luck, and with few
    songs the interval is wide. An offset common to all clocks removes the gain: check clocks before bodies.
    """
    count = len(motion_beats_s)
    if not count == len(music_beats_s) == len(durations_s) or (songs is not None and len(songs) != count):
        raise BadInputError(
            f"beat alignment: expected one set of music beats, one duration and one song a dance, got {count} dances, "
            f"{len(music_beats_s)} sets of beats, {len(durations_s)} durations"
        )
    names = list(range(count)) if songs is None else list(songs)
    if len(set(names)) < 2:
        raise BadInputError("beat alignment needs dances to at least 2 songs for its control, got 1 song")
    own, paired, shuffled = [], [], []
    for k in range(count):
        _require_beats(motion_beats_s[k], music_beats_s[k], tolerance_s)
        mine: list[Tensor] = []
        theirs: list[Tensor] = []
        ends: dict[float, Tensor] = {}
        for j in range(count):
            end = min(durations_s[k], durations_s[j])
            moved, meant, foreign = (
                beats[beats <= end] for beats in (motion_beats_s[k], music_beats_s[k], music_beats_s[j])
            )
            if names[j] == names[k] or len(meant) == 0 or len(foreign) == 0:
                continue
            if end not in ends:
                ends[end] = _score(moved, meant, tolerance_s, over)
            mine.append(ends[end])
            theirs.append(_score(moved, foreign, tolerance_s, over))
        if not mine:
            raise BadInputError(f"beat alignment: dance {k} shares no stretch of time with beats of another song")
        own.append(beat_alignment(motion_beats_s[k], music_beats_s[k], tolerance_s=tolerance_s, over=over))
        paired.append(torch.stack(mine).mean())
        shuffled.append(torch.stack(theirs).mean())
    own_scores, other_scores = torch.stack(own), torch.stack(shuffled)
    return BeatControl(
        bootstrap(own_scores, groups=names),
        bootstrap(other_scores, groups=names),
        paired_difference(torch.stack(paired), other_scores, groups=names),
        own_scores,
        other_scores,
    )
