"""The shapes of the default body: signed distances of its parts in a relaxed pose (arms 50° down), metres.

Everything is sculpted here from balls, ellipsoids and rounded cones that melt into each other; no scan and no
published mesh is involved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Distance = Callable[[Array], Array]


def ellipsoid(points: Array, centre: tuple[float, ...] | Array, radii: tuple[float, ...]) -> Array:
    """Approximate distance to an ellipsoid, exact on its surface."""
    scaled = (points - centre) / radii
    k0, k1 = np.linalg.norm(scaled, axis=-1), np.linalg.norm(scaled / radii, axis=-1)
    return np.asarray(k0 * (k0 - 1.0) / np.maximum(k1, 1e-9))


def cone(points: Array, a: Array, ra: float, b: Array, rb: float) -> Array:
    """Distance to a rounded cone."""
    axis = b - a
    length = np.linalg.norm(axis)
    if length <= abs(ra - rb) + 1e-9:
        return np.asarray(np.linalg.norm(points - (a if ra > rb else b), axis=-1) - max(ra, rb))
    slope = (ra - rb) / length
    along = (points - a) @ axis / length
    across = np.sqrt(np.maximum(((points - a) ** 2).sum(-1) - along**2, 0.0))
    foot = np.clip(along - across * slope / np.sqrt(1.0 - slope**2), 0.0, length)
    centre = a + foot[:, None] * (axis / length)
    return np.asarray(np.linalg.norm(points - centre, axis=-1) - (ra - foot * slope))


def union(k: float, *distances: Array) -> Array:
    """Shapes melted together over a width k (cubic smooth minimum)."""
    total = distances[0]
    for other in distances[1:]:
        h = np.maximum(k - np.abs(total - other), 0.0) / k
        total = np.minimum(total, other) - h**3 * k / 6.0
    return total


def both(k: float, *distances: Array) -> Array:
    """What is inside all shapes, its edges rounded over k."""
    return -union(k, *(-distance for distance in distances))


@dataclass(frozen=True)
class Pose:
    """Joint positions of the relaxed pose and the rotation [3, 3] of each joint in it."""

    positions: dict[str, Array]
    rotations: dict[str, Array]

    def at(self, joint: str, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Array:
        """Where a point lies that rests (x, y, z) from a joint."""
        return np.asarray(self.positions[joint] + self.rotations[joint] @ np.array([x, y, z]))

    def local(self, points: Array, joint: str) -> Array:
        """Points as the joint's own frame sees them."""
        return np.asarray((points - self.positions[joint]) @ self.rotations[joint])


def _side(name: str) -> tuple[str, float]:
    return name, (1.0 if name == "left" else -1.0)


def torso(points: Array, pose: Pose) -> Array:
    """The trunk from the hips to the base of the neck, and the shoulders."""
    p, at = points, pose.at
    chest, belly = at("spine3"), at("spine1")
    shape = union(
        0.09,
        ellipsoid(p, chest + (0.0, 0.045, -0.014), (0.146, 0.185, 0.104)),
        ellipsoid(p, belly + (0.0, 0.030, 0.020), (0.138, 0.205, 0.100)),
        ellipsoid(p, at("pelvis") + (0.0, -0.050, -0.004), (0.144, 0.120, 0.108)),
    )
    for side in ("left", "right"):
        _, s = _side(side)
        shoulder = at(f"{side}_shoulder")
        shape = union(
            0.05,
            shape,
            ellipsoid(p, chest + (s * 0.066, 0.088, 0.036), (0.084, 0.072, 0.046)),
            ellipsoid(p, chest + (s * 0.078, 0.085, -0.076), (0.076, 0.100, 0.042)),
        )
        slope = cone(p, at("neck") + (s * 0.020, -0.038, -0.004), 0.048, shoulder + (-s * 0.030, 0.000, 0.0), 0.040)
        round_off = cone(
            p, shoulder + (-s * 0.022, -0.012, 0.0), 0.047, at(f"{side}_shoulder", s * 0.070, 0.0, -0.006), 0.044
        )
        shape = union(0.04, union(0.05, shape, slope), round_off)
    return shape


