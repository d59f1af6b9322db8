"""Measure a model on recordings: every figure beside the recordings' own, and a page that plays best and worst."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import kinestream
from kinestream import Motion, load_text_to_motion
from kinestream.data.build import BuildOptions, build
from kinestream.evaluation.evaluate import evaluate
from kinestream.evaluation.settings import EvaluationSettings, Place, Update
from kinestream.streaming import generate


@contextlib.contextmanager
def silent(what: str, unit: str) -> Iterator[Update]:
    """Progress for nobody."""
    yield lambda done, total: None


def main(folder: Path) -> list[Motion]:
    """Build a set of eight takes and measure the packaged autoencoder on those that are for training."""
    takes = folder / "takes"
    takes.mkdir(parents=True, exist_ok=True)
    recordings = generate(load_text_to_motion(), "walks forward", seconds=1.6, samples=8)
    for number, motion in enumerate(recordings):  # yours are recordings that the model never saw
        kinestream.write_motion(motion, takes / f"take_{number}.npz")
        (takes / f"take_{number}.txt").write_text("walks forward\n")
    build({"motions": takes}, folder / "data", BuildOptions(mirror=False, pairs=0, workers=1), progress=False)

    # "text" with 20 repeats is the protocol of the literature; "reconstruction" asks what the autoencoder loses.
    settings = EvaluationSettings("reconstruction", split="train", batch=4, processes=1)
    result = evaluate(Place(None, folder / "data", folder / "report"), settings, silent)
    for figure in result.figures[:4]:
        print(f"{figure.label}: {figure.generated.value:.3g} {figure.unit}")
    print(folder / "report" / "report.html")
    return recordings[:2]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
