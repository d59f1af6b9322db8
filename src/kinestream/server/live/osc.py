"""OSC datagrams: the VMC protocol (protocol.vmc.info), and plain messages for anybody's patch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kinestream.errors import MissingExtraError
from kinestream.server.live.frames import UNITY_BONES, LiveFrame

# What passes an Ethernet frame in one piece: 1,500 bytes less the headers of IP and UDP.
MAX_DATAGRAM = 1_472
_IMMEDIATELY = bytes(7) + b"\x01"
_NO_TURN = (0.0, 0.0, 0.0, 1.0)

Message = tuple[str, tuple[str | int | float, ...]]


def vmc_datagrams(frame: LiveFrame) -> list[bytes]:
    """A frame in the VMC protocol: the model is there, the time, the root under the hips, all bones.

    The root travels along the floor and does not turn; the hips are above it. Other bones are at their rest offsets.
    """
    x, y, z = frame.positions[0]
    places = [(0.0, y, 0.0), *frame.offsets[1:]]
    messages: list[Message] = [
        ("/VMC/Ext/OK", (1,)),
        ("/VMC/Ext/T", (frame.time_s,)),
        ("/VMC/Ext/Root/Pos", ("root", x, 0.0, z, *_NO_TURN)),
        *(
            ("/VMC/Ext/Bone/Pos", (bone, *place, *turn))
            for bone, place, turn in zip(UNITY_BONES, places, frame.local, strict=True)
        ),
    ]
    return bundles(messages)


def osc_datagrams(frame: LiveFrame) -> list[bytes]:
    """A frame in plain OSC: its number and time, then each joint's name, position and rotation (xyzw) in the world."""
    joints: Iterable[Message] = (
        ("/kinestream/joint", (bone, *place, *turn))
        for bone, place, turn in zip(UNITY_BONES, frame.positions, frame.world, strict=True)
    )
    return bundles([("/kinestream/frame", (frame.number, frame.time_s)), *joints])


def bundles(messages: Sequence[Message]) -> list[bytes]:
    """OSC bundles of the messages in their order, each small enough for one datagram."""
    try:
        from pythonosc.osc_message_builder import OscMessageBuilder
    except ImportError:
        raise MissingExtraError("sending OSC", "live") from None
    head = b"#bundle\x00" + _IMMEDIATELY
    found = [head]
    for address, values in messages:
        builder = OscMessageBuilder(address)
        for value in values:
            builder.add_arg(value)
        content = builder.build().dgram
        part = len(content).to_bytes(4, "big") + content
        if len(found[-1]) + len(part) > MAX_DATAGRAM:
            found.append(head)
        found[-1] += part
    return found
