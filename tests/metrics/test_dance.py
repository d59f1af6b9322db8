"""Beats and dance features against cases solved by hand."""

from __future__ import annotations

import math

import pytest
import torch

from kinestream.errors import BadInputError
from kinestream.metrics import (
    beat_alignment,
    beat_alignment_control,
    beat_alignment_table,
    feature_scores,
    geometric_features,
    kinetic_features,
    motion_beats,
    published_pose,
    song_permutation_p,
    standardized,
    step_beats,
    still_seconds,
)
from kinestream.metrics.beats import smoothed
from kinestream.metrics.geometric import L_TOES, QUESTIONS, R_WRIST
from kinestream.skeleton import forward_kinematics, smpl22


def swaying(fps: float, seconds: float, rests_s: float, first_s: float) -> torch.Tensor:
    """One joint whose speed is 0 each `rests_s` seconds, for the first time after `first_s`."""
    t = torch.arange(int(seconds * fps) + 1, dtype=torch.float64) / fps
    place = t - rests_s / (2 * math.pi) * torch.sin(2 * math.pi * (t - first_s) / rests_s)
    return torch.stack((place, torch.zeros_like(t), torch.zeros_like(t)), dim=-1)[:, None]


@pytest.mark.parametrize("fps", [25.0, 30.0, 60.0])
def test_beats_are_where_the_body_rests_at_any_rate(fps: float) -> None:
    beats = motion_beats(swaying(fps, 4.2, 0.7, 0.4), fps)
    expected = [0.4 + 0.7 * k for k in range(6)]
    assert len(beats) == 6
    assert beats.tolist() == pytest.approx(expected, abs=0.5 / fps + 1e-6)


def test_published_beats_are_half_a_frame_early_and_miss_a_rest_between_two_frames() -> None:
    joints = swaying(30.0, 4.2, 0.7, 0.41)
    torch.testing.assert_close(motion_beats(joints, 30.0, compat=True), motion_beats(joints, 30.0) - 0.5 / 30.0)
    between = swaying(30.0, 4.2, 0.7, 0.4)
    assert len(motion_beats(between, 30.0, compat=True)) < len(motion_beats(between, 30.0)) == 6


def test_less_smoothing_finds_quick_steps() -> None:
    joints = swaying(30.0, 4.2, 0.25, 0.1)
    assert len(motion_beats(joints, 30.0, smoothing_s=0.05)) == 17
    slow_and_quick = joints + 3.0 * swaying(30.0, 4.2, 1.4, 0.4)
    assert len(motion_beats(slow_and_quick, 30.0)) < len(motion_beats(slow_and_quick, 30.0, smoothing_s=0.05))
    with pytest.raises(BadInputError, match="positive smoothing"):
        motion_beats(joints, 30.0, smoothing_s=0.0)


@pytest.mark.parametrize("fps", [30.0, 60.0])
def test_step_beats_are_where_feet_brake_hardest(fps: float) -> None:
    joints = torch.zeros(int(4.2 * fps) + 1, 22, 3, dtype=torch.float64)
    joints[:, [7, 8, 10, 11]] = swaying(fps, 4.2, 0.7, 0.4)  # at rest at 0.4 s, braking hardest a quarter before
    joints[:, [1, 2, 4, 5]] = swaying(fps, 4.2, 0.31, 0.1)  # knees play no part
    beats = step_beats(joints, fps)
    assert beats.tolist() == pytest.approx([0.4 - 0.7 / 4 + 0.7 * k for k in range(6)], abs=0.7 / fps)
    assert len(step_beats(torch.ones(60, 22, 3), fps)) == 0
    with pytest.raises(BadInputError, match="positive smoothing"):
        step_beats(joints, fps, smoothing_s=0.0)
    with pytest.raises(BadInputError, match="at least 22 joints"):
        step_beats(joints[:, :20], fps)


