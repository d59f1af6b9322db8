"""Live streams over a real WebSocket: the frames they get alone, whatever happens to connections and server."""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from kinestream.server.wire import pack_frames
from kinestream.streaming import Engine
from kinestream.streaming.events import PromptEvent
from tests.server.conftest import LIVE, Running, Start, by_number, frames, prompt, say, until


def alone(engine: Engine, count: int, seed: int, *said: tuple[int, str]) -> dict[int, bytes]:
    """The first frames of a stream with prompts at frames, played without a server."""
    session = engine.session(seed, LIVE)
    waiting = list(said)
    found: dict[int, bytes] = {}
    while len(found) < count:
        while waiting and waiting[0][0] <= session.num_frames:
            session.apply(PromptEvent(waiting.pop(0)[1]))
        chunk = session.step()
        found |= by_number(pack_frames(chunk.motion, chunk.first_frame))
    return found


def walking(client: ClientConnection, seed: int) -> tuple[str, int]:
    """Join and walk; gives the stream's key and the frame from which on it walks."""
    say(client, type="join", seed=seed)
    key = until(client, "joined")["session"]
    prompt(client, "walks")
    while "prompt" not in (chunk := until(client, "chunk"))["began"]:
        pass
    return key, chunk["first_frame"]


def test_a_stream_plays_what_it_would_play_alone(server: Running) -> None:
    with server.client() as client:
        say(client, type="join", seed=5)
        joined = until(client, "joined")
    assert (joined["fps"], joined["frames_per_step"], len(joined["joints"])) == (30.0, 4, 22)
    with server.client() as client:
        _, began = walking(client, 5)
        got = frames(client, 24)
    expected = alone(server.engine, began + 24, 5, (began, "walks"))
    assert all(expected[number] == data for number, data in got.items())


def test_frames_leave_thirty_a_second_and_not_faster(server: Running) -> None:
    with server.client() as client:
        say(client, type="join")
        frames(client, 12)
        began = time.perf_counter()
        frames(client, 24)
        took = time.perf_counter() - began
    assert took > 0.6


def test_a_lost_connection_goes_on_at_the_next_frame(server: Running) -> None:
    with server.client() as client:
        key, began = walking(client, 2)
        first = frames(client, 16)
        client.socket.close()
    time.sleep(0.3)
    lacking = max(first) - 3
    with server.client() as client:
        say(client, type="resume", session=key, next_frame=lacking)
        until(client, "joined")
        rest = frames(client, 16)
    assert min(rest) <= lacking
    together = first | rest
    assert sorted(together) == list(range(began, max(rest) + 1))
    expected = alone(server.engine, max(rest) + 1, 2, (began, "walks"))
    assert all(expected[number] == data for number, data in together.items())


def test_a_stream_has_one_reader(server: Running) -> None:
    with server.client() as client, server.client() as other:
        say(client, type="join")
        key = until(client, "joined")["session"]
        say(other, type="resume", session=key, next_frame=0)
        assert "another connection" in until(other, "error")["message"]


def test_a_prompt_that_acts_now_is_on_its_way_with_the_next_frames(server: Running) -> None:
    with server.client() as client:
        say(client, type="join")
        prompt(client, "walks")
        last = max(frames(client, 24))
        prompt(client, "waves")
        while True:
            chunk = until(client, "chunk")
            if chunk["prompt"] == "waves":
                break
    # What was on the wire already, and at most the chunk that was being sent.
    assert chunk["first_frame"] - last <= 13


def test_rewinding_repeats_the_stream_bit_for_bit(server: Running) -> None:
    with server.client() as client:
        _, began = walking(client, 9)
        first = frames(client, 24)
        say(client, type="rewind", frame=began + 8)
        assert until(client, "rewound")["frame"] == began + 8
        again = frames(client, 16)
    assert min(again) == began + 8
    assert all(first[number] == data for number, data in again.items() if number in first)


