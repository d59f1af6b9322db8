"""A small made-up body of 21 joints as BVH text: with any names, unit, axes, helper bones and frames.

It stands in a T-pose at zero rotations, 1.66 m to the head, facing +Z with Y up, and raises its left arm by 60 degrees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Vector = tuple[float, float, float]

# Role: (parent's role, OFFSET in centimetres, End Site).
BONES: Mapping[str, tuple[str | None, Vector, Vector | None]] = {
    "pelvis": (None, (0, 0, 0), None),
    "spine1": ("pelvis", (0, 10, 0), None),
    "spine3": ("spine1", (0, 20, 0), None),
    "neck": ("spine3", (0, 22, 0), None),
    "head": ("neck", (0, 10, 1), (0, 17, 0)),
    **{
        f"{side}_{part}": (parent.format(side=side), (s * x, y, z), tip and (s * tip[0], tip[1], tip[2]))
        for side, s in (("left", 1), ("right", -1))
        for part, parent, (x, y, z), tip in (
            ("collar", "spine3", (4, 17, 0), None),
            ("shoulder", "{side}_collar", (13, 0, 0), None),
            ("elbow", "{side}_shoulder", (28, 0, 0), None),
            ("wrist", "{side}_elbow", (25, 0, 0), (15, 0, 0)),
            ("hip", "pelvis", (9, -4, 0), None),
            ("knee", "{side}_hip", (0, -42, 0), None),
            ("ankle", "{side}_knee", (0, -41, 0), None),
            ("foot", "{side}_ankle", (0, -7, 13), (0, 0, 6)),
        )
    },
}
STANDING_CM = 94.0
"""Height of the pelvis when the toes are on the floor."""


@dataclass(frozen=True)
class Extra:
    """A bone that plays no joint: put between a joint and its parent (`above` a role) or hung `below` one."""

    name: str
    above: str | None = None
    below: str | None = None
    offset: Vector = (0.0, 0.0, 5.0)
    share: float = 0.0  # of the bone's OFFSET that goes to a bone put in between


@dataclass
class Body:
    """How the body is written; `text()` is a BVH file."""

    names: Mapping[str, str] = field(default_factory=dict)
    scale: float = 1.0
    extras: Sequence[Extra] = ()
    left_out: Sequence[str] = ()
    channels: str = "Zrotation Xrotation Yrotation"
    root_channels: str = "Xposition Yposition Zposition Zrotation Xrotation Yrotation"
    axes: Callable[[Vector], Vector] = lambda v: v
    root_offset: Vector = (0, 0, 0)
    frame_time: str = "0.033333"
    root_at: Sequence[Vector] = ((0, STANDING_CM, 0), (0, STANDING_CM, 5), (0, STANDING_CM, 10))
    turns: Mapping[str, Vector] = field(default_factory=lambda: {"left_shoulder": (60, 0, 0)})

    def tree(self) -> list[tuple[str, str, str | None, Vector, Vector | None]]:
        """(key, name, parent's key, OFFSET, End Site), parents first."""
        rows: list[tuple[str, str, str | None, Vector, Vector | None]] = []
        for role, (parent, offset, tip) in BONES.items():
            if role in self.left_out or (parent in self.left_out and role.endswith("foot")):
                continue
            while parent in self.left_out:
                _, up, _ = BONES[parent]
                offset = (offset[0] + up[0], offset[1] + up[1], offset[2] + up[2])
                parent = BONES[parent][0]
            for extra in (extra for extra in self.extras if extra.above == role):
                part = tuple(extra.share * x for x in offset)
                rows.append((extra.name, extra.name, parent, (part[0], part[1], part[2]), None))
                offset = (offset[0] - part[0], offset[1] - part[1], offset[2] - part[2])
                parent = extra.name
            rows.append((role, self.names.get(role, role), parent, offset, tip))
            rows += [(e.name, e.name, role, e.offset, None) for e in self.extras if e.below == role]
        return rows

    def text(self) -> str:
        rows = self.tree()

        def numbers(vector: Vector) -> str:
            return " ".join(f"{x * self.scale:.6g}" for x in self.axes(vector))

        order: list[str] = []

        def block(key: str, name: str, offset: Vector, tip: Vector | None, root: bool) -> list[str]:
            order.append(key)
            channels = self.root_channels if root else self.channels
            lines = [f"{'ROOT' if root else 'JOINT'} {name}", "{", f"OFFSET {numbers(offset)}"]
            lines.append(f"CHANNELS {len(channels.split())} {channels}")
            children = [row for row in rows if row[2] == key]
            for child in children:
                lines += block(child[0], child[1], child[3], child[4], False)
            if tip is not None or not children:
                lines += ["End Site", "{", f"OFFSET {numbers(tip or (0, 0, 0))}", "}"]
            return [*lines, "}"]

        first = rows[0]
        lines = ["HIERARCHY", *block(first[0], first[1], self.root_offset, None, True)]
        lines += ["MOTION", f"Frames: {len(self.root_at)}", f"Frame Time: {self.frame_time}"]
        offsets = {row[0]: row[3] for row in rows}
        for place in self.root_at:
            values: list[str] = []
            for key in order:
                channels = (self.root_channels if key == first[0] else self.channels).split()
                at = self.axes(place if key == first[0] else offsets[key])
                turn = dict(zip("ZXY", self.turns.get(key, (0, 0, 0)), strict=True))
                for channel in channels:
                    if channel.endswith("position"):
                        values.append(f"{at['XYZ'.index(channel[0])] * self.scale:.6g}")
                    else:
                        values.append("1" if channel.endswith("scale") else f"{turn[channel[0]]:.6g}")
            lines.append(" ".join(values))
        return "\n".join(lines) + "\n"


def sided(trunk: Sequence[str], pattern: str, parts: Sequence[str], words: tuple[str, str]) -> dict[str, str]:
    """Names by role: five trunk bones (pelvis, two of the spine, neck, head), then collar, shoulder, elbow, wrist, hip,
    knee, ankle, foot in a pattern with {side} and {part}.
    """
    names = dict(zip(("pelvis", "spine1", "spine3", "neck", "head"), trunk, strict=True))
    roles = ("collar", "shoulder", "elbow", "wrist", "hip", "knee", "ankle", "foot")
    for side, word in zip(("left", "right"), words, strict=True):
        names |= {
            f"{side}_{role}": pattern.format(side=word, part=part) for role, part in zip(roles, parts, strict=True)
        }
    return names


_MIXAMO = ("Shoulder", "Arm", "ForeArm", "Hand", "UpLeg", "Leg", "Foot", "ToeBase")
_HUMANOID = ("Shoulder", "UpperArm", "LowerArm", "Hand", "UpperLeg", "LowerLeg", "Foot", "Toes")
_POSER = ("Collar", "Shldr", "ForeArm", "Hand", "Thigh", "Shin", "Foot", "Toe")
_UNREAL = ("clavicle", "upperarm", "lowerarm", "hand", "thigh", "calf", "foot", "ball")
_TRUNK = ("Hips", "Spine", "Spine1", "Neck", "Head")
_LEFT, _L, _l = ("Left", "Right"), ("L", "R"), ("l", "r")

CONVENTIONS: Mapping[str, Mapping[str, str]] = {
    "mixamo": sided([f"mixamorig:{n}" for n in _TRUNK], "mixamorig:{side}{part}", _MIXAMO, _LEFT),
    "mixamo with a number": sided([f"mixamorig9_{n}" for n in _TRUNK], "mixamorig9_{side}{part}", _MIXAMO, _LEFT),
    "unreal": sided(("pelvis", "spine_01", "spine_03", "neck_01", "head"), "{part}_{side}", _UNREAL, _l),
    "3ds max biped": sided(
        [f"Bip001 {n}" for n in ("Pelvis", "Spine", "Spine1", "Neck", "Head")], "Bip001 {side} {part}",
        ("Clavicle", "UpperArm", "Forearm", "Hand", "Thigh", "Calf", "Foot", "Toe0"), _L),
    "cmu": sided(("Hips", "LowerBack", "Spine", "Neck", "Head"), "{side}{part}", _MIXAMO, _LEFT),
    "cmu asf": sided(("root", "lowerback", "thorax", "lowerneck", "head"), "{side}{part}",
        ("clavicle", "humerus", "radius", "wrist", "femur", "tibia", "foot", "toes"), _l),
    "motionbuilder": sided([f"Character1_{n}" for n in _TRUNK], "Character1_{side}{part}", _MIXAMO, _LEFT),
    "biovision classic": sided(("Hips", "Chest", "Chest2", "Neck", "Head"), "{side}{part}",
        ("Collar", "UpArm", "LowArm", "Hand", "UpLeg", "LowLeg", "Foot", "Toe"), _LEFT),
    "biovision hips": sided(("Hips", "Chest", "Chest2", "Neck", "Head"), "{side}{part}",
        ("Collar", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Toe"), _LEFT),
    "rokoko": sided(("Hips", "Spine", "Spine2", "Neck", "Head"), "{side}{part}",
        ("Shoulder", "Arm", "ForeArm", "Hand", "Thigh", "Shin", "Foot", "Toe"), _LEFT),
    "xsens": sided(("Pelvis", "L5", "T8", "Neck", "Head"), "{side}{part}",
        ("Shoulder", "UpperArm", "ForeArm", "Hand", "UpperLeg", "LowerLeg", "Foot", "Toe"), _LEFT),
    "perception neuron": sided([f"Robot_{n}" for n in _TRUNK], "Robot_{side}{part}", (*_MIXAMO[:7], "Toe"), _LEFT),
    "optitrack": sided(("Hip", "Ab", "Chest", "Neck", "Head"), "{side}{part}",
        ("Shoulder", "UArm", "FArm", "Hand", "Thigh", "Shin", "Foot", "Toe"), _L),
    "optitrack with a namespace": sided(["Skeleton:" + n for n in ("Hip", "Ab", "Chest", "Neck", "Head")],
        "Skeleton:{side}{part}", ("Shoulder", "UArm", "FArm", "Hand", "Thigh", "Shin", "Foot", "Toe"), _L),
    "freemocap": sided(("pelvis", "spine", "spine.001", "neck", "face"), "{part}.{side}",
        ("shoulder", "upper_arm", "forearm", "hand", "thigh", "shin", "foot", "toe"), _L),
    "kinect": sided(("SpineBase", "SpineMid", "SpineShoulder", "Neck", "Head"), "{part}{side}",
        ("Clavicle", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Foot"), _LEFT),
    "mocapnet": sided(("hip", "abdomen", "chest", "neck", "head"), "{side}{part}", _POSER, _l),
    "makehuman": sided(("root", "spine05", "spine02", "neck01", "head"), "{part}.{side}",
        ("clavicle", "upperarm01", "lowerarm01", "wrist", "upperleg01", "lowerleg01", "foot", "toe1-1"), _L),
    "daz genesis 3 and 8": sided(("hip", "abdomenLower", "chestLower", "neckLower", "head"), "{side}{part}",
        ("Collar", "ShldrBend", "ForearmBend", "Hand", "ThighBend", "Shin", "Foot", "Toe"), _l),
    "daz genesis 9": sided(("hip", "spine1", "spine3", "neck1", "head"), "{side}_{part}",
        ("shoulder", "upperarm", "forearm", "hand", "thigh", "shin", "foot", "toes"), _l),
    "character creator": sided(
        [f"CC_Base_{n}" for n in ("Hip", "Waist", "Spine01", "NeckTwist01", "Head")], "CC_Base_{side}_{part}",
        ("Clavicle", "Upperarm", "Forearm", "Hand", "Thigh", "Calf", "Foot", "ToeBase"), _L),
    "auto-rig pro": sided(("root.x", "spine_01.x", "spine_02.x", "neck.x", "head.x"), "{part}.{side}",
        ("shoulder", "arm_stretch", "forearm_stretch", "hand", "thigh_stretch", "leg_stretch", "foot", "toes_01"), _l),
    "rigify": sided([f"DEF-spine{n}" for n in ("", ".001", ".003", ".004", ".006")], "DEF-{part}.{side}",
        ("shoulder", "upper_arm", "forearm", "hand", "thigh", "shin", "foot", "toe"), _L),
    "vroid": sided([f"J_Bip_C_{n}" for n in ("Hips", "Spine", "Chest", "Neck", "Head")], "J_Bip_{side}_{part}",
        (*_HUMANOID[:7], "ToeBase"), _L),
    "vrm humanoid": sided(("hips", "spine", "chest", "neck", "head"), "{side}{part}", _HUMANOID, ("left", "right")),
    "mmd japanese": sided(("センター", "上半身", "上半身2", "首", "頭"), "{side}{part}",
        ("肩", "腕", "ひじ", "手首", "足", "ひざ", "足首", "つま先"), ("左", "右")),
    "second life": sided(("mPelvis", "mTorso", "mChest", "mNeck", "mHead"), "m{part}{side}",
        ("Collar", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Toe"), _LEFT),
    "slimevr": sided(("HIP", "WAIST", "CHEST", "NECK", "HEAD"), "{side}_{part}",
        ("SHOULDER", "UPPER_ARM", "LOWER_ARM", "HAND", "UPPER_LEG", "LOWER_LEG", "FOOT", "TOE"), ("LEFT", "RIGHT")),
    "smpl": sided(("Pelvis", "Spine1", "Spine3", "Neck", "Head"), "{side}_{part}",
        ("Collar", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Foot"), _L),
    "smpl-x": sided(("pelvis", "spine1", "spine3", "neck", "head"), "{side}_{part}",
        ("collar", "shoulder", "elbow", "wrist", "hip", "knee", "ankle", "foot"), ("left", "right")),
    "soma": sided(("Hips", "Spine1", "Chest", "Neck1", "Head"), "{side}{part}",
        ("Shoulder", "Arm", "ForeArm", "Hand", "Leg", "Shin", "Foot", "ToeBase"), _LEFT),
    "deepmotion": sided(("hips_JNT", "spine_JNT", "spine2_JNT", "neck_JNT", "head_JNT"), "{side}_{part}_JNT",
        ("shoulder", "arm", "forearm", "hand", "upleg", "leg", "foot", "toebase"), _l),
    "ready player me": sided(_TRUNK, "{side}{part}", _MIXAMO, _LEFT),
    "side as a suffix": sided(_TRUNK, "{part}_{side}",
        ("Shoulder", "UpperArm", "Forearm", "Hand", "Thigh", "Shin", "Foot", "Toe"), _L),
    "side as a suffix word": sided(_TRUNK, "{part}.{side}", _HUMANOID, ("left", "right")),
    "index suffixes": sided([f"{n} #{k}" for k, n in enumerate(_TRUNK)], "{side}{part} #4", _MIXAMO, _LEFT),
    "capitals": sided([n.upper() for n in _TRUNK], "{side}_{part}", [n.upper() for n in _MIXAMO], ("LEFT", "RIGHT")),
    "lower case": sided([n.lower() for n in _TRUNK], "{side}{part}", [n.lower() for n in _MIXAMO], ("left", "right")),
    "shoulder, elbow, hand": sided(("Hips", "Torso", "Chest", "Neck", "Head"), "{part}{side}",
        ("Collar", "Shoulder", "Elbow", "Hand", "Hip", "Knee", "Foot", "Toe"), _L),
    "vrchat": sided(("Hips", "Spine", "Chest", "Neck", "Head"), "{side} {part}",
        ("shoulder", "arm", "elbow", "wrist", "leg", "knee", "ankle", "toe"), _LEFT),
    "mocopi": sided(("root", "torso_1", "torso_4", "neck_1", "head"), "{side}_{part}",
        ("shoulder", "up_arm", "low_arm", "hand", "up_leg", "low_leg", "foot", "toes"), _l),
    "advanced skeleton": sided(("Root_M", "Spine1_M", "Chest_M", "Neck_M", "Head_M"), "{part}_{side}",
        ("Scapula", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Toes"), _L),
    "mgear": sided(("spine_C0_pelvis_jnt", "spine_C0_01_jnt", "spine_C0_04_jnt", "neck_C0_0_jnt", "neck_C0_head_jnt"),
        "{part}", [""] * 8, _L) | {
            f"{side}_{role}": f"{part.format(s=s)}_jnt"
            for side, s in (("left", "L0"), ("right", "R0"))
            for role, part in zip(
                ("collar", "shoulder", "elbow", "wrist", "hip", "knee", "ankle", "foot"),
                ("clavicle_{s}_0", "arm_{s}_0_0", "arm_{s}_1_0", "hand_{s}_0",
                 "leg_{s}_0_0", "leg_{s}_1_0", "foot_{s}_0", "toe_{s}_1"), strict=True)},
    "source engine": sided([f"ValveBiped.Bip01_{n}" for n in ("Pelvis", "Spine", "Spine4", "Neck1", "Head1")],
        "ValveBiped.Bip01_{side}_{part}",
        ("Clavicle", "UpperArm", "Forearm", "Hand", "Thigh", "Calf", "Foot", "Toe0"), _L),
    "numbered halves": sided(_TRUNK, "{side}_{part}",
        ("Shoulder", "Arm1", "Arm2", "Hand", "Leg1", "Leg2", "Foot", "Toe"), _L),
    "german": sided(("Becken", "Wirbelsaeule1", "Brust", "Hals", "Kopf"), "{part}_{side}",
        ("Schulter", "Oberarm", "Unterarm", "Hand", "Oberschenkel", "Unterschenkel", "Fuss", "Zehen"), ("L", "R")),
}  # fmt: skip
"""Names by role in the conventions of common programs (public facts), and in mixtures that people make."""
