"""Characters made in code: a skinned figure under a scaled armature, with a texture, a blend shape, VRM data."""

from __future__ import annotations

import json
import struct
from typing import Any

from kinestream.io.gltf import glb_bytes
from kinestream.io.gltf_rig import VRM_ROLES
from kinestream.motion import Motion


def parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    """A GLB's document and its BIN chunk."""
    size = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + size]), data[28 + size :]


def glb(document: dict[str, Any], binary: bytes) -> bytes:
    """A GLB out of both."""
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def human_glb(motion: Motion, *, vrm: int | None = None, armature: bool = True, renamed: bool = False) -> bytes:
    """The figure that `write_glb` makes of an SMPL-22 motion, with things that must stay: an image, a blend shape, a
    spring bone, its own clip. `armature`: under a node of scale 1/100, the nodes below in centimetres.
    `renamed`: names that say nothing. `vrm` 0 or 1: with that version's statement of human bones.
    """
    document, binary = parts(glb_bytes(motion, 100.0 if armature else 1.0))
    names = motion.skeleton.joint_names
    if armature:
        document["nodes"].append({"name": "Armature", "children": [0], "scale": [0.01] * 3})
        document["scenes"][0]["nodes"] = [len(document["nodes"]) - 1, len(document["nodes"]) - 2]
    document["bufferViews"].append({"buffer": 0, "byteOffset": len(binary), "byteLength": 8})
    document["buffers"][0]["byteLength"] = len(binary) + 8
    document["images"] = [{"bufferView": len(document["bufferViews"]) - 1, "mimeType": "image/png"}]
    for primitive in document["meshes"][0]["primitives"]:
        primitive["targets"] = [{"POSITION": primitive["attributes"]["POSITION"]}]
    document["meshes"][0]["weights"] = [0.0]
    role_of = {role: bone for bone, role in VRM_ROLES.items()}
    bones = {role_of[name]: {"node": number} for number, name in enumerate(names) if name in role_of}
    if vrm == 0:
        listed = [{"bone": bone, **entry} for bone, entry in bones.items()]
        document["extensions"] = {"VRM": {"humanoid": {"humanBones": listed}, "secondaryAnimation": {"boneGroups": []}}}
    if vrm == 1:
        springs = {"VRMC_springBone": {"specVersion": "1.0", "springs": []}}
        document["extensions"] = {"VRMC_vrm": {"specVersion": "1.0", "humanoid": {"humanBones": bones}}, **springs}
    if vrm is not None:
        document["extensionsUsed"] = list(document["extensions"])
    if renamed:
        for number in range(len(names)):
            document["nodes"][number]["name"] = f"Bone.{number:03}"
    return glb(document, binary + b"\x89PNG\r\n\x1a\n")
