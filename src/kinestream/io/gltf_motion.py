"""Animations of glTF files (GLB, VRM, VRMA) as motions, and motions as animations of a character's own file."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kinestream.errors import BadInputError
from kinestream.io.atomic import atomic_path
from kinestream.io.axes import find_up, turned_skeleton, upright
from kinestream.io.gltf_file import GltfFile, read_gltf_file
from kinestream.io.gltf_rig import GltfRig, matrices, node_matrix, read_rig
from kinestream.io.motion_file import MotionFile
from kinestream.motion import Motion
from kinestream.rotations import matrix_from_quat, quat_from_matrix, quat_unrolled
from kinestream.skeleton import Skeleton
from kinestream.skeleton.up_axis import turn_to_y

_Floats = NDArray[np.float64]
_MAX_VALUES = 40_000_000  # frames times joints that are sampled
_RATES = (24.0, 25.0, 30.0, 50.0, 60.0, 90.0, 100.0, 120.0, 240.0)
_STILL = 1e-6


@dataclass(frozen=True, eq=False)
class Character:
    """A figure whose file comes back with a motion in it: its skeleton (metres), VRM's bone map if it has one."""

    file: GltfFile
    rig: GltfRig

    @property
    def skeleton(self) -> Skeleton:
        """The figure's joints; their axes are the world's while it rests."""
        return self.rig.skeleton

    @property
    def bones(self) -> dict[str, str] | None:
        """Which bone is which SMPL-22 joint, where the file says so itself (VRM)."""
        return self.rig.bones


def read_character(path: str | os.PathLike[str]) -> Character:
    """The character in a GLB or VRM file; BadInputError without skin and human bones, or with data outside the file."""
    file = read_gltf_file(path)
    if not file.items("skins") and "VRM" not in str(list(file.document.get("extensions", {}))):
        raise file.bad("it has no skin: expected a character whose mesh is bound to bones")
    for kind in ("buffers", "images"):
        if any(not str(item.get("uri", "data:")).startswith("data:") for item in file.items(kind)):
            raise file.bad(f"its {kind} are files of their own: pack everything into one GLB")
    return Character(file, _standing(read_rig(file)))


def _standing(rig: GltfRig) -> GltfRig:
    """The rig with a rest pose that stands along Y where its nodes lie: glTF's world is Y up whatever they do."""
    axis = find_up(rig.skeleton, None, None, "y").rest or "y"
    if axis == "y":
        return rig
    up = turn_to_y(axis)
    turn, whole = matrix_from_quat(up).numpy(), np.eye(4)
    whole[:3, :3] = turn
    return GltfRig(
        turned_skeleton(rig.skeleton, up),
        rig.nodes,
        whole @ rig.world,
        turn @ rig.turns,
        np.concatenate((rig.above[:1], whole @ rig.above[1:])),
        np.concatenate((rig.above_turns[:1], turn @ rig.above_turns[1:])),
        rig.bones,
    )


