"""Dance with Melody: markers to a body that stands, faces and bends as the dancer did."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.data.position_ik import joint_centre, level_floor
from kinestream.data.sources.dance_with_melody import (
    FPS,
    DanceWithMelody,
    motion_from_markers,
    read_markers,
    take_share,
)
from kinestream.errors import BadInputError
from kinestream.features import motion_from_motion272
from kinestream.motion import Motion, resample
from kinestream.rotations import quat_about_axis, quat_angle_rad, quat_rotate
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
    """Joints within 5 cm; orientations but for what markers leave open: tilt of pelvis and head, roll of forearms."""
    solved = motion_from_markers(markers_on(known), FPS)
    drop = solved.joint_positions_m() - known.joint_positions_m()
    error = (drop - drop[..., 1:2].mean() * torch.tensor((0.0, 1.0, 0.0))).norm(dim=-1).mean(dim=0)
    names = known.skeleton.joint_names
    assert {n: round(float(e), 3) for n, e in zip(names, error, strict=True) if e > 0.05} == {}
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
