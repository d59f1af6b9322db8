"""Jobs over HTTP: files out, one clear answer to what makes no sense, and no path of a client's making."""

from __future__ import annotations

import io
import json
import time
import wave
from pathlib import Path
from typing import Any

import httpx
import pytest

from kinestream.io import read_motion
from tests.server.conftest import Running, Start
from tests.support.tiny_dance import click_track


def done(http: httpx.Client, report: dict[str, Any]) -> dict[str, Any]:
    """The report of a job when it is over."""
    for _ in range(400):
        report = http.get(f"/jobs/{report['job']}").json()
        if report["state"] in ("done", "failed"):
            return report
        time.sleep(0.05)
    raise AssertionError("the job is not done in 20 s")


def generated(http: httpx.Client, **more: Any) -> dict[str, Any]:
    asked = {"prompts": ["walks"], "seconds": [0.8], "formats": ["bvh"]} | more
    return done(http, http.post("/jobs/generate", json=asked).json())


def test_sentences_become_files_of_every_format_asked_for(server: Running, tmp_path: Path) -> None:
    with server.http() as http:
        report = generated(http, formats=["bvh", "glb", "npz"])
        assert report["files"] == ["generate.bvh", "generate.glb", "generate.npz"]
        data = http.get(f"/jobs/{report['job']}/files/generate.bvh")
        assert http.get(f"/jobs/{report['job']}/files/generate.glb").content.startswith(b"glTF")
        (tmp_path / "walk.bvh").write_bytes(data.content)
        assert read_motion(tmp_path / "walk.bvh").num_frames == 24
        assert http.delete(f"/jobs/{report['job']}").status_code == 204
        assert http.get(f"/jobs/{report['job']}").status_code == 404


def test_the_same_seed_gives_the_same_file(server: Running) -> None:
    with server.http() as http:
        files = [
            http.get(f"/jobs/{generated(http, seed=seed)['job']}/files/generate.bvh").content for seed in (3, 3, 4)
        ]
    assert files[0] == files[1] != files[2]


def test_a_motion_file_is_converted(server: Running) -> None:
    with server.http() as http:
        bvh = http.get(f"/jobs/{generated(http)['job']}/files/generate.bvh").content
        asked = {"options": json.dumps({"formats": ["glb"]})}
        report = http.post("/jobs/convert", files={"motion": ("../../etc/take.BVH", bvh)}, data=asked).json()
        report = done(http, report)
        assert http.get(f"/jobs/{report['job']}/files/convert.glb").content.startswith(b"glTF")


def test_a_song_becomes_a_dance(server: Running) -> None:
    audio = click_track(3.0)
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(audio.rate_hz)
        file.writeframes((audio.samples * 32_767).astype("<i2").tobytes())
    with server.http() as http:
        report = http.post(
            "/jobs/dance", files={"song": ("s.wav", sound.getvalue())}, data={"options": '{"formats": ["bvh"]}'}
        ).json()
        assert done(http, report)["files"] == ["dance.bvh"]


def test_a_damaged_file_is_said_without_a_path(server: Running) -> None:
    with server.http() as http:
        report = done(http, http.post("/jobs/convert", files={"motion": ("a.bvh", b"HIERARCHY\nnothing")}).json())
    assert report["state"] == "failed"
    assert report["error"]
    assert "/tmp" not in report["error"]


@pytest.mark.parametrize(
    "asked",
    [
        {"prompts": []},
        {"prompts": ["walks"], "formats": ["exe"]},
        {"prompts": ["walks"], "seed": -1},
        {"prompts": "walks"},
        {"prompts": ["walks"], "colour": "red"},
    ],
)
def test_a_request_that_makes_no_sense_is_refused(server: Running, asked: dict[str, Any]) -> None:
    with server.http() as http:
        assert http.post("/jobs/generate", json=asked).status_code == 422


def test_uploads_are_bounded_and_of_known_kinds(start: Start) -> None:
    with start(max_upload_bytes=1_000) as server, server.http() as http:
        assert http.post("/jobs/convert", files={"motion": ("a.bvh", b"x" * 2_000)}).status_code == 413
        answer = http.post("/jobs/convert", files={"motion": ("a.pkl", b"x")})
        assert answer.status_code == 422
        assert ".bvh" in answer.json()["detail"]


def test_files_that_no_job_has_made_are_not_there(server: Running) -> None:
    with server.http() as http:
        report = generated(http)
        for name in ("generate.glb", "..%2F..%2Fetc%2Fpasswd", "input.bvh"):
            assert http.get(f"/jobs/{report['job']}/files/{name}").status_code == 404


def test_metrics_count_streams_steps_and_jobs(server: Running) -> None:
    with server.http() as http:
        generated(http)
        text = http.get("/metrics").text
    assert 'kinestream_jobs_total{outcome="done"} 1.0' in text
    assert "kinestream_connections 0.0" in text
