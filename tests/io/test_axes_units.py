"""Up axis, unit, rate and floor of files are recognised, said, and can be set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.errors import InputWarning
from kinestream.io import read_motion, read_motion_file
from kinestream.io.bvh import read_bvh, read_bvh_file, read_bvh_hierarchy, read_bvh_rig, write_bvh
from kinestream.io.motion_file import MotionFile
from kinestream.motion import Motion
from kinestream.skeleton import smpl22
from kinestream.skeleton.retarget import retarget
from tests.support.bodies import CONVENTIONS, STANDING_CM, Body, Vector

NAMES = CONVENTIONS["ready player me"]
PLAIN = Body(names=NAMES)

AXES: dict[str, Callable[[Vector], Vector]] = {
    "y": lambda v: v,
    "z": lambda v: (v[0], -v[2], v[1]),
    "x": lambda v: (v[1], -v[0], v[2]),
    "-y": lambda v: (v[0], -v[1], -v[2]),
}


def read(tmp_path: Path, body: Body, **options: float | str) -> MotionFile:
    path = tmp_path / "body.bvh"
    path.write_text(body.text(), encoding="utf-8")
    return read_bvh_file(path, **options)  # type: ignore[arg-type]


def assert_as_plain(tmp_path: Path, motion: Motion, atol: float = 2e-4) -> None:
    expected = read(tmp_path, PLAIN).motion
    torch.testing.assert_close(motion.joint_positions_m(), expected.joint_positions_m(), atol=atol, rtol=0)


@pytest.mark.parametrize("up", AXES)
def test_bodies_that_stand_along_other_axes_come_upright(tmp_path: Path, up: str) -> None:
    still = Body(names=NAMES, axes=AXES[up], turns={})
    found = read(tmp_path, still)
    assert (found.up, found.up_how) == (up, "rest pose and movement")
    positions = found.motion.joint_positions_m()
    plain = read(tmp_path, Body(names=NAMES, turns={})).motion
    torch.testing.assert_close(positions, plain.joint_positions_m(), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.motion.skeleton.offsets_m, plain.skeleton.offsets_m, atol=1e-6, rtol=0)


def test_a_body_that_rests_along_y_and_moves_along_z_comes_upright(tmp_path: Path) -> None:
    """The root turns the body from its rest pose into a world with Z up."""
    body = Body(names=NAMES, root_at=[(0, 0, STANDING_CM)] * 3, turns={"pelvis": (0, 90, 0)})
    found = read(tmp_path, body)
    assert (found.up, found.up_how) == ("z", "movement")
    positions = found.motion.joint_positions_m()
    assert float(positions[..., 1].min()) == pytest.approx(0.0, abs=1e-5)
    moved, _ = retarget(found.motion, smpl22())
    trunk = moved.joint_positions_m()[0, 12] - moved.joint_positions_m()[0, 0]
    assert float(trunk[1] / trunk.norm()) > 0.99


def test_a_body_that_lies_on_the_floor_stays_lying(tmp_path: Path) -> None:
    body = Body(names=NAMES, root_at=[(0, 12, 0), (0, 12, 200)], turns={"pelvis": (0, -90, 0)})
    found = read(tmp_path, body)
    assert found.up == "y"
    height = found.motion.joint_positions_m()[..., 1]
    assert float(height.max() - height.min()) < 0.5


def test_the_axis_that_is_given_counts(tmp_path: Path) -> None:
    found = read(tmp_path, Body(names=NAMES, axes=AXES["z"]), up="y")
    assert (found.up, found.up_how) == ("y", "given")
    height = found.motion.joint_positions_m()[..., 1]
    assert float(height.max() - height.min()) < 1.0
    strange = Body(
        names={role: f"b{k}" for k, role in enumerate(NAMES)}, left_out=("left_foot", "right_foot"), axes=AXES["z"]
    )
    assert read(tmp_path, strange).up_how == "the format's custom; no body is recognised"
    height = read(tmp_path, strange, up="z").motion.joint_positions_m()[..., 1]
    assert float(height.max() - height.min()) > 1.4


@pytest.mark.parametrize(
    ("name", "metres"), [("m", 1.0), ("dm", 0.1), ("cm", 0.01), ("mm", 0.001), ("in", 0.0254), ("ft", 0.3048)]
)
@pytest.mark.parametrize("size", [0.85, 1.0, 1.1])
def test_units_are_recognised_from_the_bodys_size(tmp_path: Path, name: str, metres: float, size: float) -> None:
    found = read(tmp_path, Body(names=NAMES, scale=size * 0.01 / metres))
    assert found.metres_per_unit == pytest.approx(metres)
    height = found.motion.joint_positions_m()[..., 1]
    assert float(height.max() - height.min()) == pytest.approx(size * 1.85, abs=0.1)


def test_the_unit_that_is_given_counts(tmp_path: Path) -> None:
    found = read(tmp_path, Body(names=NAMES, scale=0.1), metres_per_unit=0.01)
    assert (found.metres_per_unit, found.unit_how) == (0.01, "given")
    assert float(found.motion.joint_positions_m()[..., 1].max()) < 0.25


def test_bones_that_stand_in_position_channels_are_read_from_there(tmp_path: Path) -> None:
    every = "Xposition Yposition Zposition Zrotation Xrotation Yrotation"
    text = Body(names=NAMES, channels=every).text()
    head, frames = text.split("MOTION")
    lines = ["OFFSET 0 0 0" if line.startswith("OFFSET") else line for line in head.splitlines()]
    path = tmp_path / "zero.bvh"
    path.write_text("\n".join(lines) + "\nMOTION" + frames, encoding="utf-8")
    found = read_bvh_file(path)
    assert found.metres_per_unit == 0.01
    assert found.motion.joint_translations_m is None
    assert_as_plain(tmp_path, found.motion)
    skeleton, _, take = read_bvh_rig(path)
    assert take is not None
    torch.testing.assert_close(skeleton.offsets_m[1:], found.motion.skeleton.offsets_m[1:])


def test_a_files_rate_can_be_replaced(tmp_path: Path) -> None:
    assert read(tmp_path, Body(names=NAMES, frame_time="0.041667"), fps=120.0).motion.fps == 120.0
    path = tmp_path / "body.bvh"
    path.write_text(Body(names=NAMES, frame_time="0").text(), encoding="utf-8")
    assert read_motion(path, fps=60.0).fps == 60.0


# --- the root ---


def test_the_roots_offset_is_zero_so_that_programs_that_add_it_agree_with_those_that_do_not(tmp_path: Path) -> None:
    motion = Motion(smpl22(), torch.tensor([1.0, 0, 0, 0]).expand(2, 22, 4), torch.tensor([[0, 0.95, 0.0]] * 2), 30.0)
    write_bvh(motion, tmp_path / "out.bvh")
    hierarchy = read_bvh_hierarchy(tmp_path / "out.bvh")
    row = [float(x) for x in (tmp_path / "out.bvh").read_text().splitlines()[-1].split()[:3]]
    replaced, added = row, [a + b for a, b in zip(row, hierarchy.offsets[0], strict=True)]
    assert replaced == added == pytest.approx([0.0, 95.0, 0.0])


def test_a_file_that_is_written_for_programs_that_add_the_offset_is_read_so(tmp_path: Path) -> None:
    body = Body(names=NAMES, root_offset=(0, STANDING_CM, 0), root_at=[(0, 0, 0), (0, 0, 5), (0, 0, 10)])
    path = tmp_path / "body.bvh"
    path.write_text(body.text(), encoding="utf-8")
    with pytest.warns(InputWarning, match="added to its OFFSET"):
        motion = read_bvh(path)
    assert_as_plain(tmp_path, motion)
    twice = Body(names=NAMES, root_offset=(0, STANDING_CM, 0))
    assert_as_plain(tmp_path, read(tmp_path, twice).motion)


def test_bvh_keeps_its_unit_channels_and_names(tmp_path: Path) -> None:
    body = Body(names=NAMES, scale=0.1, channels="Yrotation Zrotation Xrotation",
                root_channels="Zrotation Yrotation Xrotation Zposition Xposition Yposition")  # fmt: skip
    found = read(tmp_path, body)
    write_bvh(found.motion, tmp_path / "out.bvh", layout=found.layout)
    before, after = read_bvh_hierarchy(tmp_path / "body.bvh"), read_bvh_hierarchy(tmp_path / "out.bvh")
    assert (after.joint_names, after.channels) == (before.joint_names, before.channels)
    np.testing.assert_allclose(after.offsets, before.offsets, atol=1e-5)
    assert_as_plain(tmp_path, read_bvh(tmp_path / "out.bvh"))


@pytest.mark.parametrize("up", AXES)
def test_a_rig_gets_its_own_axes_and_unit_back(tmp_path: Path, up: str) -> None:
    path = tmp_path / "rig.bvh"
    path.write_text(Body(names=NAMES, scale=0.01, axes=AXES[up]).text(), encoding="utf-8")
    skeleton, layout, _ = read_bvh_rig(path)
    assert (layout.up, layout.units_per_metre) == (up, 1.0)
    motion, _ = retarget(read(tmp_path, PLAIN).motion, skeleton)
    assert_as_plain(tmp_path, motion)
    write_bvh(motion, tmp_path / "out.bvh", layout=layout)
    offsets = np.array(read_bvh_hierarchy(tmp_path / "out.bvh").offsets)
    np.testing.assert_allclose(offsets, read_bvh_hierarchy(path).offsets, atol=1e-5)
    assert read_bvh_file(tmp_path / "out.bvh").up == up
    assert_as_plain(tmp_path, read_bvh(tmp_path / "out.bvh"))


# --- floors ---


def _onto_smpl(motion: Motion) -> torch.Tensor:
    moved, report = retarget(motion, smpl22())
    lowest = moved.joint_positions_m()[..., 1].amin(dim=1)
    assert report.foot_height_m == pytest.approx((float(lowest.min()), float(lowest.max())), abs=1e-5)
    return lowest


def test_who_steps_up_and_stays_there_has_not_raised_the_floor(tmp_path: Path) -> None:
    heights = [STANDING_CM] * 12 + [STANDING_CM + 15] * 60
    body = Body(names=NAMES, root_at=[(0, y, 0) for y in heights])
    lowest = _onto_smpl(read(tmp_path, body).motion)
    assert float(lowest[0]) == pytest.approx(0.0, abs=0.002)
    assert float(lowest[-1]) == pytest.approx(0.141, abs=0.004)


@pytest.mark.parametrize("frames", [1, 2, 20])
@pytest.mark.parametrize("floor_cm", [0.0, -30.0, 12.0])
def test_standing_feet_stand_wherever_the_floor_was(tmp_path: Path, frames: int, floor_cm: float) -> None:
    body = Body(names=NAMES, root_at=[(0, STANDING_CM + floor_cm, 0)] * frames)
    assert _onto_smpl(read(tmp_path, body).motion).abs().max() < 0.002


def test_a_crouching_body_stands_on_the_floor(tmp_path: Path) -> None:
    bend = {
        f"{side}_{part}": (0, turn, 0)
        for side in ("left", "right")
        for part, turn in (("hip", -60), ("knee", 90), ("ankle", -30))
    }
    body = Body(names=NAMES, turns=bend, root_at=[(0, 67.5, 0)] * 10)
    motion = read(tmp_path, body).motion
    assert _onto_smpl(motion).abs().max() < 0.01


def test_a_sole_without_toe_joints_stands_on_the_floor(tmp_path: Path) -> None:
    """The sole is an End Site of the ankle; the report counts it."""
    text = (
        Body(names=NAMES, left_out=("left_foot", "right_foot")).text().replace("OFFSET 0 0 0\n}", "OFFSET 0 -7 15\n}")
    )
    path = tmp_path / "rig.bvh"
    path.write_text(text, encoding="utf-8")
    skeleton, _, _ = read_bvh_rig(path)
    assert skeleton.end_sites["LeftFoot"] == pytest.approx((0.0, -0.07, 0.15))
    standing = Body(names=NAMES, root_at=[(0, STANDING_CM, 0)] * 5)
    moved, report = retarget(read(tmp_path, standing).motion, skeleton)
    ankle = moved.joint_positions_m()[:, skeleton.index("LeftFoot"), 1]
    assert float((ankle - 0.07).abs().max()) < 0.002
    assert max(map(abs, report.foot_height_m)) < 0.002


def test_a_rig_whose_zero_pose_is_no_pose_rests_as_its_take_does(tmp_path: Path) -> None:
    """Every joint's own axes turned at random: only the take, which begins in a T-pose, tells how the bones lie."""
    from tests.skeleton.retarget_rigs import build_rig, random_axes, walk_and_wave

    rig = build_rig(own=random_axes(3))
    body = walk_and_wave()
    still = Motion(
        smpl22(),
        torch.tensor([1.0, 0, 0, 0]).expand(1, 22, 4),
        body.root_position_m[:1] * 0 + torch.tensor([0, 0.95, 0]),
        30.0,
    )
    take = rig.motion(still)
    write_bvh(take, tmp_path / "tangled.bvh")
    skeleton, _, example = read_bvh_rig(tmp_path / "tangled.bvh")
    assert example is not None
    moved, report = retarget(body, skeleton, target_example=example)
    assert report.target_rest == "first frame"
    wanted = rig.motion(body)
    order = [wanted.skeleton.index(name) for name in skeleton.joint_names]
    apart = (moved.joint_positions_m() - moved.root_position_m[:, None]) - (
        wanted.joint_positions_m() - wanted.root_position_m[:, None]
    )[:, order]
    assert float(apart.norm(dim=-1).max()) < 0.01


