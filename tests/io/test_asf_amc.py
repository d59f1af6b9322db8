"""ASF and AMC: Acclaim's axes, orders and units by formulas written a second time; bad files give one clear error."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.errors import BadInputError
from kinestream.io import read_motion
from kinestream.io.asf import read_asf
from kinestream.io.asf_amc import asf_beside, read_asf_amc
from kinestream.motion import Motion
from kinestream.rotations import quat_rotate
from kinestream.skeleton.retarget import retarget
from kinestream.skeleton.skeleton import smpl22
from tests.io.asf_amc_files import SMALL_AMC, SMALL_ASF, UNIT_M, second_frame_by_hand, write_small


def tips(motion: Motion, frame: int) -> dict[str, np.ndarray]:
    """Where the leaf bones end in a frame, metres."""
    positions, world = motion.joint_positions_m(), motion.world_rotations()
    found = {}
    for name, tip in motion.skeleton.end_sites.items():
        joint = motion.skeleton.index(name)
        found[name] = (positions[frame, joint] + quat_rotate(world[frame, joint], torch.tensor(tip))).numpy()
    return found


def test_axes_orders_and_units_are_acclaims(tmp_path: Path) -> None:
    motion = read_motion(write_small(tmp_path))
    expected = second_frame_by_hand()
    assert motion.fps == 120.0
    assert motion.skeleton.joint_names == ("root", "trunk", "neck", "larm")
    np.testing.assert_allclose(motion.joint_positions_m()[1, 3].numpy(), expected["trunk"], atol=1e-6)
    found = tips(motion, 1)
    for name in ("neck", "larm"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6)


def test_frames_of_zeros_are_the_rest_pose(tmp_path: Path) -> None:
    motion = read_motion(write_small(tmp_path))
    np.testing.assert_allclose(motion.local_rotations[0, :, 0].abs().numpy(), 1.0, atol=1e-6)
    np.testing.assert_allclose(motion.root_position_m[0].numpy(), [0.0, 18 * UNIT_M, 0.0], atol=1e-6)
    np.testing.assert_allclose(tips(motion, 0)["larm"], np.array([9.0, 27.0, 0.0]) * UNIT_M, atol=1e-6)


def test_radians_rate_and_unit_are_taken_as_given(tmp_path: Path) -> None:
    degrees = read_motion(write_small(tmp_path / "a"))
    rows = []
    for line in SMALL_AMC.replace(":DEGREES", ":RADIANS").splitlines():
        words = line.split()
        first = {"root": 4, "trunk": 1, "larm": 1}.get(words[0], len(words))
        rows.append(" ".join([*words[:first], *(repr(math.radians(float(word))) for word in words[first:])]))
    path = write_small(tmp_path / "b", "\n".join(rows))
    motion = read_motion(path, fps=60.0, metres_per_unit=0.1)
    torch.testing.assert_close(motion.local_rotations, degrees.local_rotations, atol=1e-5, rtol=0)
    assert motion.fps == 60.0
    np.testing.assert_allclose(motion.root_position_m[1].numpy(), [0.45, 1.8, -0.9], atol=1e-6)


def test_a_bone_that_moves_is_moved_in_its_own_axes(tmp_path: Path) -> None:
    asf = SMALL_ASF.replace("dof rz rx", "dof tx").replace("axis 20 -30 90", "axis 0 0 90")
    amc = SMALL_AMC.replace("larm 0 0", "larm 2").replace("larm 40 50", "larm 2")
    motion = read_motion(write_small(tmp_path, amc, asf))
    assert motion.joint_translations_m is not None
    # Its own X points along the world's Y at rest.
    np.testing.assert_allclose(motion.joint_positions_m()[0, 3].numpy(), [0, 29 * UNIT_M, 0], atol=1e-6)


def test_bones_without_numbers_stay_at_rest(tmp_path: Path) -> None:
    amc = "".join(line for line in SMALL_AMC.splitlines(keepends=True) if not line.startswith("larm"))
    motion = read_motion(write_small(tmp_path, amc))
    np.testing.assert_allclose(motion.local_rotations[:, 3].numpy(), [[1, 0, 0, 0]] * 2, atol=1e-7)


def test_the_skeleton_is_found_by_subject_or_because_it_is_the_only_one(tmp_path: Path) -> None:
    path = write_small(tmp_path)
    other = tmp_path / "take.amc"
    other.write_text(SMALL_AMC)
    assert asf_beside(other).name == "01.asf"
    (tmp_path / "02.ASF").write_text(SMALL_ASF)
    assert asf_beside(path).name == "01.asf"
    assert asf_beside(tmp_path / "02_07.amc").name == "02.ASF"
    with pytest.raises(BadInputError, match=r"take\.asf or a single \.asf file, found 01\.asf, 02\.ASF"):
        read_asf_amc(other)
    assert read_asf_amc(other, asf=tmp_path / "01.asf").num_frames == 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("larm 40 50", "larm 40", "line 11: expected 2 finite numbers for bone 'larm', got '40'"),
        ("larm 40 50", "larm 40 nan", "line 11: expected 2 finite numbers"),
        ("larm 40 50", "rarm 40 50", "line 11: the skeleton has no bone 'rarm'"),
        ("larm 40 50", "larm 40 50\nlarm 40 50", "line 12: bone 'larm' comes twice"),
        ("larm 40 50\n", "", "frame 2 of the file ends without bone 'larm'"),
        ("larm 0 0\n", "", "line 10: bone 'larm' is missing in an earlier frame"),
        ("\n2\n", "\n3\n", "line 8: expected frame 2, got 3"),
        ("\n1\n", "\n", "line 4: expected a frame's number, got 'root"),
    ],
)
def test_bad_amc_files_give_one_error_with_the_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in SMALL_AMC
    with pytest.raises(BadInputError) as caught:
        read_motion(write_small(tmp_path, SMALL_AMC.replace(old, new)))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("axis 20 -30 90  XYZ", "axis 20 -30 90  XYX", "line 39: expected an order of axes such as XYZ, got 'XYX'"),
        ("dof rz rx", "dof rz rw", "line 40: expected degrees of freedom"),
        ("direction 2 0 0", "direction 2 0", "line 37: expected direction and 3 plain numbers"),
        ("direction 2 0 0", "direction 0 0 0", "expected a length of at least 0 and a direction"),
        ("     name larm\n", "", "lacks its name, direction or length"),
        ("     name larm", "     name neck", "a second bone 'neck'"),
        ("trunk neck larm", "trunk neck", "bone 'larm' has no place in :hierarchy"),
        ("trunk neck larm", "trunk neck larm tail", "line 45: the hierarchy names a bone that there is not: 'tail'"),
        ("root trunk\n    trunk neck larm", "trunk neck larm\n    larm trunk", "do not hang from the root"),
        ("root trunk\n    trunk neck larm", "root trunk larm\n    trunk neck larm", "'larm' has a second parent"),
        (":hierarchy", ":skin", "missing: hierarchy"),
        ("angle deg", "angle turns", "line 7: expected `angle deg` or `angle rad`"),
        ("length 0.45", "length 0.001", "give metres_per_unit"),
        ("length 0.45", "length 0", "line 6: expected a positive length factor"),
    ],
)
def test_bad_asf_files_give_one_error_with_the_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in SMALL_ASF
    with pytest.raises(BadInputError) as caught:
        read_motion(write_small(tmp_path, asf=SMALL_ASF.replace(old, new, 1)))
    assert message in str(caught.value)


def test_a_cut_off_skeleton_and_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.asf"
    path.write_text(SMALL_ASF[: SMALL_ASF.index("     length 4.5")])
    with pytest.raises(BadInputError, match="has no `end`; the file was cut off"):
        read_asf(path)
    for content, message in ((b"", "empty"), (b"\0\1\2", "binary"), (b"HIERARCHY\n", "expected a section")):
        path.write_bytes(content)
        with pytest.raises(BadInputError, match=message):
            read_asf(path)
    with pytest.raises(BadInputError, match="no such file"):
        read_asf(tmp_path / "none.asf")


def test_cmu_clips_stand_upright_on_the_floor_and_walk_ahead(cmu_clips: Path) -> None:
    shortest: dict[str, Path] = {}
    for path in sorted(cmu_clips.rglob("*.amc"), key=lambda path: path.stat().st_size):
        shortest.setdefault(path.stem[:2], path)
    paths = list(shortest.values())
    assert len(paths) > 10
    for path in paths:
        motion = read_motion(path)
        position, index = motion.joint_positions_m(), motion.skeleton.index
        head, toes = position[:, index("head"), 1], position[:, [index("ltoes"), index("rtoes")], 1].amin(dim=1)
        assert 1.3 < float(head.median()) < 2.1, path.name
        assert -0.08 < float(toes.min()) < 0.2, path.name
        left = position[:, index("lfemur")] - position[:, index("rfemur")]
        ahead = torch.linalg.cross(left, torch.tensor([0.0, 1.0, 0.0]).expand_as(left), dim=-1).mean(dim=0)
        way = position[-1, 0] - position[0, 0]
        if float(way.norm()) > 2.5 and path.stem[:2] != "01":
            assert float(ahead @ way) > 0.95 * float(ahead.norm() * way.norm()), path.name
        body, report = retarget(motion, smpl22())
        assert body.skeleton.joint_names == smpl22().joint_names
        assert report is not None


def test_cmu_elbows_bend_as_elbows_do_on_smpl(cmu_clips: Path) -> None:
    """Acclaim's T-pose has the elbows' hinges 30 degrees off; without that, every frame breaks a joint limit."""
    body, _ = retarget(read_motion(next(cmu_clips.rglob("02_03.amc"))), smpl22())
    for side, outward in (("left", 1.0), ("right", -1.0)):
        elbow = body.local_rotations[:, body.skeleton.index(f"{side}_elbow")]
        forearm = quat_rotate(elbow, torch.tensor([outward, 0.0, 0.0]).expand(len(elbow), 3))
        # Bent by up to 100 degrees while running, and hardly out of the plane across the vertical hinge.
        assert float(forearm[:, 2].max()) > 0.8
        assert float(forearm[:, 1].abs().max()) < 0.25
