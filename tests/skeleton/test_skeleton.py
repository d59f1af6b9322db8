"""Skeletons are checked where they are made, and forward kinematics does what a hand calculation does."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from kinestream.errors import BadInputError
from kinestream.rotations import quat_about_axis
from kinestream.skeleton import Skeleton, forward_kinematics, smpl22


def arm() -> Skeleton:
    return Skeleton("arm", ("a", "b", "c"), (-1, 0, 1), torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [1.0, 0, 0]]))


def identity(*shape: int) -> torch.Tensor:
    q = torch.zeros(*shape, 4)
    q[..., 0] = 1.0
    return q


def test_bent_arm_lies_where_a_hand_calculation_puts_it() -> None:
    q = identity(1, 3)
    q[0, 0] = quat_about_axis(torch.tensor(math.pi / 2), "Z")
    q[0, 1] = quat_about_axis(torch.tensor(math.pi / 2), "Z")
    positions, world = forward_kinematics(arm(), q, torch.tensor([[0.0, 0.0, 5.0]]))
    torch.testing.assert_close(positions[0], torch.tensor([[0.0, 0, 5], [0.0, 1, 5], [-1.0, 1, 5]]), atol=1e-6, rtol=0)
    torch.testing.assert_close(world[0, 2].abs(), quat_about_axis(torch.tensor(math.pi), "Z").abs(), atol=1e-6, rtol=0)


def test_smpl_rest_pose_is_a_t_pose_that_faces_forward() -> None:
    skeleton = smpl22()
    positions, _ = forward_kinematics(skeleton, identity(1, 22), skeleton.offsets_m[:1])
    at = {name: positions[0, i] for i, name in enumerate(skeleton.joint_names)}
    assert at["left_wrist"][0] > 0.6
    assert at["right_wrist"][0] < -0.6
    assert at["left_foot"][2] > at["left_ankle"][2] + 0.1
    assert at["head"][1] - at["left_foot"][1] == pytest.approx(1.5, abs=0.1)


def test_smpl22_agrees_with_the_reference_file(reference_dir: Path) -> None:
    raw = json.loads((reference_dir / "smpl22.json").read_text())
    assert list(smpl22().joint_names) == raw["joints"]
    assert list(smpl22().parents) == raw["parents"]
    torch.testing.assert_close(smpl22().offsets_m, torch.tensor(raw["offsets_m"]))


def test_skeleton_comes_back_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "arm.json"
    path.write_text(arm().to_json())
    again = Skeleton.from_json(path)
    assert (again.name, again.joint_names, again.parents) == ("arm", ("a", "b", "c"), (-1, 0, 1))
    torch.testing.assert_close(again.offsets_m, arm().offsets_m)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"joints": ["a"], "parents": [0], "offsets_m": [[0,0,0]]}', '{"joints": 3}', "[" * 100_000,
     '{"joints": ["a","a"], "parents": [-1,0], "offsets_m": [[0,0,0],[0,0,0]]}',
     '{"joints": ["a"], "parents": [-1], "offsets_m": [[0,0,NaN]]}',
     '{"joints": ["a"], "parents": [-1], "offsets_m": [[0,0]]}',
     '{"joints": ["a"], "parents": [-1], "offsets_m": [[0,0,0]], "end_sites": {"b": [0,0,0]}}'],
)  # fmt: skip
def test_bad_skeleton_files_are_refused_with_one_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(BadInputError):
        Skeleton.from_json(path)


def test_unknown_joint_names_the_known_ones() -> None:
    with pytest.raises(BadInputError, match="a, b, c"):
        arm().index("d")
