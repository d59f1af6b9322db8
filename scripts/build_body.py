"""Builds the default body's mesh: python scripts/build_body.py  (writes src/kinestream/io/body/default_body.npz).

Parts are sculpted in a relaxed pose (body_shapes), meshed (surface_nets), given weights that were diffused through the
body's volume, and brought back to SMPL-22's T-pose by undoing the skinning: arms that hang look as they were sculpted.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import body_shapes as shapes
import numpy as np
import torch
from body_shapes import Array, Distance, Pose
from numpy.typing import NDArray
from surface_nets import surface

from kinestream.io.body.figure import EYES, HAIR, LIPS, SHOES, SKIN, TOP, TROUSERS
from kinestream.rotations import matrix_from_quat, quat_from_rotvec
from kinestream.skeleton import forward_kinematics, smpl22

ARM_DROP_RAD = 1.05
VOXEL_M = 0.0125
POSITION_STEPS_PER_M = 10_000.0
OUTPUT = Path(__file__).resolve().parents[1] / "src/kinestream/io/body/default_body.npz"

# Which joint moves the bone between two points; a point is a joint, or a joint and an offset from it.
BONES: tuple[tuple[str, str, tuple[float, float, float]], ...] = (
    ("pelvis", "pelvis", (0.0, -0.10, 0.0)),
    ("pelvis", "left_hip", (0.0, 0.03, 0.0)),
    ("pelvis", "right_hip", (0.0, 0.03, 0.0)),
    ("spine1", "spine2", (0.0, 0.0, 0.0)),
    ("spine2", "spine3", (0.0, 0.0, 0.0)),
    ("spine3", "neck", (0.0, 0.0, 0.0)),
    ("spine3", "left_collar", (0.02, -0.06, 0.02)),
    ("spine3", "right_collar", (-0.02, -0.06, 0.02)),
    ("neck", "head", (0.0, 0.0, 0.0)),
    ("head", "head", (0.0, 0.14, 0.0)),
    *(
        bone
        for side, s in (("left", 1.0), ("right", -1.0))
        for bone in (
            (f"{side}_collar", f"{side}_shoulder", (0.0, 0.0, 0.0)),
            (f"{side}_shoulder", f"{side}_elbow", (0.0, 0.0, 0.0)),
            (f"{side}_elbow", f"{side}_wrist", (0.0, 0.0, 0.0)),
            (f"{side}_wrist", f"{side}_wrist", (s * 0.16, 0.0, 0.0)),
            (f"{side}_hip", f"{side}_knee", (0.0, 0.0, 0.0)),
            (f"{side}_knee", f"{side}_ankle", (0.0, 0.0, 0.0)),
            (f"{side}_ankle", f"{side}_foot", (0.0, 0.0, 0.0)),
            (f"{side}_foot", f"{side}_foot", (0.0, 0.0, 0.06)),
        )
    ),
)


def relaxed_pose() -> tuple[Pose, Array, Array, Array]:
    """The pose that is sculpted; rest positions [J, 3], posed positions [J, 3] and rotations [J, 3, 3]."""
    skeleton = smpl22()
    turns = torch.zeros(22, 3, dtype=torch.float64)
    turns[skeleton.index("left_shoulder"), 2] = -ARM_DROP_RAD
    turns[skeleton.index("right_shoulder"), 2] = ARM_DROP_RAD
    still = torch.zeros(3, dtype=torch.float64)
    rest, _ = forward_kinematics(skeleton, quat_from_rotvec(torch.zeros_like(turns)), still)
    posed, world = forward_kinematics(skeleton, quat_from_rotvec(turns), still)
    matrices = matrix_from_quat(world)
    names = skeleton.joint_names
    pose = Pose(dict(zip(names, posed.numpy(), strict=True)), dict(zip(names, matrices.numpy(), strict=True)))
    return pose, rest.numpy(), posed.numpy(), matrices.numpy()


def parts(pose: Pose) -> list[tuple[int, Distance, tuple[Array, Array, Array]]]:
    """Material, distance and grid of each closed part; arms in the shoulder's frame, with fine steps at the hand."""

    def box(low: tuple[float, ...], high: tuple[float, ...], steps: tuple[float, ...]) -> tuple[Array, Array, Array]:
        a, b, c = (np.arange(l, h + s, s) for l, h, s in zip(low, high, steps, strict=True))
        return a, b, c

    found: list[tuple[int, Distance, tuple[Array, Array, Array]]] = [
        (TOP, partial(shapes.top, pose=pose), box((-0.40, -0.16, -0.20), (0.40, 0.56, 0.20), (0.0165,) * 3)),
        (
            TROUSERS,
            partial(shapes.trousers, pose=pose),
            box((-0.24, -0.90, -0.20), (0.24, 0.12, 0.20), (0.017, 0.022, 0.017)),
        ),
        (
            SKIN,
            partial(shapes.head, pose=pose),
            box((-0.113, 0.38, -0.16), (0.113, 0.83, 0.16), (0.0078, 0.0078, 0.0072)),
        ),
        (HAIR, partial(shapes.hair, pose=pose), box((-0.13, 0.54, -0.16), (0.13, 0.86, 0.14), (0.010, 0.010, 0.010))),
    ]
    lips, neck = pose.positions["head"] + (0.0, 0.025, 0.085), pose.positions["neck"]
    found.append((LIPS, partial(shapes.mouth, pose=pose), box(tuple(lips - 0.03), tuple(lips + 0.03), (0.0021,) * 3)))
    around = box(tuple(neck - (0.09, 0.07, 0.09)), tuple(neck + (0.09, 0.05, 0.09)), (0.0066,) * 3)
    found.append((TOP, partial(shapes.collar, pose=pose), around))
    for side, s in (("left", 1.0), ("right", -1.0)):
        toe, head = pose.positions[f"{side}_foot"], pose.positions["head"]
        low, high = toe + (-0.08, -0.06, -0.22), toe + (0.08, 0.17, 0.13)
        found.append(
            (SHOES, partial(shapes.shoe, pose=pose, side=side), box(tuple(low), tuple(high), (0.010, 0.010, 0.012)))
        )
        for material, shape in ((EYES, shapes.eye), (HAIR, shapes.brow)):
            middle = head + (s * 0.032, 0.097, 0.075)
            grid = box(tuple(middle - 0.035), tuple(middle + 0.035), (0.0030 if material == HAIR else 0.0036,) * 3)
            found.append((material, partial(shape, pose=pose, side=side), grid))
        found.append((SKIN, partial(_arm_in_its_frame, pose=pose, side=side), _arm_grid(s)))
    return found