def test_step_beats_tell_a_dance_s_song_from_others_where_rests_do_not() -> None:
    tempi = [0.50, 0.55, 0.61, 0.67]
    bodies = [torch.zeros(481, 22, 3, dtype=torch.float64) for _ in tempi]
    for body, period in zip(bodies, tempi, strict=True):
        body[:, [7, 8, 10, 11]] = swaying(60.0, 8.0, period, 0.2)
        body[:, [0, 3, 6, 9, 12, 15, 16, 17]] = 3.0 * swaying(60.0, 8.0, 1.7, 0.3)  # a trunk that sways as it likes
    music = [0.2 - period / 4 + period * torch.arange(1, 11, dtype=torch.float64) for period in tempi]
    gains = [
        beat_alignment_control([find(body, 60.0) for body in bodies], music, [8.0] * 4).gain.value
        for find in (step_beats, motion_beats)
    ]
    assert gains[0] > 0.3
    assert gains[0] > 3.0 * gains[1]


def test_songs_that_fit_best_where_they_are_have_the_smallest_p_and_shuffled_ones_do_not() -> None:
    generator = torch.Generator().manual_seed(0)
    songs = [f"song {k // 3}" for k in range(18)]  # six songs, three windows each
    noise = torch.rand(18, 18, generator=generator, dtype=torch.float64)
    belongs = torch.eye(18, dtype=torch.float64)  # a window has its own stretch of its song
    assert song_permutation_p(noise + 2.0 * belongs, songs, 5_000) < 5.0 / 720
    assert song_permutation_p(noise - 2.0 * belongs, songs, 1_000) > 0.5
    assert song_permutation_p(torch.ones(18, 18), songs, 100) == 1.0
    with pytest.raises(BadInputError, match="at least 4 songs"):
        song_permutation_p(noise[:9, :9], songs[:9])
    with pytest.raises(BadInputError, match=r"scores \[N, N\] and N songs"):
        song_permutation_p(noise, songs[:9])


def test_p_is_as_small_as_it_says_when_songs_and_dances_have_nothing_in_common() -> None:
    generator = torch.Generator().manual_seed(2)
    songs = list(range(6))
    found = [song_permutation_p(torch.rand(6, 6, generator=generator), songs, 200) for _ in range(300)]
    assert sum(p <= 0.1 for p in found) / len(found) == pytest.approx(0.1, abs=0.05)


def test_the_table_holds_each_dance_s_alignment_with_each_song() -> None:
    music = [torch.tensor([0.5, 1.0]), torch.tensor([0.6, 1.2])]
    table = beat_alignment_table(music, music)
    assert table.diagonal().tolist() == [1.0, 1.0]
    assert float(table[0, 1]) == pytest.approx(float(beat_alignment(music[0], music[1])))


def test_a_second_is_still_when_the_body_hardly_moves_all_through_it() -> None:
    joints = torch.zeros(100, 22, 3)
    joints[30:, :, 0] = torch.arange(70)[:, None] * 0.2 / 30.0  # 0.2 m/s from the second second on
    assert still_seconds(joints, 30.0).tolist() == [True, False, False]
    assert still_seconds(joints, 30.0, speed_mps=0.3).tolist() == [True, True, True]
    assert still_seconds(joints.expand(2, -1, -1, -1), 50.0).shape == (2, 2)
    with pytest.raises(BadInputError, match="at least 30 frames"):
        still_seconds(joints[:20], 30.0)
    with pytest.raises(BadInputError, match="positive speed"):
        still_seconds(joints, 30.0, speed_mps=0.0)


def test_smoothing_keeps_constants_and_mirrors_the_ends() -> None:
    torch.testing.assert_close(smoothed(torch.ones(3), 5.0), torch.ones(3))
    ramp = torch.arange(50.0).double()
    torch.testing.assert_close(smoothed(ramp, 2.0)[20:30], ramp[20:30])
    assert smoothed(ramp, 2.0)[0] > 0.5


