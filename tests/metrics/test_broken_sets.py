"""No metric is blind: a deliberately broken set ranks worse than the real one on the metric that should see it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kinestream.metrics import (
    beat_alignment,
    beat_alignment_control,
    diversity,
    feature_scores,
    floating_share,
    floor_clearance_m,
    floor_penetration_m,
    foot_skating_ratio,
    frechet_distance,
    geometric_features,
    jitter_mps3,
    kinetic_features,
    latency_summary,
    mean_pairwise_distance,
    mean_transition_jerk,
    motion_beats,
    mpjpe_mm,
    multimodal_distance,
    multimodality,
    paired_difference,
    peak_jerk_mps3,
    penetration_share,
    physical_foot_contact,
    r_precision,
    retrieval_recall,
    still_seconds,
    transition_curve,
    transition_jerk,
)
from tests.metrics.clips import (
    FRAMES,
    TOES,
    Clips,
    collapsed,
    embedded,
    frozen,
    frozen_feet_lifted,
    noisy,
    raised,
    reversed_in_time,
    slid,
    slowed,
    torn,
)

MIDDLE = FRAMES // 2

# Figure of each clip, and what must make it worse (that is, higher) beyond noise.
PER_CLIP: dict[str, tuple[Callable[[Tensor, float], Tensor], Callable[[Tensor, float], Tensor]]] = {
    "skating: feet slid": (lambda j, fps: foot_skating_ratio(j[..., list(TOES), :], fps), slid),
    "contact: feet slid": (physical_foot_contact, slid),
    "jitter: noise added": (jitter_mps3, lambda j, fps: noisy(j)),
    "peak jerk: torn": (peak_jerk_mps3, lambda j, fps: torn(j, MIDDLE)),
    "penetration: sunk": (lambda j, fps: floor_penetration_m(j).mean(-1), lambda j, fps: raised(j, -0.06)),
    "penetrating share: sunk": (lambda j, fps: penetration_share(j), lambda j, fps: raised(j, -0.06)),
    "clearance: frozen feet lifted": (
        lambda j, fps: floor_clearance_m(j).mean(-1),
        lambda j, fps: frozen_feet_lifted(j),
    ),
    "floating share: frozen feet lifted": (lambda j, fps: floating_share(j), lambda j, fps: frozen_feet_lifted(j)),
}


@pytest.mark.parametrize("name", PER_CLIP)
def test_a_broken_clip_is_worse_than_the_real_one(name: str, any_clips: Clips) -> None:
    measure, breaks = PER_CLIP[name]
    real = measure(any_clips.joints, any_clips.fps)
    broken = measure(breaks(any_clips.joints, any_clips.fps), any_clips.fps)
    assert paired_difference(broken, real).low > 0.0, f"real {real.mean():.4g}, broken {broken.mean():.4g}"


@pytest.mark.parametrize("breaks", [noisy, reversed_in_time, frozen])
def test_mpjpe_sees_noise_reversal_and_freezing_in_a_reconstruction(
    breaks: Callable[[Tensor], Tensor], any_clips: Clips
) -> None:
    close = mpjpe_mm(noisy(any_clips.joints, 0.001), any_clips.joints)
    assert paired_difference(mpjpe_mm(breaks(any_clips.joints), any_clips.joints), close).low > 5.0


def test_transition_jerk_sees_a_cut_and_its_area_sees_a_frozen_switch(any_clips: Clips) -> None:
    joints, fps = any_clips.joints, any_clips.fps
    curves = torch.stack([transition_curve(clip, MIDDLE, fps) for clip in joints])
    baseline = float(curves.mean())
    real = [transition_jerk(clip, MIDDLE, fps, baseline_mps3=baseline) for clip in joints]
    cut = [transition_jerk(torn(clip, MIDDLE), MIDDLE, fps, baseline_mps3=baseline) for clip in joints]
    for part in range(2):
        difference = paired_difference(*(torch.stack([one[part] for one in rows]) for rows in (cut, real)))
        assert difference.low > 0.0
    still = [transition_jerk(frozen(clip), MIDDLE, fps) for clip in joints]
    assert max(float(one.peak) for one in still) == 0.0, "a frozen body wins the peak, as the docstring says"
    as_a_set = mean_transition_jerk(curves, baseline, fps)
    assert mean_transition_jerk(torch.zeros_like(curves), baseline, fps).area > 2 * as_a_set.area


def test_fid_sees_noise_reversal_freezing_and_collapse_but_not_shuffled_captions(many_clips: Clips) -> None:
    reference, other = many_clips.halves()
    scale = embedded(reference).std(dim=0)

    def fid(joints: Tensor) -> float:
        return float(frechet_distance(embedded(other.with_joints(joints)) / scale, embedded(reference) / scale))

    real = fid(other.joints)
    for breaks in (lambda j: noisy(j, 0.03), reversed_in_time, frozen, collapsed):
        assert fid(breaks(other.joints)) > 1.05 * real
    assert fid(other.joints.flip(0)) == pytest.approx(real, rel=1e-6), "order of the clips is what R-Precision sees"


def test_r_precision_and_multimodal_distance_see_shuffled_captions(many_clips: Clips) -> None:
    motion = embedded(many_clips)
    motion = (motion - motion.mean(dim=0)) / motion.std(dim=0)
    text = motion + 0.3 * torch.randn(motion.shape, generator=torch.Generator().manual_seed(1))
    wrong = text.roll(1, dims=0)
    assert (r_precision(text, motion) > r_precision(wrong, motion) + 0.3).all()
    assert multimodal_distance(wrong, motion) > 1.5 * multimodal_distance(text, motion)
    assert (retrieval_recall(text, motion) > retrieval_recall(wrong, motion) + 0.3).all()


def test_r_precision_sees_motion_that_runs_backwards(many_clips: Clips) -> None:
    forward, backward = (
        embedded(many_clips.with_joints(joints)) for joints in (many_clips.joints, reversed_in_time(many_clips.joints))
    )
    mean, scale = forward.mean(dim=0), forward.std(dim=0)
    text = (forward - mean) / scale + 0.3 * torch.randn(forward.shape, generator=torch.Generator().manual_seed(1))
    assert r_precision(text, (forward - mean) / scale)[0] > r_precision(text, (backward - mean) / scale)[0]
    assert multimodal_distance(text, (backward - mean) / scale) > multimodal_distance(text, (forward - mean) / scale)


def test_diversity_and_multimodality_see_collapse(many_clips: Clips) -> None:
    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(0)

    alive = embedded(many_clips)
    same = embedded(many_clips.with_joints(collapsed(many_clips.joints)))
    assert diversity(same, 20, generator()) < 0.2 * diversity(alive, 20, generator())
    assert mean_pairwise_distance(same) < 0.2 * mean_pairwise_distance(alive)
    prompts = alive[:40].reshape(4, 10, -1)
    one_each = prompts[:, :1].expand_as(prompts)
    assert multimodality(one_each, 5, generator()) < 0.2 * multimodality(prompts, 5, generator())


KINETIC_BREAKS = {"noise": noisy, "half as fast": slowed, "frozen": frozen, "collapsed": collapsed}
GEOMETRIC_BREAKS = {"reversed": reversed_in_time, "half as fast": slowed, "frozen": frozen, "collapsed": collapsed}


@pytest.mark.parametrize("broken", KINETIC_BREAKS)
def test_fid_k_sees_what_is_done_to_the_energy(broken: str, many_clips: Clips) -> None:
    _assert_worse(many_clips, kinetic_features, KINETIC_BREAKS[broken])


@pytest.mark.parametrize("broken", GEOMETRIC_BREAKS)
def test_fid_g_sees_what_is_done_to_poses_and_directions(broken: str, many_clips: Clips) -> None:
    _assert_worse(many_clips, geometric_features, GEOMETRIC_BREAKS[broken])


def _assert_worse(
    clips: Clips, features: Callable[[Tensor, float], Tensor], breaks: Callable[[Tensor], Tensor]
) -> None:
    reference, other = clips.halves()
    real = features(reference.joints, clips.fps)
    good = feature_scores(features(other.joints, clips.fps), real)
    bad = feature_scores(features(breaks(other.joints), clips.fps), real)
    assert bad.fid > 1.02 * good.fid, f"real {good.fid:.4g}, broken {bad.fid:.4g}"
    if breaks is collapsed:
        assert bad.diversity < 0.5 * good.diversity


def test_kinetic_features_are_blind_to_reversal_as_their_docstring_says(many_clips: Clips) -> None:
    forward, backward = (
        kinetic_features(joints, many_clips.fps) for joints in (many_clips.joints, reversed_in_time(many_clips.joints))
    )
    assert float((forward - backward).abs().median() / forward.abs().median()) < 0.05


def test_beat_alignment_sees_other_songs_reversal_and_freezing(many_clips: Clips) -> None:
    # Part of the body stands for the music that the rest dances to: the rhythm is real, and each clip has its own.
    joints, fps = many_clips.joints, many_clips.fps
    dancing, drumming = (list(part) for part in many_clips.rhythm)
    music = [motion_beats(clip[:, drumming], fps) for clip in joints]
    heard = [k for k, beats in enumerate(music) if len(beats)]
    music = [music[k] for k in heard]
    dance = [motion_beats(joints[k][:, dancing], fps) for k in heard]
    seconds = [FRAMES / fps] * len(heard)
    control = beat_alignment_control(dance, music, seconds)
    assert control.own.value > control.others.value
    assert control.gain.excludes(0.0)
    backward = [motion_beats(reversed_in_time(joints[k])[:, dancing], fps) for k in heard]
    turned = torch.stack([beat_alignment(a, b) for a, b in zip(backward, music, strict=True)])
    assert paired_difference(control.own_scores, turned).low > 0.0
    still = motion_beats(frozen(joints[0]), fps)
    assert float(beat_alignment(still, music[0])) == 0.0


def test_still_seconds_see_freezing_and_nothing_in_real_dances(any_clips: Clips) -> None:
    for joints in any_clips.joints[:8]:
        moving, stopped = (still_seconds(clip, any_clips.fps) for clip in (joints, frozen(joints)))
        assert bool(stopped.all())
        assert float(moving.double().mean()) < 0.5


def test_latency_sees_stutter_that_the_median_hides() -> None:
    steady = torch.full((400,), 0.02)
    stuttering = steady.clone()
    stuttering[::50] = 0.3
    good, bad = latency_summary(steady, first_s=0.1), latency_summary(stuttering, first_s=0.1)
    assert bad.median_s == good.median_s
    assert bad.p99_s > 10 * good.p99_s
