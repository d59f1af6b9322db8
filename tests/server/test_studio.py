"""The studio's page in a real browser: type, change one's mind, go back, save."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kinestream.io import read_motion
from kinestream.server.wire import pack_frames
from tests.io.browser import chromium
from tests.server.conftest import LIVE, Running


@pytest.fixture
def page(server: Running, chromium_path: str) -> Iterator[Any]:
    with chromium(chromium_path) as browser:
        opened = browser.new_context(viewport={"width": 640, "height": 480}, accept_downloads=True).new_page()
        opened.troubles = []
        opened.on("console", lambda said: opened.troubles.append(said.text) if said.type == "error" else None)
        opened.on("pageerror", lambda error: opened.troubles.append(str(error)))
        opened.set_default_timeout(60_000)
        opened.goto(server.url)
        opened.wait_for_function("window.kinestream && kinestream.drawn > 0 && line.key")
        yield opened
        assert opened.troubles == []


def typed(page: Any, text: str, key: str = "Enter") -> None:
    page.fill("#text", text)
    page.press("#text", key)
    page.wait_for_function(f"kinestream.spans.some((span) => span.text === {json.dumps(text)})")


def test_a_sentence_is_acted_and_the_next_takes_over(page: Any) -> None:
    typed(page, "walks")
    assert "ms after it was said" in page.inner_text("#facts")
    typed(page, "waves")
    firsts = page.evaluate("kinestream.spans.map((span) => span.first)")
    assert firsts == sorted(firsts)
    assert page.evaluate("kinestream.frames") > firsts[-1]


def test_frames_on_the_page_are_those_of_the_stream(page: Any, server: Running) -> None:
    page.wait_for_function("kinestream.frames >= 12")
    shown = page.evaluate("[...kinestream.person.rotations.slice(0, 4 * 22 * 4)]")
    seed = 0  # an idle body holds still, whatever its seed
    chunk = server.engine.session(seed, LIVE).step()
    packed = pack_frames(chunk.motion, 0)
    expected = [
        value
        for t in range(4)
        for value in memoryview(packed[12 + 188 * t + 12 : 12 + 188 * (t + 1)]).cast("h").tolist()
    ]
    assert shown == expected


def test_going_back_forgets_what_came_after_and_goes_on(page: Any) -> None:
    typed(page, "walks")
    page.wait_for_function("kinestream.frames >= 90")
    page.evaluate("kinestream.seek(20)")
    page.click("#from-here")
    page.wait_for_function("line.rewound < 90 && kinestream.frames >= line.rewound + 8")
    assert page.evaluate("kinestream.live")


def test_another_way_is_another_motion_from_there(page: Any) -> None:
    typed(page, "walks")
    began = page.evaluate("kinestream.spans[0].first")
    page.wait_for_function(f"kinestream.frames >= {began + 40}")
    script = f"[...kinestream.person.roots.slice({3 * began}, {3 * (began + 40)})]"
    before, key = page.evaluate(script), page.evaluate("line.key")
    page.evaluate(f"kinestream.seek({began + 20})")
    page.click("#another")
    page.wait_for_function(f"line.key !== {json.dumps(key)} && kinestream.frames >= {began + 40}")
    after = page.evaluate(script)
    assert after[:60] == before[:60]
    assert after[72:] != before[72:]


def test_what_was_played_is_saved_as_a_file(page: Any, tmp_path: Path) -> None:
    typed(page, "walks")
    page.wait_for_function("kinestream.frames >= 40")
    page.select_option("#format", "bvh")
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(tmp_path / "take.bvh")
    assert read_motion(tmp_path / "take.bvh").num_frames >= 40


def test_a_lost_connection_comes_back_with_no_frame_missing(page: Any) -> None:
    page.wait_for_function("kinestream.frames >= 20")
    key = page.evaluate("line.socket.close(), line.key")
    time.sleep(0.2)
    reached = page.evaluate("kinestream.frames")
    page.wait_for_function(f"kinestream.frames >= {reached + 20}")
    assert page.evaluate("line.key") == key