def upper_arm(points: Array, pose: Pose, side: str, grow: float) -> Array:
    """The arm from the shoulder to the elbow, `grow` thicker than the skin."""
    at, (_, s) = pose.at, _side(side)
    shoulder, elbow = f"{side}_shoulder", f"{side}_elbow"
    return union(
        0.03,
        cone(points, at(shoulder, -s * 0.005), 0.044 + grow, at(shoulder, s * 0.11, 0.002, -0.012), 0.044 + grow),
        cone(points, at(shoulder, s * 0.10, 0.002, -0.010), 0.044 + grow, at(elbow, 0.0, 0.0, -0.002), 0.037 + grow),
    )


def top(points: Array, pose: Pose) -> Array:
    """A T-shirt."""
    at = pose.at
    hips = at("pelvis")
    shape = union(
        0.06, torso(points, pose) - 0.004, ellipsoid(points, hips + (0.0, -0.020, -0.012), (0.151, 0.160, 0.126))
    )
    for side in ("left", "right"):
        _, s = _side(side)
        flare = cone(
            points,
            at(f"{side}_shoulder", s * 0.09, -0.004, -0.008),
            0.050,
            at(f"{side}_shoulder", s * 0.18, -0.007, -0.014),
            0.056,
        )
        sleeve = union(0.02, upper_arm(points, pose, side, 0.006), flare)
        local = pose.local(points, f"{side}_shoulder")
        shape = union(0.035, shape, both(0.010, sleeve, s * local[:, 0] - 0.155))
    shape = both(0.012, shape, hips[1] - 0.072 - points[:, 1] + 0.06 * points[:, 2])
    neck = at("neck")
    opening = cone(points, neck + (0.0, -0.006, 0.016), 0.043, neck + (0.0, 0.12, 0.06), 0.075)
    return both(0.010, shape, -opening)


def collar(points: Array, pose: Pose) -> Array:
    """The T-shirt's hem around the neck."""
    return _ring(points, pose.at("neck") + (0.0, -0.010, 0.008), np.array([0.0, 0.93, 0.37]), 0.0595, 0.0095)


def _ring(points: Array, centre: Array, normal: Array, radius: float, thickness: float) -> Array:
    normal = normal / np.linalg.norm(normal)
    offset = points - centre
    height = offset @ normal
    across = np.linalg.norm(offset - height[:, None] * normal, axis=-1)
    return np.asarray(np.hypot(across - radius, height) - thickness)


def trousers(points: Array, pose: Pose) -> Array:
    """Trousers from under the T-shirt to the ankles."""
    at = pose.at
    hips = at("pelvis")
    shape = ellipsoid(points, hips + (0.0, -0.030, -0.004), (0.148, 0.110, 0.112))
    for side in ("left", "right"):
        _, s = _side(side)
        hip, knee, ankle = f"{side}_hip", f"{side}_knee", f"{side}_ankle"
        leg = union(
            0.05,
            cone(points, at(hip, s * 0.010, -0.005, -0.004), 0.088, at(knee, 0.0, 0.03, 0.002), 0.060),
            cone(points, at(knee, 0.0, 0.03, 0.004), 0.060, at(knee, 0.0, -0.05, 0.000), 0.055),
            ellipsoid(points, at(knee, 0.0, -0.130, -0.022), (0.056, 0.115, 0.058)),
            cone(points, at(knee, 0.0, -0.05, 0.0), 0.054, at(ankle, 0.0, 0.02, -0.002), 0.049),
        )
        ground = pose.positions[ankle][1] + 0.018
        leg = both(0.012, leg, ground - points[:, 1])
        glute = ellipsoid(points, at(hip, -s * 0.008, -0.012, -0.052), (0.080, 0.085, 0.064))
        shape = union(0.035, shape, union(0.05, leg, glute))
    return shape


