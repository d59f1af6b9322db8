"""What goes over the wire of a live stream: JSON messages, and frames as compact binary. One source for all of it.

Binary frames, little endian: `KSF1`, the first frame's number (uint32), how many frames (uint16), how many joints
(uint16); then for each frame the root's position (3 float32, metres) and a quaternion for each joint (4 int16, wxyz,
divided by 32767). Y up, the body faces +Z; rotations are relative to the parent joint, in the skeleton's order.
"""

from __future__ import annotations

import struct
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from kinestream.errors import BadInputError
from kinestream.motion import Motion
from kinestream.skeleton import smpl22

VERSION = 1
FPS = 30.0
AnyMessage = TypeVar("AnyMessage")
_MAGIC = b"KSF1"
_HEAD = struct.Struct("<4sIHH")
_UNIT = 32_767.0
_SEED = 2**63 - 1
# Sound of a client: `KSA1`, samples a second (uint32), then float32 samples of one channel.
_SOUND_MAGIC = b"KSA1"
_SOUND_HEAD = struct.Struct("<4sI")


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


# From a client.


class Join(_Message):
    """The first message: a new stream."""

    type: Literal["join"] = "join"
    kind: Literal["text", "dance"] = "text"
    seed: int = Field(0, ge=0, le=_SEED)
    genre: str | None = Field(None, max_length=40)
    frames: Literal["binary", "json"] = "binary"


class Resume(_Message):
    """The first message, after a lost connection: the stream goes on at the next frame that the client lacks."""

    type: Literal["resume"] = "resume"
    session: str = Field(max_length=64)
    next_frame: int = Field(ge=0)
    frames: Literal["binary", "json"] = "binary"


class Restore(_Message):
    """The first message: a stream as `save` gave it."""

    type: Literal["restore"] = "restore"
    state: str
    frames: Literal["binary", "json"] = "binary"


class Say(_Message):
    """An event for the stream: a prompt, a genre, the end (`kinestream.streaming.events`)."""

    type: Literal["event"] = "event"
    event: dict[str, Any]


class Rewind(_Message):
    """Make everything from a frame on anew."""

    type: Literal["rewind"] = "rewind"
    frame: int = Field(ge=0)


class Branch(_Message):
    """A second stream that shares what came before a frame (None: all so far)."""

    type: Literal["branch"] = "branch"
    frame: int | None = Field(None, ge=0)
    seed: int | None = Field(None, ge=0, le=_SEED)


class Save(_Message):
    """Ask for the stream's whole state."""

    type: Literal["save"] = "save"


class Pause(_Message):
    """No frames until `play`; nothing is made meanwhile."""

    type: Literal["pause"] = "pause"


class Play(_Message):
    """Go on."""

    type: Literal["play"] = "play"


class Leave(_Message):
    """End the stream."""

    type: Literal["leave"] = "leave"


FirstMessage = Join | Resume | Restore
LaterMessage = Say | Rewind | Branch | Save | Pause | Play | Leave

# From the server.


class Joined(_Message):
    """The stream is there. `session` is its key: who has it can resume it."""

    type: Literal["joined"] = "joined"
    version: int = VERSION
    session: str
    kind: str
    next_frame: int
    fps: float
    frames_per_step: int
    joints: list[str]
    parents: list[int]
    offsets_m: list[list[float]]


class ChunkMessage(_Message):
    """What happens in the frames that follow (binary, or in `root_m` and `rotations` where JSON was asked for)."""

    type: Literal["chunk"] = "chunk"
    first_frame: int
    frames: int
    kind: str
    prompt: str
    genre: str | None
    began: list[str]
    ended: list[str]
    root_m: list[list[float]] | None = None
    rotations: list[list[list[float]]] | None = None


class Rewound(_Message):
    """The next frame is `frame`."""

    type: Literal["rewound"] = "rewound"
    frame: int


class Branched(_Message):
    """The other stream's key; `resume` it over a connection of its own."""

    type: Literal["branched"] = "branched"
    session: str
    next_frame: int


class Saved(_Message):
    """The stream's state, base64."""

    type: Literal["saved"] = "saved"
    state: str


class Waits(_Message):
    """The stream waits: for a place ("queued"), or for something to do ("ended")."""

    type: Literal["waits"] = "waits"
    reason: Literal["queued", "ended"]


class Note(_Message):
    """A word about what was said: that a sentence was taken as several, or is not among what the model has learnt."""

    type: Literal["note"] = "note"
    message: str


