"""One HTML file that plays motions offline: everything it needs is inside, nothing is fetched."""

from __future__ import annotations

import base64
import html
import json
import math
import re
import zlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from kinestream.errors import BadInputError
from kinestream.io.atomic import atomic_path
from kinestream.io.body.mesh import BodyMesh
from kinestream.io.soundtrack import Soundtrack, encoded_sound
from kinestream.io.stage import Person, Stage, heading_rad, palette, stage_motions, travelling_joint
from kinestream.motion import FOOT_JOINTS, Motion, foot_contacts

_SCRIPTS = ("motion.js", "render.js", "lanes.js", "sound.js", "app.js", "boot.js")
_TYPES = {
    np.dtype(np.int16): "i16",
    np.dtype(np.uint16): "u16",
    np.dtype(np.uint8): "u8",
    np.dtype(np.int32): "i32",
    np.dtype(np.float32): "f32",
}
_CAMERA_SIDE_RAD = 0.55


class Caption(NamedTuple):
    """A text that belongs to a span of time, seconds from the motion's first frame: usually the prompt."""

    start_s: float
    end_s: float
    text: str


class Mark(NamedTuple):
    """A span on a lane, seconds: what is said of it, how much it matters (0, 1, 2), when and at which joint to look."""

    start_s: float
    end_s: float
    text: str
    level: int
    at_s: float
    joint: str = ""


class Lane(NamedTuple):
    """A named row of marks under the timeline, about the first motion."""

    name: str
    marks: Sequence[Mark]


def write_html(
    motions: Motion | Sequence[Motion],
    path: str | Path,
    title: str = "",
    captions: Sequence[Caption | tuple[float, float, str]] = (),
    lanes: Sequence[Lane] = (),
    note: str = "",
    sound: Soundtrack | None = None,
) -> None:
    """Write a page that plays one motion, or several side by side, in any browser with WebGL 2.

    Orbit, zoom, pan, play, scrub, speed, foot contacts (SMPL-22's joints), skeleton, path; captions show while their
    span plays and stand on the timeline. `lanes` stand below it: while a mark plays, its text shows and its joint is
    ringed. `note` stands under the title. All motions play at the first one's rate. `sound` is heard with the motion:
    the page then waits for a press on play, and the sound's time says which frame shows.
    Raises BadInputError for captions or marks without a span, unknown joints, more than 16 motions, or sound that can't
    be read or lasts more than 20 minutes.
    """
    page = html_page(motions, title, captions, lanes, note, sound)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def html_page(
    motions: Motion | Sequence[Motion],
    title: str = "",
    captions: Sequence[Caption | tuple[float, float, str]] = (),
    lanes: Sequence[Lane] = (),
    note: str = "",
    sound: Soundtrack | None = None,
) -> str:
    """The text of the page that `write_html` writes."""
    about, payload = page_data(motions, title, captions, lanes, note)
    parts = {
        "title": html.escape(about["title"]),
        "style": asset("viewer.css"),
        "script": "\n".join(asset(name) for name in _SCRIPTS),
        "about": _json_in_html(about),
        "payload": payload,
        "sound": "" if sound is None else base64.b64encode(encoded_sound(sound)).decode("ascii"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match.group(1)], asset("viewer.html"))


def page_data(
    motions: Motion | Sequence[Motion],
    title: str = "",
    captions: Sequence[Caption | tuple[float, float, str]] = (),
    lanes: Sequence[Lane] = (),
    note: str = "",
) -> tuple[dict[str, Any], str]:
    """What a page's scripts play: facts as JSON values, and their arrays, compressed (see `_Payload`)."""
    stage = stage_motions(motions)
    payload = _Payload()
    bodies: list[dict[str, Any]] = []
    numbers: dict[bytes, int] = {}
    persons = []
    for number, person in enumerate(stage.persons):
        skeleton = person.motion.skeleton
        key = skeleton.to_json().encode()
        if key not in numbers:
            numbers[key] = len(bodies)
            bodies.append(_body(payload, person.body.mesh))
        persons.append(_person(payload, person, number, numbers[key], several=len(stage.persons) > 1))
    shown = title or stage.persons[0].motion.name or "motion"
    about = {
        "title": shown,
        "fps": stage.fps,
        "azimuth": heading_rad(stage.persons[0].motion) + _CAMERA_SIDE_RAD,
        "height": _height_m(stage),
        "captions": [_caption(caption) for caption in captions],
        "lanes": [_lane(lane, stage.persons[0].motion) for lane in lanes],
        "note": note,
        "bodies": bodies,
        "persons": persons,
    }
    return about, payload.text()