def shoe(points: Array, pose: Pose, side: str) -> Array:
    """A trainer with a flat sole, and the sock in it."""
    at, (_, s) = pose.at, _side(side)
    ankle, toe = f"{side}_ankle", f"{side}_foot"
    upper = union(
        0.022,
        cone(points, at(ankle, 0.0, -0.036, -0.030), 0.039, at(toe, s * 0.010, 0.012, -0.004), 0.036),
        cone(points, at(ankle, 0.0, -0.036, -0.030), 0.039, at(toe, -s * 0.014, 0.012, 0.002), 0.036),
        cone(points, at(toe, s * 0.010, 0.010, -0.004), 0.036, at(toe, s * 0.006, 0.006, 0.052), 0.029),
        cone(points, at(toe, -s * 0.014, 0.010, 0.002), 0.036, at(toe, -s * 0.008, 0.006, 0.060), 0.029),
        cone(points, at(ankle, 0.0, -0.010, -0.006), 0.042, at(toe, -s * 0.004, 0.024, -0.022), 0.033),
    )
    sole = pose.positions[toe][1] - 0.022
    upper = both(0.010, upper, sole - points[:, 1])
    sock = cone(points, at(ankle, 0.0, -0.01, -0.004), 0.037, at(ankle, 0.0, 0.06, -0.002), 0.036)
    return union(0.008, upper, sock)


def head(points: Array, pose: Pose) -> Array:
    """Head and neck."""
    p = pose.local(points, "head")
    p = np.column_stack([np.abs(p[:, 0]), p[:, 1], p[:, 2]])
    v = np.array
    face = union(
        0.06,
        ellipsoid(p, v([0.0, 0.116, -0.012]), (0.076, 0.098, 0.096)),
        ellipsoid(p, v([0.0, 0.060, 0.026]), (0.060, 0.082, 0.062)),
        cone(p, v([0.0, 0.004, 0.066]), 0.020, v([0.014, 0.006, 0.062]), 0.018),
    )
    face = union(0.03, face, cone(p, v([0.0, 0.116, 0.066]), 0.018, v([0.036, 0.113, 0.056]), 0.013))
    face = both(0.022, face, -ellipsoid(p, v([0.031, 0.086, 0.101]), (0.020, 0.013, 0.017)))
    nose = union(
        0.012,
        cone(p, v([0.0, 0.096, 0.084]), 0.0070, v([0.0, 0.060, 0.104]), 0.0105),
        ellipsoid(p, v([0.010, 0.055, 0.092]), (0.0085, 0.0075, 0.010)),
    )
    face = union(0.016, face, nose)
    ear = both(
        0.006,
        ellipsoid(p, v([0.078, 0.075, -0.012]), (0.012, 0.032, 0.020)),
        -ellipsoid(p, v([0.094, 0.078, -0.006]), (0.010, 0.018, 0.011)),
    )
    neck = cone(points, pose.at("neck", 0.0, -0.055, 0.004), 0.054, pose.at("head", 0.0, 0.03, -0.020), 0.050)
    return union(0.035, union(0.010, face, ear), neck)


def hair(points: Array, pose: Pose) -> Array:
    """Short hair, combed to one side: a shell around the skull behind a hairline."""
    q = pose.local(points, "head")
    p = np.column_stack([np.abs(q[:, 0]), q[:, 1], q[:, 2]])
    v = np.array
    skull = union(
        0.05,
        ellipsoid(p, v([0.0, 0.118, -0.014]), (0.077, 0.098, 0.096)),
        ellipsoid(p, v([0.0, 0.062, -0.022]), (0.064, 0.080, 0.070)),
    )
    height = np.clip((p[:, 1] - 0.11) / 0.10, 0.0, 1.0)
    height = height * height * (3.0 - 2.0 * height)
    shell = skull - (0.0075 + 0.013 * height)
    lock = ellipsoid(q, v([-0.020, 0.186, 0.046]), (0.062, 0.026, 0.042))
    shell = union(0.03, shell, lock)
    # The hairline: low behind the ears, up the temples, high on the forehead and higher at the parting.
    brow_line = 0.158 + 0.10 * np.clip(q[:, 0] - 0.005, -0.02, 0.05)
    temples = union(0.025, p[:, 2] - 0.034, brow_line - p[:, 1])
    sides = union(0.020, p[:, 2] + 0.020, 0.092 - p[:, 1])
    nape = 0.030 - p[:, 1] - 0.30 * (p[:, 2] + 0.06)
    return both(0.010, shell, temples, sides, nape)


def eye(points: Array, pose: Pose, side: str) -> Array:
    """An iris, a little in front of the lids."""
    _, s = _side(side)
    return ellipsoid(pose.local(points, "head"), np.array([s * 0.031, 0.0850, 0.0775]), (0.0105, 0.0120, 0.0100))


