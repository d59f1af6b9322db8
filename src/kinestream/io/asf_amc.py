"""AMC files (Acclaim motion) with the ASF skeleton beside them -> Motion."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.io.asf import AsfSkeleton, fixed_axes_rotation, read_asf
from kinestream.io.axes import find_up, upright
from kinestream.io.bvh_text import MAX_JOINT_FRAMES
from kinestream.io.motion_file import MotionFile
from kinestream.io.text_bytes import read_text_bytes
from kinestream.motion import Motion
from kinestream.rotations import quat_conjugate, quat_multiply, quat_rotate
from kinestream.skeleton import Skeleton

CMU_FPS = 120.0
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)")
_FRAME = re.compile(r"\d{1,12}")
_MAX_METRES = 1e6


def read_asf_amc(
    path: str | os.PathLike[str],
    *,
    asf: str | os.PathLike[str] | None = None,
    fps: float | None = None,
    metres_per_unit: float | None = None,
) -> Motion:
    """An AMC file as a Motion on its ASF's bones; local rotations are identity in the ASF's rest pose.

    `asf` None looks beside the AMC file: `asf_beside`. AMC files do not say their rate: `fps` None means 120, CMU's.
    `metres_per_unit` None means what the ASF states (CMU: an inch is 0.45 units). The root's translations are places
    in the world (they replace the ASF's `position`); other bones' are in their own axes. A bone without degrees of
    freedom, or without any line in the file, stays at rest; axes are taken as they are (CMU is Y up, +Z ahead at rest).
    Raises BadInputError, with the line where there is one, for files that are no whole, sound ASF and AMC.
    """
    path = Path(path)
    asf = Path(asf) if asf is not None else asf_beside(path)
    skeleton = read_asf(asf)
    if metres_per_unit is None:
        try:
            metres_per_unit = skeleton.metres_per_unit()
        except BadInputError as error:
            raise BadInputError(f"{asf}: {error}") from None
    elif not (math.isfinite(metres_per_unit) and metres_per_unit > 0):
        raise BadInputError(f"metres_per_unit must be a positive number, got {metres_per_unit}")
    values = _Reader(str(path), skeleton).read(read_text_bytes(path, "AMC").decode("latin-1"))
    return _motion(skeleton, values, path, metres_per_unit, CMU_FPS if fps is None else fps)


def read_amc_file(
    path: Path, *, fps: float | None = None, metres_per_unit: float | None = None, up: str | None = None
) -> MotionFile:
    """An AMC file, with the ASF beside it, upright: `up` None finds the up axis from rest pose and movement."""
    raw = read_asf_amc(path, fps=fps, metres_per_unit=metres_per_unit)
    found = find_up(raw.skeleton, raw, up, "y")
    unit = read_asf(asf_beside(path)).metres_per_unit() if metres_per_unit is None else metres_per_unit
    return MotionFile(
        motion=upright(raw, found),
        up=found.world,
        up_how=found.how,
        metres_per_unit=unit,
        unit_how="the ASF's" if metres_per_unit is None else "given",
    )


def asf_beside(path: Path) -> Path:
    """The ASF file of an AMC file: of the same name, of its subject (`02.asf` for `02_05.amc`), or the only one in its
    folder; BadInputError when there is none or it is not clear which."""
    try:
        found = sorted(p for p in path.parent.iterdir() if p.suffix.lower() == ".asf")
    except OSError as error:
        raise BadInputError(f"cannot look for the skeleton of {path}: {error}") from None
    by_name = {p.stem.lower(): p for p in found}
    stem = path.stem.lower()
    for name in (stem, stem.partition("_")[0], stem.rpartition("_")[0]):
        if name in by_name:
            return by_name[name]
    if len(found) == 1:
        return found[0]
    names = ", ".join(p.name for p in found[:5]) or "no .asf file"
    raise BadInputError(
        f"{path}: expected its skeleton beside it, {stem.partition('_')[0]}.asf or a single .asf file, found {names}"
    )


@dataclass
class _Reader:
    """One pass over an AMC file: [frames][numbers] for every bone that moves."""

    where: str
    skeleton: AsfSkeleton
    line: int = 0

    def fail(self, message: str) -> BadInputError:
        return BadInputError(f"{self.where}, line {self.line}: {message}")

    def read(self, text: str) -> list[Tensor | None]:
        """For every bone its numbers [T, dof] in double precision (angles in radians); None where it has none."""
        names = {name: index for index, name in enumerate(self.skeleton.names)}
        widths = [len(bone.dof) for bone in self.skeleton.bones]
        rows: list[list[list[float]]] = [[] for _ in widths]
        degrees, first, frames = self.skeleton.degrees, 0, 0
        limit = MAX_JOINT_FRAMES // len(widths)
        for number, match in enumerate(_LINE.finditer(text), start=1):
            self.line = number
            words = match[0].partition("#")[0].split()
            if not words:
                continue
            word = words[0]
            if word[0] == ":":
                if frames == 0 and word.lower() in (":degrees", ":radians"):
                    degrees = word.lower() == ":degrees"
            elif len(words) == 1 and _FRAME.fullmatch(word):
                self._whole(rows, frames)
                first = int(word) if frames == 0 else first
                if int(word) != first + frames:
                    raise self.fail(f"expected frame {first + frames}, got {word}")
                frames += 1
                if frames > limit:
                    raise self.fail(f"more than {limit} frames of {len(widths)} bones; cut the file in parts")
            elif frames == 0:
                raise self.fail(f"expected a frame's number, got {match[0].strip()[:60]!a}")
            else:
                bone = names.get(word)
                if bone is None:
                    raise self.fail(f"the skeleton has no bone {word[:60]!a}")
                if len(rows[bone]) >= frames:
                    raise self.fail(f"bone {word[:60]!a} comes twice in the frame")
                if len(rows[bone]) < frames - 1:
                    raise self.fail(f"bone {word[:60]!a} is missing in an earlier frame")
                rows[bone].append(self._numbers(words[1:], widths[bone], word))
        self._whole(rows, frames)
        if frames == 0:
            raise BadInputError(f"{self.where}: the file has no frames")
        return [self._tensor(bone, rows[bone], degrees) for bone in range(len(widths))]

    def _whole(self, rows: list[list[list[float]]], frames: int) -> None:
        """Every bone that the file has lines for must have one in the frame that ends here."""
        for bone, own in enumerate(rows):
            if own and len(own) != frames:
                raise self.fail(f"frame {frames} of the file ends without bone {self.skeleton.names[bone][:60]!a}")

    def _numbers(self, words: list[str], count: int, bone: str) -> list[float]:
        try:
            values = [float(word) for word in words]
        except ValueError:
            values = []
        if len(values) != count or not all(map(math.isfinite, values)) or any("_" in word for word in words):
            shown = ascii(" ".join(words)[:60])
            raise self.fail(f"expected {count} finite numbers for bone {bone[:60]!a}, got {shown}")
        return values

    def _tensor(self, bone: int, rows: list[list[float]], degrees: bool) -> Tensor | None:
        if not rows or not rows[0]:
            return None
        values = torch.tensor(rows, dtype=torch.float64)
        if degrees:
            places, _ = self.skeleton.bones[bone].turns
            values[:, places] = torch.deg2rad(values[:, places])
        return values


def _motion(asf: AsfSkeleton, values: list[Tensor | None], path: Path, unit: float, fps: float) -> Motion:
    try:
        skeleton = asf.to_skeleton(path.stem, unit)
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from None
    frames = max((len(own) for own in values if own is not None), default=1)
    local = torch.zeros(frames, skeleton.num_joints, 4)
    local[..., 0] = 1.0
    shifts: dict[int, Float[Tensor, "t 3"]] = {}
    for joint, (bone, own) in enumerate(zip(asf.bones, values, strict=True)):
        if own is None:
            continue
        axes = bone.axes()
        places, letters = bone.turns
        turn = quat_multiply(axes, fixed_axes_rotation(own[:, places], letters))
        local[:, joint] = quat_multiply(turn, quat_conjugate(axes)).float()
        if bone.moves:
            shift = _moved(bone.moves, own, joint, asf, unit, path)
            shifts[joint] = quat_rotate(axes, shift) if joint else shift
    start = torch.tensor(asf.position, dtype=torch.float64) * unit
    root = shifts.pop(0, start.expand(frames, 3)).float()
    return Motion(skeleton, local, root, fps, _translations(skeleton, shifts, frames), path.stem)


def _moved(
    moves: dict[int, int], own: Float[Tensor, "t n"], joint: int, asf: AsfSkeleton, unit: float, path: Path
) -> Float[Tensor, "t 3"]:
    """A bone's translation in metres; the root's coordinates that no frame gives are the ASF's."""
    start = asf.position if joint == 0 else (0.0, 0.0, 0.0)
    shift = torch.tensor(start, dtype=torch.float64).repeat(len(own), 1)
    for coordinate, place in moves.items():
        shift[:, coordinate] = own[:, place]
    shift = shift * unit
    far = float(shift.abs().max())
    if far > _MAX_METRES:
        raise BadInputError(f"{path}: bone {asf.names[joint]!a} is moved {far:.3g} m; check the unit and the file")
    return shift


def _translations(skeleton: Skeleton, shifts: dict[int, Tensor], frames: int) -> Tensor | None:
    if not shifts:
        return None
    translations = skeleton.offsets_m.repeat(frames, 1, 1)
    for joint, shift in shifts.items():
        translations[:, joint] += shift.float()
    return translations
