"""Live output: right axes, right names, a steady rate, and nothing larger than a datagram."""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from kinestream.errors import BadInputError, KinestreamError
from kinestream.motion import Motion
from kinestream.rotations import quat_from_rotvec
from kinestream.server.live import FORMS, LiveOutput
from kinestream.server.live.frames import UNITY_BONES, live_frames
from kinestream.server.live.osc import MAX_DATAGRAM
from kinestream.skeleton import smpl22
from kinestream.skeleton.skeleton import forward_kinematics
from kinestream.skeleton.t_pose import smpl22_t_pose


def motion(frames: int = 3) -> Motion:
    turns = quat_from_rotvec(torch.randn(frames, 22, 3, generator=torch.Generator().manual_seed(1)))
    return Motion(smpl22(), turns, torch.tensor([[0.3, 0.9, 1.5]]).repeat(frames, 1), 30.0)


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        found.settimeout(5)
        yield found


def address(form: str, receiver: socket.socket) -> str:
    return f"{form}://127.0.0.1:{receiver.getsockname()[1]}"


def received(receiver: socket.socket) -> list[tuple[str, list[Any]]]:
    """The messages of the datagrams up to the one that holds the last bone."""
    bundle = pytest.importorskip("pythonosc.osc_bundle")
    found: list[tuple[str, list[Any]]] = []
    while not found or found[-1][1][0] != "RightHand":
        datagram = receiver.recv(65_536)
        assert len(datagram) <= MAX_DATAGRAM
        found += [(message.address, list(message)) for message in bundle.OscBundle(datagram)]
    return found


def test_a_t_pose_leaves_all_joints_where_they_were() -> None:
    given = motion(5)
    pose = smpl22_t_pose()
    local, world, positions = pose(given.local_rotations, given.root_position_m)
    again, turned = forward_kinematics(pose.skeleton, local, given.root_position_m)
    torch.testing.assert_close(positions, given.joint_positions_m(), rtol=0, atol=1e-6)
    torch.testing.assert_close(again, positions, rtol=0, atol=1e-5)
    torch.testing.assert_close((turned * world).sum(-1).abs(), torch.ones(5, 22), rtol=0, atol=1e-5)


def test_arms_and_legs_of_the_t_pose_lie_on_the_axes() -> None:
    skeleton = smpl22_t_pose().skeleton
    for joint, axis, sign in (("left_wrist", 0, 1), ("right_elbow", 0, -1), ("left_ankle", 1, -1)):
        offset = skeleton.offsets_m[skeleton.index(joint)]
        assert sign * float(offset[axis]) == pytest.approx(float(offset.norm()))


def test_vmc_has_the_bones_the_root_and_the_time_in_unitys_axes(receiver: socket.socket) -> None:
    with LiveOutput([address("vmc", receiver)]) as output:
        output.send(motion(1))
        messages = received(receiver)
    assert [address for address, _ in messages[:3]] == ["/VMC/Ext/OK", "/VMC/Ext/T", "/VMC/Ext/Root/Pos"]
    assert messages[2][1] == pytest.approx(["root", -0.3, 0.0, 1.5, 0.0, 0.0, 0.0, 1.0])
    bones = {values[0]: values[1:] for address, values in messages if address == "/VMC/Ext/Bone/Pos"}
    assert list(bones) == list(UNITY_BONES)
    assert bones["Hips"][:3] == pytest.approx([0.0, 0.9, 0.0])
    # A VRM's left arm lies along -X in Unity.
    assert bones["LeftLowerArm"][0] < -0.2
    assert bones["LeftLowerArm"][1:3] == pytest.approx([0.0, 0.0], abs=1e-6)


def test_a_raised_left_arm_is_raised_and_left_in_unity() -> None:
    turns = torch.zeros(1, 22, 4)
    turns[..., 0] = 1.0
    shoulder = smpl22().index("left_shoulder")
    turns[0, shoulder] = quat_from_rotvec(torch.tensor([0.0, 0.0, math.pi / 2]))
    (frame,) = live_frames(Motion(smpl22(), turns, torch.tensor([[0.0, 0.9, 0.0]]), 30.0), 0)
    elbow, wrist = (frame.positions[UNITY_BONES.index(bone)] for bone in ("LeftLowerArm", "LeftHand"))
    assert wrist[1] > elbow[1] + 0.2
    assert elbow[0] < 0
    # Unity turns its T-pose's arm (-X) up by -90 degrees about Z.
    assert frame.world[shoulder] == pytest.approx((0.0, 0.0, -math.sqrt(0.5), math.sqrt(0.5)), abs=0.1)


