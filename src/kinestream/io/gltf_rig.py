"""The skeleton in a glTF file: its nodes as joints whose axes are the world's while the figure rests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kinestream.io.gltf_file import GltfFile
from kinestream.skeleton import Skeleton

_Floats = NDArray[np.float64]
_MAX_NODES = 4_000
# VRM's names of human bones, as both versions spell them, and the SMPL-22 joints that they are.
_VRM_TRUNK = {
    "hips": "pelvis",
    "spine": "spine1",
    "chest": "spine2",
    "upperChest": "spine3",
    "neck": "neck",
    "head": "head",
}
_VRM_LIMBS = {
    "UpperLeg": "hip",
    "LowerLeg": "knee",
    "Foot": "ankle",
    "Toes": "foot",
    "Shoulder": "collar",
    "UpperArm": "shoulder",
    "LowerArm": "elbow",
    "Hand": "wrist",
}
VRM_ROLES = _VRM_TRUNK | {
    f"{side}{bone}": f"{side}_{part}" for side in ("left", "right") for bone, part in _VRM_LIMBS.items()
}


@dataclass(frozen=True, eq=False)
class GltfRig:
    """Joint k is node `nodes[k]`.

    `world` [J, 4, 4] are the nodes' matrices at rest, `turns` [J, 3, 3] their rotations, `above` [J, 4, 4] their
    parents' matrices. `bones` is VRM's own statement of which joint is which SMPL-22 joint, None for other files.
    """

    skeleton: Skeleton
    nodes: tuple[int, ...]
    world: _Floats
    turns: _Floats
    above: _Floats
    above_turns: _Floats
    bones: dict[str, str] | None


def read_rig(file: GltfFile) -> GltfRig:
    """The joints of a file: those of its skins, VRM's human bones, else all that is animated, up to a common root.

    BadInputError where there are none or they hang together in no tree.
    """
    parents = _parents(file)
    human = _human_bones(file)
    joints = {node for skin in file.items("skins") for node in _indices(file, skin.get("joints"))} | set(human)
    if not joints:
        targets = [c.get("target", {}) for a in file.items("animations") for c in a.get("channels", [])]
        joints = {node for target in targets for node in _indices(file, [target["node"]] if "node" in target else [])}
    if not joints:
        raise file.bad("it has no skin, no human bones and no animation: expected a rigged character or a motion")
    order = _tree(file, joints, parents)
    local = {node: node_matrix(file, node) for node in set(order) | set(_line(order[0], parents))}
    world: dict[int, _Floats] = {-1: np.eye(4)}
    for node in [*reversed(_line(order[0], parents)), *order[1:]]:
        world[node] = world[parents[node]] @ local[node]
    turns = {node: _rotation(file, matrix[:3, :3]) for node, matrix in world.items()}
    names: list[str] = []
    taken: set[str] = set()
    for node in order:
        name = str(file.item("nodes", node).get("name") or f"node_{node}")
        while name in taken:
            name += f"_node{node}"
        names.append(name)
        taken.add(name)
    index = {node: k for k, node in enumerate(order)}
    up = [parents[node] for node in order]
    places = np.stack([world[node][:3, 3] for node in order])
    offsets = [places[k] - (places[index[p]] if k else 0.0) for k, p in enumerate(up)]
    skeleton = Skeleton(
        file.path.stem,
        tuple(names),
        tuple(index[p] if k else -1 for k, p in enumerate(up)),
        torch.from_numpy(np.stack(offsets)).float(),
    )
    bones = {names[index[node]]: role for node, role in human.items() if role} or None
    return GltfRig(
        skeleton,
        tuple(order),
        np.stack([world[node] for node in order]),
        np.stack([turns[node] for node in order]),
        np.stack([world[p] for p in up]),
        np.stack([turns[p] for p in up]),
        bones,
    )


def node_matrix(file: GltfFile, node: int) -> _Floats:
    """A node's local matrix from its matrix or translation, rotation and scale."""
    entry = file.item("nodes", node)
    if "matrix" in entry:
        return file.numbers(entry["matrix"], 16, f"matrix of node {node}").reshape(4, 4).T
    matrix = np.eye(4)
    quaternion = file.numbers(entry.get("rotation", [0, 0, 0, 1]), 4, f"rotation of node {node}")
    scale = file.numbers(entry.get("scale", [1, 1, 1]), 3, f"scale of node {node}")
    matrix[:3, :3] = matrices(quaternion[None])[0] * scale
    matrix[:3, 3] = file.numbers(entry.get("translation", [0, 0, 0]), 3, f"translation of node {node}")
    return matrix