def write_character(motion: Motion, character: Character, path: str | os.PathLike[str]) -> None:
    """The character's file with the motion, on its skeleton, as one more animation; everything else stays.

    Bytes of the existing buffers are kept; keys are added behind them. Joints that keep their rest pose get no keys.
    """
    data = animated_bytes(motion, character)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def animated_bytes(motion: Motion, character: Character) -> bytes:
    """The bytes of the file that `write_character` writes; BadInputError for a motion on another skeleton."""
    file, rig = character.file, character.rig
    if motion.skeleton.joint_names != rig.skeleton.joint_names:
        raise BadInputError(f"the motion is on other joints than {file.path}: retarget it to the character first")
    document = copy.deepcopy(file.document)
    buffers = document.setdefault("buffers", [])
    if (file.binary is None) != (not buffers or "uri" in buffers[0]) or (len(buffers) > 0 and file.binary is None):
        raise file.bad("its data lies in data URIs: pack it into one GLB")
    if not buffers:
        buffers.append({"byteLength": 0})
    data = bytearray(file.binary or b"")
    out = GltfFile(file.path, document, b"", file.others)

    def accessor(values: NDArray[np.float32], kind: str, bounds: bool = False) -> int:
        data.extend(b"\0" * (-len(data) % 4))
        raw = np.ascontiguousarray(values, np.float32).tobytes()
        views, accessors = document.setdefault("bufferViews", []), document.setdefault("accessors", [])
        views.append({"buffer": 0, "byteOffset": len(data), "byteLength": len(raw)})
        data.extend(raw)
        entry: dict[str, Any] = {"bufferView": len(views) - 1, "componentType": 5126, "count": len(values)}
        accessors.append(entry | {"type": kind})
        if bounds:
            accessors[-1] |= {"min": [float(values.min())], "max": [float(values.max())]}
        return len(accessors) - 1

    clock = accessor((np.arange(motion.num_frames) / motion.fps).astype(np.float32), "SCALAR", bounds=True)
    samplers: list[dict[str, Any]] = []
    channels: list[dict[str, Any]] = []
    for joint, name, values in _keys(motion, rig):
        _as_parts(out, rig.nodes[joint])
        samplers.append(
            {"input": clock, "output": accessor(values, f"VEC{values.shape[1]}"), "interpolation": "LINEAR"}
        )
        channels.append({"sampler": len(samplers) - 1, "target": {"node": rig.nodes[joint], "path": name}})
    document.setdefault("animations", []).append(
        {"name": motion.name or "motion", "samplers": samplers, "channels": channels, "extras": {"fps": motion.fps}}
    )
    buffers[0]["byteLength"] = len(data)
    return GltfFile(file.path, document, bytes(data), file.others).to_bytes()


def _keys(motion: Motion, rig: GltfRig) -> list[tuple[int, str, NDArray[np.float32]]]:
    """Local rotations and translations of the nodes: the root's, and those of joints that leave their rest."""
    rotations = motion.local_rotations.double()
    keys: list[tuple[int, str, NDArray[np.float32]]] = []
    turned = (rotations[..., 1:].abs().amax(dim=(0, 2)) > _STILL).tolist()
    for joint, turns in enumerate(turned):
        if joint and not turns:
            continue
        local = matrices(torch.roll(rotations[:, joint], -1, dims=-1).numpy())
        node = rig.above_turns[joint].T @ local @ rig.turns[joint]
        wxyz = quat_unrolled(quat_from_matrix(torch.from_numpy(node)), dim=0)
        keys.append((joint, "rotation", torch.roll(wxyz, -1, dims=-1).float().numpy()))
    inverse = np.linalg.inv(rig.above)
    root = motion.root_position_m.double().numpy()
    keys.append((0, "translation", (root @ inverse[0, :3, :3].T + inverse[0, :3, 3]).astype(np.float32)))
    if motion.joint_translations_m is not None:
        moved = (motion.joint_translations_m - motion.skeleton.offsets_m).abs().amax(dim=(0, 2)) > _STILL
        for joint in torch.nonzero(moved)[:, 0].tolist():
            if joint:
                offsets = motion.joint_translations_m[:, joint].double().numpy()
                keys.append((joint, "translation", (offsets @ inverse[joint, :3, :3].T).astype(np.float32)))
    return keys


def _as_parts(file: GltfFile, node: int) -> None:
    """Translation, rotation and scale instead of a matrix, as animated nodes need."""
    entry = file.item("nodes", node)
    if "matrix" not in entry:
        return
    matrix = node_matrix(file, node)
    scale = np.linalg.norm(matrix[:3, :3], axis=0)
    w, x, y, z = quat_from_matrix(torch.from_numpy(matrix[:3, :3] / scale)).tolist()
    del entry["matrix"]
    entry |= {"translation": matrix[:3, 3].tolist(), "rotation": [x, y, z, w], "scale": scale.tolist()}


