"""The 23 markers of Dance with Melody, and recordings of two bodies on a wrong track made into one that dances.

What is done here moves, enlarges or renames markers, so that one body of constant size stands on the floor y = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.data.dance.standing_root import standing_slide_m
from kinestream.skeleton.position_ik import level_floor, smoothed


class Side(NamedTuple):
    """Markers and signs of a side of the body."""

    name: str
    sign: float
    shoulder: int
    elbow: int
    wrist: tuple[int, ...]
    hip: int
    knee: int
    ankle: int
    heel: int
    toe: int


LEFT = Side("left", 1.0, 12, 13, (15,), 16, 17, 18, 19, 20)
RIGHT = Side("right", -1.0, 3, 4, (6, 22), 7, 8, 9, 10, 11)
SIDES = (LEFT, RIGHT)
# Lengths that tell bodies apart: thighs first, then shins, upper arms, trunk.
_MEASURED = ((7, 8), (16, 17), (8, 9), (17, 18), (3, 4), (12, 13), (2, 1))
_TAKES_DIFFER = -0.1  # log of the thighs' ratio
# The middles of the hips' and the shoulders' markers, behind the 23.
_HIPS, _SHOULDERS = 23, 24
# Which markers hang from which, and between which markers the size of both bodies is compared.
_BODY: tuple[tuple[int, list[int], tuple[tuple[int, int], ...]], ...] = (
    (_HIPS, [0, 1, 2, 3, 12], ((_HIPS, _SHOULDERS),)),
    (_HIPS, [7, 16], ((7, 16),)),
    (7, [8], ((7, 8), (16, 17))),
    (16, [17], ((7, 8), (16, 17))),
    (8, [9], ((8, 9), (17, 18))),
    (17, [18], ((8, 9), (17, 18))),
    (9, [10, 11], ((10, 11), (19, 20))),
    (18, [19, 20], ((10, 11), (19, 20))),
    (3, [4], ((3, 4), (12, 13))),
    (12, [13], ((3, 4), (12, 13))),
    (4, [5, 6, 22], ((4, 6), (13, 15))),
    (13, [14, 15, 21], ((4, 6), (13, 15))),
)
# Points of a sole that may stand, from heel to toe.
_SOLE_SHARES = (0.0, 0.35, 0.7, 1.0)


@dataclass(frozen=True, eq=False)
class Prepared:
    """Markers of one size over the floor y = 0, how much of each frame is of the second take, and the track's mending.

    `slide_m` [T, 3] is what was taken off the recorded track over the floor.
    """

    markers_m: Float[Tensor, "t 23 3"]
    share: Float[Tensor, " t"]
    slide_m: Float[Tensor, "t 3"]

    @property
    def takes(self) -> list[Tensor]:
        """Masks of the frames that are mostly of the first and of the second take, if there is one."""
        return [self.share < 0.5, self.share >= 0.5] if bool((self.share >= 0.5).any()) else [self.share < 0.5]


def prepared(markers_m: Float[Tensor, "t 23 3"], fps: float) -> Prepared:
    """Markers as recorded made ready for one body."""
    share = take_share(markers_m, fps)
    markers = _levelled(_one_size(_levelled(markers_m, fps), share), fps)
    soles = torch.stack(
        [
            torch.lerp(markers[:, side.heel], markers[:, side.toe], torch.tensor(at).to(markers))
            for side in SIDES
            for at in _SOLE_SHARES
        ],
        dim=1,
    )
    slide = standing_slide_m(soles, soles[..., 1].quantile(0.1, dim=0), fps)
    return Prepared(markers - slide[:, None], share, slide)


def _levelled(markers_m: Tensor, fps: float) -> Tensor:
    """The markers over the floor y = 0."""
    lowest = markers_m[:, [LEFT.toe, RIGHT.toe, LEFT.heel, RIGHT.heel], 1].amin(dim=1)
    floor = torch.zeros(len(markers_m), 1, 3, dtype=markers_m.dtype)
    floor[:, 0, 1] = level_floor(lowest, fps)
    return markers_m - floor


def take_share(markers_m: Float[Tensor, "t 23 3"], fps: float) -> Float[Tensor, "t"]:
    """How much of each frame is of the recording's second take (the one with fewer frames), 0 to 1.

    Zeros where there is one take. Takes are told apart by the lengths between markers, which two clusters explain when
    both thighs differ by a tenth.
    """
    lengths = torch.stack([(markers_m[:, a] - markers_m[:, b]).norm(dim=-1) for a, b in _MEASURED], dim=1).log()
    thighs = lengths[:, :2].mean(dim=1)
    low, high = float(thighs.quantile(0.02)), float(thighs.quantile(0.98))
    small = thighs < 0.5 * (low + high)
    for _ in range(20):
        if not 0 < int(small.sum()) < len(small):
            return torch.zeros_like(thighs)
        small = (thighs - thighs[small].mean()).abs() < (thighs - thighs[~small].mean()).abs()
    short, long = lengths[small].mean(dim=0), lengths[~small].mean(dim=0)
    if float((short - long)[:2].max()) > _TAKES_DIFFER or not 0.02 < float(small.double().mean()) < 0.98:
        return torch.zeros_like(thighs)
    step = short - long if int(small.sum()) <= len(small) // 2 else long - short
    start = long if int(small.sum()) <= len(small) // 2 else short
    along = (lengths - start) @ step / step.square().sum()
    share = smoothed(along[:, None], 0.25 * fps)[:, 0]
    return ((share - 0.2) / 0.6).clamp(0.0, 1.0)


def _one_size(markers_m: Tensor, share: Tensor) -> Tensor:
    """The second take with the first's sizes, bone by bone from the hips outwards; its steps grow like its legs."""
    if not bool((share > 0.9).any()):
        return markers_m
    first, second = share < 0.1, share > 0.9

    def scale(*bones: tuple[int, int]) -> Tensor:
        size = torch.stack([(points[:, a] - points[:, b]).norm(dim=-1) for a, b in bones], dim=1).sum(dim=1)
        return (1.0 + share * (size[first].median() / size[second].median() - 1.0))[:, None]

    middles = [0.5 * (markers_m[:, a] + markers_m[:, b]) for a, b in ((7, 16), (3, 12))]
    points = torch.cat((markers_m, torch.stack(middles, dim=1)), dim=1)
    moved = torch.zeros_like(points)
    legs, ground = scale((7, 8), (8, 9), (16, 17), (17, 18)), markers_m.new_tensor((1.0, 0.0, 1.0))
    centre = points[:, _HIPS] * ground
    steps = centre.diff(dim=0, prepend=torch.zeros_like(centre[:1])) * legs
    moved[:, _HIPS] = (points[:, _HIPS] - centre) * legs + steps.cumsum(dim=0)
    for start, ends, bones in _BODY:
        moved[:, ends] = moved[:, [start]] + scale(*bones)[:, None] * (points[:, ends] - points[:, [start]])
    return moved[:, : markers_m.shape[1]]