def matrices(xyzw: _Floats) -> _Floats:
    """Rotation matrices [N, 3, 3] of quaternions in glTF's order; a quaternion of length 0 is no turn."""
    length = np.linalg.norm(xyzw, axis=-1, keepdims=True)
    q = np.where(length > 1e-9, xyzw / np.maximum(length, 1e-9), (0.0, 0.0, 0.0, 1.0))
    x, y, z, w = q.T
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _rotation(file: GltfFile, linear: _Floats) -> _Floats:
    left, sizes, right = np.linalg.svd(linear)
    if sizes[-1] < 1e-9 or np.linalg.det(linear) < 0:
        raise file.bad("a bone is scaled to nothing or mirrored: apply the scales before export")
    rotation: _Floats = left @ right
    return rotation


def _indices(file: GltfFile, nodes: Any) -> list[int]:
    if not isinstance(nodes, list):
        raise file.bad("expected a list of nodes")
    for node in nodes:
        file.item("nodes", node)
    return nodes


def _parents(file: GltfFile) -> list[int]:
    nodes = file.items("nodes")
    if len(nodes) > _MAX_NODES:
        raise file.bad(f"expected at most {_MAX_NODES} nodes, got {len(nodes)}")
    parents = [-1] * len(nodes)
    for number, node in enumerate(nodes):
        for child in _indices(file, node.get("children", [])):
            if parents[child] != -1:
                raise file.bad(f"node {child} hangs from two others: the hierarchy is torn")
            parents[child] = number
    ends = {-1}
    for start in range(len(nodes)):
        line: dict[int, None] = {}
        node = start
        while node not in ends and node not in line:
            line[node] = None
            node = parents[node]
        ends.update(line)
        if node in line:
            raise file.bad("the nodes hang from each other in a circle: the hierarchy is torn")
    return parents


def _line(node: int, parents: list[int]) -> list[int]:
    """The node and all above it."""
    line = []
    while node != -1:
        line.append(node)
        node = parents[node]
    return line


def _tree(file: GltfFile, joints: set[int], parents: list[int]) -> list[int]:
    """The joints and what lies between them, from their lowest common ancestor on, parents first."""
    lines = {joint: _line(joint, parents)[::-1] for joint in joints}
    first = next(iter(lines.values()))
    shared = 0
    while shared < len(first) and all(line[shared : shared + 1] == [first[shared]] for line in lines.values()):
        shared += 1
    if shared == 0:
        raise file.bad("its joints hang in several trees: expected one root above all bones")
    order: dict[int, None] = {}
    for line in sorted(lines.values(), key=len):
        order.update(dict.fromkeys(line[shared - 1 :]))
    return list(order)


def _human_bones(file: GltfFile) -> dict[int, str]:
    """VRM's human bones by node: the SMPL-22 joint, or "" for those that SMPL-22 lacks."""
    extensions = file.document.get("extensions", {})
    extensions = extensions if isinstance(extensions, dict) else {}
    found: dict[int, str] = {}
    for name in ("VRM", "VRMC_vrm", "VRMC_vrm_animation"):
        extension = extensions.get(name)
        human = extension.get("humanoid") if isinstance(extension, dict) else None
        bones = human.get("humanBones") if isinstance(human, dict) else None
        if isinstance(bones, dict):
            bones = [{"bone": bone, **entry} for bone, entry in bones.items() if isinstance(entry, dict)]
        for entry in bones if isinstance(bones, list) else []:
            node = entry.get("node", -1) if isinstance(entry, dict) else -1
            if node != -1:
                file.item("nodes", node)
                found[node] = VRM_ROLES.get(str(entry.get("bone")), "")
    return found