def read_gltf_motion_file(
    path: str | os.PathLike[str], *, fps: float | None = None, up: str | None = None, clip: str | None = None
) -> MotionFile:
    """One animation of a GLB, VRM or VRMA file as a Motion: metres, joints as `GltfRig` has them.

    `clip` is its name or number from 0; None takes the first, and says so where there are more. `fps` None: the rate of
    the keys. LINEAR, STEP and CUBICSPLINE keys are sampled at that rate. BadInputError for files that hold none.
    """
    file = read_gltf_file(path)
    clips = file.items("animations")
    if not clips:
        raise file.bad("it holds no animation: as a character that gets one, name it with --character")
    names = [str(item.get("name") or number) for number, item in enumerate(clips)]
    chosen = _chosen(file, names, clip)
    several = clip is None and len(clips) > 1
    notes = [f"{path}: of {len(clips)} clips the first is read, {names[0]}; choose with --clip"] if several else []
    rig = read_rig(file)
    motion = _sampled(file, rig, clips[chosen], fps)
    found = find_up(motion.skeleton, motion, up, "y", rest_decides=False)
    return MotionFile(upright(motion, found), up=found.world, up_how=found.how, warnings=tuple(notes))


def _chosen(file: GltfFile, names: list[str], clip: str | None) -> int:
    if clip is None:
        return 0
    if clip in names:
        return names.index(clip)
    if clip.isdecimal() and len(clip) < 6 and int(clip) < len(names):
        return int(clip)
    raise file.bad(f"it has no clip {clip!r}; it has: {', '.join(names[:20])}")


def _sampled(file: GltfFile, rig: GltfRig, clip: dict[str, Any], fps: float | None) -> Motion:
    channels = _channels(file, clip)
    joint_of = {node: joint for joint, node in enumerate(rig.nodes)}
    mine = [(joint_of[node], name, *keys) for (node, name), keys in channels.items() if node in joint_of]
    mine = [channel for channel in mine if channel[1] in ("rotation", "translation")]
    if not mine:
        raise file.bad("the clip moves none of the bones")
    rate = fps if fps is not None else _rate(clip, [times for _, _, times, _, _ in mine])
    last = max(float(times[-1]) for _, _, times, _, _ in mine)
    frames = int(last * rate + 1e-3) + 1
    if frames * len(rig.nodes) > _MAX_VALUES:
        raise file.bad(f"the clip is {last:.0f} s long, too much for {len(rig.nodes)} joints at {rate:g} fps")
    clock = np.arange(frames) / rate
    local = torch.zeros(frames, len(rig.nodes), 4)
    local[..., 0] = 1.0
    offsets = rig.skeleton.offsets_m.repeat(frames, 1, 1)
    for joint, name, times, values, how in mine:
        at = _at(clock, times, values, how, turns=name == "rotation")
        if name == "rotation":
            world = rig.above_turns[joint] @ matrices(at) @ rig.turns[joint].T
            local[:, joint] = quat_from_matrix(torch.from_numpy(world)).float()
        else:
            placed = at @ rig.above[joint, :3, :3].T + (rig.above[joint, :3, 3] if joint == 0 else 0.0)
            offsets[:, joint] = torch.from_numpy(placed).float()
    moves = bool(((offsets - rig.skeleton.offsets_m).abs()[:, 1:] > 1e-5).any())
    name = str(clip.get("name") or file.path.stem)
    return Motion(
        rig.skeleton, quat_unrolled(local), offsets[:, 0].clone(), rate, offsets if moves else None, name=name
    )


