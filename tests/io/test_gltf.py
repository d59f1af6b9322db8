"""GLB files: what other programs will see, evaluated by hand, and what the Khronos validator says."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pygltflib
import pytest
import torch

from kinestream.io.body import body_for
from kinestream.io.body.figure import MATERIAL_NAMES
from kinestream.io.bvh import read_bvh
from kinestream.io.gltf import write_glb
from kinestream.motion import Motion
from kinestream.skeleton import Skeleton, smpl22
from kinestream.skeleton.retarget import retarget
from tests.io.gltf_reference import Glb
from tests.io.walking import crane, walking

MOTIONS = {"person": walking(), "other_skeleton": crane(), "one_frame": walking(1), "odd_rate": walking(20, fps=59.94)}

_VALIDATE = """
const validator = require('gltf-validator');
const data = new Uint8Array(require('fs').readFileSync(process.argv[1]));
validator.validateBytes(data).then((report) => console.log(JSON.stringify(report.issues)));
"""


@pytest.mark.parametrize("name", MOTIONS)
def test_glb_passes_the_khronos_validator(name: str, tmp_path: Path, gltf_validator_dir: Path) -> None:
    path = tmp_path / "motion.glb"
    write_glb(MOTIONS[name], path)
    done = subprocess.run(
        ["node", "-e", _VALIDATE, str(path)], cwd=gltf_validator_dir, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    issues = json.loads(done.stdout)
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]


@pytest.mark.parametrize("name", MOTIONS)
def test_joints_in_the_glb_stand_where_the_motion_has_them(name: str, tmp_path: Path) -> None:
    motion = MOTIONS[name]
    write_glb(motion, tmp_path / "motion.glb")
    glb = Glb(tmp_path / "motion.glb")
    names = [glb.document["nodes"][joint]["name"] for joint in glb.document["skins"][0]["joints"]]
    assert tuple(names) == motion.skeleton.joint_names
    assert np.allclose(glb.times_s(), np.arange(motion.num_frames) / motion.fps, atol=1e-5)
    truth = motion.joint_positions_m().numpy()
    for frame in {0, motion.num_frames // 2, motion.num_frames - 1}:
        assert np.abs(glb.joint_matrices(frame)[:, :3, 3] - truth[frame]).max() < 1e-4


def test_resting_body_is_not_deformed_and_stands_on_the_ground(tmp_path: Path) -> None:
    write_glb(walking(), tmp_path / "motion.glb")
    glb = Glb(tmp_path / "motion.glb")
    raw = np.concatenate([glb.values(p["attributes"]["POSITION"]) for p in glb.document["meshes"][0]["primitives"]])
    rest = glb.skinned_vertices(None)
    assert np.abs(rest - raw).max() < 1e-5
    assert abs(rest[:, 1].min()) < 1e-5
    assert 1.65 < rest[:, 1].max() < 1.85


def test_every_vertex_stays_near_the_joints_that_move_it(tmp_path: Path) -> None:
    write_glb(walking(wave=True), tmp_path / "motion.glb")
    glb = Glb(tmp_path / "motion.glb")
    positions, joints = glb.skinned_vertices(20), glb.joint_matrices(20)[:, :3, 3]
    nearest = np.linalg.norm(positions[:, None] - joints[None], axis=-1).min(axis=1)
    assert nearest.max() < 0.30


def test_pygltflib_reads_the_file_and_finds_one_animation_channel_for_each_joint(tmp_path: Path) -> None:
    path = tmp_path / "motion.glb"
    write_glb(walking(), path)
    document = pygltflib.GLTF2().load_binary(str(path))
    channels = Counter(channel.target.path for channel in document.animations[0].channels)
    assert channels == {"rotation": 22, "translation": 1}
    assert {material.name for material in document.materials} == set(MATERIAL_NAMES)
    assert all(sampler.interpolation == "LINEAR" for sampler in document.animations[0].samplers)


def test_joints_that_slide_are_keyed_and_those_that_do_not_are_not(tmp_path: Path) -> None:
    write_glb(crane(), tmp_path / "motion.glb")
    document = Glb(tmp_path / "motion.glb").document
    moved = [c["target"]["node"] for c in document["animations"][0]["channels"] if c["target"]["path"] == "translation"]
    assert [document["nodes"][node]["name"] for node in moved] == ["base", "slide"]


def test_rotation_keys_take_the_short_way(tmp_path: Path) -> None:
    motion = walking(200, turn_radps=2.0)
    flipped = motion.local_rotations.clone()
    flipped[::2] *= -1.0
    write_glb(replace(motion, local_rotations=flipped), tmp_path / "motion.glb")
    glb = Glb(tmp_path / "motion.glb")
    for sampler in glb.document["animations"][0]["samplers"][1:]:
        keys = glb.values(sampler["output"])
        assert (keys[1:] * keys[:-1]).sum(axis=1).min() > 0.0


def test_default_body_is_closed_and_fully_weighted() -> None:
    mesh = body_for(smpl22()).mesh
    edges = Counter(
        tuple(sorted(edge)) for face in mesh.faces.tolist() for edge in (face[:2], face[1:], (face[2], face[0]))
    )
    assert sum(count % 2 for count in edges.values()) == 0
    assert (mesh.weights.astype(int).sum(axis=1) == 255).all()
    assert np.allclose(np.linalg.norm(mesh.normals, axis=1), 1.0, atol=1e-5)
    a, b, c = (mesh.positions_m[mesh.faces[:, k]].astype(float) for k in range(3))
    assert 0.04 < np.einsum("fi,fi->f", a, np.cross(b, c)).sum() / 6.0 < 0.12, "closed and turned outwards"


def test_default_body_is_moved_by_all_joints_of_the_skeleton() -> None:
    mesh = body_for(smpl22()).mesh
    used = set(mesh.joints[mesh.weights > 0].tolist())
    assert used == set(range(22))


def test_body_follows_other_proportions_of_the_same_joints() -> None:
    longer = smpl22().offsets_m.clone()
    longer[1:] *= 1.3
    mesh = body_for(Skeleton("tall", smpl22().joint_names, smpl22().parents, longer)).mesh
    usual = body_for(smpl22()).mesh
    ratio = np.ptp(mesh.positions_m[:, 1]) / np.ptp(usual.positions_m[:, 1])
    assert 1.2 < ratio < 1.35


def test_a_recordings_own_skeleton_wears_the_same_person(tmp_path: Path, bandai_namco_dir: Path) -> None:
    recording = read_bvh(next(bandai_namco_dir.rglob("dataset-1_walk_normal_001.bvh")))
    write_glb(recording, tmp_path / "rig.glb")
    write_glb(retarget(recording, smpl22())[0], tmp_path / "smpl.glb")
    own, other = Glb(tmp_path / "rig.glb"), Glb(tmp_path / "smpl.glb")
    names = [own.document["nodes"][joint]["name"] for joint in own.document["skins"][0]["joints"]]
    assert tuple(names) == recording.skeleton.joint_names
    assert {material["name"] for material in own.document["materials"]} == set(MATERIAL_NAMES)
    raw = np.concatenate([own.values(p["attributes"]["POSITION"]) for p in own.document["meshes"][0]["primitives"]])
    assert np.abs(own.skinned_vertices(None) - raw).max() < 1e-4, (
        "the nodes' rest is the pose that the body is bound in"
    )
    for frame in (0, 40):
        a, b = own.skinned_vertices(frame), other.skinned_vertices(frame)
        a, b = a - a.mean(axis=0), b - b.mean(axis=0)
        assert np.linalg.norm(a - b, axis=-1).mean() < 0.10


def test_only_humans_wear_the_default_body() -> None:
    assert len(body_for(crane().skeleton).mesh.positions_m) < 2000


def test_a_joint_named_like_the_body_keeps_its_name(tmp_path: Path) -> None:
    skeleton = Skeleton("s", ("body", "arm"), (-1, 0), torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.5, 0.0]]))
    still = torch.zeros(2, 2, 4)
    still[..., 0] = 1.0
    write_glb(Motion(skeleton, still, torch.zeros(2, 3), 30.0), tmp_path / "motion.glb")
    names = [node["name"] for node in Glb(tmp_path / "motion.glb").document["nodes"]]
    assert names == ["body", "arm", "body_"]


def test_a_skeleton_of_one_joint_has_a_body_too(tmp_path: Path) -> None:
    skeleton = Skeleton("dot", ("dot",), (-1,), torch.zeros(1, 3))
    motion = Motion(skeleton, torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]), torch.zeros(1, 3), 30.0)
    write_glb(motion, tmp_path / "motion.glb")
    assert len(Glb(tmp_path / "motion.glb").skinned_vertices(0)) > 10


def test_a_body_of_300_joints_is_written_with_wide_joint_numbers(tmp_path: Path) -> None:
    names = tuple(f"j{k}" for k in range(300))
    offsets = torch.zeros(300, 3)
    offsets[:, 1] = 0.01
    skeleton = Skeleton("snake", names, tuple(range(-1, 299)), offsets)
    still = torch.zeros(2, 300, 4)
    still[..., 0] = 1.0
    motion = Motion(skeleton, still, torch.zeros(2, 3), 30.0)
    write_glb(motion, tmp_path / "motion.glb")
    glb = Glb(tmp_path / "motion.glb")
    assert np.abs(glb.skinned_vertices(0)[:, 1].max() - 2.99) < 0.05
