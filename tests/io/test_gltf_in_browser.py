"""GLB files drawn by another reader, in headless Chromium: the body is there, in colour, and moves as it should."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinestream.io.gltf import write_glb
from kinestream.motion import Motion
from tests.io.browser import Page, chromium, decoded
from tests.io.walking import crane, walking

HALF_M = 1.2


@pytest.fixture(scope="module")
def page(chromium_path: str) -> Iterator[Page]:
    with chromium(chromium_path) as browser:
        yield Page(browser, Path(__file__).with_name("glb_page.html"))


def _picture(page: Page, motion: Motion, frame: int, folder: Path) -> np.ndarray:
    """The file at a frame's time, seen from +Z, the root in the middle."""
    write_glb(motion, folder / "motion.glb")
    text = b64encode((folder / "motion.glb").read_bytes()).decode()
    arguments: list[Any] = [text, frame / motion.fps, motion.root_position_m[frame].tolist(), HALF_M]
    return decoded(page.run("(given) => picture(...given)", arguments), folder)


@pytest.mark.browser
def test_glb_shows_a_clothed_body_in_the_browser(page: Page, tmp_path: Path) -> None:
    picture = _picture(page, walking(turn_radps=0.0), 10, tmp_path)
    body = (picture < 250).any(axis=-1)
    assert 0.05 < body.mean() < 0.5
    red, green, blue = picture[..., 0], picture[..., 1], picture[..., 2]
    seen = {
        "top": (blue > red + 40).sum(),
        "skin": ((red > green + 25) & (green > blue + 10) & (red > 120)).sum(),
        "trousers": (body & (picture.max(axis=-1) < 90)).sum(),
    }
    assert min(seen.values()) > 300, seen
    rows = np.nonzero((blue > red + 40).any(axis=1))[0]
    assert 60 < rows.mean() < 190, "the top is above the hips"
    assert page.troubles == []


@pytest.mark.browser
def test_joints_in_the_browsers_picture_lie_on_the_body(page: Page, tmp_path: Path) -> None:
    for motion, frame in ((walking(wave=True), 20), (crane(), 12)):
        body = (_picture(page, motion, frame, tmp_path) < 250).any(axis=-1)
        places = (motion.joint_positions_m()[frame] - motion.root_position_m[frame]).numpy()
        columns = np.round(180 + 180 * places[:, 0] / HALF_M).astype(int)
        rows = np.round(180 - 180 * places[:, 1] / HALF_M).astype(int)
        inside = [body[r, c] for r, c in zip(rows, columns, strict=True) if 0 <= r < 360 and 0 <= c < 360]
        assert len(inside) >= 2
        assert np.mean(inside) > 0.9
    assert page.troubles == []


@pytest.mark.browser
def test_glb_moves_in_the_browser(page: Page, tmp_path: Path) -> None:
    motion = walking(wave=True)
    early, late = _picture(page, motion, 2, tmp_path), _picture(page, motion, 25, tmp_path)
    assert (np.abs(early - late).max(axis=-1) > 60).mean() > 0.01