def _rate(clip: dict[str, Any], clocks: list[_Floats]) -> float:
    extras = clip.get("extras")
    said = extras.get("fps") if isinstance(extras, dict) else None
    if isinstance(said, int | float) and 1.0 <= said <= 1000.0:
        return float(said)
    longest = max(clocks, key=len)
    if len(longest) < 3:
        return 30.0
    rate = 1.0 / max(float(np.median(np.diff(longest))), 1e-3)
    nearest = min(_RATES, key=lambda known: abs(known / rate - 1.0))
    return nearest if abs(nearest / rate - 1.0) < 0.02 else min(max(rate, 24.0), 240.0)


def _channels(file: GltfFile, clip: dict[str, Any]) -> dict[tuple[int, str], tuple[_Floats, _Floats, str]]:
    """(node, path) -> times [K], values [K, C] (spline: [K, 3, C]), interpolation."""
    samplers, found = clip.get("samplers"), {}
    read: dict[Any, _Floats] = {}
    for channel in clip.get("channels", []) if isinstance(clip.get("channels"), list) else []:
        target = channel.get("target") if isinstance(channel, dict) else None
        if (
            not isinstance(target, dict)
            or target.get("path") not in ("rotation", "translation")
            or "node" not in target
        ):
            continue
        file.item("nodes", target["node"])
        number, width = channel.get("sampler"), 4 if target["path"] == "rotation" else 3
        if not isinstance(samplers, list) or not isinstance(number, int) or not 0 <= number < len(samplers):
            raise file.bad("a channel of the clip has no sampler")
        sampler = samplers[number] if isinstance(samplers[number], dict) else {}
        indices = (sampler.get("input"), sampler.get("output"))
        for index in indices:
            if str(index) not in read:
                read[str(index)] = file.accessor(index)
        times, values = read[str(indices[0])], read[str(indices[1])]
        how = str(sampler.get("interpolation", "LINEAR"))
        rows = len(times) * (3 if how == "CUBICSPLINE" else 1)
        sound = times.shape[1] == 1 and len(times) and len(values) == rows and values.shape[1] == width
        if not sound or (np.diff(times[:, 0]) < 0).any() or times[0, 0] < 0 or how not in _WAYS:
            raise file.bad(f"the keys of node {target['node']} are damaged: expected {rows} values at rising times")
        shaped = values.reshape(-1, 3, width) if how == "CUBICSPLINE" else values
        found[target["node"], str(target["path"])] = (times[:, 0], shaped, how)
    return found


_WAYS = ("LINEAR", "STEP", "CUBICSPLINE")


def _at(clock: _Floats, times: _Floats, values: _Floats, how: str, *, turns: bool) -> _Floats:
    """Values at the clock's times; before the first and after the last key they hold."""
    right = np.clip(np.searchsorted(times, clock, side="right"), 1, max(len(times) - 1, 1))
    left, right = right - 1, np.minimum(right, len(times) - 1)
    gap = times[right] - times[left]
    u = np.clip((clock - times[left]) / np.where(gap > 0, gap, 1.0), 0.0, 1.0)[:, None]
    if how == "STEP":
        return values[np.where(u[:, 0] >= 1.0, right, left)]
    if how == "CUBICSPLINE":
        a, b, span = values[left], values[right], gap[:, None]
        leaving, arriving = a[:, 2] * span, b[:, 0] * span
        return (
            (2 * u**3 - 3 * u**2 + 1) * a[:, 1]
            + (u**3 - 2 * u**2 + u) * leaving
            + (3 * u**2 - 2 * u**3) * b[:, 1]
            + (u**3 - u**2) * arriving
        )
    a, b = values[left], values[right]
    if not turns:
        return a + u * (b - a)
    dot = (a * b).sum(axis=-1, keepdims=True)
    b, angle = np.where(dot < 0, -b, b), np.arccos(np.clip(np.abs(dot), 0.0, 1.0))
    sine = np.sin(angle)
    near = sine < 1e-4
    safe = np.where(near, 1.0, sine)
    first = np.where(near, 1 - u, np.sin((1 - u) * angle) / safe)
    second = np.where(near, u, np.sin(u * angle) / safe)
    return first * a + second * b
