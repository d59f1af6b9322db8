"""Frames as JSON in the form of Rokoko Studio's custom streaming, version 3."""

from __future__ import annotations

import json
from typing import Any

from kinestream.server.live.frames import UNITY_BONES, LiveFrame

FPS = 30
_COLOUR = [64, 140, 255]
# Rokoko has one joint between spine and neck. Its toe ends are not sent: our bodies have none.
_NAMES = {
    "Hips": "hip", "Spine": "spine", "UpperChest": "chest", "Neck": "neck", "Head": "head",
    "LeftShoulder": "leftShoulder", "LeftUpperArm": "leftUpperArm", "LeftLowerArm": "leftLowerArm",
    "LeftHand": "leftHand", "RightShoulder": "rightShoulder", "RightUpperArm": "rightUpperArm",
    "RightLowerArm": "rightLowerArm", "RightHand": "rightHand", "LeftUpperLeg": "leftUpLeg",
    "LeftLowerLeg": "leftLeg", "LeftFoot": "leftFoot", "LeftToes": "leftToe", "RightUpperLeg": "rightUpLeg",
    "RightLowerLeg": "rightLeg", "RightFoot": "rightFoot", "RightToes": "rightToe",
}  # fmt: skip


def rokoko_datagrams(frame: LiveFrame) -> list[bytes]:
    """One datagram: all joints in the world, in Unity's axes (Y up, Z forward), metres."""
    rows = zip(UNITY_BONES, frame.positions, frame.world, strict=True)
    body = {_NAMES[bone]: _joint(place, turn) for bone, place, turn in rows if bone in _NAMES}
    leg = ("LeftUpperLeg", "LeftLowerLeg", "LeftFoot", "LeftToes")
    hip_height = -sum(frame.offsets[UNITY_BONES.index(bone)][1] for bone in leg)
    actor = {
        "name": "kinestream",
        "color": _COLOUR,
        "meta": {
            "hasGloves": False,
            "hasLeftGlove": False,
            "hasRightGlove": False,
            "hasBody": True,
            "hasFace": False,
        },
        "dimensions": {"totalHeight": 2 * hip_height, "hipHeight": hip_height},
        "body": body,
    }
    scene = {"timestamp": round(frame.time_s, 6), "actors": [actor], "characters": [], "props": []}
    whole = {"version": "3,0", "fps": FPS, "scene": scene}
    return [json.dumps(whole, separators=(",", ":")).encode()]


def _joint(place: tuple[float, ...], turn: tuple[float, ...]) -> dict[str, Any]:
    return {
        "position": {axis: round(value, 6) for axis, value in zip("xyz", place, strict=True)},
        "rotation": {axis: round(value, 6) for axis, value in zip("xyzw", turn, strict=True)},
    }
