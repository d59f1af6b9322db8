"""Bone names of every family are recognised, and a user's map is checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kinestream.errors import BadInputError
from kinestream.skeleton import Skeleton, smpl22
from kinestream.skeleton.bone_finding import bone_map
from kinestream.skeleton.bone_names import REQUIRED_ROLES, best_family, bone_families, read_bone_map

MOTIONBUILDER_SIDE = ("Shoulder", "Arm", "ForeArm", "Hand", "UpLeg", "Leg", "Foot", "ToeBase")
VRM_SIDE = ("Shoulder", "UpperArm", "LowerArm", "Hand", "UpperLeg", "LowerLeg", "Foot")
BIPED_SIDE = ("Clavicle", "UpperArm", "Forearm", "Hand", "Thigh", "Calf", "Foot", "Toe0", "Finger0")
SMPL_SIDE = ("Hip", "Knee", "Ankle", "Foot", "Collar", "Shoulder", "Elbow", "Wrist", "Hand")


def _sides(pattern: str, words: tuple[str, str], parts: tuple[str, ...]) -> list[str]:
    return [pattern.format(side=side, part=part) for side in words for part in parts]


def _motionbuilder(prefix: str) -> list[str]:
    spine = ["Hips", "Spine", "Spine1", "Spine2", "Neck", "Head"]
    return [prefix + bone for bone in spine + _sides("{side}{part}", ("Left", "Right"), MOTIONBUILDER_SIDE)]


def _biped(prefix: str) -> list[str]:
    trunk = [prefix + bone for bone in ("Pelvis", "Spine", "Spine1", "Spine2", "Neck", "Head")]
    return ["Bip01", *trunk, *_sides(prefix + "{side} {part}", ("L", "R"), BIPED_SIDE)]


CMU = [
    *("Hips", "LHipJoint", "RHipJoint", "LowerBack", "Spine", "Spine1", "Neck", "Neck1", "Head"),
    *_sides("{side}{part}", ("Left", "Right"), MOTIONBUILDER_SIDE),
    *("LeftFingerBase", "LeftHandIndex1", "LThumb"),
]
UNREAL = [
    *("root", "pelvis", "spine_01", "spine_02", "spine_03", "spine_04", "spine_05", "neck_01", "neck_02", "head"),
    *_sides(
        "{part}_{side}",
        ("l", "r"),
        ("clavicle", "upperarm", "upperarm_twist_01", "lowerarm", "hand", "thigh", "calf", "foot", "ball", "index_01"),
    ),
]
SMPL = ["Pelvis", "Spine1", "Spine2", "Spine3", "Neck", "Head", *_sides("{side}_{part}", ("L", "R"), SMPL_SIDE)]
VRM = [
    *(f"J_Bip_C_{bone}" for bone in ("Hips", "Spine", "Chest", "UpperChest", "Neck", "Head")),
    *_sides("J_Bip_{side}_{part}", ("L", "R"), (*VRM_SIDE, "ToeBase", "Index1")),
    "J_Sec_Hair1_01",
]
VRM_HUMANOID = [
    *("hips", "spine", "chest", "upperChest", "neck", "head"),
    *_sides("{side}{part}", ("left", "right"), (*VRM_SIDE, "Toes")),
]
BANDAI_NAMCO = [
    *("joint_Root", "Hips", "Spine", "Chest", "Neck", "Head"),
    *_sides("{part}_{side}", ("L", "R"), (*VRM_SIDE, "Toes")),
]

FAMILIES = {
    "cmu": (CMU, "cmu-motionbuilder"),
    "motionbuilder": (_motionbuilder(""), "cmu-motionbuilder"),
    "motionbuilder with a character's prefix": (_motionbuilder("Character1_"), "cmu-motionbuilder"),
    "motionbuilder with a namespace": (_motionbuilder("Actor:"), "cmu-motionbuilder"),
    "mixamo": (_motionbuilder("mixamorig:"), "mixamo"),
    "mixamo without colons": (_motionbuilder("mixamorig"), "mixamo"),
    "mixamo with a number": (["Armature", *_motionbuilder("mixamorig7:")], "mixamo"),
    "unreal": (UNREAL, "unreal"),
    "unreal in capitals": ([bone.upper() for bone in UNREAL], "unreal"),
    "biped": (_biped("Bip01 "), "biped"),
    "biped with underscores": ([bone.replace(" ", "_") for bone in _biped("Bip001 ")], "biped"),
    "biped of the Source engine": ([b.replace(" ", "_") for b in _biped("ValveBiped.Bip01 ")], "biped"),
    "smpl": (SMPL, "smpl"),
    "smpl of a game engine": (["m_avg_root", *(f"m_avg_{bone}" for bone in SMPL)], "smpl"),
    "humanml3d": (list(smpl22().joint_names), "humanml3d"),
    "vrm": (VRM, "vrm"),
    "vrm humanoid": (VRM_HUMANOID, "vrm-humanoid"),
    "humanoid in title case": ([bone[0].upper() + bone[1:] for bone in VRM_HUMANOID], "vrm-humanoid"),
    "bandai-namco": (BANDAI_NAMCO, "bandai-namco"),
}


@pytest.mark.parametrize(("bones", "family"), FAMILIES.values(), ids=FAMILIES.keys())
def test_family_is_recognised_from_names_in_any_order(bones: list[str], family: str) -> None:
    for names in (bones, bones[::-1]):
        found = best_family(names)
        assert found is not None
        assert found.family == family
        assert set(REQUIRED_ROLES) <= set(found.bone_of)
        assert found.score >= 21 / 22
        for side, initials in (("left", "l"), ("right", "r")):
            for role, bone in found.bone_of.items():
                if role.startswith(side):
                    other = "right" if side == "left" else "left"
                    assert other not in bone.lower(), f"{role} is played by {bone}"
                    assert initials in bone.lower()


def match_names(bones: list[str]) -> Mapping[str, str]:
    found = best_family(bones)
    assert found is not None
    return found.bone_of


def test_shins_are_no_thighs_and_forearms_no_upper_arms() -> None:
    bones = match_names(CMU)
    assert (bones["left_hip"], bones["left_knee"], bones["left_ankle"]) == ("LeftUpLeg", "LeftLeg", "LeftFoot")
    assert (bones["right_shoulder"], bones["right_elbow"]) == ("RightArm", "RightForeArm")
    assert bones["left_collar"] == "LeftShoulder"
    bones = match_names(BANDAI_NAMCO)
    assert (bones["left_collar"], bones["left_shoulder"], bones["left_foot"]) == ("Shoulder_L", "UpperArm_L", "Toes_L")


def test_every_family_spells_the_required_joints() -> None:
    for family in bone_families():
        assert set(REQUIRED_ROLES) <= set(family.spellings), family.name
        assert set(family.spellings) <= set(smpl22().joint_names), family.name


def _renamed(names: Sequence[str], **changes: Any) -> Skeleton:
    return replace(smpl22(), name="test", joint_names=tuple(names), **changes)


def test_unknown_names_are_refused_with_what_lacks_where_the_structure_is_not_clear() -> None:
    flat = torch.ones(22, 3)
    names = [name if name != "left_knee" else "thing" for name in smpl22().joint_names]
    with pytest.raises(BadInputError, match=r"left_knee.*not recognised.*structure alone is not clear.*map file"):
        bone_map(_renamed(names, offsets_m=flat))
    with pytest.raises(BadInputError, match="no bone's name is recognised"):
        bone_map(_renamed([f"bone{k}" for k in range(22)], offsets_m=flat))


def test_user_map_names_bones_by_hand() -> None:
    names = [f"bone{k}" for k in range(22)]
    by_hand = dict(zip(names, smpl22().joint_names, strict=True))
    found = bone_map(_renamed(names), by_hand)
    assert found.family == "user map"
    assert found.bone_of["left_knee"] == "bone4"
    assert found.unmatched_roles == ()


def test_user_map_errors_name_every_problem_and_the_closest_bone() -> None:
    names = [f"bone{k}" for k in range(21)] + ["LeftLeg"]
    by_hand = dict(zip(names, smpl22().joint_names, strict=True))
    del by_hand["LeftLeg"], by_hand["bone4"]
    by_hand |= {"LeftLegg": "left_kneee", "bone5": "pelvis"}
    with pytest.raises(BadInputError) as error:
        bone_map(_renamed(names), by_hand)
    text = str(error.value)
    assert "unknown bone 'LeftLegg' (did you mean 'LeftLeg'?)" in text
    assert "unknown smpl22 joint 'left_kneee' (did you mean 'left_knee'?)" in text
    assert "'pelvis' is given to 2 bones" in text
    assert "no bone is given for 'left_knee'" in text


def test_map_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text(json.dumps({"Hueftgelenk": "left_hip"}), encoding="utf-8")
    assert read_bone_map(path) == {"Hueftgelenk": "left_hip"}


@pytest.mark.parametrize(
    "text", ["", "[]", '{"a": 1}', '{"a": ["left_hip"]}', '{"a": "x", "a": "y"}', "{", "[" * 100_000]
)
def test_bad_map_files_give_one_clear_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "map.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInputError, match=r"map\.json: expected"):
        read_bone_map(path)
    with pytest.raises(BadInputError, match="expected a bone map"):
        read_bone_map(tmp_path / "missing.json")
