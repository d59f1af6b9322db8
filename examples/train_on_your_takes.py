"""Your own BVH files with your own sentences: build a data set, train both networks on it, generate from them.

Two steps each, to show the way; the files in configs/ train what the package carries. Needs the extra train.
"""

from __future__ import annotations

import sys
from pathlib import Path

import kinestream
from kinestream import Motion
from kinestream.data.build import BuildOptions, build
from kinestream.training import train_ar_diffusion, train_causal_tae

SENTENCES = ("walks forward", "waves with the right hand", "turns left", "raises both hands")
LOOP = '[loop]\nsteps = 2\nbatch_size = 2\nwarmup_steps = 1\nsave_every = 2\nvalidate_every = 2\nprecision = "fp32"\n'
TAE = "[model]\nhidden_dim = 16\nlatent_dim = 8\n[task]\ncrop_frames = 16\n"
AR = (
    "[model]\nhidden_dim = 16\nnum_layers = 1\nnum_heads = 2\nhead_width = 16\nhead_layers = 1\n"
    '[task]\ncausal_tae = "{tae}"\ntext_encoder = "all-MiniLM-L6-v2"\nmin_frames = 16\n'
)


def main(folder: Path) -> list[Motion]:
    """Write four takes with captions, build, train, generate; gives the takes and what was generated."""
    takes = folder / "takes"
    takes.mkdir(parents=True, exist_ok=True)
    recordings = []
    for number, sentence in enumerate(SENTENCES):  # yours come out of a capture, or of animators' hands
        recordings.append(kinestream.generate(sentence, seconds=2, seed=number))
        kinestream.write_motion(recordings[-1], takes / f"take_{number}.bvh")
        (takes / f"take_{number}.txt").write_text(f"{sentence}\na person {sentence}\n", encoding="utf-8")

    data = folder / "data"
    manifest = build({"motions": takes}, data, BuildOptions(pairs=4, workers=1), progress=False)
    print(manifest.notes[-1])

    (folder / "tae.toml").write_text(f'data = ["{data.as_posix()}"]\n{TAE}{LOOP}')
    train_causal_tae(folder / "tae.toml", folder / "tae")
    tae = (folder / "tae" / "model").as_posix()
    (folder / "ar.toml").write_text(f'data = ["{data.as_posix()}"]\n{AR.format(tae=tae)}{LOOP}')
    train_ar_diffusion(folder / "ar.toml", folder / "ar")

    motion = kinestream.generate("walks forward", seconds=1, model=folder / "ar" / "model")
    kinestream.write_motion(motion, folder / "mine.bvh")
    return recordings[:2]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