def brow(points: Array, pose: Pose, side: str) -> Array:
    """An eyebrow, laid on the forehead."""
    s = _side(side)[1]
    p = pose.local(points, "head")
    x, v = s * p[:, 0], np.array
    skin = head(points, pose)
    path = union(
        0.01,
        cone(np.column_stack([x, p[:, 1], 0.0 * x]), v([0.018, 0.1085, 0.0]), 0.0040, v([0.034, 0.1125, 0.0]), 0.0038),
        cone(np.column_stack([x, p[:, 1], 0.0 * x]), v([0.034, 0.1125, 0.0]), 0.0038, v([0.049, 0.1070, 0.0]), 0.0022),
    )
    return both(0.003, path, np.abs(skin) - 0.0030, 0.03 - p[:, 2])


def mouth(points: Array, pose: Pose) -> Array:
    """Closed lips, laid on the face."""
    p = pose.local(points, "head")
    x, v = np.abs(p[:, 0]), np.array
    flat = np.column_stack([x, p[:, 1], 0.0 * x])
    path = union(
        0.006,
        cone(flat, v([0.0, 0.0235, 0.0]), 0.0034, v([0.011, 0.0240, 0.0]), 0.0028),
        cone(flat, v([0.011, 0.0240, 0.0]), 0.0028, v([0.0205, 0.0265, 0.0]), 0.0014),
    )
    return both(0.002, path, np.abs(head(points, pose)) - 0.0022, 0.03 - p[:, 2])


def arm(points: Array, pose: Pose, side: str) -> Array:
    """Bare arm and hand."""
    at, (_, s) = pose.at, _side(side)
    elbow, wrist = f"{side}_elbow", f"{side}_wrist"
    return union(
        0.03,
        upper_arm(points, pose, side, 0.0),
        cone(points, at(elbow), 0.037, at(elbow, s * 0.06, 0.0, 0.003), 0.040),
        cone(points, at(elbow, s * 0.06, 0.0, 0.003), 0.040, at(wrist, -s * 0.02), 0.027),
        hand(points, pose, side),
    )


def hand(points: Array, pose: Pose, side: str) -> Array:
    """Palm, four fingers a little curled and spread, thumb."""
    at, (_, s) = pose.at, _side(side)
    wrist = f"{side}_wrist"

    def w(x: float, y: float, z: float) -> Array:
        return at(wrist, s * x, y, z)

    local = pose.local(points, wrist) * (s, 1.0, 1.0)
    palm = union(
        0.02,
        cone(points, w(-0.03, 0.0, 0.0), 0.0265, w(0.025, -0.002, 0.008), 0.023),
        cone(points, w(0.020, -0.002, 0.010), 0.022, w(0.076, -0.005, 0.022), 0.0165),
        cone(points, w(0.020, -0.002, -0.006), 0.022, w(0.070, -0.006, -0.020), 0.0160),
    )
    palm = both(
        0.014, palm, np.abs(local[:, 1] + 0.004) - 0.0165 - 0.012 * np.clip(-local[:, 0] / 0.03 + 0.6, 0.0, 1.0)
    )
    thumb = union(
        0.012,
        cone(points, w(0.014, -0.008, 0.016), 0.0165, w(0.050, -0.016, 0.044), 0.0118),
        cone(points, w(0.050, -0.016, 0.044), 0.0118, w(0.078, -0.022, 0.056), 0.0088),
    )
    fingers = []
    for z, length, radius in (
        (0.0330, 0.92, 0.0092),
        (0.0110, 1.0, 0.0096),
        (-0.0110, 0.94, 0.0092),
        (-0.0310, 0.76, 0.0082),
    ):
        base, middle, tip = (
            w(0.072 - 8.0 * z * z, -0.006, z),
            w(0.082 + 0.044 * length, -0.014, z * 1.34),
            w(0.082 + 0.080 * length, -0.032, z * 1.44),
        )
        fingers.append(
            union(
                0.006,
                cone(points, base, radius * 1.04, middle, radius * 0.96),
                cone(points, middle, radius * 0.96, tip, radius * 0.80),
            )
        )
    shape = union(0.016, palm, thumb)
    for finger in fingers:
        shape = union(0.005, shape, finger)
    return shape