def test_beat_alignment_falls_off_like_a_gaussian() -> None:
    music = torch.tensor((1.0, 2.0, 3.0)).double()
    assert float(beat_alignment(music, music)) == 1.0
    assert float(beat_alignment(music + 0.1, music)) == pytest.approx(math.exp(-0.5))
    assert float(beat_alignment(music[:1], music)) == pytest.approx(1 / 3, abs=1e-6)
    assert float(beat_alignment(music[:1], music, over="motion")) == 1.0
    assert float(beat_alignment(music[:1], music, over="both")) == pytest.approx(2 / 3, abs=1e-6)


def test_a_trembling_body_wins_over_music_but_not_over_motion_nor_its_control() -> None:
    generator = torch.Generator().manual_seed(0)
    music = [0.5 * torch.rand(1, generator=generator).double() + 0.5 * torch.arange(8) for _ in range(12)]
    everywhere = torch.arange(0.0, 4.5, 0.05).double()
    assert float(beat_alignment(everywhere, music[0])) > 0.9
    assert float(beat_alignment(everywhere, music[0], over="motion")) < 0.6
    control = beat_alignment_control([everywhere] * 12, music, [4.5] * 12)
    assert abs(control.gain.value) < 0.02
    danced = beat_alignment_control(music, music, [4.5] * 12)
    assert danced.own.value == 1.0
    assert danced.gain.value > 0.3
    assert danced.gain.excludes(0.0)


def test_windows_of_one_song_are_not_each_others_control() -> None:
    beat = torch.arange(0.2, 4.0, 0.5).double()
    off = beat + 0.25
    control = beat_alignment_control([beat, beat, off], [beat, beat, off], [4.0, 4.0, 4.5], songs=["a", "a", "b"])
    assert control.own_scores.tolist() == [1.0, 1.0, 1.0]
    assert control.other_scores.max() < 0.2
    with pytest.raises(BadInputError, match="at least 2 songs"):
        beat_alignment_control([beat, beat], [beat, beat], [4.0, 4.0], songs=["a", "a"])
    with pytest.raises(BadInputError, match="2 dances, 1 sets"):
        beat_alignment_control([beat, beat], [beat], [4.0, 4.0])
    with pytest.raises(BadInputError, match="dance 0 shares no stretch"):
        beat_alignment_control([beat, beat], [beat, beat + 10.0], [4.0, 14.0])


def test_music_without_beats_is_an_error_and_a_still_body_scores_nothing() -> None:
    nothing = torch.zeros(0)
    with pytest.raises(BadInputError, match="at least one beat of the music"):
        beat_alignment(torch.ones(2), nothing)
    assert float(beat_alignment(nothing, torch.ones(2))) == 0.0
    assert len(motion_beats(torch.zeros(50, 3, 3), 30.0)) == 0
    steady = torch.arange(50.0)[:, None, None] * torch.tensor((0.03, 0.0, 0.04))
    assert len(motion_beats(steady, 30.0)) == 0, "rounding is no beat"
    with pytest.raises(BadInputError, match="positive tolerance"):
        beat_alignment(torch.ones(2), torch.ones(2), tolerance_s=0.0)
    with pytest.raises(BadInputError, match="at least 2 frames"):
        motion_beats(torch.zeros(1, 3, 3), 30.0)


@pytest.mark.parametrize("fps", [25.0, 30.0, 60.0])
def test_kinetic_features_of_a_throw_are_speed_squared_and_gravity(fps: float) -> None:
    t = torch.arange(40, dtype=torch.float64) / fps
    path = torch.stack((3.0 * t, torch.zeros_like(t), 4.0 * t), dim=-1)
    fall = torch.stack((torch.zeros_like(t), -0.5 * 9.81 * t.square(), torch.zeros_like(t)), dim=-1)
    energy = kinetic_features(torch.stack((path, fall), dim=1), fps)
    assert energy[:3].tolist() == pytest.approx([25.0, 0.0, 0.0], abs=1e-6)
    assert float(energy[3]) == pytest.approx(0.0, abs=1e-9)
    assert float(energy[5]) == pytest.approx(9.81)