class _Payload:
    """Arrays one behind the other, each at a multiple of four bytes; compressed as a whole."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._length = 0

    def add(self, values: NDArray[Any]) -> dict[str, Any]:
        """Where the page finds the array."""
        data = np.ascontiguousarray(values)
        raw = data.tobytes()
        place = {"type": _TYPES[data.dtype], "offset": self._length, "count": data.size}
        padding = -len(raw) % 4
        self._chunks.append(raw + b"\0" * padding)
        self._length += len(raw) + padding
        return place

    def text(self) -> str:
        """zlib, then base64."""
        return base64.b64encode(zlib.compress(b"".join(self._chunks), 6)).decode("ascii")


def _body(payload: _Payload, mesh: BodyMesh) -> dict[str, Any]:
    scale = max(float(np.abs(mesh.positions_m).max()), 1e-6) / 32767.0
    faces = mesh.faces.reshape(-1).astype(np.int32)
    bounds = zip(
        mesh.part_starts[:-1].tolist(), mesh.part_starts[1:].tolist(), mesh.part_materials.tolist(), strict=True
    )
    return {
        "scale": scale,
        "parts": [{"material": material, "first": 3 * a, "count": 3 * (b - a)} for a, b, material in bounds],
        "inverseBind": payload.add(mesh.inverse_bind.astype(np.float32)),
        "positions": payload.add(np.round(mesh.positions_m / scale).astype(np.int16)),
        "joints": payload.add(mesh.joints.astype(np.uint16)),
        "weights": payload.add(mesh.weights),
        "faces": payload.add(np.diff(faces, prepend=np.int32(0))),
    }


def _person(payload: _Payload, person: Person, number: int, body: int, several: bool) -> dict[str, Any]:
    motion, skeleton = person.motion, person.motion.skeleton
    extra = motion.joint_translations_m
    about: dict[str, Any] = {
        "name": motion.name or (f"{number + 1}" if several else ""),
        "body": body,
        "parents": list(skeleton.parents),
        "frames": motion.num_frames,
        "shift": person.shift_m.tolist(),
        "rotations": payload.add(np.round(motion.local_rotations.numpy() * 32767.0).astype(np.int16)),
        "roots": payload.add(motion.root_position_m.numpy().astype(np.float32)),
        "centres": payload.add(person.positions_m[:, travelling_joint(motion)] - person.shift_m),
        "translations": None if extra is None else payload.add(extra.numpy().astype(np.float32)),
        "offsets": payload.add(skeleton.offsets_m.numpy().astype(np.float32)),
        "colours": palette(number).round(4).tolist(),
        "balls": _balls(person),
        "feet": [],
        "contacts": None,
    }
    if set(FOOT_JOINTS) <= set(skeleton.joint_names):
        about["feet"] = [skeleton.index(name) for name in FOOT_JOINTS]
        bits = (foot_contacts(motion).long() * torch.tensor([1, 2, 4, 8])).sum(dim=1)
        about["contacts"] = payload.add(bits.numpy().astype(np.uint8))
    return about


def _balls(person: Person) -> list[tuple[int, float]]:
    """Joints and radii of what darkens the floor under a body: its middle and the joints that end its limbs below."""
    skeleton, places = person.motion.skeleton, person.body.mesh.bind_positions_m
    size = float(np.ptp(places[:, 1])) or 1.0
    middle = int(np.argmin(np.abs(places[:, 1] - np.median(places[:, 1]))))
    ends = [joint for joint in range(skeleton.num_joints) if joint > 0 and not skeleton.children(joint)]
    feet = [joint for joint in ends if places[joint, 1] < places[middle, 1] - 0.2 * size]
    above = [skeleton.parents[joint] for joint in feet if skeleton.parents[joint] > 0]
    return [(middle, 0.09 * size), *((joint, 0.034 * size) for joint in [*feet, *above][:8])]


def _height_m(stage: Stage) -> float:
    tops = [np.quantile(person.positions_m[..., 1].max(axis=1), 0.98) for person in stage.persons]
    return max(float(max(tops)) + 0.12, 0.2)


def _caption(caption: Caption | tuple[float, float, str]) -> dict[str, Any]:
    start, end, text = caption
    if not (math.isfinite(start) and math.isfinite(end) and start <= end):
        raise BadInputError(f"expected a caption's start and end in seconds, start first, got {start} to {end}")
    return {"start": float(start), "end": float(end), "text": str(text)}


def _lane(lane: Lane, motion: Motion) -> dict[str, Any]:
    marks = []
    for start, end, text, level, at, joint in lane.marks:
        spot = motion.skeleton.index(joint) if joint else -1
        marks.append({**_caption((start, end, text)), "level": int(level), "at": float(at), "joint": spot})
    return {"name": lane.name, "marks": marks}


def _json_in_html(value: Any) -> str:
    """JSON that no text in it can end: neither a tag nor a comment nor a line separator stays as such."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def asset(name: str) -> str:
    """A script or style of the pages."""
    return files("kinestream.io").joinpath(f"viewer_assets/{name}").read_text(encoding="utf-8")
