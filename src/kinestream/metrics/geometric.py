"""Geometric ("manual") features of a dance: in how many of its frames the body does each of 32 things."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kinestream.metrics.inputs import require_fps, require_joints

NUM_JOINTS = 22
# Published code takes frames of 1/120 s for data of 30 frames per second.
COMPAT_FRAME_S = 1.0 / 120.0
# Lengths of the SMPL body by which the thresholds are scaled, metres (the constants of AIST++).
UPPER_ARM_M = 0.2568381
SHOULDERS_M = 0.3908484
HIPS_M = 0.1192471
LENGTHS_M = {"upper arm": UPPER_ARM_M, "shoulders": SHOULDERS_M, "hips": HIPS_M, "": 1.0}

ROOT, L_HIP, R_HIP, BELLY, L_KNEE, R_KNEE = 0, 1, 2, 3, 4, 5
L_ANKLE, R_ANKLE, CHEST, L_TOES, R_TOES, NECK = 7, 8, 9, 10, 11, 12
L_SHOULDER, R_SHOULDER, L_ELBOW, R_ELBOW, L_WRIST, R_WRIST = 16, 17, 18, 19, 20, 21


class Question(NamedTuple):
    """One yes or no about a frame: kind of test, its joints, and the bound in some length of the body (or degrees)."""

    kind: str
    joints: tuple[int, ...]
    bound: float
    length: str = "upper arm"
    most: float = math.inf


# In the order of the published vector (fairmotion, AIST++). Kinds:
#   along     speed of the third joint away from the first, in the direction from the first to the second
#   across    speed of the fourth joint away from the first, along the normal of the first three
#   plane     distance of the fourth joint from the plane of the first three
#   beyond    how far the fourth joint is from the third, in the direction from the first to the second
#   raised    height of the joint above the lowest joint;  lowered: the same, below the bound
#   bent      angle between second - first and fourth - third;  leaning: between second - first and up
#   fast      speed of the joint
QUESTIONS = (
    Question("across", (NECK, R_HIP, L_HIP, R_WRIST), 1.8),
    Question("across", (NECK, L_HIP, R_HIP, L_WRIST), 1.8),
    Question("beyond", (CHEST, NECK, NECK, R_WRIST), 0.2),
    Question("beyond", (CHEST, NECK, NECK, L_WRIST), 0.2),
    Question("along", (BELLY, CHEST, CHEST), 1.8),
    Question("along", (BELLY, CHEST, CHEST), 1.8),
    Question("bent", (R_ELBOW, R_SHOULDER, R_ELBOW, R_WRIST), 0.0, "", 110.0),
    Question("bent", (L_ELBOW, L_SHOULDER, L_ELBOW, L_WRIST), 0.0, "", 110.0),
    Question("beyond", (L_SHOULDER, R_SHOULDER, L_WRIST, R_WRIST), 2.5, "shoulders"),
    Question("along", (L_WRIST, R_WRIST, R_WRIST), 1.4),
    Question("along", (R_WRIST, ROOT, L_WRIST), 1.4),
    Question("along", (L_WRIST, ROOT, R_WRIST), 1.4),
    Question("fast", (R_WRIST,), 2.5),
    Question("fast", (L_WRIST,), 2.5),
    Question("plane", (ROOT, L_HIP, L_TOES, R_ANKLE), 0.38),
    Question("plane", (ROOT, R_HIP, R_TOES, L_ANKLE), 0.38),
    Question("raised", (R_ANKLE,), 1.2),
    Question("raised", (L_ANKLE,), 1.2),
    Question("beyond", (L_HIP, R_HIP, L_ANKLE, R_ANKLE), 2.1, "hips"),
    Question("bent", (R_KNEE, R_HIP, R_KNEE, R_ANKLE), 0.0, "", 110.0),
    Question("bent", (L_KNEE, L_HIP, L_KNEE, L_ANKLE), 0.0, "", 110.0),
    Question("fast", (R_ANKLE,), 2.5),
    Question("fast", (L_ANKLE,), 2.5),
    Question("bent", (NECK, ROOT, R_SHOULDER, R_ELBOW), 25.0, "", 180.0),
    Question("bent", (NECK, ROOT, L_SHOULDER, L_ELBOW), 25.0, "", 180.0),
    Question("bent", (NECK, ROOT, R_HIP, R_KNEE), 50.0, "", 180.0),
    Question("bent", (NECK, ROOT, L_HIP, L_KNEE), 50.0, "", 180.0),
    Question("plane", (R_ANKLE, NECK, L_ANKLE, ROOT), 0.5),
    Question("leaning", (NECK, ROOT), 70.0, "", 110.0),
    Question("lowered", (R_WRIST,), 1.2),
    Question("lowered", (L_WRIST,), 1.2),
    Question("fast", (ROOT,), 2.3),
)


def geometric_features(
    joints_m: Float[Tensor, "*b t j 3"], fps: float, *, compat: bool = False
) -> Float[Tensor, "*b 32"]:
    """Share of the frames 1 .. T - 1 that answer each of 32 questions with yes (Müller et al., SIGGRAPH 2005).

    The questions and thresholds of fairmotion and AIST++ (Li et al., ICCV 2021): a hand rises, an elbow is bent, a foot
    is behind the other, a joint is fast, ...; joints 0 .. 21 are SMPL's, more may follow. World positions in; where
    the body stands and faces plays no part. FID_g (FID_m) and Div_g are taken on these.

    `compat` gives what published code computes, for comparison with tables: speeds as if frames lasted 1/120 s, which
    at 30 frames per second are four times the true ones. InfiniteDance's tables also need `published_pose`.

    Some questions look at directions of movement, so time reversed scores differently; kinetic features don't see that.
    Thresholds are metres of the SMPL body: a smaller or larger body answers differently, retarget first. Questions 4
    and 5 are the same as published code reads them (it ignores its fourth joint there), so the covariance lacks rank;
    many never come true in calm motion. Smooth or trembling, floating or skating makes no difference.
    """
    require_joints(joints_m, "geometric features", frames=2, joints=NUM_JOINTS)
    require_fps(fps, "geometric features")
    frame_s = COMPAT_FRAME_S if compat else 1.0 / fps
    scene = _Scene(joints_m, frame_s)
    shares = [scene.answers(question).double().mean(dim=-1) for question in QUESTIONS]
    return torch.stack(shares, dim=-1).to(joints_m.dtype)


class _Scene:
    """Joints of the frames 1 .. T - 1 and their velocities."""

    def __init__(self, joints_m: Tensor, frame_s: float) -> None:
        joints = joints_m.double()
        self.place = joints[..., 1:, :NUM_JOINTS, :].unbind(dim=-2)
        self.velocity = (joints[..., :NUM_JOINTS, :].diff(dim=-3) / frame_s).unbind(dim=-2)
        self.lowest = joints[..., 1:, :, 1].amin(dim=-1)

    def answers(self, question: Question) -> Bool[Tensor, "*b t"]:
        """Whether each frame answers with yes; False where a direction has no length."""
        value = getattr(self, question.kind)(*question.joints)
        bound = question.bound * LENGTHS_M[question.length]
        if question.kind == "lowered":
            low: Tensor = value < bound
            return low
        yes: Tensor = (value > bound) & (value < question.most)
        return yes

    def along(self, a: int, b: int, c: int) -> Tensor:
        return _projected(self.velocity[c] - self.velocity[a], self.place[b] - self.place[a])

    def across(self, a: int, b: int, c: int, d: int) -> Tensor:
        return _projected(self.velocity[d] - self.velocity[a], self._normal(a, b, c))

    def plane(self, a: int, b: int, c: int, d: int) -> Tensor:
        return _projected(self.place[d] - self.place[a], self._normal(a, b, c))

    def beyond(self, a: int, b: int, c: int, d: int) -> Tensor:
        return _projected(self.place[d] - self.place[c], self.place[b] - self.place[a])

    def raised(self, a: int) -> Tensor:
        return self.place[a][..., 1] - self.lowest

    lowered = raised

    def fast(self, a: int) -> Tensor:
        speed: Tensor = self.velocity[a].norm(dim=-1)
        return speed

    def bent(self, a: int, b: int, c: int, d: int) -> Tensor:
        return _angle_deg(self.place[b] - self.place[a], self.place[d] - self.place[c])

    def leaning(self, a: int, b: int) -> Tensor:
        spine = self.place[b] - self.place[a]
        return _angle_deg(spine, spine.new_tensor((0.0, 1.0, 0.0)).expand_as(spine))

    def _normal(self, a: int, b: int, c: int) -> Tensor:
        normal: Tensor = torch.linalg.cross(self.place[c] - self.place[a], self.place[b] - self.place[a])
        return normal


def _projected(vector: Tensor, direction: Tensor) -> Tensor:
    unit: Tensor = direction / direction.norm(dim=-1, keepdim=True)
    return (vector * unit).sum(dim=-1)


def _angle_deg(a: Tensor, b: Tensor) -> Tensor:
    cosine = (a * b).sum(dim=-1) / (a.norm(dim=-1) * b.norm(dim=-1))
    return torch.rad2deg(torch.arccos(cosine.clamp(-1.0, 1.0)))