def test_a_branch_goes_its_own_way_from_a_frame(server: Running) -> None:
    with server.client() as client:
        _, began = walking(client, 1)
        first = frames(client, 16)
        say(client, type="branch", frame=began + 8, seed=77)
        branched = until(client, "branched")
    assert branched["next_frame"] == began + 8
    with server.client() as other:
        say(other, type="resume", session=branched["session"], next_frame=began + 4)
        until(other, "joined")
        twin = frames(other, 12)
    assert [twin[began + k] == first[began + k] for k in (4, 7, 8, 11)] == [True, True, False, False]


def test_a_saved_stream_goes_on_in_another_server(start: Start) -> None:
    with start() as server, server.client() as client:
        _, began = walking(client, 4)
        frames(client, 12)
        say(client, type="save")
        state = until(client, "saved")["state"]
    with start() as server, server.client() as client:
        say(client, type="restore", state=state)
        joined = until(client, "joined")
        rest = frames(client, 12)
        expected = alone(server.engine, max(rest) + 1, 4, (began, "walks"))
    assert joined["next_frame"] == min(rest) >= began + 12
    assert all(expected[number] == data for number, data in rest.items())


def test_streams_outlive_a_restart_of_the_server(start: Start, tmp_path: Path) -> None:
    with start(state=tmp_path) as server, server.client() as client:
        key, began = walking(client, 6)
        first = frames(client, 16)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    with start(state=tmp_path) as server, server.client() as client:
        assert not list(tmp_path.iterdir()), "a stream goes on once"
        say(client, type="resume", session=key, next_frame=max(first) + 1)
        until(client, "joined")
        rest = frames(client, 16)
        expected = alone(server.engine, max(rest) + 1, 6, (began, "walks"))
    together = first | rest
    assert sorted(together) == list(range(began, max(rest) + 1))
    assert all(expected[number] == data for number, data in together.items())


def test_a_pause_makes_nothing_and_play_goes_on(server: Running) -> None:
    with server.client() as client:
        say(client, type="join")
        before = frames(client, 8)
        say(client, type="pause")
        time.sleep(0.5)
        quiet = False
        while not quiet:
            try:
                got = client.recv(0.5)
            except TimeoutError:
                quiet = True
            else:
                before |= by_number(got) if isinstance(got, bytes) else {}
        assert len(before) < 30
        say(client, type="play")
        after = frames(client, 8)
    assert min(after) == max(before) + 1


def test_frames_as_json_are_the_binary_ones(server: Running) -> None:
    with server.client() as client:
        say(client, type="join", seed=3, frames="json")
        until(client, "joined")
        chunk = until(client, "chunk")
    expected = server.engine.session(3, LIVE).step().motion
    np.testing.assert_allclose(chunk["root_m"], expected.root_position_m, atol=1e-5)
    np.testing.assert_allclose(chunk["rotations"], expected.local_rotations, atol=1e-5)


