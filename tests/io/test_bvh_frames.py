"""A BVH file with some frames changed keeps every other byte."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from kinestream.io import read_motion, read_motion_file
from kinestream.io.bvh_frames import write_bvh_changes
from kinestream.rotations import quat_about_axis, quat_multiply
from tests.support.bodies import Body


def take(path: Path, ending: str = "\n") -> bytes:
    """A body of another rig, moving, with its own spacing and line ends; some angles beyond a whole turn."""
    body = Body(channels="Yrotation Xrotation Zrotation")
    header, _, _ = body.text().partition("MOTION")
    width = sum(int(line.split()[1]) for line in header.splitlines() if line.strip().startswith("CHANNELS"))
    rows = []
    for frame in range(20):
        numbers = [0.1 * frame, 94.0, 0.3] + [3.0 * ((frame + k) % 7) for k in range(width - 3)]
        numbers[3] = 361.5 + frame
        rows.append("  ".join(f"{number:.3f}" for number in numbers))
    text = f"{header}MOTION\nFrames: 20\nFrame Time: 0.0333333\n" + "\n".join(rows) + "\n"
    data = text.replace("\n", ending).encode()
    path.write_bytes(data)
    return data


def test_frames_outside_the_spans_keep_every_byte_and_those_inside_say_the_change(tmp_path: Path) -> None:
    for ending in ("\n", "\r\n"):
        data = take(tmp_path / "in.bvh", ending)
        found = read_motion_file(tmp_path / "in.bvh")
        before = found.motion
        knee = next(j for j, name in enumerate(before.skeleton.joint_names) if "knee" in name.lower())
        rotations, root = before.local_rotations.clone(), before.root_position_m.clone()
        rotations[5:9, knee] = quat_multiply(rotations[5:9, knee], quat_about_axis(torch.tensor(0.4), "X"))
        root[5:9, 1] += 0.02
        after = replace(before, local_rotations=rotations, root_position_m=root)
        assert found.layout is not None
        assert write_bvh_changes(tmp_path / "in.bvh", tmp_path / "out.bvh", before, after, found.layout, [(5, 9)])
        written = (tmp_path / "out.bvh").read_bytes().splitlines(keepends=True)
        original = data.splitlines(keepends=True)
        first = len(original) - 20
        assert written[: first + 5] == original[: first + 5]
        assert written[first + 9 :] == original[first + 9 :]
        assert all(a != b for a, b in zip(written[first + 5 : first + 9], original[first + 5 : first + 9], strict=True))
        back = read_motion(tmp_path / "out.bvh")
        assert torch.allclose(back.joint_positions_m(), after.joint_positions_m(), atol=2e-5)
        # The first angle's whole turn and untouched numbers stand as they stood.
        assert written[first + 6].split()[3] == original[first + 6].split()[3]


def test_nothing_changed_is_the_same_file(tmp_path: Path) -> None:
    data = take(tmp_path / "in.bvh")
    found = read_motion_file(tmp_path / "in.bvh")
    assert found.layout is not None
    assert write_bvh_changes(
        tmp_path / "in.bvh", tmp_path / "out.bvh", found.motion, found.motion, found.layout, [(0, 20)]
    )
    assert (tmp_path / "out.bvh").read_bytes() == data


def test_files_without_a_line_a_frame_are_left_to_the_plain_writer(tmp_path: Path) -> None:
    data = take(tmp_path / "in.bvh")
    found = read_motion_file(tmp_path / "in.bvh")
    header, _, numbers = data.partition(b"Frame Time: 0.0333333\n")
    (tmp_path / "odd.bvh").write_bytes(header + b"Frame Time: 0.0333333\n" + b"\n".join(numbers.split()))
    assert found.layout is not None
    assert not write_bvh_changes(
        tmp_path / "odd.bvh", tmp_path / "out.bvh", found.motion, found.motion, found.layout, []
    )
    assert not (tmp_path / "out.bvh").exists()