def test_compat_keeps_the_published_slips_and_the_default_does_not() -> None:
    joints = torch.rand(40, 22, 3, generator=torch.Generator().manual_seed(0)).double()
    far = joints + torch.tensor((100.0, 0.0, 50.0))
    torch.testing.assert_close(kinetic_features(far, 30.0), kinetic_features(joints, 30.0))
    published, moved = (kinetic_features(x, 30.0, compat=True) for x in (joints, far))
    assert float(moved[2]) > 10 * float(published[2])
    torch.testing.assert_close(published[:2], 4.0 * kinetic_features(joints, 30.0)[:2])
    quick = QUESTIONS.index(next(q for q in QUESTIONS if q.kind == "fast"))
    slow = torch.zeros(10, 22, 3).double()
    slow[:, R_WRIST, 0] = torch.arange(10) * 0.2 / 30.0
    assert float(geometric_features(slow, 30.0)[quick]) == 0.0
    assert float(geometric_features(slow, 30.0, compat=True)[quick]) == 1.0


def test_geometric_features_of_a_t_pose_are_what_it_does() -> None:
    rest, _ = forward_kinematics(smpl22(), torch.tensor((1.0, 0, 0, 0)).expand(22, 4), torch.zeros(3))
    still = rest.expand(6, 22, 3)
    features = geometric_features(still, 30.0)
    true = {k for k in range(32) if float(features[k]) == 1.0}
    # Hands apart by more than 2.5 shoulders; both upper arms away from the spine.
    assert {8, 23, 24} <= true
    assert not true & {0, 1, 6, 7, 12, 13, 16, 17, 19, 20, 21, 22, 28, 31}
    turned = still[..., [2, 1, 0]] * torch.tensor((1.0, 1.0, -1.0)) + torch.tensor((4.0, 1.0, -2.0))
    assert torch.equal(geometric_features(turned, 30.0), features)
    kicking = still.clone()
    kicking[:, [7, L_TOES], 1] += 0.6
    assert float(geometric_features(kicking, 30.0)[17]) == 1.0


def test_features_of_many_clips_at_once_are_those_of_each_alone() -> None:
    clips = torch.rand(3, 20, 22, 3, generator=torch.Generator().manual_seed(0))
    for features in (kinetic_features, geometric_features):
        torch.testing.assert_close(features(clips, 30.0), torch.stack([features(clip, 30.0) for clip in clips]))
    torch.testing.assert_close(published_pose(clips)[1], published_pose(clips[1]))


def test_a_feature_that_no_real_dance_has_does_not_decide_everything() -> None:
    generator = torch.Generator().manual_seed(0)
    real, generated = torch.rand(50, 4, generator=generator), torch.rand(50, 4, generator=generator)
    real[:, 3] = 0.0
    generated[:, 3] = 0.0
    generated[0, 3] = 0.01
    assert feature_scores(generated, real).fid < 1.0
    assert feature_scores(generated, real, compat=True).fid > 1e6
    assert standardized(real, real)[:, 3].abs().max() == 0.0


def test_too_few_dances_and_missing_joints_are_one_clear_error() -> None:
    for call, says in (
        (lambda: feature_scores(torch.ones(1, 66), torch.ones(50, 66)), "at least 2 dances in each set"),
        (lambda: feature_scores(torch.ones(9, 66), torch.ones(9, 72)), "equal width"),
        (lambda: geometric_features(torch.ones(9, 21, 3), 30.0), "at least 22 joints"),
        (lambda: kinetic_features(torch.ones(2, 22, 3), 30.0), "at least 3 frames"),
        (lambda: kinetic_features(torch.full((9, 22, 3), torch.inf), 30.0), "NaN or infinite"),
    ):
        with pytest.raises(BadInputError, match=says):
            call()
