"""An independent reading of GLB files: the hierarchy evaluated by hand from accessors, and the skinning equation."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TYPES = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
_WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Glb:
    """A GLB's document and accessors."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        magic, version, length = struct.unpack_from("<4sII", data)
        assert (magic, version, length) == (b"glTF", 2, len(data))
        size, kind = struct.unpack_from("<I4s", data, 12)
        assert kind == b"JSON"
        self.document: dict[str, Any] = json.loads(data[20 : 20 + size])
        binary_size, kind = struct.unpack_from("<I4s", data, 20 + size)
        assert kind == b"BIN\0"
        self._binary = data[28 + size : 28 + size + binary_size]

    def values(self, accessor: int) -> NDArray[Any]:
        """An accessor's values, [count, width]."""
        entry = self.document["accessors"][accessor]
        view = self.document["bufferViews"][entry["bufferView"]]
        raw = self._binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        return np.frombuffer(raw, _TYPES[entry["componentType"]]).reshape(entry["count"], _WIDTHS[entry["type"]])

    def times_s(self) -> NDArray[np.float32]:
        """The animation's one time line."""
        samplers = self.document["animations"][0]["samplers"]
        assert len({sampler["input"] for sampler in samplers}) == 1
        return self.values(samplers[0]["input"])[:, 0]

    def joint_matrices(self, frame: int | None) -> NDArray[np.float64]:
        """World matrices [J, 4, 4] of the skin's joints at a frame, or at rest."""
        nodes = [dict(node) for node in self.document["nodes"]]
        if frame is not None:
            animation = self.document["animations"][0]
            for channel in animation["channels"]:
                sampler = animation["samplers"][channel["sampler"]]
                nodes[channel["target"]["node"]][channel["target"]["path"]] = self.values(sampler["output"])[frame]
        world: dict[int, NDArray[np.float64]] = {}

        def visit(number: int, parent: NDArray[np.float64]) -> None:
            world[number] = parent @ _matrix(nodes[number])
            for child in nodes[number].get("children", []):
                visit(child, world[number])

        for root in self.document["scenes"][self.document["scene"]]["nodes"]:
            visit(root, np.eye(4))
        return np.stack([world[joint] for joint in self.document["skins"][0]["joints"]])

    def skinned_vertices(self, frame: int | None) -> NDArray[np.float64]:
        """All primitives' vertices as glTF's skinning equation places them."""
        inverse = self.values(self.document["skins"][0]["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        matrices = self.joint_matrices(frame) @ inverse
        placed = []
        for primitive in self.document["meshes"][0]["primitives"]:
            attributes = primitive["attributes"]
            points, joints = self.values(attributes["POSITION"]), self.values(attributes["JOINTS_0"])
            weights = self.values(attributes["WEIGHTS_0"]) / 255.0
            blended = (weights[..., None, None] * matrices[joints]).sum(axis=1)
            placed.append(np.einsum("vij,vj->vi", blended[:, :3, :3], points) + blended[:, :3, 3])
        return np.concatenate(placed)


def _matrix(node: dict[str, Any]) -> NDArray[np.float64]:
    matrix = np.eye(4)
    x, y, z, w = (float(value) for value in node.get("rotation", (0.0, 0.0, 0.0, 1.0)))
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, :3] *= np.array(node.get("scale", (1.0, 1.0, 1.0)))
    matrix[:3, 3] = node.get("translation", (0.0, 0.0, 0.0))
    return matrix
