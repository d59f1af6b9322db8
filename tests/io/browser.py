"""Headless Chromium for tests: pages of ours, offline, with everything that goes wrong noted."""

from __future__ import annotations

import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

FLAGS = (
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
)


@contextmanager
def chromium(path: str) -> Iterator[Any]:
    """A browser that draws WebGL 2 without a GPU; skips without playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
    with playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


class Page:
    """A page opened from a file: `troubles` are its console errors and exceptions, `requests` what it asked for."""

    def __init__(self, browser: Any, path: Path) -> None:
        self.troubles: list[str] = []
        self.requests: list[str] = []
        for earlier in browser.contexts:  # pages that play on would take the time of this one
            earlier.close()
        context = browser.new_context(viewport={"width": 480, "height": 420}, offline=True)
        context.set_default_timeout(120_000)
        self.page = context.new_page()
        self.page.on("console", lambda message: self._note(message.type, message.text))
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def _note(self, kind: str, text: str) -> None:
        if kind == "error":
            self.troubles.append(text)

    def run(self, script: str, argument: Any = None) -> Any:
        """What a script says."""
        return self.page.evaluate(script, argument)

    def wait(self, condition: str, seconds: float = 120.0) -> None:
        """Ask until it is true; the viewer's own policy forbids the tool's way of waiting."""
        end = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < end, f"{condition}: not after {seconds} s; {self.troubles}"
            time.sleep(0.05)


def decoded(data_url: str, folder: Path) -> NDArray[np.int64]:
    """The picture in a PNG's data URL, [height, width, 3]."""
    path = folder / "canvas.png"
    path.write_bytes(b64decode(data_url.split(",")[1]))
    with av.open(str(path)) as container:
        return np.asarray(next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int))