class Failure(_Message):
    """What went wrong: expected, got, what to do. The connection is closed where it is fatal."""

    type: Literal["error"] = "error"
    message: str
    fatal: bool


FROM_CLIENT: tuple[type[_Message], ...] = (Join, Resume, Restore, Say, Rewind, Branch, Save, Pause, Play, Leave)
ServerMessage = Joined | ChunkMessage | Rewound | Branched | Saved | Waits | Note | Failure
FROM_SERVER: tuple[type[_Message], ...] = (Joined, ChunkMessage, Rewound, Branched, Saved, Waits, Note, Failure)

_FIRST: TypeAdapter[FirstMessage] = TypeAdapter(Annotated[FirstMessage, Field(discriminator="type")])
_LATER: TypeAdapter[LaterMessage] = TypeAdapter(Annotated[LaterMessage, Field(discriminator="type")])


def first_message(text: str | bytes) -> FirstMessage:
    """A client's first message; BadInputError where it is none."""
    return _read(_FIRST, text)


def later_message(text: str | bytes) -> LaterMessage:
    """Any later one."""
    return _read(_LATER, text)


def _read(kind: TypeAdapter[AnyMessage], text: str | bytes) -> AnyMessage:
    try:
        return kind.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the message"
        raise BadInputError(f"{where}: {first['msg']}; see docs/server.md for the messages") from None


def pack_frames(motion: Motion, first: int) -> bytes:
    """Frames as binary."""
    rotations = motion.local_rotations.numpy()
    count, joints = rotations.shape[:2]
    row = np.dtype([("root", "<f4", 3), ("turns", "<i2", (joints, 4))])
    rows = np.empty(count, row)
    rows["root"] = motion.root_position_m.numpy()
    rows["turns"] = np.rint(rotations * _UNIT)
    return _HEAD.pack(_MAGIC, first, count, joints) + rows.tobytes()


def unpack_frames(data: bytes) -> tuple[int, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """First frame's number, root positions [T, 3] and rotations [T, J, 4] of binary frames; for clients in Python.

    BadInputError where they are none.
    """
    if len(data) < _HEAD.size or data[:4] != _MAGIC:
        raise BadInputError(f"expected frames that begin with {_MAGIC!r}, got {len(data)} bytes: {data[:8]!r}")
    _, first, count, joints = _HEAD.unpack_from(data)
    row = np.dtype([("root", "<f4", 3), ("turns", "<i2", (joints, 4))])
    if len(data) != _HEAD.size + count * row.itemsize:
        raise BadInputError(f"expected {count} frames of {joints} joints, got {len(data)} bytes")
    rows = np.frombuffer(data, row, offset=_HEAD.size)
    return first, rows["root"].copy(), rows["turns"].astype(np.float32) / np.float32(_UNIT)


def motion_of_frames(data: bytes) -> Motion:
    """The SMPL-22 motion of binary frames at 30 fps; BadInputError where they are none, or hold no frame."""
    _, root, turns = unpack_frames(data)
    if len(root) == 0 or turns.shape[1] != smpl22().num_joints or not np.isfinite(root).all():
        raise BadInputError(f"expected finite frames of {smpl22().num_joints} joints, got {turns.shape[:2]}")
    lengths = np.linalg.norm(turns, axis=-1, keepdims=True)
    if (lengths < 0.5).any():
        raise BadInputError("expected unit quaternions, got some near zero")
    return Motion(smpl22(), torch.from_numpy(turns / lengths), torch.from_numpy(root), FPS)


def unpack_sound(data: bytes) -> tuple[int, np.ndarray[Any, Any]]:
    """Samples a second, and one channel of samples; BadInputError where they are none."""
    if len(data) < _SOUND_HEAD.size or data[:4] != _SOUND_MAGIC or (len(data) - _SOUND_HEAD.size) % 4:
        raise BadInputError(f"expected sound that begins with {_SOUND_MAGIC!r} (see docs/server.md), got {data[:8]!r}")
    _, rate = _SOUND_HEAD.unpack_from(data)
    return rate, np.frombuffer(data, "<f4", offset=_SOUND_HEAD.size).astype(np.float32)


def schema() -> dict[str, Any]:
    """JSON schemas of all messages."""
    return {
        side: {message.model_fields["type"].default: message.model_json_schema() for message in messages}
        for side, messages in (("from_client", FROM_CLIENT), ("from_server", FROM_SERVER))
    }
