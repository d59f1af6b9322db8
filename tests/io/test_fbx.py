"""FBX files: read back through assimp with all joints and frames, in centimetres, at the motion's rate."""

from __future__ import annotations

import struct
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.errors import BadInputError, MissingExtraError
from kinestream.io import fbx
from kinestream.io.body import body_for
from kinestream.io.fbx import continuous_euler_deg, write_fbx
from kinestream.io.fbx_binary import FbxFile
from kinestream.motion import Motion
from kinestream.rotations import quat_angle_rad, quat_from_euler_rad
from kinestream.skeleton import Skeleton
from tests.io.walking import crane, walking

MOTIONS = {
    "person": walking(),
    "turning_round": walking(150, turn_radps=2.5),
    "other_skeleton": crane(),
    "odd_rate": walking(20, fps=59.94),
}


@pytest.fixture(autouse=True)
def _needs_assimp(request: pytest.FixtureRequest) -> None:
    if "without_assimp" in request.node.name:
        return
    try:
        metadata.version("cmeel-assimp")
    except metadata.PackageNotFoundError:
        pytest.skip("needs assimp (pip install 'kinestream[fbx]')")


@pytest.mark.parametrize("name", MOTIONS)
def test_fbx_reads_back_with_all_joints_and_frames(name: str, tmp_path: Path) -> None:
    from tests.io.assimp_reference import read_with_assimp

    motion = MOTIONS[name]
    skeleton = motion.skeleton
    write_fbx(motion, tmp_path / "motion.fbx")
    found = read_with_assimp(tmp_path / "motion.fbx", skeleton.joint_names, motion.num_frames)
    for joint, parent in zip(skeleton.joint_names[1:], skeleton.parents[1:], strict=True):
        assert found.parents[joint] == skeleton.joint_names[parent]
    assert np.allclose(found.times_s, np.arange(motion.num_frames) / motion.fps, atol=1e-4)
    assert all(found.rotation_key_counts[joint] == motion.num_frames for joint in skeleton.joint_names)
    truth_cm = 100.0 * motion.joint_positions_m().numpy()
    assert np.abs(found.positions - truth_cm).max() < 0.1  # a millimetre
    assert found.vertex_count >= len(body_for(skeleton).mesh.positions_m)


def test_rotation_curves_do_not_jump_when_a_body_turns_round(tmp_path: Path) -> None:
    write_fbx(walking(150, turn_radps=2.5), tmp_path / "motion.fbx")
    file = FbxFile((tmp_path / "motion.fbx").read_bytes())
    curves = list(file.root.child("Objects").all("AnimationCurve"))
    assert len(curves) > 66
    for curve in curves:
        values = file.value(curve.child("KeyValueFloat").properties[0])
        assert np.abs(np.diff(values)).max(initial=0.0) < 60.0
        assert file.value(curve.child("KeyAttrFlags").properties[0]).tolist() == [4]


def test_continuous_angles_mean_the_same_rotations() -> None:
    generator = torch.Generator().manual_seed(5)
    angles = (torch.rand(300, 3, generator=generator, dtype=torch.float64) - 0.5) * 360.0
    result = torch.from_numpy(continuous_euler_deg(angles.float().numpy()))
    turned = [quat_from_euler_rad(torch.deg2rad(a.flip(-1)), "ZYX") for a in (angles, result)]
    assert quat_angle_rad(turned[0], turned[1]).max() < 1e-5


@pytest.mark.parametrize(("fps", "mode"), [(30.0, 6), (60.0, 3), (24.0, 11), (59.94, 14)])
def test_fbx_says_the_motions_frame_rate(fps: float, mode: int, tmp_path: Path) -> None:
    write_fbx(walking(5, fps=fps), tmp_path / "motion.fbx")
    data = (tmp_path / "motion.fbx").read_bytes()
    assert data.startswith(b"Kaydara FBX Binary  \x00")

    def after(name: bytes, kind: bytes) -> bytes:
        place = data.index(struct.pack("<I", len(name)) + name + b"S")
        return data[data.index(b"S\0\0\0\0" + kind, place) + 6 :]

    assert struct.unpack_from("<i", after(b"TimeMode", b"I"))[0] == mode
    assert struct.unpack_from("<d", after(b"CustomFrameRate", b"D"))[0] == fps
    assert struct.unpack_from("<q", after(b"TimeSpanStop", b"L"))[0] == round(4 / fps * 46_186_158_000)


def test_without_assimp_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fbx.metadata, "files", lambda name: None)
    fbx._assimp.cache_clear()
    with pytest.raises(MissingExtraError, match=r"kinestream\[fbx\]"):
        write_fbx(walking(2), tmp_path / "motion.fbx")
    fbx._assimp.cache_clear()
    assert list(tmp_path.iterdir()) == []


def test_names_that_fbx_cannot_hold_are_refused(tmp_path: Path) -> None:
    skeleton = Skeleton("s", ("a" * 256,), (-1,), torch.zeros(1, 3))
    motion = Motion(skeleton, torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]), torch.zeros(1, 3), 30.0)
    with pytest.raises(BadInputError, match="255 bytes"):
        write_fbx(motion, tmp_path / "motion.fbx")
