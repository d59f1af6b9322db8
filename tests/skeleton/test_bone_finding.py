"""Bones are found by name, tree and rest pose together; what is not clear is refused, never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from kinestream.errors import BadInputError
from kinestream.io.bvh import read_bvh
from kinestream.motion import Motion
from kinestream.skeleton import smpl22
from kinestream.skeleton.bone_finding import BY_STRUCTURE, bone_map
from kinestream.skeleton.bone_names import BoneMap
from kinestream.skeleton.bone_words import read_name
from kinestream.skeleton.retarget import retarget
from tests.support.bodies import BONES, CONVENTIONS, Body, Extra

MIXAMO = CONVENTIONS["ready player me"]


def read(tmp_path: Path, body: Body) -> Motion:
    path = tmp_path / "body.bvh"
    path.write_text(body.text(), encoding="utf-8")
    return read_bvh(path)


def found(tmp_path: Path, body: Body) -> BoneMap:
    return bone_map(read(tmp_path, body).skeleton)


def assert_right(bones: BoneMap, names: Mapping[str, str], left_out: tuple[str, ...] = ()) -> None:
    """Every limb joint, pelvis, neck and head by role; the spine from its lower end to its upper one."""
    wanted = {role: names[role] for role in BONES if role not in left_out and not role.startswith("spine")}
    assert {role: bones.bone_of.get(role) for role in wanted} == wanted
    spine = [bones.bone_of[role] for role in ("spine1", "spine2", "spine3") if role in bones.bone_of]
    assert spine == [names[role] for role in ("spine1", "spine3") if role not in left_out]


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_bones_of_common_programs_are_found(tmp_path: Path, convention: str) -> None:
    names = CONVENTIONS[convention]
    motion = read(tmp_path, Body(names=names))
    assert_right(bone_map(motion.skeleton), names)
    moved, _ = retarget(motion, smpl22())
    positions, index = moved.joint_positions_m(), smpl22().index
    arm = positions[0, index("left_elbow")] - positions[0, index("left_shoulder")]
    assert (arm / arm.norm()).tolist() == pytest.approx([0.5, 0.866, 0.0], abs=0.01)
    other = positions[0, index("right_elbow")] - positions[0, index("right_shoulder")]
    assert (other / other.norm()).tolist() == pytest.approx([-1.0, 0.0, 0.0], abs=0.01)


ORDINARY = {
    "no collarbones": Body(names=MIXAMO, left_out=("left_collar", "right_collar")),
    "no toes": Body(names=MIXAMO, left_out=("left_foot", "right_foot")),
    "no hands": Body(names=MIXAMO, left_out=("left_wrist", "right_wrist")),
    "no neck": Body(names=MIXAMO, left_out=("neck",)),
    "one spine joint": Body(names=MIXAMO, left_out=("spine3",)),
    "fingers": Body(
        names=MIXAMO, extras=[Extra(f"LeftHandIndex{k}", below="left_wrist", offset=(3, 0, k)) for k in (1, 2)]
    ),
    "twist bones below": Body(
        names=MIXAMO, extras=[Extra("LeftArmTwist", below="left_shoulder"), Extra("LeftLegRoll", below="left_knee")]
    ),
    "twist bones between": Body(
        names=MIXAMO,
        extras=[
            Extra("LeftUpLegTwist", above="left_knee", share=0.5),
            Extra("RightUpLegTwist", above="right_knee", share=0.5),
        ],
    ),
    "limbs of two bones": Body(
        names=CONVENTIONS["makehuman"],
        extras=[
            Extra(f"{part}02.{side[0].upper()}", above=f"{side}_{below}", share=0.5)
            for side in ("left", "right")
            for part, below in (
                ("upperleg", "knee"),
                ("lowerleg", "ankle"),
                ("upperarm", "elbow"),
                ("lowerarm", "wrist"),
            )
        ],
    ),
    "hip connectors": Body(
        names=MIXAMO, extras=[Extra("LHipJoint", above="left_hip"), Extra("RHipJoint", above="right_hip")]
    ),
    "a shoulder between collarbone and arm": Body(
        names=CONVENTIONS["makehuman"],
        extras=[
            Extra("shoulder01.L", above="left_shoulder", share=0.4),
            Extra("shoulder01.R", above="right_shoulder", share=0.4),
        ],
    ),
    "a prop": Body(names=MIXAMO, extras=[Extra("Sword", below="right_wrist", offset=(-60, 0, 0))]),
    "a tail": Body(names=MIXAMO, extras=[Extra("Tail1", below="pelvis", offset=(0, 0, -40))]),
    "eyes and jaw": Body(
        names=MIXAMO,
        extras=[Extra("LeftEye", below="head"), Extra("RightEye", below="head"), Extra("Jaw", below="head")],
    ),
}


@pytest.mark.parametrize("kind", ORDINARY)
def test_more_and_fewer_bones_are_ordinary(tmp_path: Path, kind: str) -> None:
    body = ORDINARY[kind]
    assert_right(found(tmp_path, body), body.names, tuple(body.left_out))


def test_the_report_says_how_sure_each_bone_is(tmp_path: Path) -> None:
    body = ORDINARY["a prop"]
    motion = read(tmp_path, body)
    _, report = retarget(motion, motion.skeleton)
    assert report.how["left_elbow"] == ("name", "name")
    assert report.how["left_collar"] == ("name and structure", "name and structure")
    assert report.unmatched_target_bones == ("Sword",)
    assert "target bones left at rest: Sword" in str(report)
    assert "bones found by name (" in str(report)


def test_nonsense_names_are_found_by_structure(tmp_path: Path) -> None:
    names = {role: f"qx{k}" for k, role in enumerate(BONES)}
    bones = found(tmp_path, Body(names=names))
    assert bones.family == BY_STRUCTURE
    assert_right(bones, names)
    assert set(bones.how.values()) == {"structure"}


def _swapped(names: Mapping[str, str], pairs: Mapping[str, str]) -> dict[str, str]:
    return {**names, **{a: names[b] for a, b in pairs.items()}, **{b: names[a] for a, b in pairs.items()}}


PARTS = ("collar", "shoulder", "elbow", "wrist", "hip", "knee", "ankle", "foot")
TORN = {
    "left and right exchanged": _swapped(MIXAMO, {f"left_{part}": f"right_{part}" for part in PARTS}),
    "arms of the other side": _swapped(MIXAMO, {f"left_{part}": f"right_{part}" for part in PARTS[:4]}),
    "arms named as legs": _swapped(
        MIXAMO,
        {f"{side}_{a}": f"{side}_{b}" for side in ("left", "right") for a, b in zip(PARTS[:4], PARTS[4:], strict=True)},
    ),
    "knee and ankle exchanged": _swapped(MIXAMO, {"left_knee": "left_ankle"}),
    "sides mixed within a leg": _swapped(MIXAMO, {"left_knee": "right_knee"}),
    "hand and head exchanged": _swapped(MIXAMO, {"left_elbow": "head"}),
}


@pytest.mark.parametrize("kind", TORN)
def test_names_that_the_structure_contradicts_ask_for_a_map(tmp_path: Path, kind: str) -> None:
    motion = read(tmp_path, Body(names=TORN[kind]))
    with pytest.raises(BadInputError, match=r"map file"):
        retarget(motion, smpl22())


def test_names_that_say_nothing_are_refused_where_the_structure_is_not_clear(tmp_path: Path) -> None:
    names = {role: f"qx{k}" for k, role in enumerate(BONES)}
    no_toes = Body(names=names, left_out=("left_foot", "right_foot"))
    twisted = Body(
        names=names,
        extras=[
            Extra(f"t{side}{role}", above=f"{side}_{role}", share=0.5)
            for side in ("left", "right")
            for role in ("knee", "ankle", "elbow", "wrist")
        ],
    )
    for body in (no_toes, twisted):
        with pytest.raises(BadInputError, match=r"map file"):
            found(tmp_path, body)


def test_a_wrong_map_cannot_tear_a_body_apart(tmp_path: Path) -> None:
    motion = read(tmp_path, Body(names=MIXAMO))
    by_hand = {MIXAMO[role]: role for role in BONES if role != "spine1"}
    right, _ = retarget(motion, smpl22(), source_map=by_hand)
    assert right.num_frames == motion.num_frames
    by_hand[MIXAMO["spine1"]] = "pelvis"
    del by_hand["Hips"]
    with pytest.raises(BadInputError, match=r"does not hang from 'Spine' \(pelvis\)"):
        retarget(motion, smpl22(), source_map=by_hand)


def test_two_chains_that_read_alike_are_named(tmp_path: Path) -> None:
    body = Body(names=MIXAMO)
    text = body.text()
    start = text.index("JOINT LeftUpLeg")
    stop = text.index("JOINT RightUpLeg") if text.index("JOINT RightUpLeg") > start else text.index("MOTION")
    copy = text[start:stop].replace("LeftUpLeg", "LeftUpLeg.1").replace("LeftLeg", "LeftLeg.1")
    copy = copy.replace("LeftFoot", "LeftFoot.1").replace("LeftToeBase", "LeftToeBase.1")
    path = tmp_path / "twice.bvh"
    rows = text[text.index("MOTION") :].splitlines()
    rows = rows[:3] + [row + " 0" * 12 for row in rows[3:]]
    path.write_text(text[:stop] + copy + text[stop : text.index("MOTION")] + "\n".join(rows) + "\n", encoding="utf-8")
    motion = read_bvh(path)
    with pytest.raises(BadInputError, match=r"two chains read as the left leg.*LeftUpLeg\.1"):
        bone_map(motion.skeleton)


def test_reversed_hierarchies_are_refused() -> None:
    """A tree that is rooted at the head: every bone's frame means something else, so nothing may be guessed."""
    body = smpl22()
    children = {"head": "neck", "neck": "spine3", "spine3": "spine2", "spine2": "spine1", "spine1": "pelvis"}
    parent_of = {name: body.joint_names[p] for name, p in zip(body.joint_names[1:], body.parents[1:], strict=True)}
    parent_of |= {lower: upper for upper, lower in children.items()}
    del parent_of["head"]
    order = ["head"]
    while len(order) < len(body.joint_names):
        order += [name for name in body.joint_names if name not in order and parent_of.get(name) in order]
    rows = [order.index(parent_of[name]) if name in parent_of else -1 for name in order]
    offsets = body.offsets_m[[body.index(name) for name in order]].clone()
    skeleton = replace(body, joint_names=tuple(order), parents=tuple(rows), offsets_m=offsets)
    with pytest.raises(BadInputError, match="structure"):
        bone_map(skeleton)


@pytest.mark.parametrize(
    ("name", "side", "parts"),
    [
        ("mixamorig:LeftUpLeg", "left", ("hip",)),
        ("lShldrBend", "left", ("shoulder",)),
        ("LUArm", "left", ("shoulder",)),
        ("L5", None, ("spine",)),
        ("upperarm_l", "left", ("shoulder",)),
        ("Shoulder_R", "right", ("collar", "shoulder")),
        ("LeftHip", "left", ("hip",)),
        ("Hips", None, ("pelvis",)),
        ("rleg", "right", ("hip", "knee")),
        ("左足首", "left", ("ankle",)),
        ("CC_Base_NeckTwist01", None, ("neck",)),
    ],
)
def test_single_names_say_side_and_part(name: str, side: str | None, parts: tuple[str, ...]) -> None:
    reading = read_name(name)
    assert (reading.side, reading.parts) == (side, parts)


@pytest.mark.parametrize(
    "name", ["LeftHandIndex1", "lShldrTwist", "LeftToe_End", "左足ＩＫ", "LHipJoint", "lMetatarsals"]
)
def test_helper_bones_play_no_part(name: str) -> None:
    assert read_name(name).other
