"""Inspection: every way of breaking a real recording is seen by its check, at its frames, and real ones are clean."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.broken_motion import BREAKAGES
from kinestream.errors import BadInputError
from kinestream.io import read_motion
from kinestream.metrics.inspection import (
    ANY_SKELETON,
    CHECKS,
    Body,
    Inspection,
    body_motion,
    inspect_motion,
    self_collision,
)
from kinestream.metrics.inspection.joint_limits import joint_angles_deg, joint_limits_of_body, swing_twist
from kinestream.metrics.inspection.self_collision import capsule_pairs, capsules, segment_distance_m
from kinestream.metrics.inspection.spans import spans_where
from kinestream.motion import Motion, mirror, resample
from kinestream.rotations import quat_about_axis, quat_from_rotvec, quat_multiply
from kinestream.skeleton import smpl22
from tests.io.walking import crane

FIRST, LAST = 30, 59
CLIPS = ("dataset-2_wave-right-hand_normal_001", "dataset-2_walk_exhausted_001", "dataset-1_bow_normal_001")


@pytest.fixture(scope="module")
def recordings(bandai_namco_dir: Path) -> dict[str, Motion]:
    """Real clips on SMPL-22."""
    found = {}
    for name in CLIPS:
        (path,) = bandai_namco_dir.rglob(f"{name}.bvh")
        found[name] = body_motion(read_motion(path).slice(0, 120))[0]
    return found


def flagged(inspection: Inspection, check: str, part: str | None = None) -> torch.Tensor:
    """Frames [T] that a check found something in."""
    frames = torch.zeros(inspection.frames, dtype=torch.bool)
    for finding in inspection.findings:
        if finding.check == check and part in (None, finding.part):
            frames[finding.first : finding.last + 1] = True
    return frames


@pytest.mark.parametrize("clip", CLIPS)
def test_a_real_recording_is_clean(recordings: dict[str, Motion], clip: str) -> None:
    inspection = inspect_motion(recordings[clip])
    assert inspection.findings == ()
    assert inspection.penalty == 0.0
    assert set(inspection.flagged_share) == set(CHECKS)


@pytest.mark.parametrize("name", BREAKAGES)
@pytest.mark.parametrize("clip", CLIPS[:2])
def test_each_breakage_is_seen_by_its_check_at_its_frames(recordings: dict[str, Motion], name: str, clip: str) -> None:
    breakage = BREAKAGES[name]
    inspection = inspect_motion(breakage.make(recordings[clip], FIRST, LAST))
    seen = flagged(inspection, breakage.check, breakage.part)
    wrong = torch.zeros_like(seen)
    wrong[FIRST : LAST + 1] = True
    assert (seen & wrong).sum() >= 0.8 * wrong.sum(), seen.nonzero().flatten().tolist()
    near = torch.zeros_like(seen)
    near[FIRST - 4 : LAST + 5] = True
    assert not (seen & ~near).any()
    assert inspection.penalty > 0.0


@pytest.mark.parametrize("fps", [60.0, 120.0, 20.0])
def test_findings_do_not_depend_on_the_rate(recordings: dict[str, Motion], fps: float) -> None:
    clean = recordings[CLIPS[0]]
    assert inspect_motion(resample(clean, fps)).findings == ()
    first, last = round(FIRST / 30 * fps), round(LAST / 30 * fps)
    for breakage in BREAKAGES.values():
        inspection = inspect_motion(breakage.make(resample(clean, fps), first, last))
        assert flagged(inspection, breakage.check)[first : last + 1].float().mean() > 0.75, breakage.check


def test_mirrored_motions_have_mirrored_findings(recordings: dict[str, Motion]) -> None:
    for name in ("arm in trunk", "knee backwards", "feet slid"):
        broken = BREAKAGES[name].make(recordings[CLIPS[0]], FIRST, LAST)
        left, right = inspect_motion(broken), inspect_motion(mirror(broken))
        parts = {finding.part for finding in left.findings if finding.check == BREAKAGES[name].check}
        mirrored = {finding.part for finding in right.findings if finding.check == BREAKAGES[name].check}
        swapped = {part.replace("left", "L").replace("right", "left").replace("L", "right") for part in parts}
        assert mirrored == swapped


def test_a_finding_says_what_where_when_and_how_badly(recordings: dict[str, Motion]) -> None:
    inspection = inspect_motion(BREAKAGES["knee backwards"].make(recordings[CLIPS[0]], FIRST, LAST))
    (finding,) = (finding for finding in inspection.findings if finding.check == "joint_limits")
    assert (finding.part, finding.detail, finding.joint) == ("right leg", "right knee hyperextension", "right_knee")
    assert (finding.first, finding.last) == (FIRST, LAST)
    assert (finding.start_s, finding.end_s) == (FIRST / 30, (LAST + 1) / 30)
    assert finding.worst == pytest.approx(math.degrees(0.9) - 18.0, abs=0.5)
    assert (finding.unit, finding.severity) == ("deg", "severe")


def test_a_jump_that_falls_freely_does_not_float() -> None:
    frames = 60
    rise = torch.zeros(frames)
    flight = torch.arange(18) / 30.0
    rise[20:38] = 9.81 * flight * (17 / 30.0 - flight) / 2.0
    root = torch.zeros(frames, 3)
    still = torch.zeros(frames, 22, 4)
    still[..., 0] = 1.0
    root[:, 1] = -float(Motion(smpl22(), still, root, 30.0).joint_positions_m()[0, :, 1].min())
    jump, hover = root.clone(), root.clone()
    jump[:, 1] += rise
    hover[20:38, 1] += 0.3
    assert not flagged(inspect_motion(Motion(smpl22(), still, jump, 30.0)), "floating").any()
    assert flagged(inspect_motion(Motion(smpl22(), still, hover, 30.0)), "floating")[20:38].all()


def test_standing_with_a_tremble_is_alive_and_a_pose_of_one_frame_is_no_dead_stream() -> None:
    still = torch.zeros(60, 22, 4)
    still[..., 0] = 1.0
    root = torch.zeros(60, 3)
    root[:, 1] = 0.93
    motion = Motion(smpl22(), still, root, 30.0)
    assert flagged(inspect_motion(motion), "frozen").all()
    breathing = root + 0.0005 * torch.sin(torch.arange(60) / 15.0)[:, None]
    assert not flagged(inspect_motion(replace(motion, root_position_m=breathing)), "frozen").any()
    assert inspect_motion(motion.slice(0, 1)).findings == ()


def test_other_skeletons_get_the_checks_that_need_no_body() -> None:
    inspection = inspect_motion(crane(40))
    assert set(inspection.flagged_share) == set(ANY_SKELETON)
    assert set(inspection.skipped) == set(CHECKS) - set(ANY_SKELETON)
    assert "no human body" in inspection.how


def test_a_body_needs_smpl_joints() -> None:
    with pytest.raises(BadInputError, match="smpl22"):
        Body.of(crane(4))


def test_swing_and_twist_make_the_rotation_again() -> None:
    q = quat_from_rotvec(torch.randn(50, 3, generator=torch.Generator().manual_seed(1)))
    for axis in range(3):
        swing, twist = swing_twist(q, axis)
        assert torch.allclose(quat_multiply(swing, twist), q, atol=1e-6)
        assert float(swing[:, 1 + axis].abs().max()) < 1e-6
        others = [k for k in range(3) if k != axis]
        assert float(twist[:, [1 + k for k in others]].abs().max()) == 0.0


def test_ranges_hold_zero_and_flexion_is_measured_in_degrees() -> None:
    for limit in joint_limits_of_body():
        assert all(low <= 0.0 <= high for low, high in zip(limit.low_deg, limit.high_deg, strict=True))
    rotations = torch.zeros(1, 22, 4)
    rotations[..., 0] = 1.0
    rotations[:, smpl22().index("left_knee")] = quat_about_axis(torch.tensor([1.2]), "X")
    (knee,) = (limit for limit in joint_limits_of_body() if limit.name == "left knee")
    assert torch.allclose(joint_angles_deg(rotations, knee)[0], torch.tensor([math.degrees(1.2), 0.0, 0.0]), atol=1e-3)


def test_distances_of_segments_are_the_least_over_their_points() -> None:
    generator = torch.Generator().manual_seed(2)
    a, b, c, d = (torch.randn(200, 3, generator=generator) for _ in range(4))
    b[:20] = a[:20]
    d[20:40] = c[20:40] + (b - a)[20:40]
    t = torch.linspace(0.0, 1.0, 101)[:, None]
    first = a[:, None] + t * (b - a)[:, None]
    second = c[:, None] + t * (d - c)[:, None]
    least = torch.cdist(first, second).amin(dim=(1, 2))
    found = segment_distance_m(a, b, c, d)
    assert bool((found <= least + 1e-5).all())
    assert bool((found > least - 0.05).all())


def test_capsules_of_a_body_at_rest_are_apart_and_pairs_are_symmetric() -> None:
    pairs = set(capsule_pairs())
    swap = {"left": "right", "right": "left"}

    def mirrored(name: str) -> str:
        side, _, rest = name.partition("_")
        return f"{swap[side]}_{rest}" if side in swap else name

    for first, second in pairs:
        others = mirrored(first), mirrored(second)
        assert others in pairs or others[::-1] in pairs
    assert len(capsules()) == 16


def test_long_motions_are_gone_through_in_pieces(
    recordings: dict[str, Motion], monkeypatch: pytest.MonkeyPatch
) -> None:
    body = Body.of(BREAKAGES["arm in trunk"].make(recordings[CLIPS[0]], FIRST, LAST))
    whole = self_collision.self_collision(body).values
    monkeypatch.setattr(self_collision, "FRAMES_AT_ONCE", 7)
    assert torch.equal(self_collision.self_collision(body).values, whole)


def test_spans_close_gaps_and_leave_out_short_runs() -> None:
    flags = torch.tensor([0, 1, 1, 0, 1, 0, 0, 0, 1, 0, 1, 1, 1], dtype=torch.bool)
    assert spans_where(flags) == [(1, 2), (4, 4), (8, 8), (10, 12)]
    assert spans_where(flags, least=3, gap=1) == [(1, 4), (8, 12)]
    assert spans_where(torch.zeros(3, dtype=torch.bool)) == []
