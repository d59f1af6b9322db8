"""The HTML page: what is in it, and what a browser makes of it (headless Chromium, when there is one)."""

from __future__ import annotations

import json
import re
import zlib
from base64 import b64decode
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinestream.errors import BadInputError
from kinestream.io.viewer import Caption, html_page, write_html
from tests.io.browser import Page, chromium, decoded
from tests.io.walking import crane, walking

HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked=1'>\u2028&amp;{{payload}}<!--"


class _Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def _about(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="about">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found.group(1))


def test_page_refers_to_nothing_outside_itself() -> None:
    tags = _Tags(html_page([walking(), crane()], "two")).tags
    assert not [attributes for _, attributes in tags if {"src", "href", "srcset", "data"} & set(attributes)]
    assert {tag for tag, _ in tags}.isdisjoint({"link", "iframe", "object", "embed", "img"})
    policy = next(a["content"] for tag, a in tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_page_holds_every_frame() -> None:
    motion = walking(33)
    page = html_page(motion)
    about = _about(page)
    found = re.search(r'id="payload">(.*?)</script>', page)
    assert found
    payload = zlib.decompress(b64decode(found.group(1)))
    place = about["persons"][0]["rotations"]
    stored = np.frombuffer(payload, np.int16, place["count"], place["offset"]).reshape(33, 22, 4) / 32767.0
    assert np.abs(stored - motion.local_rotations.numpy()).max() < 1e-4
    place = about["persons"][0]["roots"]
    roots = np.frombuffer(payload, np.float32, place["count"], place["offset"]).reshape(33, 3)
    assert np.array_equal(roots, motion.root_position_m.numpy())


def test_hostile_title_and_captions_stay_text() -> None:
    page = html_page(walking(4), HOSTILE, [Caption(0.0, 1.0, HOSTILE)])
    about = _about(page)
    assert about["title"] == HOSTILE
    assert about["captions"][0]["text"] == HOSTILE
    plain = [tag for tag, _ in _Tags(html_page(walking(4))).tags]
    assert [tag for tag, _ in _Tags(page).tags] == plain


def test_one_body_serves_all_persons_that_share_a_skeleton() -> None:
    about = _about(html_page([walking(), walking(), crane()]))
    assert [person["body"] for person in about["persons"]] == [0, 0, 1]
    assert len(html_page([walking()] * 4)) < 1.4 * len(html_page(walking()))


@pytest.mark.parametrize("span", [(1.0, 0.5), (float("nan"), 1.0), (0.0, float("inf"))])
def test_captions_without_a_span_are_refused(span: tuple[float, float], tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="caption's start and end"):
        write_html(walking(3), tmp_path / "page.html", captions=[(*span, "walks")])
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def browser(chromium_path: str) -> Iterator[Any]:
    with chromium(chromium_path) as opened:
        yield opened


def _opened(browser: Any, path: Path) -> Page:
    page = Page(browser, path)
    page.wait("window.kinestream && kinestream.drawn > 1")
    return page


def _picture(page: Page, frame: int, folder: Path) -> np.ndarray:
    """The canvas at a frame, [height, width, 3]."""
    page.run(f"kinestream.play(false); kinestream.seek({frame}); kinestream.draw();")
    return decoded(page.run("document.getElementById('view').toDataURL('image/png')"), folder)


def _shirt(picture: np.ndarray) -> np.ndarray:
    return picture[..., 2] - picture[..., 0] > 45


@pytest.mark.browser
def test_browser_draws_the_body_and_plays(browser: Any, tmp_path: Path) -> None:
    write_html(walking(90, wave=True), tmp_path / "page.html", "walks", [(0.0, 1.4, "walks"), (1.4, 3.0, "waves")])
    page = _opened(browser, tmp_path / "page.html")
    assert page.run("kinestream.playing")
    start = page.run("kinestream.frame")
    page.wait(f"kinestream.frame !== {start}")
    early, late = _picture(page, 0, tmp_path), _picture(page, 60, tmp_path)
    assert _shirt(early).sum() > 500
    assert np.abs(early - late).max() > 60
    assert page.page.text_content("#clock") == "2.00 s / 2.97 s   frame 60 of 89"
    assert page.page.text_content("#caption") == "waves"
    assert page.troubles == []
    assert page.requests == [(tmp_path / "page.html").as_uri()]


@pytest.mark.browser
def test_joints_in_the_browser_stand_where_the_motion_has_them(browser: Any, tmp_path: Path) -> None:
    motions = [walking(30), crane(30, fps=30.0)]
    write_html(motions, tmp_path / "page.html")
    page = _opened(browser, tmp_path / "page.html")
    _picture(page, 17, tmp_path)
    for number, motion in enumerate(motions):
        places = np.array(page.run(f"Array.from(kinestream.persons[{number}].places)")).reshape(-1, 3)
        assert np.abs(places - motion.joint_positions_m()[17].numpy()).max() < 1e-3
    assert page.troubles == []


@pytest.mark.browser
def test_switches_scrubbing_and_orbit_change_the_picture(browser: Any, tmp_path: Path) -> None:
    write_html([walking(40), walking(40, wave=True)], tmp_path / "page.html")
    page = _opened(browser, tmp_path / "page.html")
    before = _picture(page, 10, tmp_path)
    for name in ("skeleton", "path"):
        page.page.click(f"#toggle-{name}")
        after = _picture(page, 10, tmp_path)
        assert np.abs(after - before).max() > 40, name
        page.page.click(f"#toggle-{name}")
    page.page.mouse.move(240, 100)
    page.page.mouse.down()
    page.page.mouse.move(330, 130)
    page.page.mouse.up()
    assert (np.abs(_picture(page, 10, tmp_path) - before).max(axis=-1) > 40).mean() > 0.02
    page.page.click("#theme")
    assert _picture(page, 10, tmp_path).mean() != pytest.approx(before.mean(), abs=40)
    track = page.page.locator("#track").bounding_box()
    page.page.mouse.click(track["x"] + track["width"] / 2, track["y"] + track["height"] - 6)
    assert page.run("Math.round(kinestream.frame)") in (19, 20)
    page.page.keyboard.press("ArrowRight")
    assert page.run("Math.round(kinestream.frame)") in (20, 21)
    page.page.keyboard.press(" ")
    assert page.run("kinestream.playing")
    assert page.troubles == []


@pytest.mark.browser
def test_hostile_captions_run_nothing_in_the_browser(browser: Any, tmp_path: Path) -> None:
    write_html(walking(10), tmp_path / "page.html", HOSTILE, [(0.0, 1.0, HOSTILE)])
    page = _opened(browser, tmp_path / "page.html")
    assert page.run("window.hacked === undefined")
    assert page.page.text_content("#caption") == HOSTILE
    assert page.page.text_content("#title") == HOSTILE
    assert page.troubles == []
