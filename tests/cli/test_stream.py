"""`kinestream stream`: JSON lines that can be played back, in time, and the same for the same lines."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from kinestream.motion import Motion
from kinestream.skeleton import smpl22
from kinestream.streaming import generate
from tests.cli.conftest import Ended, Run


@pytest.fixture
def stream(run: Run, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Streams the given lines and gives the end and the JSON lines."""

    def run_stream(text: str, *options: str) -> tuple[Ended, list[dict[str, Any]]]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        ended = run("stream", "--pace", "fast", "--model", tiny_model_dir, *options)
        return ended, [json.loads(line) for line in ended.out.splitlines()]

    return run_stream


def test_lines_become_a_header_and_numbered_frames(stream: Any) -> None:
    ended, lines = stream("walks\n", "--for", "0.8")
    assert ended.code == 0
    head, *frames = lines
    assert head["type"] == "header"
    assert (head["fps"], head["skeleton"]["joints"]) == (30.0, list(smpl22().joint_names))
    assert [frame["frame"] for frame in frames] == list(range(24))
    assert {frame["prompt"] for frame in frames} == {"walks"}
    assert frames[3]["time_s"] == 0.1
    assert '"walks" from 0.00 s' in ended.err
    assert "ms after it was given" in ended.err
    assert "x real time" in ended.err


def test_streamed_frames_are_those_that_generate_gives(stream: Any, tiny_model_dir: Path) -> None:
    from kinestream.checkpoints import load_text_to_motion

    _, (_, *frames) = stream("walks\n", "--for", "1.2", "--seed", "5")
    (whole,) = generate(load_text_to_motion(tiny_model_dir), "walks", 1.2, seed=5)
    rotations = torch.tensor([frame["rotations"] for frame in frames])
    root = torch.tensor([frame["root_position_m"] for frame in frames])
    streamed = Motion(smpl22(), rotations, root, 30.0)
    assert torch.allclose(streamed.joint_positions_m(), whole.joint_positions_m(), atol=1e-3)


def test_live_frames_go_to_the_receiver_in_time_and_not_to_stdout(stream: Any) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        port = receiver.getsockname()[1]
        ended, lines = stream("walks\n", "--for", "0.4", "--live", f"rokoko://127.0.0.1:{port}")
        frames = [json.loads(receiver.recv(65_536)) for _ in range(12)]
    assert (ended.code, lines) == (0, [])
    assert [round(frame["scene"]["timestamp"] * 30) for frame in frames] == list(range(12))
    assert "12 frames sent, late by" in ended.err


def test_a_live_address_that_is_none_ends_with_one_error(stream: Any) -> None:
    ended, _ = stream("walks\n", "--live", "tcp://127.0.0.1")
    assert ended.code == 2
    assert "expected vmc://HOST[:PORT]" in ended.err


def test_the_same_lines_and_seed_give_the_same_bytes(stream: Any) -> None:
    first, _ = stream("walks\nwaves\n", "--for", "0.6", "--seed", "2")
    again, _ = stream("walks\nwaves\n", "--for", "0.6", "--seed", "2")
    other, _ = stream("walks\nwaves\n", "--for", "0.6", "--seed", "3")
    assert first.out == again.out
    assert first.out != other.out


def test_a_new_line_acts_at_once_where_asked(stream: Any) -> None:
    _, (_, *frames) = stream("walks\n:now waves\n", "--for", "0.4")
    assert {frame["prompt"] for frame in frames} == {"waves"}


def test_rewinding_repeats_the_stream_from_there(stream: Any) -> None:
    _, lines = stream("walks\n:rewind 0\nwaves\n:quit\n", "--for", "0.4")
    assert {"type": "rewind", "frame": 0, "time_s": 0.0} in lines


def test_lines_that_make_no_sense_are_left_out_and_counted(stream: Any) -> None:
    ended, lines = stream(":dance\nwalks\n" + "x" * 5000 + "\n", "--for", "0.4")
    assert ended.code == 2
    assert len(lines) == 13
    assert "unknown command :dance" in ended.err
    assert "2 of the lines" in ended.err


def test_no_lines_give_a_header_and_no_frames(stream: Any) -> None:
    ended, lines = stream("\n\n")
    assert ended.code == 0
    assert len(lines) == 1


@pytest.fixture
def streaming_process(tiny_model_dir: Path) -> Any:
    """A realtime stream in a process of its own, with a prompt given and the header read."""
    command = [sys.executable, "-m", "kinestream.cli", "stream", "--model", str(tiny_model_dir)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells ignore it in background jobs
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("walks\n")
    assert json.loads(process.stdout.readline())["type"] == "header"
    yield process
    process.kill()
    process.communicate()


def test_realtime_frames_leave_at_thirty_a_second(streaming_process: Any) -> None:
    lines = [streaming_process.stdout.readline() for _ in range(8)]
    start = time.perf_counter()
    lines += [streaming_process.stdout.readline() for _ in range(40)]
    took = time.perf_counter() - start
    assert [json.loads(line)["frame"] for line in lines] == list(range(48))
    assert took > 0.9, "40 frames are due over 1.3 s"


def test_prompts_given_while_it_runs_are_acted(streaming_process: Any) -> None:
    for _ in range(4):
        streaming_process.stdout.readline()
    streaming_process.stdin.write(":now waves\n")
    prompts = [json.loads(streaming_process.stdout.readline())["prompt"] for _ in range(120)]
    assert prompts[-1] == "waves"


def test_control_c_ends_with_130_and_whole_lines(streaming_process: Any) -> None:
    streaming_process.stdout.readline()
    os.kill(streaming_process.pid, signal.SIGINT)
    out, err = streaming_process.communicate(timeout=30)
    assert streaming_process.returncode == 130
    assert "Traceback" not in err
    assert out == "" or out.endswith("\n")
    for line in out.splitlines():
        json.loads(line)


def test_a_reader_that_leaves_ends_the_stream_quietly(tiny_model_dir: Path) -> None:
    command = f"{sys.executable} -m kinestream.cli stream --pace fast --model {tiny_model_dir} | head -n 2"
    done = subprocess.run(
        ["bash", "-c", command], input="walks\n", capture_output=True, text=True, check=True, timeout=60
    )
    assert len(done.stdout.splitlines()) == 2
    assert "Traceback" not in done.stderr


def test_lines_typed_at_a_terminal_act_at_once_and_mistakes_do_not_fail_the_stream(
    run: Run, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("walks\n:dance\nwaves\n"))
    ended = run("stream", "--pace", "fast", "--for", "0.4", "--model", tiny_model_dir)
    assert ended.code == 0
    assert "type what the body should do" in ended.err
    assert "unknown command :dance" in ended.err
    assert json.loads(ended.out.splitlines()[-1])["prompt"] == "waves"
