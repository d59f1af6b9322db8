"""Draws README's moving picture: a stream whose prompt changes while it runs, with what was typed below the body.

    python scripts/make_readme_pictures.py [-o docs/images/stream.webp] [--seed N]

The frames are those that `Session.step` gives, none is cut out or made again; the picture shows every second one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kinestream import Engine, Motion, load_text_to_motion
from kinestream.io.atomic import atomic_path
from kinestream.io.render import render
from kinestream.io.stage import follow, stage_motions
from kinestream.motion import concatenate

TARGET = Path(__file__).resolve().parents[1] / "docs" / "images" / "stream.webp"
# What is typed, and how many latents (0.133 s) pass before the next line.
LINES = (
    ("walks forward", 21),
    ("raises both hands", 15),
    ("walks like an old man", 24),
    ("waves with both hands, happy", 21),
)
WIDTH, HEIGHT, BAR = 560, 300, 46
FRAMES_SHOWN, FPS = 2, 30
MAX_BYTES = 1_500_000
TYPED_A_PICTURE = 3  # characters


def streamed(seed: int) -> tuple[Motion, list[str]]:
    """The stream's motion and, frame by frame, the prompt that is acted."""
    session = Engine(load_text_to_motion()).session(seed=seed)
    parts, acted = [], []
    for text, latents in LINES:
        session.prompt(text)
        for _ in range(latents):
            chunk = session.step()
            parts.append(chunk.motion)
            acted += [chunk.prompt] * chunk.motion.num_frames
    return concatenate(parts), acted


def drawn(motion: Motion, acted: list[str]) -> list[Image.Image]:
    """Pictures with the prompt typed below, as it was said, and the stream's time."""
    stage = stage_motions(motion)
    cameras = follow(stage, WIDTH / HEIGHT, azimuth_rad=0.7)
    text_font, time_font = ImageFont.load_default(21), ImageFont.load_default(14)
    pictures, since = [], 0
    for frame in range(0, stage.num_frames, FRAMES_SHOWN):
        if frame and acted[frame] != acted[frame - FRAMES_SHOWN]:
            since = frame
        body = render(stage.scene(frame), cameras[frame], WIDTH, HEIGHT)
        bar = np.full((BAR, WIDTH, 3), 24, np.uint8)
        picture = Image.fromarray(np.vstack([body, bar]))
        draw = ImageDraw.Draw(picture)
        typed = acted[frame][: TYPED_A_PICTURE * (1 + (frame - since) // FRAMES_SHOWN)]
        draw.text((16, HEIGHT + BAR / 2), f"> {typed}", font=text_font, fill=(255, 214, 120), anchor="lm")
        time = f"{frame / FPS:.1f} s"
        draw.text((WIDTH - 16, HEIGHT + BAR / 2), time, font=time_font, fill=(150, 150, 150), anchor="rm")
        pictures.append(picture)
    return pictures


def main() -> None:
    """Stream, draw, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("-o", "--out", type=Path, default=TARGET)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--quality", type=int, default=60)
    given = parser.parse_args()
    first, *rest = drawn(*streamed(given.seed))
    milliseconds = round(1000 * FRAMES_SHOWN / FPS)
    with atomic_path(given.out) as path:
        first.save(
            path, "WEBP", save_all=True, append_images=rest, duration=milliseconds, loop=0,
            quality=given.quality, method=4,
        )  # fmt: skip
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise SystemExit(f"the picture has {size} bytes, at most {MAX_BYTES} are wanted: lower --quality")
    print(f"{given.out}: {len(rest) + 1} pictures, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
