"""The page that `kinestream studio` opens: the viewer's pictures, played while the stream is made."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import Any

import torch

from kinestream.io.viewer import asset, page_data
from kinestream.motion import Motion
from kinestream.skeleton import smpl22

_OWN = ("studio.html", "studio.js", "studio.css")
_VIEWERS = ("motion.js", "render.js", "lanes.js", "sound.js", "app.js", "viewer.css")
_HEIGHT_M = 0.93


def page_file(name: str) -> str | None:
    """The text of one of the page's files; None where it has no such file."""
    if name in _OWN:
        return files(__name__).joinpath(name).read_text(encoding="utf-8")
    return asset(name) if name in _VIEWERS else None


@lru_cache(maxsize=1)
def figure() -> dict[str, Any]:
    """The default figure, standing, as the page's scripts read it."""
    rotations = torch.zeros(1, smpl22().num_joints, 4)
    rotations[..., 0] = 1.0
    about, payload = page_data(Motion(smpl22(), rotations, torch.tensor([[0.0, _HEIGHT_M, 0.0]]), 30.0), "studio")
    return {"about": about, "payload": payload}
