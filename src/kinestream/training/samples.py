"""Pictures that a run leaves behind, so that somebody looks at the motion and not only at the loss."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from kinestream.features import motion_from_motion272


def write_strips(path: Path, clips: list[Tensor]) -> None:
    """A strip of poses for each clip of motion272 features [T, 272], one file per clip (path-0.png, path-1.png ...)."""
    from kinestream.io.video import write_strip  # compiles a renderer: only when a picture is wanted

    path.parent.mkdir(parents=True, exist_ok=True)
    for index, clip in enumerate(clips):
        write_strip(motion_from_motion272(clip), path.with_name(f"{path.stem}-{index}{path.suffix}"))
