"""Restoring a motion: Merge at every step, geometric guidance first, foot-contact guidance at the end (Algorithm 2)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from kinestream.errors import BadInputError
from kinestream.features import HUMANML259, Statistics
from kinestream.features.humanml import heading_angles, positions_from_humanml
from kinestream.features.humanml_legs import LEGS, leg_columns, world_steps
from kinestream.models.foot_restoration.integration import anchored_sum
from kinestream.models.foot_restoration.loss import FEET, ContactThresholds, feet_in_contact
from kinestream.models.foot_restoration.model import FootRestoration
from kinestream.nn.diffusion import cosine_schedule
from kinestream.rotations import quat_about_axis, quat_rotate

READINGS = ("algorithm", "text")
# How many times firmer than others the steps of standing feet are held when velocities are summed.
_STANDING_WEIGHT = 100.0


@dataclass(frozen=True)
class Guidance:
    """How a motion is restored.

    The paper's text (equations 4 and 5) and its Algorithm 2 give w_t = t / T and the contact mask b different roles:

    * "algorithm": geometric guidance takes (1 - w) of the input's leg positions and rotations and w of the estimate's,
      everywhere; foot-contact guidance multiplies the velocities of standing feet by w, so that they come to rest.
      Line 14 as printed, w b v + (1 - w) v, would rather slow the feet that do not stand; 1 - b is read for 1 - w.
    * "text": geometric guidance takes positions so only where b holds; foot-contact guidance takes (1 - w) of the
      input's velocities and w of the estimate's, as equation 5 says.
    """

    steps: int = 8
    """Denoising steps from t = T down. x_T's noise is used again at every step (line 19): no other randomness."""
    spacing: float = 1.5
    """How the steps crowd at the end: the shares t / T are evenly spaced ones to this power; 1 is even."""
    threshold: float = 0.12
    """t_th / T: geometric guidance at and above it, foot-contact guidance below."""
    reading: str = "algorithm"
    """"algorithm" or "text"."""
    anchor: float = 0.02
    """How fast summed velocities return to the places that the estimate has (`anchored_sum`); 0 is the paper's sum."""
    root_anchor: float = 0.003
    """The same for the root's path, which returns to the input's; 0 lets it drift away."""
    contact: ContactThresholds = field(default_factory=ContactThresholds)
    """When a foot of the estimate stands."""

    def __post_init__(self) -> None:
        allowed = (
            ("steps", self.steps >= 1, "at least 1"),
            ("spacing", self.spacing > 0.0, "above 0"),
            ("threshold", 0.0 <= self.threshold <= 1.0, "in [0, 1]"),
            ("anchor", self.anchor >= 0.0, "0 or more"),
            ("root_anchor", self.root_anchor >= 0.0, "0 or more"),
            ("reading", self.reading in READINGS, f"one of {', '.join(READINGS)}"),
        )
        for name, fits, wanted in allowed:
            if not fits:
                raise BadInputError(f"foot restoration: {name} must be {wanted}, got {getattr(self, name)!r}")


@torch.no_grad()
def restore_features(
    model: FootRestoration,
    statistics: Statistics,
    given: Float[Tensor, "t 259"],
    guidance: Guidance,
    generator: torch.Generator,
    inside: Bool[Tensor, " t"] | None = None,
) -> tuple[Float[Tensor, "t 259"], Bool[Tensor, "t 4"]]:
    """A motion's features with root, knees and feet made anew, and when its ankles and toes (`FEET`) stand.

    Un-normalised, of any length. The yaw stays the input's, so the body faces as before. All other columns are the
    input's to the bit, and so are frames that are not `inside` (None: all are); the network knows those as context. The
    same generator state gives the same motion.
    """
    columns = leg_columns().clone()
    columns[HUMANML259.slices["yaw_velocity"]] = False
    legs = columns.expand(given.shape) if inside is None else columns & inside[:, None]
    schedule = cosine_schedule(model.config.noise_steps)
    noise = torch.randn(given.shape, generator=generator)
    shares = torch.linspace(1.0, 0.0, guidance.steps + 1)[:-1].pow(guidance.spacing)
    levels = sorted({round(share * (schedule.num_steps - 1)) for share in shares.tolist()}, reverse=True)
    windows = Windows(len(given), model.config.window_frames)
    normal = statistics.normalize(given)
    noisy, restored = noise, given
    contact = torch.zeros(len(given), len(FEET), dtype=torch.bool)
    for level, following in zip(levels, [*levels[1:], None], strict=True):
        merged = torch.where(columns, noisy, normal)
        estimate = windows.joined(model, merged, level)
        clean = torch.where(legs, statistics.denormalize(estimate), given)
        restored, contact = _guided(clean, given, (level + 1) / schedule.num_steps, guidance)
        restored = torch.where(legs, restored, given)
        if following is not None:
            at = torch.full((len(given),), following)
            noisy = schedule.add_noise(statistics.normalize(restored), noise, at)
    return restored, contact


