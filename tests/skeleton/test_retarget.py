"""Retargeting keeps the movement on skeletons of other sizes, rest poses, axes and names, and feet on the floor."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.io.bvh import read_bvh
from kinestream.motion import Motion, concatenate, contacts_from_positions, turned
from kinestream.rotations import (
    quat_about_axis,
    quat_angle_rad,
    quat_conjugate,
    quat_from_rotvec,
    quat_multiply,
    quat_rotate,
)
from kinestream.skeleton import Skeleton, smpl22
from kinestream.skeleton.retarget import retarget
from tests.skeleton.retarget_rigs import (
    MOTIONBUILDER,
    Rig,
    a_pose,
    bone_angles_deg,
    build_rig,
    random_axes,
    walk_and_wave,
)

LIMBS = [
    smpl22().index(f"{side}_{part}") - 1 for side in ("left", "right") for part in ("knee", "ankle", "elbow", "wrist")
]
TRUNK = [smpl22().index(name) for name in ("pelvis", "spine1", "spine2", "spine3", "neck", "head")]


def _quarter(axis: str, quarters: int = 1) -> Tensor:
    return quat_about_axis(torch.tensor(quarters * math.pi / 2), axis)


RIGS = {
    "other names": build_rig(),
    "larger": build_rig(scale=1.3),
    "smaller, A-pose": build_rig(scale=0.7, own=a_pose(45)),
    "A-pose with hanging arms": build_rig(own=a_pose(65)),
    "Z up": build_rig(turn=_quarter("X")),
    "root above and fingers": build_rig(root_above=True, fingers=True),
}


def _distance_m(a: Motion, b: Motion) -> float:
    return float((a.joint_positions_m() - b.joint_positions_m()).norm(dim=-1).max())


def _standing(degrees: float = 0.0) -> Motion:
    """Two seconds of a body that stands with both feet on y = 0 and sways its arms; feet pitched by so much."""
    frames = 60
    rotvec = torch.zeros(frames, 22, 3)
    sway = 0.2 * torch.sin(torch.arange(frames) / 5.0)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        rotvec[:, smpl22().index(f"{side}_shoulder"), 2] = -sign * (1.1 + sway)
        rotvec[:, smpl22().index(f"{side}_ankle"), 0] = math.radians(degrees)
    motion = Motion(smpl22(), quat_from_rotvec(rotvec), torch.zeros(frames, 3), 30.0)
    lowest = float(motion.joint_positions_m()[..., 1].min())
    return replace(motion, root_position_m=torch.tensor([[0.0, -lowest, 0.0]]).expand(frames, 3))


@pytest.mark.parametrize("rig", RIGS.values(), ids=RIGS.keys())
def test_same_body_on_any_rig_keeps_bone_directions_and_positions(rig: Rig) -> None:
    body = walk_and_wave()
    result, report = retarget(rig.motion(body), smpl22(), floor="rest")
    assert float(bone_angles_deg(result, body).max()) < 0.1
    assert _distance_m(result, body) < 1e-3
    assert report.scale == pytest.approx(1.0 / rig.scale, rel=1e-4)
    assert max(largest for _, largest in report.residual_deg.values()) < 0.1


@pytest.mark.parametrize("rig", RIGS.values(), ids=RIGS.keys())
def test_smpl_to_rig_and_back_is_the_same_motion(rig: Rig) -> None:
    body = walk_and_wave()
    on_rig, _ = retarget(body, rig.skeleton, floor="rest")
    assert _distance_m(on_rig, rig.motion(body)) < 1e-3
    back, _ = retarget(on_rig, smpl22(), floor="rest")
    assert _distance_m(back, body) < 1e-3
    assert float(torch.rad2deg(quat_angle_rad(back.local_rotations, body.local_rotations)).max()) < 0.1


def test_rig_keeps_its_names_bone_lengths_and_the_rest_of_extra_bones() -> None:
    rig = build_rig(scale=1.2, root_above=True, fingers=True)
    on_rig, report = retarget(walk_and_wave(), rig.skeleton)
    assert on_rig.skeleton is rig.skeleton
    positions = on_rig.joint_positions_m()
    for joint, parent in enumerate(rig.skeleton.parents[2:], start=2):
        length = (positions[:, joint] - positions[:, parent]).norm(dim=-1)
        assert torch.allclose(length, rig.skeleton.offsets_m[joint].norm(), atol=1e-5)
    still = torch.tensor([1.0, 0.0, 0.0, 0.0])
    for bone in ("root", "left_finger_bone", "right_finger_bone"):
        assert torch.equal(on_rig.local_rotations[:, rig.skeleton.index(bone)], still.expand(on_rig.num_frames, 4))
    assert report.unmatched_target_bones == ("root", "left_finger_bone", "right_finger_bone")
    assert (on_rig.fps, on_rig.name) == (30.0, "made up")


def test_rig_that_rests_facing_elsewhere_moves_as_its_recording_does() -> None:
    body = walk_and_wave()
    for quarters in (1, 2, 3):
        turn = _quarter("Y", quarters)
        result, _ = retarget(build_rig(turn=turn, scale=0.9).motion(body), smpl22(), floor="rest")
        assert _distance_m(result, turned(body, turn, torch.zeros(3))) < 1e-3


def test_tangled_zero_pose_is_untangled_by_a_t_pose_in_the_first_frame() -> None:
    body = walk_and_wave()
    t_pose = replace(
        body.slice(0, 1),
        local_rotations=quat_from_rotvec(torch.zeros(1, 22, 3)),
        root_position_m=body.root_position_m[:1],
    )
    body = concatenate([t_pose, body])
    rig = build_rig(own=random_axes(7), scale=1.1, root_above=True)
    result, report = retarget(rig.motion(body), smpl22(), floor="rest")
    assert report.source_rest == "first frame"
    assert _distance_m(result, body) < 0.01
    assert float(bone_angles_deg(result, body).max()) < 1.5, "SMPL's hips are a degree askew"
    again, report = retarget(body, rig.skeleton, target_example=rig.motion(body), floor="rest")
    assert report.target_rest == "first frame"
    assert _distance_m(again, rig.motion(body)) < 0.01


@pytest.mark.parametrize("seed", range(3))
def test_tangled_zero_pose_is_learnt_from_how_limbs_bend(seed: int) -> None:
    body = walk_and_wave(240)
    rig = build_rig(own=random_axes(seed), scale=0.8 + 0.2 * seed)
    result, report = retarget(rig.motion(body), smpl22(), floor="rest")
    assert report.source_rest == "estimated from the recording"
    assert float(bone_angles_deg(result, body)[:, LIMBS].max()) < 0.1
    turn = torch.rad2deg(quat_angle_rad(result.world_rotations(), body.world_rotations()))
    assert float(turn[:, TRUNK].mean()) < 15.0
    knees = [smpl22().index(f"{side}_{part}") for side in ("left", "right") for part in ("hip", "knee")]
    assert float(turn[:, knees].mean()) < 15.0, "knees bend about SMPL's axes but for its slant of 7 degrees"
    elbows = [smpl22().index(f"{side}_{part}") for side in ("left", "right") for part in ("shoulder", "elbow")]
    assert float(turn[:, elbows].mean()) < 12.0
    on_rig, _ = retarget(result, rig.skeleton, target_example=rig.motion(body), floor="rest")
    assert _distance_m(on_rig, rig.motion(body)) < 1e-3 * max(rig.scale, 1.0)


def test_tangled_zero_pose_without_a_recording_is_refused_with_advice() -> None:
    with pytest.raises(BadInputError, match=r"zero rotations are no standing.*a recording on this skeleton"):
        retarget(walk_and_wave(), build_rig(own=random_axes(1)).skeleton)


def test_unknown_names_are_mapped_by_structure_or_by_the_users_map() -> None:
    body = walk_and_wave()
    strange = {role: f"knochen_{k}" for k, role in enumerate(smpl22().joint_names)}
    rig = build_rig(names=strange)
    result, report = retarget(rig.motion(body), smpl22(), floor="rest")
    assert report.source_family == "tree and rest pose"
    assert _distance_m(result, body) < 1e-3
    by_hand = {bone: role for role, bone in strange.items()}
    result, report = retarget(rig.motion(body), smpl22(), source_map=by_hand, floor="rest")
    assert report.source_family == "user map"
    assert _distance_m(result, body) < 1e-3
    back, _ = retarget(result, rig.skeleton, target_map=by_hand, floor="rest")
    assert _distance_m(back, rig.motion(body)) < 1e-3


def test_map_that_swaps_the_order_of_a_limb_is_refused() -> None:
    by_hand = {bone: role for role, bone in MOTIONBUILDER.items()}
    by_hand["LeftLeg"], by_hand["LeftFoot"] = "left_ankle", "left_knee"
    with pytest.raises(BadInputError, match=r"'LeftLeg' \(left_ankle\) is expected below 'LeftFoot'"):
        retarget(build_rig().motion(walk_and_wave()), smpl22(), source_map=by_hand)


def test_limb_without_length_is_refused() -> None:
    rig = build_rig()
    offsets = rig.skeleton.offsets_m.clone()
    offsets[rig.skeleton.index("LeftLeg")] = 0.0
    flat = Skeleton("flat", rig.skeleton.joint_names, rig.skeleton.parents, offsets)
    with pytest.raises(BadInputError, match="'LeftUpLeg' to 'LeftLeg' has no length"):
        retarget(walk_and_wave(), flat)


def _without(rig: Rig, motion: Motion, dropped: set[str]) -> Motion:
    """The motion on the rig without some joints; their children hang from the next joint above."""
    names, parents = motion.skeleton.joint_names, motion.skeleton.parents
    keep = [k for k, name in enumerate(names) if name not in dropped]
    world = motion.world_rotations()

    def kept(joint: int) -> int:
        while joint >= 0 and names[joint] in dropped:
            joint = parents[joint]
        return joint

    new_parents = [kept(parents[k]) if parents[k] >= 0 else -1 for k in keep]
    local, offsets = motion.local_rotations[:, keep].clone(), motion.skeleton.offsets_m[keep].clone()
    rest = Motion(motion.skeleton, quat_from_rotvec(torch.zeros(1, len(names), 3)), torch.zeros(1, 3), 30.0)
    rest_positions = rest.joint_positions_m()[0]
    for row, (joint, parent) in enumerate(zip(keep, new_parents, strict=True)):
        if parent >= 0:
            local[:, row] = quat_multiply(quat_conjugate(world[:, parent]), world[:, joint])
            offsets[row] = rest_positions[joint] - rest_positions[parent]
    skeleton = Skeleton(
        "less", tuple(names[k] for k in keep), tuple(keep.index(p) if p >= 0 else -1 for p in new_parents), offsets
    )
    return Motion(skeleton, local, motion.root_position_m, motion.fps)


@pytest.mark.parametrize(
    "dropped",
    [
        {"LeftToeBase", "RightToeBase"},
        {"LeftShoulder", "RightShoulder"},
        {"LowerBack", "Spine"},
        {"Neck"},
        {"Neck", "Head", "LeftToeBase", "RightToeBase", "LeftShoulder", "RightShoulder"},
    ],
    ids=["toes", "collars", "spine", "neck", "everything that may lack"],
)
def test_joints_that_a_rig_lacks_follow_their_neighbours(dropped: set[str]) -> None:
    rig, body = build_rig(), walk_and_wave()
    less = _without(rig, rig.motion(body), dropped)
    result, report = retarget(less, smpl22(), floor="rest")
    assert float(bone_angles_deg(result, body)[:, LIMBS].max()) < 0.1
    assert len(report.unmatched_joints) == len(dropped)
    turn = torch.rad2deg(quat_angle_rad(result.world_rotations(), body.world_rotations()))
    assert float(turn.mean()) < 12.0


def test_spine_of_more_joints_is_spread_over_the_target_by_length() -> None:
    body = _standing()
    bend = body.local_rotations.clone()
    for name in ("spine1", "spine2", "spine3"):
        bend[:, smpl22().index(name)] = quat_about_axis(torch.tensor(0.2), "X")
    body = replace(body, local_rotations=bend)
    less = _without(build_rig(), build_rig().motion(body), {"LowerBack", "Spine"})
    result, _ = retarget(less, smpl22())
    pitch = [
        float(quat_rotate(result.world_rotations()[0, smpl22().index(name)], torch.tensor([0.0, 1.0, 0.0]))[2])
        for name in ("pelvis", "spine1", "spine2", "spine3", "neck")
    ]
    assert pitch == sorted(pitch)
    assert pitch[0] == pytest.approx(0.0, abs=1e-5)
    assert pitch[3] == pytest.approx(math.sin(0.6), abs=1e-4)
    assert 0.1 < pitch[1] < pitch[2] < 0.55


@pytest.mark.parametrize("floor_at_m", [0.0, 0.3, -1.0])
@pytest.mark.parametrize("scale", [0.6, 1.0, 1.5])
def test_standing_feet_come_to_stand_on_the_floor(scale: float, floor_at_m: float) -> None:
    rig = build_rig(scale=scale)
    on_rig = rig.motion(_standing())
    raised = replace(on_rig, root_position_m=on_rig.root_position_m + torch.tensor([0.0, floor_at_m, 0.0]))
    result, report = retarget(raised, smpl22())
    feet = [smpl22().index(name) for name in ("left_ankle", "right_ankle", "left_foot", "right_foot")]
    assert float(result.joint_positions_m()[:, feet, 1].min()) == pytest.approx(0.0, abs=0.006)
    assert report.foot_height_m[0] == pytest.approx(0.0, abs=0.006)


def _with_feet(rig: Rig, vector_m: tuple[float, float, float]) -> Skeleton:
    offsets = rig.skeleton.offsets_m.clone()
    for bone in ("LeftToeBase", "RightToeBase"):
        offsets[rig.skeleton.index(bone)] = torch.tensor(vector_m)
    return Skeleton("feet", rig.skeleton.joint_names, rig.skeleton.parents, offsets)


@pytest.mark.parametrize("foot_m", [(0.0, -0.05, 0.22), (0.0, -0.09, 0.06), (0.0, -0.02, 0.13)])
def test_rising_on_the_toes_neither_sinks_nor_slides_on_other_feet(foot_m: tuple[float, float, float]) -> None:
    target = _with_feet(build_rig(), foot_m)
    frames = 60
    heel_deg = 25.0 * (1.0 - torch.cos(torch.arange(frames) / frames * 2 * math.pi))
    rotvec = torch.zeros(frames, 22, 3)
    for side in ("left", "right"):
        rotvec[:, smpl22().index(f"{side}_knee"), 0] = 0.8
        rotvec[:, smpl22().index(f"{side}_hip"), 0] = -0.4
        rotvec[:, smpl22().index(f"{side}_ankle"), 0] = torch.deg2rad(heel_deg) - 0.4
    body = Motion(smpl22(), quat_from_rotvec(rotvec), torch.zeros(frames, 3), 30.0)
    toes = [smpl22().index("left_foot"), smpl22().index("right_foot")]
    anchor = body.joint_positions_m()[:, toes].mean(dim=1)
    body = replace(body, root_position_m=-anchor)
    source_toes = body.joint_positions_m()[:, toes]
    assert float((source_toes - source_toes[:1]).norm(dim=-1).max()) < 0.01

    result, _ = retarget(body, target, floor="rest")
    moved = result.joint_positions_m()[:, [target.index("LeftToeBase"), target.index("RightToeBase")]]
    down = heel_deg > 12.0
    drift = (moved[down] - moved[down].mean(dim=0)).norm(dim=-1)
    assert float(drift.max()) < 0.015
    assert float(moved[..., 1].min() - moved[0, :, 1].min()) > -0.015
    back, _ = retarget(result, smpl22(), floor="rest")
    assert float((back.joint_positions_m()[:, toes] - source_toes).norm(dim=-1).max()) < 0.015


def test_report_prints_and_goes_into_json() -> None:
    rig = build_rig(fingers=True)
    _, report = retarget(rig.motion(walk_and_wave()), smpl22())
    parsed = json.loads(json.dumps(report.to_dict()))
    assert parsed["source_family"] == "cmu-motionbuilder"
    assert parsed["matched"]["left_knee"] == ["LeftLeg", "left_knee"]
    assert parsed["unmatched_source_bones"] == ["left_finger_bone", "right_finger_bone"]
    text = str(report)
    assert "22 joints matched" in text
    assert "left_finger_bone" in text
    assert "scale by leg length: 1.0000" in text


def test_wrong_floor_is_refused() -> None:
    with pytest.raises(BadInputError, match="floor is 'contacts' or 'rest'"):
        retarget(walk_and_wave(), smpl22(), floor="ceiling")  # type: ignore[arg-type]


def test_single_frame_is_retargeted() -> None:
    result, _ = retarget(build_rig().motion(walk_and_wave()).slice(0, 1), smpl22())
    assert result.num_frames == 1


def _clip(folder: Path, number: int, name: str) -> Motion:
    return read_bvh(folder / f"Bandai-Namco-Research-Motiondataset-{number}" / "data" / f"dataset-{number}_{name}.bvh")


BANDAI_CLIPS = [
    (1, "walk_normal_001"),
    (1, "walk_old_001"),
    (1, "dash_normal_001"),
    (1, "bow_normal_001"),
    (2, "wave-right-hand_normal_001"),
    (2, "raise-up-both-hands_normal_001"),
]


@pytest.mark.parametrize(("number", "name"), BANDAI_CLIPS)
def test_bandai_namco_recordings_keep_limbs_feet_and_floor(bandai_namco_dir: Path, number: int, name: str) -> None:
    source = _clip(bandai_namco_dir, number, name)
    result, report = retarget(source, smpl22())
    assert report.source_family == "bandai-namco"
    assert len(report.matched) == 21
    for role, (mean, largest) in report.residual_deg.items():
        if role.endswith(("_shoulder", "_elbow")):
            assert largest < 0.01, role
        elif role.endswith(("_hip", "_knee")):
            assert mean < 2.0, role
            assert largest < 20.0, role
    names = source.skeleton.joint_names
    feet = [names.index(n) for n in ("Foot_L", "Toes_L", "Foot_R", "Toes_R")]
    mine = [smpl22().index(n) for n in ("left_ankle", "left_foot", "right_ankle", "right_foot")]
    theirs, ours = source.joint_positions_m()[:, feet], result.joint_positions_m()[:, mine]
    sunk = float(theirs[:, [1, 3], 1].min()) - 0.0425
    assert min(sunk, 0.0) - 0.01 < report.foot_height_m[0] < 0.01
    contacts = contacts_from_positions(theirs, source.fps)
    skate = [
        float((torch.gradient(p[..., [0, 2]], dim=0)[0].norm(dim=-1) * source.fps)[contacts].mean())
        for p in (theirs, ours)
    ]
    assert skate[1] < 1.15 * skate[0] + 0.003


def test_bandai_namco_walk_faces_where_it_walks_and_bends_knees_and_elbows_the_right_way(
    bandai_namco_dir: Path,
) -> None:
    result, _ = retarget(_clip(bandai_namco_dir, 1, "walk_normal_001"), smpl22())
    positions, world = result.joint_positions_m(), result.world_rotations()
    velocity = torch.gradient(positions[:, 0], dim=0)[0][:, [0, 2]]
    for joint in ("pelvis", "spine3", "head"):
        forward = quat_rotate(world[:, smpl22().index(joint)], torch.tensor([0.0, 0.0, 1.0]))[:, [0, 2]]
        cosine = torch.nn.functional.cosine_similarity(forward, velocity, dim=-1)
        assert float(cosine.median()) > 0.95, joint
    left = positions[:, smpl22().index("left_hip")] - positions[:, smpl22().index("right_hip")]
    across = quat_rotate(world[:, 0], torch.tensor([1.0, 0.0, 0.0]))
    assert float(torch.nn.functional.cosine_similarity(left, across, dim=-1).min()) > 0.99
    for side, sign in (("left", 1.0), ("right", -1.0)):
        knee = result.local_rotations[:, smpl22().index(f"{side}_knee")]
        elbow = result.local_rotations[:, smpl22().index(f"{side}_elbow")]
        assert float((knee[:, 1] * knee[:, 0].sign()).amin()) > -0.06, "knees bend backwards only"
        assert float((knee[:, 2:].abs()).max()) < 0.12, "and about one axis"
        assert float((-sign * elbow[:, 2] * elbow[:, 0].sign()).mean()) > 0.02, "forearms come forward"
        toes = quat_rotate(world[:, smpl22().index(f"{side}_ankle")], torch.tensor([0.0, 0.0, 1.0]))[:, [0, 2]]
        assert float(torch.nn.functional.cosine_similarity(toes, velocity, dim=-1).median()) > 0.9


def test_bandai_namco_rig_takes_a_motion_and_gives_it_back(bandai_namco_dir: Path) -> None:
    source = _clip(bandai_namco_dir, 1, "walk_normal_001")
    body, _ = retarget(source, smpl22())
    on_rig, report = retarget(body, source.skeleton)
    assert report.target_rest == "T-pose of bandai-namco"
    distance = (on_rig.joint_positions_m() - source.joint_positions_m())[:, 1:].norm(dim=-1)
    assert float(distance.mean()) < 0.003
    assert float(distance.max()) < 0.012
    back, _ = retarget(on_rig, smpl22())
    assert _distance_m(back, body) < 0.012


def test_bandai_namco_t_pose_is_found_again_from_the_recording_alone(bandai_namco_dir: Path) -> None:
    source = _clip(bandai_namco_dir, 1, "walk_old_001")
    known, _ = retarget(source, smpl22())
    names = {f"b{k}": name for k, name in enumerate(source.skeleton.joint_names)}
    renamed = Skeleton("?", tuple(names), source.skeleton.parents, source.skeleton.offsets_m)
    _, first = retarget(source, smpl22())
    by_hand = {b: role for b, name in names.items() for role, (bone, _) in first.matched.items() if bone == name}
    by_hand.pop(next(b for b, role in by_hand.items() if role == "head"))
    learnt, report = retarget(replace(source, skeleton=renamed), smpl22(), source_map=by_hand)
    assert report.source_rest in ("estimated from the recording", "T-pose of bandai-namco")
    angles = bone_angles_deg(learnt, known)[:, LIMBS]
    assert float(angles.mean()) < 1.0