def test_arrays_say_their_axis_by_how_the_body_stands(tmp_path: Path) -> None:
    poses, trans = np.zeros((8, 165)), np.tile([0.0, 1.16, 0.0], (8, 1))
    np.savez(tmp_path / "y.npz", poses=poses, trans=trans, mocap_frame_rate=30)
    poses[:, 0], trans = np.pi / 2, np.tile([0.0, 0.0, 0.95], (8, 1))
    np.savez(tmp_path / "z.npz", poses=poses, trans=trans, mocap_frame_rate=30)
    for up in ("y", "z"):
        found = read_motion_file(tmp_path / f"{up}.npz")
        assert (found.up, found.up_how) == (up, "movement")
        head = found.motion.joint_positions_m()[:, 15, 1] - found.motion.joint_positions_m()[:, 7, 1]
        assert float(head.min()) > 1.3


def test_a_seated_bodys_feet_stand_although_thighs_and_shins_share_their_leg_otherwise(tmp_path: Path) -> None:
    """SMPL's shins are longer by share: limbs that only took the source's directions would sink by 2 cm."""
    bend = {f"{side}_{part}": (0, turn, 0) for side in ("left", "right") for part, turn in (("hip", -90), ("knee", 90))}
    body = Body(names=NAMES, turns=bend, root_at=[(0, 52, 0)] * 10)
    assert _onto_smpl(read(tmp_path, body).motion).abs().max() < 0.01