def test_sound_is_danced_to(server: Running) -> None:
    rate = 22_050
    samples = np.zeros(rate * 4, np.float32)
    samples[:: rate // 2] = 0.8
    with server.client(max_size=None) as client:
        say(client, type="join", kind="dance", genre="waltz")
        until(client, "joined")
        for piece in np.array_split(samples, 8):
            client.send(b"KSA1" + struct.pack("<I", rate) + piece.tobytes())
        say(client, type="event", event={"kind": "finish"})
        assert until(client, "chunk")["genre"] == "waltz"
        frames(client, 8)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("nonsense", "Invalid JSON"),
        ('{"type": "shout"}', "does not match"),
        ('{"type": "join", "seed": -1}', "seed"),
        ('{"type": "join", "colour": "red"}', "colour"),
        ('{"type": "resume", "session": "guessed", "next_frame": 0}', "no such stream"),
        ('{"type": "restore", "state": "!!"}', "base64"),
        ('{"type": "restore", "state": "bm90aGluZw=="}', "no session file"),
        ('{"type": "join", "genre": "polka"}', "genre"),
    ],
)
def test_a_first_message_that_is_none_is_one_error(server: Running, said: str, answer: str) -> None:
    with server.client() as client:
        client.send(said)
        message = json.loads(client.recv(10))
        assert message["type"] == "error"
        assert message["fatal"]
        assert answer in message["message"]
        assert "/tmp" not in message["message"]
        with pytest.raises(ConnectionClosed):
            client.recv(10)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ({"type": "event", "event": {"kind": "prompt", "text": "  "}}, "no words"),
        ({"type": "event", "event": {"kind": "prompt", "text": "x" * 9_000}}, "9,000 characters"),
        ({"type": "event", "event": {"kind": "fly"}}, "kind"),
        ({"type": "event", "event": {"kind": "genre", "genre": "waltz"}}, "takes the events"),
        ({"type": "rewind", "frame": 10**9}, "can't be rewound"),
        ({"type": "join"}, "does not match"),
    ],
)
def test_a_message_that_makes_no_sense_leaves_the_stream_as_it_is(
    server: Running, said: dict[str, Any], answer: str
) -> None:
    with server.client() as client:
        _, began = walking(client, 8)
        client.send(json.dumps(said))
        client.send(b"\x00\x01\x02")
        message = until(client, "error")
        assert not message["fatal"]
        assert answer in message["message"]
        assert "KSA1" in until(client, "error")["message"]
        got = frames(client, 8)
    expected = alone(server.engine, max(got) + 1, 8, (began, "walks"))
    assert all(expected[number] == data for number, data in got.items())


def test_a_thousand_malformed_messages_move_no_frame_of_the_others(server: Running) -> None:
    rng = np.random.default_rng(1)
    valid = [
        b'{"type": "event", "event": {"kind": "prompt", "text": "waves"}}',
        b'{"type": "rewind", "frame": 3}',
        b"KSA1",
    ]
    with server.client() as good, server.client() as bad:
        _, began = walking(good, 11)
        say(bad, type="join")
        for number in range(1_000):
            data = bytearray(valid[number % 3] + bytes(rng.integers(0, 256, rng.integers(0, 40), dtype=np.uint8)))
            data[rng.integers(len(data))] = rng.integers(256)
            if number % 2:
                bad.send(bytes(data))
            else:
                bad.send(data.decode("utf-8", "replace"))
        got = frames(good, 40)
    expected = alone(server.engine, max(got) + 1, 11, (began, "walks"))
    assert all(expected[number] == data for number, data in got.items())
    with server.client() as later:
        say(later, type="join")
        assert until(later, "joined")["type"] == "joined"


def test_more_streams_than_places_are_refused(start: Start) -> None:
    with start(max_streams=1, max_queued=0) as server, server.client() as client, server.client() as other:
        say(client, type="join")
        until(client, "joined")
        say(other, type="join")
        assert "places" in until(other, "error")["message"]


def test_a_message_that_is_too_long_ends_that_connection_only(start: Start) -> None:
    with start(max_message_bytes=10_000) as server, server.client() as client, server.client() as other:
        say(other, type="join")
        client.send("x" * 20_000)
        with pytest.raises(ConnectionClosed):
            client.recv(10)
        assert frames(other, 8)


def test_who_shows_no_token_stays_outside(start: Start) -> None:
    with start(token="a-long-secret") as server:
        with pytest.raises(InvalidStatus), server.client():
            pass
        with server.client(additional_headers={"Authorization": "Bearer a-long-secret"}) as client:
            say(client, type="join")
            assert until(client, "joined")
        with server.http() as http:
            assert http.get("/metrics").status_code == 401
            assert http.get("/metrics", headers={"Authorization": "Bearer a-long-secret"}).status_code == 200
            assert http.get("/healthz").text == "ok\n"


def test_pages_of_other_sites_are_refused(server: Running) -> None:
    with pytest.raises(InvalidStatus), server.client(origin="https://elsewhere.example"):
        pass
    with server.http() as http:
        assert http.get("/metrics", headers={"Host": "rebound.example"}).status_code == 401