def test_unitys_bones_put_together_again_give_our_joints() -> None:
    given = motion(1)
    (frame,) = live_frames(given, 0)
    world: list[torch.Tensor] = []
    places: list[torch.Tensor] = []
    for joint, parent in enumerate(smpl22().parents):
        x, y, z, w = frame.local[joint]
        turn = _matrix(x, y, z, w)
        world.append(turn if parent < 0 else world[parent] @ turn)
        start = torch.tensor(frame.positions[0], dtype=torch.float64)
        offset = torch.tensor(frame.offsets[joint], dtype=torch.float64)
        places.append(start if parent < 0 else places[parent] + world[parent] @ offset)
    ours = given.joint_positions_m()[0].double() * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(torch.stack(places), ours, rtol=0, atol=1e-5)


def _matrix(x: float, y: float, z: float, w: float) -> torch.Tensor:
    """What Unity makes of a quaternion: the same formula in its left-handed axes."""
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return torch.tensor(rows, dtype=torch.float64)


def test_plain_osc_gives_every_joint_in_the_world(receiver: socket.socket) -> None:
    with LiveOutput([address("osc", receiver)]) as output:
        output.send(motion(1))
        messages = received(receiver)
    assert messages[0] == ("/kinestream/frame", [0, 0.0])
    assert [values[0] for _, values in messages[1:]] == list(UNITY_BONES)
    assert messages[1][1][1:4] == pytest.approx([-0.3, 0.9, 1.5])


def test_rokokos_form_is_one_datagram_a_frame(receiver: socket.socket) -> None:
    with LiveOutput([address("rokoko", receiver)]) as output:
        output.send(motion(2))
    first, second = (json.loads(receiver.recv(65_536)) for _ in range(2))
    assert (first["version"], first["fps"]) == ("3,0", 30)
    assert second["scene"]["timestamp"] == pytest.approx(1 / 30, abs=1e-5)
    (actor,) = first["scene"]["actors"]
    assert len(actor["body"]) == 21
    assert actor["body"]["hip"]["position"] == pytest.approx({"x": -0.3, "y": 0.9, "z": 1.5})
    assert actor["dimensions"]["hipHeight"] == pytest.approx(0.9, abs=0.05)


def test_frames_leave_when_they_are_due() -> None:
    clock = _Clock()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        output = LiveOutput([address("rokoko", taken)], now=clock.now, sleep=clock.sleep)
        output.send(motion(31))
        report = output.close()
    assert report.frames == 31
    assert clock.time_s == pytest.approx(1.0)
    assert report.worst_s == pytest.approx(0.0)


class _Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.time_s = 0.0

    def now(self) -> float:
        return self.time_s

    def sleep(self, seconds: float) -> None:
        self.time_s += seconds


def test_several_receivers_get_the_same_frames(receiver: socket.socket) -> None:
    with LiveOutput([address("rokoko", receiver), address("vmc", receiver)]) as output:
        output.send(motion(1))
    assert receiver.recv(65_536).startswith(b'{"version"')
    assert receiver.recv(65_536).startswith(b"#bundle")


@pytest.mark.parametrize(
    "wrong", ["", "vmc", "vmc://", "http://127.0.0.1:1", "vmc://127.0.0.1:99999", "osc://h:1/path", "vmc://[::"]
)
def test_an_address_that_is_none_is_one_error(wrong: str) -> None:
    with pytest.raises(BadInputError, match="vmc://HOST"):
        LiveOutput([wrong])


def test_a_host_that_is_not_there_is_one_error() -> None:
    with pytest.raises(BadInputError, match=r"no-such-host\.invalid"):
        LiveOutput(["vmc://no-such-host.invalid"])


def test_a_network_that_refuses_is_said(receiver: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMS, "vmc", (1, lambda frame: [bytes(70_000)]))
    output = LiveOutput([address("vmc", receiver)])
    output.send(motion(1))
    with pytest.raises(KinestreamError, match="the live output failed"):
        output.close()
