"""Dance with Melody: markers to a body that stands, faces and bends as the dancer did."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.data.dance.standing_root import standing_slide_m
from kinestream.data.sources.dance_with_melody import FPS, DanceWithMelody, read_markers
from kinestream.data.sources.dance_with_melody_body import residual_mm, solve
from kinestream.data.sources.dance_with_melody_markers import prepared, take_share
from kinestream.errors import BadInputError
from kinestream.features import motion_from_motion272
from kinestream.motion import Motion, resample
from kinestream.rotations import quat_about_axis, quat_angle_rad, quat_rotate
from kinestream.skeleton.position_ik import bounded_turn, joint_centre, level_floor, level_knee, named_sideways
from tests.data.dances import markers_on, write_dance_with_melody


@pytest.fixture(scope="module")
def known(reference_dir: Path) -> Motion:
    """Twenty seconds of a real SMPL-22 motion at 25 fps."""
    features = np.load(reference_dir / "motion272" / "sample.npz")["representation"][:600]
    return resample(motion_from_motion272(torch.from_numpy(features)), FPS)


@pytest.fixture(scope="module")
def melody_dir(shared_dir: Path) -> Path:
    path = shared_dir / "data" / "dance-with-melody"
    if not path.is_dir():
        pytest.skip(f"needs Dance with Melody: {path} is missing")
    return path


def test_a_known_body_comes_back_from_its_markers(known: Motion) -> None:
    """Joints within 5 cm (collars, of which nothing is seen, 6).

    Orientations but for what markers leave open: tilt of pelvis and head, roll of forearms.
    """
    solved = solve(prepared(markers_on(known), FPS), FPS).motion
    drop = solved.joint_positions_m() - known.joint_positions_m()
    error = (drop - drop[..., 1:2].mean() * torch.tensor((0.0, 1.0, 0.0))).norm(dim=-1).mean(dim=0)
    names = known.skeleton.joint_names
    assert {n: round(float(e), 3) for n, e in zip(names, error, strict=True) if e > 0.05 + 0.01 * ("collar" in n)} == {}
    turned = torch.rad2deg(quat_angle_rad(solved.world_rotations(), known.world_rotations()).mean(dim=0))
    for part, most in (
        ("pelvis", 20),
        ("hip", 20),
        ("knee", 20),
        ("ankle", 15),
        ("shoulder", 30),
        ("elbow", 55),
        ("head", 25),
    ):
        for name in names:
            if name.endswith(part):
                assert turned[names.index(name)] < most, (name, float(turned[names.index(name)]))


@pytest.mark.parametrize(("identity", "most_mm"), [("C_7", 16.0), ("R_3", 20.0), ("T_5", 15.0), ("W_1", 15.0)])
def test_real_dances_are_met_and_look_right(melody_dir: Path, identity: str, most_mm: float) -> None:
    source = DanceWithMelody()
    recording = next(r for r in source.find(melody_dir).recordings if r.recording_id == identity)
    dance = source.read(recording)
    assert dance.facts["residual_mm"]["mean"] < most_mm
    motion = dance.motion
    positions, world = motion.joint_positions_m(), motion.world_rotations()
    names = motion.skeleton.joint_names
    for side in ("left", "right"):
        # Knees bend backwards with the shin, never forwards: the local turn is about +X.
        knee = motion.local_rotations[:, names.index(f"{side}_knee")]
        knee = knee * torch.sign(knee[:, :1])
        assert (knee[:, 1] > -0.12).float().mean() > 0.99
        # Toes point away from the heels where the foot faces, and shins stand over feet.
        foot = quat_rotate(world[:, names.index(f"{side}_ankle")], torch.tensor((0.0, 0.0, 1.0)).expand(len(world), 3))
        toes = positions[:, names.index(f"{side}_foot")] - positions[:, names.index(f"{side}_ankle")]
        assert ((foot * toes).sum(-1) > 0).all()
    forward = quat_rotate(world[:, 0], torch.tensor((0.0, 0.0, 1.0)).expand(len(world), 3))
    feet = sum(
        quat_rotate(world[:, names.index(f"{side}_ankle")], torch.tensor((0.0, 0.0, 1.0)).expand(len(world), 3))
        for side in ("left", "right")
    )
    assert ((forward * feet).sum(-1) > 0).float().mean() > 0.97
    lowest = positions[:, [7, 8, 10, 11], 1].amin(dim=1)
    assert lowest.min() > -0.08
    assert lowest.quantile(0.9) - lowest.quantile(0.1) < 0.08
    assert float(positions[:, 15, 1].median()) > 1.2
    # Heads look where chests do within what necks allow, and collar bones turn as little as collar bones do.
    angles = torch.rad2deg(quat_angle_rad(world, world[:, names.index("spine3")][:, None]).flatten(1))
    assert angles[:, names.index("head")].max() < 120.0
    assert angles[:, [names.index("left_collar"), names.index("right_collar")]].max() < 30.0


def test_standing_feet_of_real_dances_do_not_slide(melody_dir: Path) -> None:
    """As recorded, the stillest sole point moves at 0.1 to 0.2 m/s in half of the frames, along Z."""
    for identity in ("C_7", "W_20"):
        markers = read_markers(melody_dir / "motion" / f"{identity}.npz")
        given = prepared(markers, FPS)
        before, after = _slowest(markers), _slowest(given.markers_m)
        assert float(before.median()) > 0.1
        assert float(after.median()) < 0.02
        assert float(after.quantile(0.75)) < 0.05
        slid = torch.gradient(given.slide_m, dim=0)[0].abs().mean(dim=0) * FPS
        assert slid[2] > 4.0 * slid[0]


def _slowest(markers: torch.Tensor) -> torch.Tensor:
    speed = torch.gradient(markers[:, [10, 11, 19, 20]], dim=0)[0][..., [0, 2]].norm(dim=-1) * FPS
    slowest: torch.Tensor = speed.amin(dim=1)
    return slowest


def test_a_wrong_track_is_found_again_from_standing_feet(known: Motion) -> None:
    markers = markers_on(known)
    time = torch.arange(len(markers), dtype=torch.float64) / FPS
    wrong = markers.clone()
    wrong[..., 2] += (0.4 * torch.sin(1.3 * time) + 0.1 * time)[:, None]
    recovered = wrong - _slide(wrong)[:, None]
    way = (recovered - markers)[:, 7]
    assert (wrong - markers)[:, 7, 2].diff().abs().mean() * FPS > 0.2
    assert way.diff(dim=0).norm(dim=-1).mean() * FPS < 0.06
    assert not _slide(markers).any()
    assert not _slide(markers[:2]).any()


def _slide(markers: torch.Tensor) -> torch.Tensor:
    soles = markers[:, [10, 11, 19, 20]]
    return standing_slide_m(soles, soles[..., 1].quantile(0.1, dim=0), FPS)


def test_bodies_of_two_takes_have_one_size(melody_dir: Path) -> None:
    given = prepared(read_markers(melody_dir / "motion" / "R_3.npz"), FPS)
    first, second = given.takes
    for a, b in ((7, 8), (8, 9), (16, 17), (3, 4)):
        length = (given.markers_m[:, a] - given.markers_m[:, b]).norm(dim=-1)
        assert float((length[first].median() / length[second].median()).log().abs()) < 0.1, (a, b)


def test_swapped_names_are_found_and_swapped_markers_leave_the_head_alone(known: Motion) -> None:
    markers = markers_on(known)
    swapped = markers.clone()
    swapped[200:260, :2] = markers[200:260, :2].flip(1)
    plain, other = (solve(prepared(given, FPS), FPS) for given in (markers, swapped))
    assert other.head_swapped[200:260].all()
    assert not plain.head_swapped.any()
    head = known.skeleton.index("head")
    angle = quat_angle_rad(plain.motion.world_rotations(), other.motion.world_rotations())[:, head]
    assert torch.rad2deg(angle).max() < 3.0
    assert residual_mm(other, prepared(swapped, FPS)) == residual_mm(plain, prepared(markers, FPS))
    lines = torch.tensor([[1.0, 0.1, 0.0]] * 99 + [[-1.0, 0.0, 0.0]])
    assert not named_sideways(lines)[1].any()


def test_turns_are_bounded_smoothly() -> None:
    angles = torch.linspace(0.0, 3.0, 301, dtype=torch.float64)
    bounded = quat_angle_rad(bounded_turn(quat_about_axis(angles, "Y"), 0.7, 1.2), quat_about_axis(0.0 * angles, "Y"))
    assert (bounded[:70] - angles[:70]).abs().max() < 1e-6
    assert bounded.max() <= 1.2
    assert (bounded.diff() > -1e-9).all()


def test_knee_markers_beside_the_knee_do_not_turn_the_leg() -> None:
    generator = torch.Generator().manual_seed(0)
    ahead = 0.1 * torch.rand(200, generator=generator, dtype=torch.float64)
    zero = torch.zeros_like(ahead)
    hip = torch.stack((zero, zero + 0.9, zero), dim=1)
    ankle = torch.zeros_like(hip)
    knee = torch.stack((zero + 0.05, zero + 0.45, ahead), dim=1)
    side = torch.tensor((1.0, 0.0, 0.0), dtype=torch.float64).expand_as(hip)
    assert float(level_knee(hip, knee, ankle, side)) == pytest.approx(0.05)


def test_takes_of_two_bodies_are_told_apart(melody_dir: Path, known: Motion) -> None:
    share = take_share(read_markers(melody_dir / "motion" / "W_1.npz"), FPS)
    assert 0.2 < float(share.mean()) < 0.4
    assert (share[:100] > 0.9).all()
    assert (share[400:900] < 0.1).all()
    assert not take_share(markers_on(known), FPS).any()


def test_a_climbing_floor_is_levelled() -> None:
    time = torch.arange(1500, dtype=torch.float64) / 25.0
    drift = 0.3 * torch.sigmoid((time - 30.0) * 0.7)
    steps = 0.08 * torch.sin(time * 9.0).clamp_min(0.0)
    floor = level_floor(drift + steps, 25.0)
    assert (floor - drift).abs().max() < 0.05
    assert level_floor(torch.tensor([0.2, 0.1], dtype=torch.float64), 25.0).tolist() == [0.1, 0.1]


def test_joint_centres_are_where_the_next_joint_turns_about() -> None:
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(800, 3, generator=generator, dtype=torch.float64), dim=-1)
    frame = quat_about_axis(torch.linspace(0, 6, 800, dtype=torch.float64), "Y")
    centre = torch.tensor((-0.03, -0.09, -0.01), dtype=torch.float64)
    marker = torch.randn(800, 3, generator=generator, dtype=torch.float64)
    after = marker + quat_rotate(frame, centre + 0.4 * directions)
    assert (joint_centre(frame, marker, after, (-0.02, -0.08, -0.02)) - centre).norm() < 0.004


def test_what_the_index_lists_is_found(melody_dir: Path) -> None:
    listing = DanceWithMelody().find(melody_dir)
    assert len(listing.recordings) == 43
    assert not listing.rejects
    assert {r.genre for r in listing.recordings} == {"cha-cha", "rumba", "tango", "waltz"}
    assert sum(r.audio is not None for r in listing.recordings) == 38
    by_id = {r.recording_id: r for r in listing.recordings}
    assert by_id["C_2"].music_start_s == 156 / 25
    assert by_id["C_9"].audio is None


def test_files_that_are_none_are_refused(known: Motion, tmp_path: Path) -> None:
    folder = write_dance_with_melody(tmp_path / "set", [("W_1", "waltz", markers_on(known)[:60], None)])
    with pytest.raises(BadInputError, match="index"):
        DanceWithMelody().find(tmp_path)
    index = json.loads((folder / "index.json").read_text())
    index["sequences"] += [
        {"id": "X"},
        {**index["sequences"][0], "id": "W_2"},
        {**index["sequences"][0], "id": "../W_1"},
    ]
    (folder / "index.json").write_text(json.dumps(index))
    listing = DanceWithMelody().find(folder)
    assert [r.recording_id for r in listing.recordings] == ["W_1"]
    assert len(listing.rejects) == 3
    for arrays in ({"joints": np.zeros((60, 20, 3)), "center": np.zeros((60, 3))}, {"joints": np.zeros((9, 23, 3))}):
        np.savez(folder / "motion" / "W_1.npz", **arrays)
        with pytest.raises(BadInputError):
            DanceWithMelody().read(listing.recordings[0])