def _arm_in_its_frame(points: Array, pose: Pose, side: str) -> Array:
    joint = f"{side}_shoulder"
    return shapes.arm(points @ pose.rotations[joint].T + pose.positions[joint], pose, side)


def _arm_grid(sign: float) -> tuple[Array, Array, Array]:
    along = np.concatenate([np.arange(-0.09, 0.46, 0.019), np.arange(0.462, 0.70, 0.0062)])
    return np.sort(sign * along), np.arange(-0.085, 0.075, 0.0072), np.arange(-0.115, 0.085, 0.0060)


def weight_field(pose: Pose) -> tuple[Array, Array, Array]:
    """Joint weights diffused through the body's volume: grid axes' origin [3], coarse [X, Y, Z, J] and fine weights."""
    low, high = np.array([-0.75, -1.02, -0.25]), np.array([0.75, 0.86, 0.25])
    axes = [np.arange(a, b, VOXEL_M) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    points = grid.reshape(-1, 3)
    distance = np.minimum.reduce(
        [shapes.torso(points, pose), shapes.trousers(points, pose), shapes.head(points, pose)]
        + [shape(points, pose, side) for side in ("left", "right") for shape in (shapes.arm, shapes.shoe)]
    ).reshape(grid.shape[:3])
    inside = distance < 0.3 * VOXEL_M
    skeleton = smpl22()
    weights = np.zeros((*grid.shape[:3], skeleton.num_joints), np.float32)
    nearest = np.full(len(points), np.inf)
    owner = np.zeros(len(points), int)
    for joint, end, offset in BONES:
        d = shapes.cone(points, pose.at(joint), 0.0, pose.at(end, *offset), 0.0)
        closer = d < nearest
        nearest[closer], owner[closer] = d[closer], skeleton.index(joint)
    weights.reshape(-1, skeleton.num_joints)[np.arange(len(points)), owner] = 1.0
    fine = _diffused(weights, inside, 6)
    coarse = _diffused(fine, inside, 26)
    return low, coarse, fine


def _diffused(weights: NDArray[np.float32], inside: NDArray[np.bool_], rounds: int) -> NDArray[np.float32]:
    """Weights mixed between neighbouring voxels inside the body; those outside take over from their neighbours."""
    body = inside.astype(np.float32)[..., None]
    mixed = weights * body
    for _ in range(rounds):
        total, count = mixed.copy(), body.copy()
        for axis in range(3):
            for step in (1, -1):
                total += np.roll(mixed, step, axis)
                count += np.roll(body, step, axis)
        mixed = total / np.maximum(count, 1.0) * body
    filled = body.copy()
    for _ in range(6):
        total, count = mixed.copy(), filled.copy()
        for axis in range(3):
            for step in (1, -1):
                total += np.roll(mixed, step, axis)
                count += np.roll(filled, step, axis)
        new = (filled == 0) & (count > 0)
        mixed = np.where(new, total / np.maximum(count, 1e-6), mixed)
        filled = np.maximum(filled, new)
    return np.asarray(mixed, np.float32)


def sample_weights(points: Array, low: Array, coarse: Array, fine: Array, pose: Pose) -> Array:
    """Weights [V, J] at points: fine near hands and feet, coarse elsewhere."""
    where = (points - low) / VOXEL_M
    base = np.clip(np.floor(where).astype(int), 0, np.array(coarse.shape[:3]) - 2)
    t = where - base
    extremities = [
        pose.positions[f"{side}_{joint}"] for side in ("left", "right") for joint in ("wrist", "foot", "ankle")
    ]
    gap = np.min([np.linalg.norm(points - point, axis=-1) for point in extremities], axis=0)
    share = np.clip((gap - 0.08) / 0.08, 0.0, 1.0)[:, None]
    total = np.zeros((len(points), coarse.shape[-1]))
    for corner in np.ndindex(2, 2, 2):
        index = tuple((base + corner).T)
        factor = np.prod(np.where(np.array(corner) == 1, t, 1.0 - t), axis=-1)[:, None]
        total += factor * (share * coarse[index] + (1.0 - share) * fine[index])
    return total


def four_strongest(weights: Array) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Joints [V, 4] and weights [V, 4] that sum to 255."""
    joints = np.argsort(-weights, axis=1)[:, :4]
    kept = np.take_along_axis(weights, joints, axis=1)
    kept[kept < 0.01] = 0.0
    kept /= kept.sum(axis=1, keepdims=True)
    whole = np.round(kept * 255).astype(int)
    whole[:, 0] += 255 - whole.sum(axis=1)
    joints = np.where(whole > 0, joints, 0)
    return joints.astype(np.uint8), whole.astype(np.uint8)


def build() -> dict[str, NDArray[np.generic]]:
    """All arrays of the body's file."""
    pose, rest, posed, rotations = relaxed_pose()
    low, coarse, fine = weight_field(pose)
    vertices, joints, weights, faces, starts = [], [], [], [], [0]
    materials, count = [], 0
    for material, distance, grid in sorted(parts(pose), key=lambda part: part[0]):
        points, triangles = surface(distance, grid)
        if getattr(distance, "func", None) is _arm_in_its_frame:
            shoulder = f"{distance.keywords['side']}_shoulder"  # type: ignore[attr-defined]
            points = points @ pose.rotations[shoulder].T + pose.positions[shoulder]
        index, share = four_strongest(_part_weights(material, points, sample_weights(points, low, coarse, fine, pose)))
        blend = (share / 255.0)[..., None, None]
        matrix = (blend * rotations[index]).sum(axis=1)
        shift = (blend[..., 0] * (posed[index] - np.einsum("vkij,vkj->vki", rotations[index], rest[index]))).sum(axis=1)
        vertices.append(np.linalg.solve(matrix, (points - shift)[..., None])[..., 0])
        joints.append(index)
        weights.append(share)
        faces.append(triangles + count)
        count += len(points)
        materials.append(material)
        starts.append(starts[-1] + len(triangles))
        print(f"{partial_name(distance)}: {len(points)} vertices, {len(triangles)} triangles")
    return {
        "positions": np.round(np.concatenate(vertices) * POSITION_STEPS_PER_M).astype(np.int16),
        "joints": np.concatenate(joints),
        "weights": np.concatenate(weights),
        "face_steps": np.diff(np.concatenate(faces).reshape(-1), prepend=0).astype(np.int32),
        "part_starts": np.array(starts, np.int32),
        "part_materials": np.array(materials, np.uint8),
    }


def _part_weights(material: int, points: Array, weights: Array) -> Array:
    """Hair, brows, eyes and lips ride on the head alone; other parts keep what the volume gave them."""
    if material in (HAIR, EYES, LIPS):
        weights = np.zeros_like(weights)
        weights[:, smpl22().index("head")] = 1.0
    return weights


def partial_name(distance: Distance) -> str:
    """What a part is called in the report."""
    return str(distance.func.__name__) + str(distance.keywords.get("side", ""))  # type: ignore[attr-defined]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT)
    output = parser.parse_args().output
    arrays = build()
    np.savez_compressed(output, **arrays)
    size = output.stat().st_size
    print(f"{output}: {len(arrays['positions'])} vertices, {len(arrays['face_steps']) // 3} triangles, {size} bytes")


if __name__ == "__main__":
    main()
