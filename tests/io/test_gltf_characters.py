"""Motions out of GLB and VRM files, and characters whose own file comes back with a motion in it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.errors import BadInputError
from kinestream.io import read_motion, read_motion_file, write_motion
from kinestream.io.gltf_motion import _at, read_character, write_character
from kinestream.motion import Motion
from kinestream.skeleton.bone_finding import bone_map
from kinestream.skeleton.retarget import retarget
from tests.io.gltf_characters import glb, human_glb, parts
from tests.io.gltf_reference import Glb
from tests.io.smpl_files import small_motion


@pytest.fixture
def motion() -> Motion:
    return small_motion()


def test_a_written_glb_is_read_back_as_the_same_motion(tmp_path: Path, motion: Motion) -> None:
    write_motion(motion, tmp_path / "x.glb")
    again = read_motion(tmp_path / "x.glb")
    assert again.skeleton.joint_names == motion.skeleton.joint_names
    assert (again.num_frames, again.fps) == (motion.num_frames, motion.fps)
    assert float((again.joint_positions_m() - motion.joint_positions_m()).norm(dim=-1).max()) < 1e-5


def test_a_clip_in_centimetres_under_a_scaled_armature_is_in_metres(tmp_path: Path, motion: Motion) -> None:
    (tmp_path / "x.glb").write_bytes(human_glb(motion))
    again = read_motion(tmp_path / "x.glb")
    order = [again.skeleton.index(name) for name in motion.skeleton.joint_names]
    assert float((again.joint_positions_m()[:, order] - motion.joint_positions_m()).norm(dim=-1).max()) < 1e-5


@pytest.mark.parametrize(("vrm", "armature"), [(None, True), (None, False), (0, True), (1, False)])
def test_the_same_file_comes_back_with_one_more_animation(
    tmp_path: Path, motion: Motion, vrm: int | None, armature: bool
) -> None:
    path, out = tmp_path / "me.glb", tmp_path / "out.glb"
    path.write_bytes(human_glb(motion, vrm=vrm, armature=armature, renamed=vrm is not None))
    character = read_character(path)
    moved, _ = retarget(motion, character.skeleton, target_map=character.bones)
    write_character(moved, character, out)
    before, binary = parts(path.read_bytes())
    after, longer = parts(out.read_bytes())
    assert longer.startswith(binary)
    assert after["animations"][:-1] == before["animations"]
    for name in set(before) - {"buffers", "bufferViews", "accessors", "animations"}:
        assert after[name] == before[name], name
    for name in ("bufferViews", "accessors"):
        assert after[name][: len(before[name])] == before[name]
    for entry in after["accessors"]:
        view = after["bufferViews"][entry["bufferView"]]
        assert view["byteOffset"] % 4 == 0
        assert view["byteOffset"] + view["byteLength"] <= after["buffers"][0]["byteLength"] <= len(longer)


def test_an_independent_reading_of_the_result_has_the_joints_where_they_should_be(
    tmp_path: Path, motion: Motion
) -> None:
    path, out = tmp_path / "me.vrm", tmp_path / "out.vrm"
    path.write_bytes(human_glb(motion, vrm=1, renamed=True))
    character = read_character(path)
    moved, _ = retarget(motion, character.skeleton, target_map=character.bones)
    write_character(moved, character, out)
    document, binary = parts(out.read_bytes())
    document["animations"] = document["animations"][-1:]
    out.write_bytes(glb(document, binary))
    reference, shown = Glb(out), moved.joint_positions_m().numpy()
    nodes = [moved.skeleton.index(f"Bone.{number:03}") for number in range(22)]
    for frame in (0, moved.num_frames - 1):
        np.testing.assert_allclose(reference.joint_matrices(frame)[:, :3, 3], shown[frame, nodes], atol=1e-5)


def test_clips_are_chosen_by_name_or_number_and_the_choice_is_said(tmp_path: Path, motion: Motion) -> None:
    document, binary = parts(human_glb(motion))
    document["animations"] = [{**document["animations"][0], "name": name} for name in ("walk", "run")]
    (tmp_path / "x.glb").write_bytes(glb(document, binary))
    assert read_motion_file(tmp_path / "x.glb", clip="run").motion.name == "run"
    assert read_motion_file(tmp_path / "x.glb", clip="1").motion.name == "run"
    first = read_motion_file(tmp_path / "x.glb")
    assert first.motion.name == "walk"
    assert "--clip" in first.warnings[0]
    with pytest.raises(BadInputError, match="no clip 'jump'; it has: walk, run"):
        read_motion_file(tmp_path / "x.glb", clip="jump")


def test_keys_are_sampled_as_their_interpolation_says() -> None:
    clock, times = np.array([0.0, 0.5, 1.0, 2.0]), np.array([0.0, 1.0])
    line = np.array([[0.0], [2.0]])
    assert _at(clock, times, line, "LINEAR", turns=False)[:, 0].tolist() == [0.0, 1.0, 2.0, 2.0]
    assert _at(clock, times, line, "STEP", turns=False)[:, 0].tolist() == [0.0, 0.0, 2.0, 2.0]
    cubic = np.array([[[0.0], [0.0], [0.0]], [[0.0], [2.0], [0.0]]])
    assert _at(np.array([0.25]), times, cubic, "CUBICSPLINE", turns=False)[0, 0] == pytest.approx(2 * (3 / 16 - 2 / 64))
    quarter = np.array([[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, -np.sqrt(0.5), -np.sqrt(0.5)]])
    half = _at(np.array([0.5]), times, quarter, "LINEAR", turns=True)[0]
    np.testing.assert_allclose(half, [0.0, 0.0, np.sin(np.pi / 8), np.cos(np.pi / 8)], atol=1e-7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("skins"), "no skin"),
        (lambda d: d["nodes"][3].update(children=[0]), "hierarchy is torn"),
        (lambda d: d["buffers"].append({"uri": "mesh.bin", "byteLength": 4}), "pack everything into one GLB"),
        (lambda d: d["images"].append({"uri": "skin.png"}), "pack everything into one GLB"),
        (lambda d: d["nodes"][3].update(scale=[0, 0, 0]), "scaled to nothing"),
    ],
)
def test_characters_that_cannot_be_used_are_refused(tmp_path: Path, motion: Motion, change, message: str) -> None:  # type: ignore[no-untyped-def]
    document, binary = parts(human_glb(motion))
    change(document)
    (tmp_path / "x.glb").write_bytes(glb(document, binary))
    with pytest.raises(BadInputError, match=message):
        read_character(tmp_path / "x.glb")


def test_compressed_keys_and_files_without_a_clip_say_what_to_do(tmp_path: Path, motion: Motion) -> None:
    document, binary = parts(human_glb(motion))
    keys = document["accessors"][document["animations"][0]["samplers"][0]["output"]]["bufferView"]
    document["bufferViews"][keys]["extensions"] = {"EXT_meshopt_compression": {}}
    (tmp_path / "x.glb").write_bytes(glb(document, binary))
    with pytest.raises(BadInputError, match=r"EXT_meshopt_compression.*export it uncompressed"):
        read_motion(tmp_path / "x.glb")
    del document["animations"]
    (tmp_path / "x.glb").write_bytes(glb(document, binary))
    with pytest.raises(BadInputError, match=r"no animation.*--character"):
        read_motion(tmp_path / "x.glb")


@pytest.mark.parametrize("name", ["vroid.glb", "armature_transform.vrm", "minimal.vrm", "basic_armature.vrm"])
def test_real_characters_take_the_directions_of_the_arms(
    tmp_path: Path, motion: Motion, shared_dir: Path, name: str
) -> None:
    path = shared_dir / "data" / "rigs" / name
    if not path.is_file():
        pytest.skip(f"needs {name} among the shared rigs")
    character = read_character(path)
    moved, _ = retarget(motion, character.skeleton, target_map=character.bones)
    write_character(moved, character, tmp_path / "out.glb")
    again = read_motion(tmp_path / "out.glb")
    assert float((again.joint_positions_m() - moved.joint_positions_m()).norm(dim=-1).max()) < 1e-4
    bones = bone_map(moved.skeleton, character.bones).bone_of
    ours, theirs = again.joint_positions_m(), motion.joint_positions_m()
    for side in ("left", "right"):
        for upper, lower in (("shoulder", "elbow"), ("elbow", "wrist")):
            ends = [f"{side}_{lower}", f"{side}_{upper}"]
            mine = torch.stack([ours[:, again.skeleton.index(bones[role])] for role in ends])
            given = torch.stack([theirs[:, motion.skeleton.index(role)] for role in ends])
            cosine = torch.cosine_similarity(mine[0] - mine[1], given[0] - given[1], dim=-1)
            assert float(cosine.min()) > np.cos(np.radians(3.0)), (side, upper)


def test_convert_puts_a_motion_into_a_vrm(tmp_path: Path, motion: Motion) -> None:
    from kinestream.cli import main

    me, take = tmp_path / "me.vrm", tmp_path / "take.npz"
    me.write_bytes(human_glb(motion, vrm=1))
    write_motion(motion, take)
    assert main(["convert", str(take), str(tmp_path / "out.vrm"), "--character", str(me)]) == 0
    assert len(parts((tmp_path / "out.vrm").read_bytes())[0]["animations"]) == 2
    assert main(["convert", str(take), str(tmp_path / "out.fbx"), "--character", str(me)]) == 2
    assert json.dumps(sorted(p.name for p in tmp_path.iterdir())) == '["me.vrm", "out.vrm", "take.npz"]'
