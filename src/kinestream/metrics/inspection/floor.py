"""Penetration of the floor (y = 0), and floating above it where gravity would not let a body be."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.metrics.inspection.body import Body
from kinestream.metrics.inspection.measurement import WHOLE_BODY, Measurement, joint_parts, spoken
from kinestream.metrics.inspection.spans import spans_where
from kinestream.skeleton import smpl22

GRAVITY_MPS2 = 9.81
# A body whose nearest flesh is higher than this does not touch the floor.
AIRBORNE_M = 0.04
# A body in the air falls with gravity; one that falls with less than this share of it hovers.
LEAST_FALL_SHARE = 0.5
# What hovering adds to a flight's height must be this much: shorter flights cannot be told from steps.
LEAST_HELD_M = 0.03


def penetration(positions_m: Float[Tensor, "t j 3"], joint_names: tuple[str, ...]) -> Measurement:
    """How far each joint is below the floor, metres; any skeleton's. Flesh around it is deeper still."""
    parts = joint_parts() if joint_names == smpl22().joint_names else joint_names
    names = tuple(spoken(name) for name in joint_names)
    return Measurement("penetration", (-positions_m[..., 1]).clamp_min(0.0), parts, names, joint_names)


def floating(body: Body) -> Measurement:
    """How high the lowest flesh is, metres, in flights that are none; 0 where the body touches the floor or falls.

    A body in the air falls freely: the velocity of its centre of mass changes by g a second. Where it changes by less
    than half of that, something holds the body up, or plays its flight in slow motion.
    """
    lowest = body.heights_m().amin(dim=1)
    centre = body.centre_of_mass_m()[:, 1]
    values = torch.zeros_like(lowest)
    for first, last in spans_where(lowest > AIRBORNE_M):
        if last - first < 3:
            continue
        velocity = centre[first : last + 1].diff() * body.fps
        share = float(velocity[0] - velocity[-1]) * body.fps / (last - first - 1) / GRAVITY_MPS2
        seconds = (last - first + 1) / body.fps
        held = (1.0 - share) * GRAVITY_MPS2 * seconds**2 / 8.0
        if share < LEAST_FALL_SHARE and held > LEAST_HELD_M:
            values[first : last + 1] = lowest[first : last + 1]
    return Measurement("floating", values[:, None], (WHOLE_BODY,), ("hangs in the air",), ("pelvis",))