class Windows:
    """Windows of a length over so many frames, each a quarter over its neighbour, and their estimates joined."""

    def __init__(self, frames: int, length: int) -> None:
        self.length = min(frames, length)
        stride = max(1, length - length // 4)
        self.starts = [*range(0, max(1, frames - self.length), stride), frames - self.length]
        self.starts = sorted(set(self.starts))
        self.index = torch.tensor(self.starts)[:, None] + torch.arange(self.length)
        ramp = torch.arange(1, self.length + 1, dtype=torch.float32)
        self.weight = torch.minimum(torch.minimum(ramp, ramp.flip(0)), torch.tensor(length // 4 + 1.0))
        self.total = torch.zeros(frames).index_add(0, self.index.flatten(), self.weight.repeat(len(self.starts)))

    def joined(self, model: FootRestoration, x: Float[Tensor, "t d"], level: int) -> Float[Tensor, "t d"]:
        """The network's estimates of all windows at once, faded into each other."""
        estimates = model(x[self.index], torch.full((len(self.starts),), level))
        weighted = (estimates * self.weight[:, None]).flatten(0, 1)
        return torch.zeros_like(x).index_add(0, self.index.flatten(), weighted) / self.total[:, None]


def _guided(clean: Tensor, given: Tensor, share: float, guidance: Guidance) -> tuple[Tensor, Tensor]:
    """The estimate at t = share T, guided; and which feet stand in it."""
    clean = _anchored_root(clean, given, guidance.root_anchor)
    places = positions_from_humanml(clean, HUMANML259)
    feet = places[..., FEET, :]
    steps = functional.pad(feet.diff(dim=0), (0, 0, 0, 0, 0, 1))
    contact = feet_in_contact(feet, steps, guidance.contact)
    # A foot joint that stands for one step stands at both its ends.
    standing = contact | functional.pad(contact[:-1], (0, 0, 1, 0))
    if share >= guidance.threshold:
        return _geometric(clean, given, contact, share, guidance), standing
    return _foot_contact(clean, given, places, contact, share, guidance), standing


def _geometric(clean: Tensor, given: Tensor, contact: Tensor, share: float, guidance: Guidance) -> Tensor:
    """Equation 4: positions and rotations part of the way back to the input's."""
    out = clean.clone()
    slices = HUMANML259.slices
    rotations, positions = slices["rotations_rot6d"], slices["positions"]
    out[:, rotations] = (1.0 - share) * given[:, rotations] + share * clean[:, rotations]
    mixed = (1.0 - share) * given[:, positions] + share * clean[:, positions]
    if guidance.reading == "text":
        stands = torch.zeros(len(clean), 21, dtype=torch.bool)
        stands[:, [joint - 1 for joint in FEET]] = contact
        mixed = torch.where(stands.repeat_interleave(3, dim=1), mixed, clean[:, positions])
    out[:, positions] = mixed
    return out


def _foot_contact(
    clean: Tensor, given: Tensor, places: Tensor, contact: Tensor, share: float, guidance: Guidance
) -> Tensor:
    """Equation 5 and lines 14 and 15: velocities of the legs guided, and summed to positions."""
    steps, firm = world_steps(clean), torch.ones(len(clean), len(LEGS))
    stands = torch.zeros(len(clean), len(LEGS), dtype=torch.bool)
    stands[:, [LEGS.index(joint) for joint in FEET]] = contact
    legs = steps[:, LEGS, :]
    if guidance.reading == "algorithm":
        legs = torch.where(stands[..., None], share * legs, legs)
        firm = torch.where(stands, _STANDING_WEIGHT, firm)
    else:
        legs = (1.0 - share) * world_steps(given)[:, LEGS, :] + share * legs
    summed = anchored_sum(legs, places[:, LEGS, :], guidance.anchor, firm)
    return with_legs(clean, summed, legs)


def with_legs(
    features: Float[Tensor, "t 259"], legs_m: Float[Tensor, "t 6 3"], steps_m: Float[Tensor, "t 6 3"]
) -> Float[Tensor, "t 259"]:
    """The features with the joints `LEGS` at these places in the first frame's world, going by these steps."""
    out = features.clone()
    slices = HUMANML259.slices
    back = quat_about_axis(-heading_angles(features, HUMANML259), "Y")[:, None]
    ground = positions_from_humanml(features, HUMANML259)[:, :1] * torch.tensor((1.0, 0.0, 1.0))
    local, velocities = quat_rotate(back, legs_m - ground), quat_rotate(back, steps_m)
    for place, joint in enumerate(LEGS):
        at = slices["positions"].start + 3 * (joint - 1)
        out[:, at : at + 3] = local[:, place]
        at = slices["velocities"].start + 3 * joint
        out[:, at : at + 3] = velocities[:, place]
    return out


def _anchored_root(clean: Tensor, given: Tensor, anchor: float) -> Tensor:
    """The estimate's root velocities summed so that the path stays near the input's."""
    if anchor <= 0.0:
        return clean
    path, wanted = (positions_from_humanml(features, HUMANML259)[:, :1] for features in (clean, given))
    steps = functional.pad(path.diff(dim=0), (0, 0, 0, 0, 0, 1))
    level = torch.tensor((1.0, 0.0, 1.0))
    summed = anchored_sum(steps * level, wanted * level, anchor)[:, 0]
    out = clean.clone()
    angle = heading_angles(clean, HUMANML259)
    moved = quat_rotate(quat_about_axis(-angle[1:], "Y"), summed.diff(dim=0))
    out[:-1, HUMANML259.slices["root_velocity"]] = moved[:, [0, 2]]
    return out
