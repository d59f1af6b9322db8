"""Standing still: whole seconds in which a body does next to nothing."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.metrics.inputs import require_fps, require_joints

# The mean speed of the joints of somebody who stands and breathes is 0.07 m/s in the recorded dances; half of their
# seconds have more than 0.7 m/s.
STILL_MPS = 0.1


def still_seconds(
    joints_m: Float[Tensor, "*b t j 3"], fps: float, speed_mps: float = STILL_MPS
) -> Bool[Tensor, "*b s"]:
    """For each whole second: whether the mean speed of all joints stays below `speed_mps`; the rest is left out.

    |p_t - p_(t-1)| · fps, mean over the joints and over the steps within the second. The share of such seconds is best
    near what real dances have: they pause too. Blind to a body that marches on the spot or trembles (see diversity and
    jitter), and to a standstill that begins and ends within two seconds. Raises BadInputError for less than a second.
    """
    frames = round(fps)
    require_fps(fps, "standing still")
    require_joints(joints_m, "standing still", frames=max(2, frames))
    if not speed_mps > 0.0:
        raise BadInputError(f"standing still: expected a positive speed in m/s, got {speed_mps}")
    seconds = joints_m.shape[-3] // frames
    cut = joints_m[..., : seconds * frames, :, :].double().unflatten(-3, (seconds, frames))
    speed: Tensor = cut.diff(dim=-3).norm(dim=-1).mean(dim=(-2, -1)) * fps
    return speed < speed_mps
